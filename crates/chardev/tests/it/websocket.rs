//! Sockets that speak websocket, over TCP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::common::{DEADLINE, add, change, expect, filename, hold, read_until, ring, wait_for};
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{Chardevs, Event};

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const ACCEPTED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const CLOSE: &[u8] = &[0x88, 2, 0x03, 0xe8];

fn socket(port: &str, server: bool) -> Options {
    let address = InetAddress {
        host: "127.0.0.1".to_owned(),
        port: port.to_owned(),
        ..InetAddress::default()
    };
    hold("socket")
        .with("addr", OptionValue::Address(SocketAddress::Inet(address)))
        .with("server", OptionValue::Bool(server))
}

pub(crate) fn server() -> Options {
    socket("0", true).with("websocket", OptionValue::Bool(true))
}

/// The port of a server without a client.
pub(crate) fn port(chardevs: &Chardevs, id: &str) -> String {
    let name = filename(chardevs, id);
    let name = name.strip_suffix(",server=on").unwrap();
    name.strip_prefix("disconnected:websocket:127.0.0.1:")
        .unwrap()
        .to_owned()
}

fn connect(port: &str) -> TcpStream {
    let peer = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer
}

fn hear(peer: &mut TcpStream, expected: &[u8]) {
    let mut buf = vec![0; expected.len()];
    peer.read_exact(&mut buf).unwrap();
    assert_eq!(buf, expected);
}

fn has_input(peer: &TcpStream) -> bool {
    peer.set_nonblocking(true).unwrap();
    let found = peer.peek(&mut [0]).is_ok();
    peer.set_nonblocking(false).unwrap();
    found
}

/// `bytes` as a client sends them, masked with nothing.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0x82, 0xfe][..], &length, &[0; 4], bytes].concat()
}

#[test]
fn a_client_is_shown_once_it_has_shaken_hands_and_every_byte_passes() {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &server());
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let mut peer = connect(&port(&chardevs, "con0"));
    let (begin, rest) = REQUEST.split_at(REQUEST.len() - 1);
    peer.write_all(begin).unwrap();
    assert_eq!(front.write(b"early"), 0);
    let all: Vec<u8> = (0..=255).collect();
    peer.write_all(&[rest, &frame(&all)].concat()).unwrap();
    hear(&mut peer, ACCEPTED);
    expect(&front, Event::Opened);
    assert_eq!(read_until(&front, 256), all);
    let name = filename(&chardevs, "con0");
    assert!(name.starts_with("websocket:127.0.0.1:"), "{name}");
    assert!(name.contains(",server=on <-> 127.0.0.1:"), "{name}");
    assert_eq!(front.write(&all), 256);
    hear(&mut peer, &[&[0x82, 126, 1, 0][..], &all].concat());

    peer.write_all(&[0x89, 0x80, 0, 0, 0, 0]).unwrap();
    // Although nobody reads.
    hear(&mut peer, &[0x8a, 0]);
    peer.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8])
        .unwrap();
    wait_for("the end", || {
        assert_eq!(front.read(&mut [0]), 0);
        (front.next_event()? == Event::Closed).then_some(())
    });
    hear(&mut peer, CLOSE);
    assert_eq!(
        peer.read(&mut [0]).unwrap(),
        0,
        "we close once that was answered"
    );
}

#[test]
fn one_that_does_not_finish_its_handshake_makes_room() {
    let chardevs = Chardevs::new().unwrap();
    let options = server().with("x-handshake-ms", OptionValue::Int(50));
    add(&chardevs, "con0", &options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let port = port(&chardevs, "con0");
    let mut slow = connect(&port);
    slow.write_all(b"GET / HT").unwrap();
    assert_eq!(slow.read(&mut [0]).unwrap(), 0);
    let mut next = connect(&port);
    next.write_all(REQUEST).unwrap();
    hear(&mut next, ACCEPTED);
    expect(&front, Event::Opened);
    for (limit, right) in [
        (0, false),
        (-1, false),
        (3_600_000, true),
        (3_600_001, false),
    ] {
        let options = server().with("x-handshake-ms", OptionValue::Int(limit));
        let added = chardevs.block_on(chardevs.add(&format!("c{limit}"), &options));
        assert_eq!(added.is_ok(), right, "{limit}");
    }
}

#[test]
fn those_that_say_nothing_keep_nobody_out() {
    let chardevs = Chardevs::new().unwrap();
    let options = server().with("x-handshake-ms", OptionValue::Int(3_600_000));
    add(&chardevs, "con0", &options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let port = port(&chardevs, "con0");
    let mut silent: Vec<_> = (0..20).map(|_| connect(&port)).collect();
    let mut speaks = connect(&port);
    speaks.write_all(REQUEST).unwrap();
    hear(&mut speaks, ACCEPTED);
    expect(&front, Event::Opened);
    // Of those only the newest are kept.
    assert_eq!(silent[0].read(&mut [0]).unwrap(), 0, "the oldest");

    // One of the others speaks now, and has its turn when the peer has left.
    let last = silent.last_mut().unwrap();
    last.write_all(REQUEST).unwrap();
    speaks.write_all(&frame(b"it has me")).unwrap();
    assert_eq!(read_until(&front, 9), b"it has me");
    assert!(!has_input(last));
    drop(speaks);
    wait_for("the end", || {
        assert_eq!(front.read(&mut [0]), 0);
        (front.next_event()? == Event::Closed).then_some(())
    });
    hear(last, ACCEPTED);
    expect(&front, Event::Opened);
    last.write_all(&frame(b"and me")).unwrap();
    assert_eq!(read_until(&front, 6), b"and me");
}

#[test]
fn who_waits_for_another_loses_no_time_for_its_handshake() {
    let chardevs = Chardevs::new().unwrap();
    let options = server().with("x-handshake-ms", OptionValue::Int(300));
    add(&chardevs, "con0", &options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let port = port(&chardevs, "con0");
    let mut waits = connect(&port);
    let mut first = connect(&port);
    first.write_all(REQUEST).unwrap();
    hear(&mut first, ACCEPTED);
    expect(&front, Event::Opened);
    wait_for("its time would be over", || {
        chardevs.tasks().is_empty().then_some(())
    });
    assert!(!has_input(&waits), "nor has it been let go");
    first
        .write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8])
        .unwrap();
    wait_for("the end", || {
        assert_eq!(front.read(&mut [0]), 0);
        (front.next_event()? == Event::Closed).then_some(())
    });
    waits.write_all(REQUEST).unwrap();
    hear(&mut waits, ACCEPTED);
}

#[test]
fn a_client_that_is_added_need_not_wait_for_one_that_says_nothing() {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &server());
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let silent = connect(&port(&chardevs, "con0"));
    wait_for("its handshake to begin", || {
        (!chardevs.tasks().is_empty()).then_some(())
    });
    let (ours, theirs) = UnixStream::pair().unwrap();
    chardevs.add_client("con0", ours.into()).unwrap();
    let mut theirs = theirs;
    theirs.write_all(REQUEST).unwrap();
    expect(&front, Event::Opened);
    theirs.write_all(&frame(b"added")).unwrap();
    assert_eq!(read_until(&front, 5), b"added");
    drop(silent);
}

#[test]
fn a_client_of_ours_speaks_to_a_server_of_ours_and_both_ends_are_told() {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "server", &server());
    let client = socket(&port(&chardevs, "server"), false)
        .with("x-websocket-client", OptionValue::Bool(true))
        .with("reconnect-ms", OptionValue::Int(20));
    add(&chardevs, "client", &client);
    let ends = ["server", "client"].map(|id| chardevs.front_end(id, Arc::new(())).unwrap());
    for end in &ends {
        expect(end, Event::Opened);
    }
    let bytes: Vec<u8> = (0..100_000u32).map(|number| (number * 7) as u8).collect();
    std::thread::scope(|scope| {
        for (from, to) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
            scope.spawn(|| {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let count = wait_for("room", || Some(from.write(rest)).filter(|it| *it > 0));
                    rest = &rest[count..];
                }
            });
            scope.spawn(|| assert_eq!(read_until(to, bytes.len()), bytes));
        }
    });
    assert_eq!(ends[0].write(b"last"), 4);
    change(&chardevs, "server", &ring(64)).unwrap();
    assert_eq!(read_until(&ends[1], 4), b"last");
    expect(&ends[1], Event::Closed);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let chardevs = Chardevs::new().unwrap();
    let on = || OptionValue::Bool(true);
    for (options, expected) in [
        (
            socket("1", false).with("websocket", on()),
            "Websocket client is not implemented",
        ),
        (
            socket("0", true).with("x-websocket-client", on()),
            "'x-websocket-client' option is incompatible with socket in server listen mode; use \
             'websocket'",
        ),
    ] {
        let error = chardevs
            .block_on(chardevs.add("con0", &options))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("Failed to add chardev 'con0': {expected}")
        );
    }
}
