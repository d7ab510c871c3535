//! The back end `socket`, with real peers.

mod common;

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use chardev::back::{NoFds, OneFd};
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{Chardevs, Event, FrontEnd, FrontEndHooks};
use common::{DEADLINE, add, change, read_until, ring, wait_for};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

fn socket(addr: SocketAddress, server: bool) -> Options {
    Options::new("socket")
        .with("addr", OptionValue::Address(addr))
        .with("server", OptionValue::Bool(server))
}

fn unix(path: &Path) -> SocketAddress {
    SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    }
}

fn inet(host: &str, port: u16) -> SocketAddress {
    SocketAddress::Inet(InetAddress {
        host: host.to_owned(),
        port: port.to_string(),
        ..InetAddress::default()
    })
}

fn front(chardevs: &Chardevs) -> FrontEnd {
    chardevs.front_end("con0", Arc::new(())).unwrap()
}

fn filename(chardevs: &Chardevs) -> String {
    chardevs.list()[0].filename.clone()
}

/// The port in `disconnected:tcp:<host>:<port>,server=on`.
fn port_of(filename: &str) -> u16 {
    let address = filename.strip_suffix(",server=on").unwrap();
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

fn opened(front: &FrontEnd) {
    assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);
}

fn closed(front: &FrontEnd) {
    assert_eq!(wait_for("closed", || front.next_event()), Event::Closed);
}

fn echo(front: &FrontEnd, peer: &mut (impl Read + Write)) {
    peer.write_all(b"ping").unwrap();
    assert_eq!(read_until(front, 4), b"ping");
    assert_eq!(front.write(b"pong"), 4);
    let mut buf = [0; 4];
    peer.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"pong");
}

#[test]
fn a_unix_server_serves_two_clients_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let shown = format!("unix:{},server=on", path.display());
    assert_eq!(filename(&chardevs), format!("disconnected:{shown}"));
    let front = front(&chardevs);
    let mut first = UnixStream::connect(&path).unwrap();
    opened(&front);
    assert_eq!(filename(&chardevs), shown);
    let mut second = UnixStream::connect(&path).unwrap();
    second.write_all(b"patient").unwrap();
    echo(&front, &mut first);
    assert_eq!(front.next_event(), None);
    drop(first);
    closed(&front);
    opened(&front);
    assert_eq!(read_until(&front, 7), b"patient");
    echo(&front, &mut second);
    drop(front);
    chardevs.remove("con0").unwrap();
    assert!(!path.exists());
}

#[test]
fn a_tcp_server_shows_both_ends() {
    for host in ["127.0.0.1", "::1", "localhost", ""] {
        let chardevs = Chardevs::new().unwrap();
        let info = add(&chardevs, "con0", &socket(inet(host, 0), true));
        let front = front(&chardevs);
        let to = if host == "::1" { "::1" } else { "127.0.0.1" };
        let mut peer = TcpStream::connect((to, port_of(&info.filename))).unwrap();
        opened(&front);
        echo(&front, &mut peer);
        let (own, theirs) = (peer.peer_addr().unwrap(), peer.local_addr().unwrap());
        let shown = format!("tcp:{own},server=on <-> {theirs}");
        assert_eq!(filename(&chardevs), shown);
    }
}

#[test]
fn a_taken_port_is_passed_over_within_a_range() {
    let chardevs = Chardevs::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let SocketAddress::Inet(wanted) = inet("127.0.0.1", port) else {
        unreachable!()
    };
    let wanted = InetAddress {
        to: Some(port.saturating_add(50)),
        ..wanted
    };
    let info = add(
        &chardevs,
        "con0",
        &socket(SocketAddress::Inet(wanted), true),
    );
    assert!(port_of(&info.filename) > port);
}

#[test]
fn an_abstract_name_works_both_ways() {
    for tight in [true, false] {
        let name = format!("chardev-test-{}-{tight}", std::process::id());
        let addr = SocketAddress::Unix {
            path: name.clone(),
            abstract_name: true,
            tight,
        };
        let chardevs = Chardevs::new().unwrap();
        let info = add(&chardevs, "con0", &socket(addr.clone(), true));
        let tight_shown = if tight { ",tight=on" } else { "" };
        let shown = format!("disconnected:unix:{name},abstract=on{tight_shown},server=on");
        assert_eq!(info.filename, shown);
        let server = front(&chardevs);
        let mut bytes = name.into_bytes();
        if !tight {
            bytes.resize(107, 0);
        }
        let address = SocketAddr::from_abstract_name(&bytes).unwrap();
        let mut peer = UnixStream::connect_addr(&address).unwrap();
        opened(&server);
        echo(&server, &mut peer);
        drop(peer);
        closed(&server);
        add(&chardevs, "con1", &socket(addr, false));
        opened(&server);
    }
}

#[test]
fn a_client_ends_with_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server");
    let listener = UnixListener::bind(&path).unwrap();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), false));
    let front = front(&chardevs);
    opened(&front);
    let (mut peer, _) = listener.accept().unwrap();
    echo(&front, &mut peer);
    drop(peer);
    closed(&front);
    let shown = format!("disconnected:unix:{}", path.display());
    assert_eq!(filename(&chardevs), shown);
    assert!(!front.is_open());
}

#[test]
fn a_client_comes_back_to_its_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let chardevs = Chardevs::new().unwrap();
    let options = socket(inet("127.0.0.1", port), false).with("reconnect-ms", OptionValue::Int(10));
    add(&chardevs, "con0", &options);
    let front = front(&chardevs);
    for _ in 0..3 {
        opened(&front);
        let (mut peer, _) = listener.accept().unwrap();
        echo(&front, &mut peer);
        drop(peer);
        closed(&front);
    }
}

#[test]
fn a_client_that_finds_no_server_goes_on_trying() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server");
    let chardevs = Chardevs::new().unwrap();
    let options = socket(unix(&path), false).with("reconnect-ms", OptionValue::Int(10));
    let info = add(&chardevs, "con0", &options);
    assert_eq!(
        info.filename,
        format!("disconnected:unix:{}", path.display())
    );
    let front = front(&chardevs);
    let _listener = UnixListener::bind(&path).unwrap();
    opened(&front);
}

#[test]
fn waiting_ends_when_the_first_client_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    let connecting = {
        let path = path.clone();
        std::thread::spawn(move || wait_for("listener", || UnixStream::connect(&path).ok()))
    };
    let options = socket(unix(&path), true).with("wait", OptionValue::Bool(true));
    assert!(add(&chardevs, "con0", &options).open);
    let front = front(&chardevs);
    opened(&front);
    echo(&front, &mut connecting.join().unwrap());
}

#[test]
fn a_path_passes_from_one_server_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let front = front(&chardevs);
    let mut old = UnixStream::connect(&path).unwrap();
    opened(&front);
    assert_eq!(front.write(b"to the old one"), 14);
    old.write_all(b"from the old one").unwrap();
    change(&chardevs, "con0", &socket(unix(&path), true)).unwrap();
    assert_eq!(read_until(&front, 16), b"from the old one");
    let mut new = UnixStream::connect(&path).unwrap();
    wait_for("the new peer", || front.is_open().then_some(()));
    echo(&front, &mut new);
    let mut all = String::new();
    old.read_to_string(&mut all).unwrap();
    assert_eq!(all, "to the old one");
    let names = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, 1, "no hidden name is left");
    // A client that waits in the queue belongs to whoever has the listener next.
    let mut third = UnixStream::connect(&path).unwrap();
    let waiting = socket(unix(&path), true).with("wait", OptionValue::Bool(true));
    change(&chardevs, "con0", &waiting).unwrap();
    echo(&front, &mut third);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_stale_socket_is_replaced_even_under_a_long_path() {
    let dir = tempfile::tempdir().unwrap();
    let room = 108 - dir.path().as_os_str().len() - 1;
    let path = dir.path().join("s".repeat(room - 1));
    drop(UnixListener::bind(&path).unwrap());
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let front = front(&chardevs);
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    echo(&front, &mut peer);
}

#[test]
fn a_path_that_somebody_serves_is_not_taken_and_nobody_notices() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let served = UnixListener::bind(&path).unwrap();
    served.set_nonblocking(true).unwrap();
    let chardevs = Chardevs::new().unwrap();
    let refused = format!(
        "Failed to bind socket to {}: Address already in use (somebody serves it; stop that, or give \
         another path)",
        path.display()
    );
    for wait in [false, true] {
        let options = socket(unix(&path), true).with("wait", OptionValue::Bool(wait));
        let adding = chardevs.add("con0", &options, Arc::new(NoFds));
        let error = chardevs.block_on(adding).unwrap_err().to_string();
        assert!(error.ends_with(&refused), "{error}");
    }
    add(&chardevs, "con0", &ring(64));
    let error = change(&chardevs, "con0", &socket(unix(&path), true)).unwrap_err();
    assert!(error.to_string().ends_with(&refused), "{error}");
    assert!(served.accept().is_err(), "a probe came as a client");
    // Another chardev of the same process is somebody, too.
    drop(served);
    add(&chardevs, "con1", &socket(unix(&path), true));
    let error = change(&chardevs, "con0", &socket(unix(&path), true)).unwrap_err();
    assert!(error.to_string().ends_with(&refused), "{error}");
    let front = chardevs.front_end("con1", Arc::new(())).unwrap();
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    echo(&front, &mut peer);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn last_words_are_heard_by_a_front_end_that_was_not_listening() {
    let chardevs = Chardevs::new().unwrap();
    let info = add(&chardevs, "con0", &socket(inet("127.0.0.1", 0), true));
    let port = port_of(&info.filename);
    let front = front(&chardevs);
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    opened(&front);
    peer.write_all(&[b'x'; 100_000]).unwrap();
    drop(peer);
    // Nobody reads, and yet the end is noticed.
    wait_for("the end", || (!front.is_open()).then_some(()));
    assert_eq!(read_until(&front, 100_000), [b'x'; 100_000]);
    closed(&front);
}

#[test]
fn a_reset_is_a_normal_departure() {
    let chardevs = Chardevs::new().unwrap();
    let info = add(&chardevs, "con0", &socket(inet("127.0.0.1", 0), true));
    let port = port_of(&info.filename);
    let front = front(&chardevs);
    let peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    opened(&front);
    assert_eq!(front.write(b"never read"), 10);
    peer.set_nonblocking(true).unwrap();
    wait_for("output", || peer.peek(&mut [0]).ok());
    drop(peer);
    closed(&front);
    let mut next = TcpStream::connect(("127.0.0.1", port)).unwrap();
    opened(&front);
    echo(&front, &mut next);
}

#[test]
fn a_slow_reader_gets_everything_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let addresses = [unix(&path), inet("127.0.0.1", 0)];
    for addr in addresses {
        let tcp = matches!(addr, SocketAddress::Inet(_));
        let chardevs = Chardevs::new().unwrap();
        let info = add(&chardevs, "con0", &socket(addr, true));
        let front = front(&chardevs);
        let mut peer: Box<dyn Read> = if tcp {
            Box::new(TcpStream::connect(("127.0.0.1", port_of(&info.filename))).unwrap())
        } else {
            Box::new(UnixStream::connect(&path).unwrap())
        };
        opened(&front);
        let mut accepted = 0;
        loop {
            match front.write(&[b'o'; 30_000]) {
                0 => break,
                count => accepted += count,
            }
        }
        change(&chardevs, "con0", &ring(4096)).unwrap();
        let (mut all, mut buf) = (0, [0; 1000]);
        loop {
            match peer.read(&mut buf).unwrap() {
                0 => break,
                count => all += count,
            }
        }
        assert_eq!(all, accepted);
    }
}

#[test]
fn a_client_in_the_queue_is_heard_by_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let front = front(&chardevs);
    let mut peer = UnixStream::connect(&path).unwrap();
    peer.write_all(b"just in time").unwrap();
    change(&chardevs, "con0", &ring(4096)).unwrap();
    assert_eq!(read_until(&front, 12), b"just in time");
}

#[test]
fn a_peer_told_to_go_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let front = front(&chardevs);
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    assert_eq!(front.write(b"bye"), 3);
    peer.write_all(b"unread").unwrap();
    front.disconnect();
    assert_eq!(read_until(&front, 6), b"unread");
    closed(&front);
    let mut all = String::new();
    peer.read_to_string(&mut all).unwrap();
    assert_eq!(all, "bye");
    let mut next = UnixStream::connect(&path).unwrap();
    opened(&front);
    echo(&front, &mut next);
}

#[test]
fn descriptors_pass_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let front = front(&chardevs);
    let peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    assert!(front.pass_fds(vec![theirs.into()]));
    assert_eq!(front.write(b"take this"), 9);
    let mut passed = UnixStream::from(receive_fd(&peer));
    passed.write_all(b"out").unwrap();
    let mut buf = [0; 3];
    ours.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"out");

    let rights = [passed.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&rights));
    let bytes = [IoSlice::new(b"and this")];
    rustix::net::sendmsg(&peer, &bytes, &mut control, SendFlags::empty()).unwrap();
    assert_eq!(read_until(&front, 8), b"and this");
    let mut back = UnixStream::from(front.take_fds().pop().unwrap());
    assert!(front.take_fds().is_empty());
    back.write_all(b"in!").unwrap();
    ours.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"in!");
}

fn receive_fd(peer: &UnixStream) -> OwnedFd {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buf = [0; 64];
    let mut bufs = [std::io::IoSliceMut::new(&mut buf)];
    rustix::net::recvmsg(peer, &mut bufs, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    received.unwrap()
}

#[test]
fn a_descriptor_may_be_listening_or_connected() {
    let chardevs = Chardevs::new().unwrap();
    let addr = || SocketAddress::Fd("given".to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let given = Arc::new(OneFd::new(listener.into()));
    let (server, client) = (socket(addr(), true), socket(addr(), false));
    let adding = chardevs.add("con0", &server, given);
    chardevs.block_on(adding).unwrap();
    assert_eq!(
        filename(&chardevs),
        format!("disconnected:tcp:{address},server=on")
    );
    let front = front(&chardevs);
    let mut peer = TcpStream::connect(address).unwrap();
    opened(&front);
    echo(&front, &mut peer);

    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let given = Arc::new(OneFd::new(theirs.into()));
    let changing = chardevs.change("con0", &client, given);
    chardevs.block_on(changing).unwrap();
    assert_eq!(filename(&chardevs), "fd:given");
    while front.next_event().is_some() {}
    echo(&front, &mut ours);

    let (_, theirs) = UnixStream::pair().unwrap();
    let given = Arc::new(OneFd::new(theirs.into()));
    let changing = chardevs.change("con0", &server, given);
    let refused = chardevs.block_on(changing).unwrap_err().to_string();
    assert_eq!(refused, "File descriptor 'given' is not a listening socket");
    echo(&front, &mut ours);
}

#[test]
fn a_change_given_up_while_waiting_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("never");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &ring(4096));
    let waiting = socket(unix(&path), true).with("wait", OptionValue::Bool(true));
    let mover = chardevs.clone();
    let task = chardevs.runtime().spawn(async move {
        let none = Arc::new(chardev::back::NoFds);
        mover.change("con0", &waiting, none).await.map(|_| ())
    });
    wait_for("the listener", || path.exists().then_some(()));
    task.abort();
    wait_for("its end", || (!path.exists()).then_some(()));
    // The listener goes first, then the change it was for.
    wait_for("a change", || change(&chardevs, "con0", &ring(4096)).ok());
}

#[test]
fn a_half_closed_peer_still_gets_its_output() {
    let chardevs = Chardevs::new().unwrap();
    let info = add(&chardevs, "con0", &socket(inet("127.0.0.1", 0), true));
    let front = front(&chardevs);
    let mut peer = TcpStream::connect(("127.0.0.1", port_of(&info.filename))).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    opened(&front);
    assert_eq!(front.write(b"answer"), 6);
    peer.write_all(b"question").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_until(&front, 8), b"question");
    closed(&front);
    let mut all = String::new();
    match peer.read_to_string(&mut all) {
        Ok(_) => assert_eq!(all, "answer"),
        Err(error) => assert_ne!(error.kind(), ErrorKind::ConnectionReset, "{all}"),
    }
}

/// Byte `n` of a stream is `n % 251`: the `count` bytes from `start` on, out of a table.
fn numbered(table: &[u8], start: usize, count: usize) -> &[u8] {
    &table[start % 251..][..count]
}

#[test]
fn a_peer_that_leaves_megabytes_behind_is_read_to_the_end() {
    // While much is read the kernel's buffers grow, so that afterwards much fits unread.
    const READ: usize = 96 << 20;
    const LEFT: usize = 3 << 20;
    let table: Arc<[u8]> = (0..300 << 10).map(|n| (n % 251) as u8).collect();
    for (changed, last) in [(false, "Closed"), (true, "Changed")] {
        let chardevs = Chardevs::new().unwrap();
        let info = add(&chardevs, "con0", &socket(inet("127.0.0.1", 0), true));
        let front = front(&chardevs);
        let peer = TcpStream::connect(("127.0.0.1", port_of(&info.filename))).unwrap();
        opened(&front);
        let sender = std::thread::spawn({
            let table = Arc::clone(&table);
            let mut peer = peer;
            move || {
                for sent in (0..READ + LEFT).step_by(64 << 10) {
                    peer.write_all(numbered(&table, sent, 64 << 10)).unwrap();
                }
            }
        });
        let mut buf = vec![0; 256 << 10];
        let mut read = 0;
        let mut next = || {
            let count = front.read(&mut buf);
            assert!(&buf[..count] == numbered(&table, read, count), "at {read}");
            read += count;
            (count, read)
        };
        while next().1 < READ {}
        sender.join().unwrap();
        if changed {
            change(&chardevs, "con0", &ring(64)).unwrap();
        }
        wait_for("the end", || {
            while next().0 > 0 {}
            let event = front.next_event()?;
            format!("{event:?}").starts_with(last).then_some(())
        });
        assert_eq!(
            (next(), front.stats().input_overflowed),
            ((0, READ + LEFT), 0)
        );
    }
}

/// A front end that answers what it reads.
struct Answers;

impl FrontEndHooks for Answers {
    fn half_close(&self) -> bool {
        true
    }
}

#[test]
fn a_peer_that_ends_its_sending_is_kept_for_a_front_end_that_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let mut peer = UnixStream::connect(&path).unwrap();
    peer.write_all(b"ping").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    // It may come before the front end does.
    wait_for("a peer", || {
        (!filename(&chardevs).starts_with("disconnected")).then_some(())
    });
    let front = chardevs.front_end("con0", Arc::new(Answers)).unwrap();
    opened(&front);
    assert_eq!(read_until(&front, 4), b"ping");
    wait_for("the end of the input", || {
        assert_eq!(front.read(&mut [0]), 0);
        front.input_ended().then_some(())
    });
    assert!(front.is_open());
    assert_eq!(front.next_event(), None);
    assert_eq!(front.write(b"pong"), 4);
    front.disconnect();
    closed(&front);
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"pong");
    // The next one is greeted as ever, and its end is seen although nothing was read to it.
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    peer.write_all(b"never read").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    drop(peer);
    wait_for("it is gone", || (!front.is_open()).then_some(()));
    assert_eq!(read_until(&front, 10), b"never read");
    closed(&front);
    // A kept peer does not outlast the front end that answers it.
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    peer.shutdown(Shutdown::Write).unwrap();
    wait_for("the end of the input", || {
        assert_eq!(front.read(&mut [0]), 0);
        front.input_ended().then_some(())
    });
    drop(front);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_connected_socket_is_taken_as_the_peer_and_the_next_one_is_served_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let front = front(&chardevs);
    let (mut peer, ours) = UnixStream::pair().unwrap();
    chardevs.add_client("con0", ours.into()).unwrap();
    opened(&front);
    echo(&front, &mut peer);
    let (_, second) = UnixStream::pair().unwrap();
    chardevs.add_client("con0", second.into()).unwrap_err();
    drop(peer);
    closed(&front);
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    echo(&front, &mut peer);
}

/// Sends `bytes` with 16 descriptors of a file that this process opened nowhere else.
fn send_with_descriptors(peer: &UnixStream, bytes: &[u8], file: &std::fs::File) {
    let borrowed = [file.as_fd(); 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&borrowed));
    let bytes = [IoSlice::new(bytes)];
    rustix::net::sendmsg(peer, &bytes, &mut control, SendFlags::empty()).unwrap();
}

/// How many descriptors of `path` this process has.
fn descriptors_of(path: &Path) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    all.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target == path))
        .count()
}

#[test]
fn descriptors_go_with_the_peer_and_the_bytes_they_came_with() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let sent = dir.path().join("sent");
    let file = std::fs::File::create(&sent).unwrap();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    // Nobody is there who could take them.
    let peer = UnixStream::connect(&path).unwrap();
    send_with_descriptors(&peer, b"early", &file);
    drop(peer);
    wait_for("the departure", || {
        (descriptors_of(&sent) == 1).then_some(())
    });
    let front = front(&chardevs);
    read_until(&front, 5);
    // The front end reads, and takes none.
    let peer = UnixStream::connect(&path).unwrap();
    send_with_descriptors(&peer, b"read", &file);
    read_until(&front, 4);
    drop(peer);
    wait_for("its end", || {
        let _ = front.read(&mut [0; 16]);
        while front.next_event().is_some() {}
        (descriptors_of(&sent) == 1).then_some(())
    });
    // What has gone, or was replaced, is still read with what came along.
    for replaced in [false, true] {
        let peer = UnixStream::connect(&path).unwrap();
        wait_for("the peer", || front.is_open().then_some(()));
        send_with_descriptors(&peer, b"getfd", &file);
        if replaced {
            change(&chardevs, "con0", &ring(64)).unwrap();
        } else {
            drop(peer);
            wait_for("the departure", || (!front.is_open()).then_some(()));
        }
        read_until(&front, 5);
        assert_eq!(front.take_fds().len(), 16, "{replaced}");
        assert_eq!(descriptors_of(&sent), 1);
    }
}

#[test]
fn a_peer_that_ends_its_sending_is_kept_where_the_socket_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    let keep = OptionValue::Str("keep".to_owned());
    let keeps = |addr| socket(addr, true).with("x-half-close", keep.clone());
    for kept in [true, false] {
        let options = if kept {
            keeps(unix(&path))
        } else {
            socket(unix(&path), true)
        };
        add(&chardevs, "con0", &options);
        let front = front(&chardevs);
        let mut peer = UnixStream::connect(&path).unwrap();
        opened(&front);
        peer.write_all(b"cmd").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        read_until(&front, 3);
        if !kept {
            closed(&front);
        }
        assert_eq!(front.write(b"answer"), 6);
        let mut answer = Vec::new();
        if kept {
            answer.resize(6, 0);
            peer.read_exact(&mut answer).unwrap();
            assert!(front.is_open());
            drop(peer);
            closed(&front);
        } else {
            peer.read_to_end(&mut answer).unwrap();
        }
        let discarded = front.stats().output_discarded as usize;
        assert_eq!(answer.len() + discarded, 6);
        assert_eq!(answer.is_empty(), !kept);
        drop(front);
        chardevs.remove("con0").unwrap();
    }
}
