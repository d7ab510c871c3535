//! Parts of addresses: ranges of ports, keep-alive, sockets that lie in a set.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use chardev::back::{Access, FdSource};
use chardev::backends::Tcp;
use chardev::spec::{InetAddress, Options, SocketAddress};
use chardev::{Chardevs, OpenError};
use socket2::{Domain, Protocol, Socket, Type};

use super::{filename, front, inet, opened, port_of, socket};
use crate::common::{add, change, echo, ring, wait_for};

/// An address at the loopback with more to it than host and port.
fn loopback(port: u16, more: impl FnOnce(&mut InetAddress)) -> SocketAddress {
    let SocketAddress::Inet(mut address) = inet("127.0.0.1", port) else {
        unreachable!()
    };
    more(&mut address);
    SocketAddress::Inet(address)
}

/// Listeners on `count` ports in a row, and the first of these.
fn row(count: u16) -> (u16, Vec<TcpListener>) {
    wait_for("free ports in a row", || {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let rest =
            (1..count).map(|next| TcpListener::bind(("127.0.0.1", port.checked_add(next)?)).ok());
        let mut all: Vec<_> = rest.collect::<Option<_>>()?;
        all.insert(0, first);
        Some((port, all))
    })
}

#[test]
fn the_first_free_port_of_a_range_is_taken_and_shown() {
    let (first, mut taken) = row(4);
    let last = first + 3;
    let range = || socket(loopback(first, |inet| inet.to = Some(last)), true);
    let chardevs = Chardevs::new().unwrap();
    let refused = chardevs.blocking_add("con0", range()).unwrap_err();
    let text = format!(
        "Failed to find an available port: Address already in use (all ports from {first} to {last})"
    );
    assert!(refused.to_string().ends_with(&text), "{refused}");
    drop(taken.remove(2));
    add(&chardevs, "con0", &range());
    assert_eq!(port_of(&filename(&chardevs)), first + 2);
    let front = front(&chardevs);
    let mut peer = TcpStream::connect(("127.0.0.1", first + 2)).unwrap();
    opened(&front);
    echo(&front, &mut peer);
    // A range that is none is not a port that is taken.
    let backwards = socket(loopback(first, |inet| inet.to = Some(first - 1)), true);
    let refused = chardevs.blocking_add("con1", backwards).unwrap_err();
    let text = format!("Ports {first} to {} are no range", first - 1);
    assert!(refused.to_string().contains(&text), "{refused}");
}

/// Which timer runs on the connection between these ports: 0 for none, 2 for keep-alive, and how
/// many seconds it has left.
fn timer(own: SocketAddr, peer: SocketAddr) -> (u8, u64) {
    let end = |address: SocketAddr| format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        fields[1].ends_with(&end(own)) && fields[2].ends_with(&end(peer))
    });
    let timer = line.unwrap().split_ascii_whitespace().nth(5).unwrap();
    let (which, left) = timer.split_once(':').unwrap();
    let left = u64::from_str_radix(left, 16).unwrap();
    // In the hundredths of a second that the kernel shows.
    (which.parse().unwrap(), left / 100)
}

#[test]
fn a_silent_peer_is_looked_after_by_servers_and_clients() {
    for keep_alive in [true, false] {
        let expect = |own: SocketAddr, peer: SocketAddr| match keep_alive {
            true => wait_for("the timer", || match timer(own, peer) {
                (2, left) => {
                    assert!((1..=60).contains(&left), "{left} s");
                    Some(())
                }
                _ => None,
            }),
            false => wait_for("no timer", || (timer(own, peer).0 == 0).then_some(())),
        };
        let address = |port| loopback(port, |inet| inet.keep_alive = keep_alive);
        let chardevs = Chardevs::new().unwrap();
        add(&chardevs, "con0", &socket(address(0), true));
        let front = front(&chardevs);
        let port = port_of(&filename(&chardevs));
        // Each client that is accepted, not only the first.
        for _ in 0..2 {
            let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
            wait_for("the peer", || front.is_open().then_some(()));
            echo(&front, &mut peer);
            expect(peer.peer_addr().unwrap(), peer.local_addr().unwrap());
            drop(peer);
            wait_for("its end", || (!front.is_open()).then_some(()));
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        change(&chardevs, "con0", &socket(address(to.port()), false)).unwrap();
        let (mut peer, from) = listener.accept().unwrap();
        echo(&front, &mut peer);
        expect(from, to);
    }
}

/// How often a peer with Multipath TCP has met one with it, on any connection of this machine.
fn meetings() -> u64 {
    let table = std::fs::read_to_string("/proc/net/netstat").unwrap();
    let mut lines = table.lines().filter(|line| line.starts_with("MPTcpExt:"));
    let (names, counts) = (lines.next().unwrap(), lines.next().unwrap());
    let mut counted = names.split(' ').zip(counts.split(' '));
    let found = counted.find(|(name, _)| *name == "MPCapableSYNACKRX");
    found.unwrap().1.parse().unwrap()
}

fn mptcp() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))
}

#[test]
fn a_socket_of_multipath_tcp_meets_its_like_and_speaks_plain_tcp_as_well() {
    let chardevs = Chardevs::new().unwrap();
    let address = |port| loopback(port, |inet| inet.mptcp = true);
    if let Err(error) = mptcp() {
        eprintln!("SKIPPED: connections of Multipath TCP; this kernel has none: {error}");
        for server in [true, false] {
            let options = socket(address(1), server);
            let refused = chardevs.blocking_add("con0", options).unwrap_err();
            assert!(refused.to_string().contains("mptcp=on"), "{refused}");
        }
        return;
    }
    let options: Options = Tcp::listen("127.0.0.1", 0).mptcp().into();
    add(&chardevs, "con0", &options);
    let front = front(&chardevs);
    let port = port_of(&filename(&chardevs));
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    for like in [true, false] {
        let before = meetings();
        let mut peer = match like {
            true => {
                let peer = mptcp().unwrap();
                peer.connect(&to.into()).unwrap();
                TcpStream::from(peer)
            }
            false => TcpStream::connect(to).unwrap(),
        };
        wait_for("the peer", || front.is_open().then_some(()));
        echo(&front, &mut peer);
        assert!(!like || meetings() > before, "the server is plain");
        drop(peer);
        wait_for("its end", || (!front.is_open()).then_some(()));
    }
    // It is handed on to one like it, and not to a plain one.
    change(&chardevs, "con0", &socket(address(port), true)).unwrap();
    let plain = socket(inet("127.0.0.1", port), true);
    let refused = change(&chardevs, "con0", &plain).unwrap_err().to_string();
    assert!(refused.contains("Address already in use"), "{refused}");

    for like in [true, false] {
        let before = meetings();
        let listener = match like {
            true => {
                let listener = mptcp().unwrap();
                let any = SocketAddr::from(([127, 0, 0, 1], 0));
                listener.bind(&any.into()).unwrap();
                listener.listen(1).unwrap();
                TcpListener::from(listener)
            }
            false => TcpListener::bind("127.0.0.1:0").unwrap(),
        };
        let port = listener.local_addr().unwrap().port();
        change(&chardevs, "con0", &socket(address(port), false)).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        echo(&front, &mut peer);
        assert!(!like || meetings() > before, "the client is plain");
    }
}

/// Set 3 has one end of a pair of sockets, set 5 a listener, set 7 a file.
struct Sets {
    connected: UnixStream,
    listening: TcpListener,
    file: std::fs::File,
}

impl FdSource for Sets {
    fn take(&self, name: &str) -> Result<OwnedFd, OpenError> {
        panic!("{name} is in no set")
    }

    fn open_set(&self, set: i64, access: Access) -> io::Result<OwnedFd> {
        assert_eq!(access, Access::Both);
        Ok(match set {
            3 => self.connected.try_clone()?.into(),
            5 => self.listening.try_clone()?.into(),
            7 => self.file.try_clone()?.into(),
            _ => return Err(io::ErrorKind::NotFound.into()),
        })
    }
}

#[test]
fn a_socket_in_a_set_is_taken_by_its_path_and_a_listener_as_often_as_one_likes() {
    let (mut ours, connected) = UnixStream::pair().unwrap();
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listening.local_addr().unwrap();
    let sets = Arc::new(Sets {
        connected,
        listening,
        file: tempfile::tempfile().unwrap(),
    });
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &ring(64));
    let front = front(&chardevs);
    let change = |path: &str, server| {
        let options = socket(SocketAddress::Fd(path.to_owned()), server);
        let sets = Arc::clone(&sets) as Arc<dyn FdSource>;
        chardevs.block_on(chardevs.change_with("con0", &options, sets))
    };
    change("/dev/fdset/3", false).unwrap();
    while front.next_event().is_some() {}
    echo(&front, &mut ours);
    let change_to_ring = || drop(crate::common::change(&chardevs, "con0", &ring(64)).unwrap());
    for _ in 0..2 {
        change("/dev/fdset/5", true).unwrap();
        assert_eq!(
            filename(&chardevs),
            format!("disconnected:tcp:{address},server=on")
        );
        let mut peer = TcpStream::connect(address).unwrap();
        wait_for("the peer", || front.is_open().then_some(()));
        echo(&front, &mut peer);
        change_to_ring();
    }
    for (path, server, why) in [
        (
            "/dev/fdset/9",
            false,
            "Could not open '/dev/fdset/9': No such file or directory",
        ),
        (
            "/dev/fdset/x",
            true,
            "Could not open '/dev/fdset/x': Invalid argument",
        ),
        (
            "/dev/fdset/7",
            false,
            "File descriptor '/dev/fdset/7' is not a socket",
        ),
        (
            "/dev/fdset/3",
            true,
            "File descriptor '/dev/fdset/3' is not a listening socket",
        ),
    ] {
        let refused = change(path, server).unwrap_err().to_string();
        assert!(refused.ends_with(why), "{refused}");
    }
}
