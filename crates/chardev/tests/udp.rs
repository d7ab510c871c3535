//! The back end `udp`, with a real peer.

mod common;

use std::net::UdpSocket;
use std::sync::Arc;

use chardev::Chardevs;
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use common::{DEADLINE, add, change, read_until, ring};

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
