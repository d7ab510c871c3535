//! Whatever state the old peer is in, the front end's output goes on at once after a change, and
//! what the old peer is owed still reaches it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::common::{self, DEADLINE, add, change, hold, ring, wait_for};
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{BlockingFrontEnd, Chardevs, Event, FrontEnd};

/// A console listening on TCP, which holds output while nobody is there.
fn console(chardevs: &Chardevs) -> (FrontEnd, u16) {
    let addr = SocketAddress::Inet(InetAddress {
        host: "127.0.0.1".to_owned(),
        port: "0".to_owned(),
        ..InetAddress::default()
    });
    let options = hold("socket")
        .with("addr", OptionValue::Address(addr))
        .with("server", OptionValue::Bool(true));
    let info = add(chardevs, "con0", &options);
    let port = info
        .filename
        .rsplit_once(":")
        .unwrap()
        .1
        .trim_end_matches(",server=on")
        .parse();
    (
        chardevs.front_end("con0", Arc::new(())).unwrap(),
        port.unwrap(),
    )
}

fn connect(front: &FrontEnd, port: u16) -> TcpStream {
    let peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);
    peer
}

fn fill(front: &FrontEnd) -> usize {
    let mut total = 0;
    loop {
        let count = front.write(&[b'o'; 65536]);
        if count == 0 {
            return total;
        }
        total += count;
    }
}

/// The change happens, and output goes on at once.
fn moves_on(chardevs: &Chardevs, front: &FrontEnd) {
    change(chardevs, "con0", &ring(4096)).unwrap();
    let taken = front
        .write_all(b"goes on", Some(Duration::from_secs(5)))
        .unwrap();
    assert_eq!(taken, 7);
    assert_eq!(chardevs.ring_read("con0", 4096).unwrap(), b"goes on");
}

#[test]
fn the_old_peer_has_stalled() {
    let chardevs = Chardevs::new().unwrap();
    let (front, port) = console(&chardevs);
    let mut peer = connect(&front, port);
    let accepted = fill(&front);
    moves_on(&chardevs, &front);
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), accepted);
}

#[test]
fn the_old_peer_has_half_closed() {
    let chardevs = Chardevs::new().unwrap();
    let (front, port) = console(&chardevs);
    let mut peer = connect(&front, port);
    assert_eq!(front.write(b"first"), 5);
    peer.write_all(b"last words").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    moves_on(&chardevs, &front);
    let mut all = String::new();
    peer.read_to_string(&mut all).unwrap();
    assert_eq!(all, "first");
    assert_eq!(common::read_until(&front, 10), b"last words");
}

#[test]
fn the_old_peer_was_reset() {
    let chardevs = Chardevs::new().unwrap();
    let (front, port) = console(&chardevs);
    let peer = connect(&front, port);
    assert_eq!(front.write(b"unread by the peer"), 18);
    drop(peer);
    moves_on(&chardevs, &front);
}

#[test]
fn the_old_peer_never_came() {
    let chardevs = Chardevs::new().unwrap();
    let (front, _) = console(&chardevs);
    assert_eq!(front.write(b"held"), 0);
    moves_on(&chardevs, &front);
}

#[test]
fn the_old_back_end_is_still_connecting() {
    let chardevs = Chardevs::new().unwrap();
    // A listener whose backlog is full: further connects stay unanswered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let full: Vec<_> = (0..4)
        .filter_map(|_| {
            TcpStream::connect_timeout(&listener.local_addr().unwrap(), Duration::from_millis(50))
                .ok()
        })
        .collect();
    let addr = SocketAddress::Inet(InetAddress {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port().to_string(),
        ..InetAddress::default()
    });
    let options = hold("socket")
        .with("addr", OptionValue::Address(addr))
        .with("server", OptionValue::Bool(false))
        .with("reconnect-ms", OptionValue::Int(1000));
    add(&chardevs, "con0", &options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.write(b"held"), 0);
    moves_on(&chardevs, &front);
    drop(full);
}

#[test]
fn a_peer_that_floods_cannot_hold_the_next_one_back() {
    let chardevs = Chardevs::new().unwrap();
    let (front, port) = console(&chardevs);
    let mut peer = connect(&front, port);
    let flood = std::thread::spawn(move || {
        peer.set_write_timeout(Some(DEADLINE)).unwrap();
        let mut sent = 0;
        while let Ok(count) = peer.write(&[b'i'; 65536]) {
            sent += count;
        }
        sent
    });
    common::read_until(&front, 1 << 20);
    let second = Options::new("pty");
    let path = change(&chardevs, "con0", &second).unwrap().pty.unwrap();
    let mut slave = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    slave.write_all(b"!").unwrap();
    let mut buf = [0; 65536];
    wait_for("the new peer's input", || {
        while front.next_event().is_some() {}
        let count = front.read(&mut buf);
        buf[..count].contains(&b'!').then_some(())
    });
    chardevs.block_on(chardevs.shut_down(Duration::from_millis(100)));
    drop(front);
    assert!(flood.join().unwrap() > 1 << 20);
}
