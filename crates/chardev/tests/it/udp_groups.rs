//! The back end `udp` and multicast groups, over the loopback (IPv4) and, where there is one, an
//! interface of this host (IPv6).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use crate::common::{DEADLINE, add, change, read_until, ring, wait_for};
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{Chardevs, FrontEnd};
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn inet(host: &str, port: u16) -> OptionValue {
    OptionValue::Address(SocketAddress::Inet(InetAddress {
        host: host.to_owned(),
        port: port.to_string(),
        ..InetAddress::default()
    }))
}

/// Traffic with `remote`, received at `local`.
fn udp(remote: (&str, u16), local: (&str, u16)) -> Options {
    Options::new("udp")
        .with("remote", inet(remote.0, remote.1))
        .with("local", inet(local.0, local.1))
}

/// A group that no other test has, and a port there that was free a moment ago.
fn group() -> (Ipv4Addr, u16) {
    let port = UdpSocket::bind((LOOPBACK, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let [high, low] = port.to_be_bytes();
    (Ipv4Addr::new(239, 77, high, low), port)
}

/// Somebody else in a group on the loopback, who hears it and can send to it.
struct Member {
    hears: UdpSocket,
    sends: UdpSocket,
    at: SocketAddr,
}

impl Member {
    fn join(group: Ipv4Addr, port: u16) -> Self {
        let at = SocketAddr::from((group, port));
        let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
        let hears = socket_with(AddressFamily::INET, kind, flags, None).unwrap();
        set_socket_reuseaddr(&hears, true).unwrap();
        bind(&hears, &at).unwrap();
        let hears = UdpSocket::from(hears);
        hears.join_multicast_v4(&group, &LOOPBACK).unwrap();
        hears.set_read_timeout(Some(DEADLINE)).unwrap();
        Member {
            hears,
            sends: UdpSocket::bind((LOOPBACK, 0)).unwrap(),
            at,
        }
    }

    fn say(&self, text: &[u8]) {
        self.sends.send_to(text, self.at).unwrap();
    }

    fn hear(&self, text: &[u8]) {
        let mut buf = [0; 100];
        let count = self.hears.recv(&mut buf).unwrap();
        assert_eq!(&buf[..count], text);
    }
}

fn front(chardevs: &Chardevs, id: &str) -> FrontEnd {
    chardevs.front_end(id, Arc::new(())).unwrap()
}

#[test]
fn a_group_is_heard_and_spoken_to_and_does_not_answer_with_our_own_words() {
    let (ip, port) = group();
    let host = ip.to_string();
    let member = Member::join(ip, port);
    let chardevs = Chardevs::new().unwrap();
    // The remote one with a local port, and the local one: the loopback is its interface.
    let options = udp((&host, port), ("127.0.0.1", port));
    add(&chardevs, "con0", &options);
    let front = front(&chardevs, "con0");
    for text in [&b"first"[..], b"second"] {
        assert_eq!(front.write(text), text.len());
        member.hear(text);
    }
    member.say(b"a datagram ");
    member.say(b"and another");
    // What we have sent came back before that, and is not input.
    assert_eq!(read_until(&front, 22), b"a datagram and another");
    assert_eq!(front.read(&mut [0; 10]), 0);
}

#[test]
fn two_chardevs_in_a_group_hear_each_other_and_the_same() {
    let (ip, port) = group();
    let host = ip.to_string();
    let member = Member::join(ip, port);
    let chardevs = Chardevs::new().unwrap();
    for id in ["con0", "con1"] {
        add(&chardevs, id, &udp((&host, port), ("127.0.0.1", port)));
    }
    let (one, other) = (front(&chardevs, "con0"), front(&chardevs, "con1"));
    member.say(b"to both");
    assert_eq!(read_until(&one, 7), b"to both");
    assert_eq!(read_until(&other, 7), b"to both");
    assert_eq!(one.write(b"one"), 3);
    assert_eq!(read_until(&other, 3), b"one");
    assert_eq!(other.write(b"other"), 5);
    assert_eq!(read_until(&one, 5), b"other");
    member.hear(b"to both");
    member.hear(b"one");
    member.hear(b"other");
}

/// Without a local port nobody is heard, as in QEMU: a console that is only broadcast takes no
/// input.
#[test]
fn a_group_without_a_local_port_is_only_spoken_to() {
    let (ip, port) = group();
    let member = Member::join(ip, port);
    let chardevs = Chardevs::new().unwrap();
    let options = udp((&ip.to_string(), port), ("127.0.0.1", 0));
    add(&chardevs, "con0", &options);
    let front = front(&chardevs, "con0");
    front.write(b"broadcast");
    member.hear(b"broadcast");
    member.say(b"nobody asked");
    // It is heard by those who hear the group.
    member.hear(b"nobody asked");
    assert_eq!(front.read(&mut [0; 20]), 0);
}

/// Whoever is in the slot reads what came, once, and nothing of it twice.
#[test]
fn nothing_is_lost_or_doubled_by_changes_within_a_group() {
    let (ip, port) = group();
    let host = ip.to_string();
    let member = Member::join(ip, port);
    let chardevs = Chardevs::new().unwrap();
    let within = udp((&host, port), ("127.0.0.1", port));
    add(&chardevs, "con0", &within);
    let front = front(&chardevs, "con0");
    let mut expected = Vec::new();
    for round in 0..60 {
        let text = format!("round {round:02} ").into_bytes();
        front.write(b"our own ");
        // In the last round of three it is a ring buffer, which hears nobody.
        for _ in 0..if round % 3 == 2 { 0 } else { 3 } {
            member.say(&text);
            expected.extend_from_slice(&text);
        }
        let next = match round % 3 {
            // To the group from elsewhere, and to one peer who hears it.
            0 => udp(("127.0.0.1", 9), (&host, port)),
            1 => ring(64),
            _ => within.clone(),
        };
        // The group is joined by the default route's interface, if there is one.
        match change(&chardevs, "con0", &next) {
            Ok(_) => {}
            Err(error) if round % 3 == 0 => {
                assert!(
                    error.to_string().contains("Failed to join group"),
                    "{error}"
                );
            }
            Err(error) => panic!("{error}"),
        }
        if round % 3 == 1 {
            assert_eq!(read_until(&front, expected.len()), expected);
            expected.clear();
        }
    }
    assert!(expected.is_empty());
    member.say(b"the last one");
    expected.extend_from_slice(b"the last one");
    assert_eq!(read_until(&front, expected.len()), expected);
    assert_eq!(front.read(&mut [0; 10]), 0);
}

#[test]
fn what_a_group_cannot_be_is_refused_by_name() {
    let (ip, port) = group();
    let host = ip.to_string();
    let chardevs = Chardevs::new().unwrap();
    let text = format!("local port not specified for the group {host}");
    let no_port = udp(("127.0.0.1", port), (&host, 0));
    let error = chardevs
        .blocking_add("c", &no_port)
        .unwrap_err()
        .to_string();
    assert!(error.ends_with(&text), "{error}");
    // Nobody's address here, so that no interface has it.
    let nowhere = udp((&host, port), ("192.0.2.77", port));
    assert!(chardevs.blocking_add("c", &nowhere).is_err());
    // A port that somebody has to himself.
    let taken = UdpSocket::bind(("0.0.0.0", port)).unwrap();
    let options = udp((&host, port), ("127.0.0.1", port));
    let error = chardevs
        .blocking_add("c", &options)
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("Failed to bind socket: Address already in use"),
        "{error}"
    );
    drop(taken);
    add(&chardevs, "c", &options);
}

/// An interface that has a link-local address of IPv6: its name and that address.
fn link_local() -> Option<(String, Ipv6Addr)> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let bits = u128::from_str_radix(fields[0], 16).ok()?;
        let ip = Ipv6Addr::from(bits);
        (ip.segments()[0] == 0xfe80).then(|| (fields[5].to_owned(), ip))
    })
}

#[test]
fn a_scope_says_the_interface_of_an_address_and_of_a_group() {
    let Some((interface, ip)) = link_local() else {
        eprintln!("SKIPPED scopes of IPv6: no interface here has a link-local address");
        return;
    };
    let chardevs = Chardevs::new().unwrap();
    // One peer.
    let scoped = format!("{ip}%{interface}");
    let peer = UdpSocket::bind((&*scoped, 0)).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let at = peer.local_addr().unwrap();
    let numeric = OptionValue::Address(SocketAddress::Inet(InetAddress {
        host: scoped.clone(),
        port: at.port().to_string(),
        numeric: true,
        ..InetAddress::default()
    }));
    add(
        &chardevs,
        "con0",
        &Options::new("udp").with("remote", numeric),
    );
    let console = front(&chardevs, "con0");
    console.write(b"hello");
    let mut buf = [0; 100];
    let (count, device) = peer.recv_from(&mut buf).unwrap();
    assert_eq!(&buf[..count], b"hello");
    peer.send_to(b"answer", device).unwrap();
    assert_eq!(read_until(&console, 6), b"answer");
    // A group, heard by two.
    let port = device.port();
    let group = format!("ff02::77%{interface}");
    for id in ["one", "two"] {
        add(&chardevs, id, &udp((&group, port), ("", port)));
    }
    let (one, two) = (front(&chardevs, "one"), front(&chardevs, "two"));
    one.write(b"from one");
    assert_eq!(read_until(&two, 8), b"from one");
    two.write(b"from two");
    assert_eq!(read_until(&one, 8), b"from two");
}

/// A host that refuses what is sent is no reason to stop, nor one that cannot be reached.
#[test]
fn a_refusal_ends_neither_direction() {
    let chardevs = Chardevs::new().unwrap();
    let own = UdpSocket::bind((LOOPBACK, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let peer = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    let at = peer.local_addr().unwrap();
    add(
        &chardevs,
        "con0",
        &udp(("127.0.0.1", at.port()), ("127.0.0.1", own)),
    );
    let front = front(&chardevs, "con0");
    drop(peer);
    for _ in 0..10 {
        assert_eq!(front.write(b"refused"), 7);
        assert_eq!(front.read(&mut [0; 10]), 0);
    }
    let back = wait_for("the port", || {
        UdpSocket::bind(at).map_err(|_: io::Error| ()).ok()
    });
    back.set_read_timeout(Some(DEADLINE)).unwrap();
    front.write(b"heard");
    let mut buf = [0; 100];
    let count = back.recv(&mut buf).unwrap();
    assert_eq!(&buf[..count], b"heard");
    back.send_to(b"and answered", (LOOPBACK, own)).unwrap();
    assert_eq!(read_until(&front, 12), b"and answered");
}
