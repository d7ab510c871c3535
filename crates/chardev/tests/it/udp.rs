//! The back end `udp`, with a real peer.

use std::net::UdpSocket;
use std::sync::Arc;

use crate::common::{DEADLINE, add, change, read_until, ring, wait_for};
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{Action, Answers, Chardevs, FrontEndHooks};

fn inet(host: &str, port: u16) -> OptionValue {
    OptionValue::Address(SocketAddress::Inet(InetAddress {
        host: host.to_owned(),
        port: port.to_string(),
        ..InetAddress::default()
    }))
}

/// A peer at the loopback address of `host`.
fn peer_at(host: &str) -> UdpSocket {
    let peer = UdpSocket::bind((host, 0)).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer
}

/// Traffic between `peer` and the port `own` of `host`.
fn between(peer: &UdpSocket, host: &str, own: u16) -> Options {
    let at = peer.local_addr().unwrap();
    Options::new("udp")
        .with("remote", inet(&at.ip().to_string(), at.port()))
        .with("local", inet(host, own))
}

/// A port that was free a moment ago.
fn free_port(host: &str) -> u16 {
    peer_at(host).local_addr().unwrap().port()
}

fn hear(peer: &UdpSocket, text: &[u8]) {
    let mut buf = [0; 100];
    let count = peer.recv(&mut buf).unwrap();
    assert_eq!(&buf[..count], text);
}

fn console(chardevs: &Chardevs) -> UdpSocket {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let remote = SocketAddress::Inet(InetAddress {
        host: "127.0.0.1".to_owned(),
        port: peer.local_addr().unwrap().port().to_string(),
        ..InetAddress::default()
    });
    add(
        chardevs,
        "con0",
        &Options::new("udp").with("remote", OptionValue::Address(remote)),
    );
    peer
}

#[test]
fn every_write_is_a_datagram_and_the_rest_of_one_is_kept() {
    let chardevs = Chardevs::new().unwrap();
    let peer = console(&chardevs);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert!(!front.is_open());
    assert_eq!((front.write(b"one"), front.write(b"two!")), (3, 4));
    let mut buf = [0; 100];
    let (count, device) = peer.recv_from(&mut buf).unwrap();
    assert_eq!(&buf[..count], b"one");
    let (count, _) = peer.recv_from(&mut buf).unwrap();
    assert_eq!(&buf[..count], b"two!");
    peer.send_to(b"a long datagram", device).unwrap();
    assert_eq!(read_until(&front, 6), b"a long");
    assert_eq!(read_until(&front, 9), b" datagram");
}

#[test]
fn datagrams_received_before_a_change_are_read_after_it() {
    let chardevs = Chardevs::new().unwrap();
    let peer = console(&chardevs);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    front.write(b"hello");
    let (_, device) = peer.recv_from(&mut [0; 100]).unwrap();
    peer.send_to(b"first ", device).unwrap();
    peer.send_to(b"second", device).unwrap();
    change(&chardevs, "con0", &ring(64)).unwrap();
    assert_eq!(read_until(&front, 12), b"first second");
}

#[test]
fn a_peer_that_is_gone_disturbs_nothing() {
    let chardevs = Chardevs::new().unwrap();
    drop(console(&chardevs));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    for _ in 0..10 {
        assert_eq!(front.write(b"into the void"), 13);
    }
    assert_eq!(front.read(&mut [0; 10]), 0);
}

/// A datagram that arrives between two system calls of a read is as whole as any other.
#[test]
fn no_datagram_is_cut_whenever_it_arrives() {
    const LENGTH: usize = 999;
    const COUNT: usize = 20_000;
    let chardevs = Chardevs::new().unwrap();
    let peer = console(&chardevs);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    front.write(b"hello");
    let (_, device) = peer.recv_from(&mut [0; 100]).unwrap();
    let sender = std::thread::spawn(move || {
        for number in 0..COUNT {
            peer.send_to(&[(number % 251) as u8; LENGTH], device)
                .unwrap();
        }
        // Lost datagrams are the network's affair; the end must not be one of them.
        peer
    });
    let mut buf = [0; 2048];
    let mut received = 0;
    loop {
        let finished = sender.is_finished();
        match front.read(&mut buf) {
            0 if finished => break,
            0 => {}
            count => {
                assert_eq!(count, LENGTH);
                assert!(buf[..count].iter().all(|byte| *byte == buf[0]));
                received += 1;
            }
        }
    }
    assert!(received > 0);
}

#[test]
fn the_longest_datagram_and_empty_ones_are_read_as_they_were_sent() {
    let chardevs = Chardevs::new().unwrap();
    let peer = console(&chardevs);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    front.write(b"hello");
    let (_, device) = peer.recv_from(&mut [0; 100]).unwrap();
    for _ in 0..100 {
        peer.send_to(b"", device).unwrap();
    }
    peer.send_to(b"behind empty ones", device).unwrap();
    assert_eq!(read_until(&front, 17), b"behind empty ones");
    peer.send_to(&[b'l'; 65_507], device).unwrap();
    let all = read_until(&front, 65_507);
    assert!(all.iter().all(|byte| *byte == b'l'));
}

/// The same port with the same peer and with another one: what has come and is unread is read once,
/// and nobody else gets the port meanwhile.
#[test]
fn a_change_keeps_the_port() {
    for host in ["127.0.0.1", "::1"] {
        let chardevs = Chardevs::new().unwrap();
        let (one, other, own) = (peer_at(host), peer_at(host), free_port(host));
        add(&chardevs, "con0", &between(&one, host, own));
        let front = chardevs.front_end("con0", Arc::new(())).unwrap();
        let mut expected = Vec::new();
        for round in 0..50 {
            let (now, next) = match round % 4 {
                0 => (&one, &one),
                1 => (&one, &other),
                2 => (&other, &other),
                _ => (&other, &one),
            };
            let text = format!("round {round:02} ").into_bytes();
            for _ in 0..3 {
                now.send_to(&text, (host, own)).unwrap();
                expected.extend_from_slice(&text);
            }
            change(&chardevs, "con0", &between(next, host, own)).unwrap();
            assert_eq!(front.write(&text), text.len());
            hear(next, &text);
        }
        assert_eq!(read_until(&front, expected.len()), expected);
        assert_eq!(front.read(&mut [0; 10]), 0);
        let stranger = chardevs.block_on(chardevs.add("con1", &between(&one, host, own)));
        let error = stranger.unwrap_err().to_string();
        assert!(error.ends_with("Address already in use"), "{error}");
    }
}

/// From one interface to all of them and back, which is a port the kernel does not give twice.
#[test]
fn a_port_is_kept_when_its_address_gets_wider_or_narrower() {
    for (host, any) in [("127.0.0.1", "0.0.0.0"), ("::1", "::")] {
        let chardevs = Chardevs::new().unwrap();
        let (peer, own) = (peer_at(host), free_port(host));
        add(&chardevs, "con0", &between(&peer, host, own));
        let front = chardevs.front_end("con0", Arc::new(())).unwrap();
        for local in [any, host, any, any, host] {
            peer.send_to(b"before ", (host, own)).unwrap();
            change(&chardevs, "con0", &between(&peer, local, own)).unwrap();
            peer.send_to(b"after", (host, own)).unwrap();
            assert_eq!(read_until(&front, 12), b"before after");
            front.write(b"to the peer");
            hear(&peer, b"to the peer");
            let stranger = chardevs.block_on(chardevs.add("con1", &between(&peer, any, own)));
            assert!(stranger.is_err(), "{local}");
        }
    }
}

struct Refuses;

impl FrontEndHooks for Refuses {
    fn backend_change(&self, _answers: &Answers) -> Result<(), String> {
        Err("no".to_owned())
    }
}

/// A change that fails leaves the port, the peer and what has come with the one that has them.
#[test]
fn a_change_that_fails_takes_nothing_of_the_port() {
    let host = "127.0.0.1";
    let chardevs = Chardevs::new().unwrap();
    let (one, other, own) = (peer_at(host), peer_at(host), free_port(host));
    add(&chardevs, "con0", &between(&one, host, own));
    add(&chardevs, "con1", &ring(64));
    let front = chardevs.front_end("con0", Arc::new(Refuses)).unwrap();
    one.send_to(b"first ", (host, own)).unwrap();
    for local in [host, "0.0.0.0"] {
        change(&chardevs, "con0", &between(&other, local, own)).unwrap_err();
    }
    one.send_to(b"second", (host, own)).unwrap();
    assert_eq!(read_until(&front, 12), b"first second");
    front.write(b"still the first");
    hear(&one, b"still the first");
    drop(front);
    // There is one port, and two cannot get it at once.
    let both = ["con0", "con1"].map(|id| Action::Change {
        id: id.to_owned(),
        options: between(&other, host, own),
    });
    chardevs.block_on(chardevs.transaction(&both)).unwrap_err();
    // One may get what another one leaves.
    let swap = vec![
        Action::Change {
            id: "con0".to_owned(),
            options: ring(64),
        },
        Action::Change {
            id: "con1".to_owned(),
            options: between(&other, host, own),
        },
    ];
    chardevs.block_on(chardevs.transaction(&swap)).unwrap();
    let front = chardevs.front_end("con1", Arc::new(())).unwrap();
    wait_for("the new owner", || {
        other.send_to(b"x", (host, own)).ok()?;
        (front.read(&mut [0; 10]) > 0).then_some(())
    });
}
