//! Sockets between machines (vsock), over the loopback of this kernel or, where it has none, of a
//! Linux that is booted for it in QEMU.

mod guest;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::common::{DEADLINE, add, change, echo, filename, read_until, wait_for};
use chardev::backends::{Ringbuf, Vsock};
use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev::{Chardevs, Event, FrontEnd};
use socket2::{Domain, SockAddr, Socket, Type};

/// This machine's number for itself.
pub(crate) const LOCAL: u32 = 1;

fn address(port: u32) -> SockAddr {
    SockAddr::vsock(LOCAL, port)
}

/// A listener on a port of its own, if this kernel can connect vsock sockets to each other.
pub(crate) fn listener() -> Option<(Socket, u32)> {
    let socket = Socket::new(Domain::VSOCK, Type::STREAM, None).ok()?;
    socket.bind(&address(u32::MAX)).ok()?;
    socket.listen(4).unwrap();
    let (_, port) = socket.local_addr().unwrap().as_vsock_address()?;
    Some((socket, port))
}

/// Whether the test `name` can run; says so loudly if not.
pub(crate) fn can_run(name: &str) -> bool {
    let can = listener().is_some();
    if !can {
        eprintln!(
            "SKIPPED {name}: this kernel has no vsock loopback (module vsock_loopback); \
             vsock::guest runs it in a guest"
        );
    }
    can
}

pub(crate) fn connect(port: u32) -> Socket {
    let peer = wait_for("the server", || {
        let socket = Socket::new(Domain::VSOCK, Type::STREAM, None).unwrap();
        socket.connect(&address(port)).ok().map(|()| socket)
    });
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer
}

/// A port that was free a moment ago.
fn free_port() -> u32 {
    listener().unwrap().1
}

fn opened(front: &FrontEnd) {
    assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);
}

fn closed(front: &FrontEnd) {
    assert_eq!(wait_for("closed", || front.next_event()), Event::Closed);
}

#[test]
fn a_server_serves_two_clients_in_turn_and_shows_both_ends() {
    if !can_run("a vsock server") {
        return;
    }
    let chardevs = Chardevs::new().unwrap();
    let port = free_port();
    add(&chardevs, "con0", &Vsock::listen(port).into());
    let shown = format!("disconnected:vsock:{}:{port}", u32::MAX);
    assert_eq!(filename(&chardevs, "con0"), shown);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let mut first = connect(port);
    opened(&front);
    let (cid, from) = first.local_addr().unwrap().as_vsock_address().unwrap();
    // A socket that was connected without being bound does not know its own machine.
    assert_eq!(cid, u32::MAX);
    let shown = format!("vsock:{LOCAL}:{port} <-> {LOCAL}:{from}");
    assert_eq!(filename(&chardevs, "con0"), shown);
    let mut second = connect(port);
    second.write_all(b"patient").unwrap();
    echo(&front, &mut first);
    drop(first);
    closed(&front);
    opened(&front);
    assert_eq!(read_until(&front, 7), b"patient");
    echo(&front, &mut second);
    let again = chardevs.blocking_add("con1", Vsock::listen(port));
    let why = "Failed to bind socket: Address already in use";
    assert!(again.unwrap_err().to_string().ends_with(why));
}

#[test]
fn a_client_comes_back_to_its_server() {
    if !can_run("a vsock client") {
        return;
    }
    let (listener, port) = listener().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let client = Vsock::connect(LOCAL, port).reconnect(Duration::from_millis(10));
    add(&chardevs, "con0", &client.into());
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    for _ in 0..3 {
        opened(&front);
        let (mut peer, _) = listener.accept().unwrap();
        echo(&front, &mut peer);
        drop(peer);
        closed(&front);
    }
    drop(listener);
    let refused = chardevs.blocking_add("con1", Vsock::connect(LOCAL, port));
    let refused = refused.unwrap_err().to_string();
    let text = format!("Failed to connect to '{LOCAL}:{port}': ");
    assert!(refused.contains(&text), "{refused}");
}

/// Data both ways across changes of the listening port's owner, and layers above it.
#[test]
fn a_port_passes_from_one_server_to_the_next_without_a_loss() {
    if !can_run("changes of vsock") {
        return;
    }
    let chardevs = Chardevs::new().unwrap();
    let port = free_port();
    let server = || Options::from(Vsock::listen(port).hold());
    add(&chardevs, "con0", &server());
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let mut output = Vec::new();
    let mut readers = Vec::new();
    for round in 0..40_u32 {
        let mut peer = connect(port);
        let typed = format!("typed in round {round} ").into_bytes().repeat(500);
        let mut reader = peer.try_clone().unwrap();
        readers.push(std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all
        }));
        wait_for("the peer", || front.is_open().then_some(()));
        peer.write_all(&typed).unwrap();
        let printed = format!("printed in round {round} ")
            .into_bytes()
            .repeat(5000);
        let mut rest = &printed[..];
        wait_for("room", || {
            rest = &rest[front.write(rest)..];
            rest.is_empty().then_some(())
        });
        output.push(printed);
        let next = match round % 2 {
            0 => server(),
            _ => Ringbuf::new(64).hold().into(),
        };
        change(&chardevs, "con0", &next).unwrap();
        assert_eq!(read_until(&front, typed.len()), typed);
        if round % 2 == 1 {
            change(&chardevs, "con0", &server()).unwrap();
        }
    }
    for (reader, expected) in readers.into_iter().zip(output) {
        assert!(reader.join().unwrap() == expected);
    }
}

/// An option that names a protocol goes with any transport.
#[test]
fn a_connection_takes_layers_and_no_tls() {
    if !can_run("layers over vsock") {
        return;
    }
    let chardevs = Chardevs::new().unwrap();
    let port = free_port();
    add(&chardevs, "con0", &Vsock::listen(port).websocket().into());
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let client = Vsock::connect(LOCAL, port).websocket();
    add(&chardevs, "con1", &client.into());
    let other = chardevs.front_end("con1", Arc::new(())).unwrap();
    opened(&front);
    opened(&other);
    assert_eq!(front.write(b"one way"), 7);
    assert_eq!(read_until(&other, 7), b"one way");
    assert_eq!(other.write(b"the other"), 9);
    assert_eq!(read_until(&front, 9), b"the other");
}

/// What needs no peer, and so runs everywhere.
#[test]
fn what_is_no_address_is_refused_as_by_qemu() {
    let chardevs = Chardevs::new().unwrap();
    for (cid, port, server, why) in [
        ("x", "1", true, "Failed to parse cid 'x'"),
        ("x", "1", false, "Failed to parse cid 'x'"),
        ("1", "", true, "Failed to parse port ''"),
        (
            "1",
            "4294967296",
            false,
            "Failed to parse port '4294967296'",
        ),
    ] {
        let address = SocketAddress::Vsock {
            cid: cid.to_owned(),
            port: port.to_owned(),
        };
        let options = Options::new("socket")
            .with("addr", OptionValue::Address(address))
            .with("server", OptionValue::Bool(server));
        let refused = chardevs
            .blocking_add("c", &options)
            .unwrap_err()
            .to_string();
        assert!(refused.ends_with(why), "{refused}");
        let dressed = options.with("tls-creds", OptionValue::Str("t".to_owned()));
        let refused = chardevs.blocking_add("c", dressed).unwrap_err().to_string();
        let why = "'tls_creds' option is incompatible with 'vsock' address type";
        assert!(refused.ends_with(why), "{refused}");
    }
}
