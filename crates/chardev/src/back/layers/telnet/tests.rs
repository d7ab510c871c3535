//! Telnet without I/O: what goes in on one side comes out on the other, however it is cut.

use std::io::{IoSlice, IoSliceMut};

use chardev_core::{Answers, BackendEvent, Layer, Line, Stack, TerminalSize};
use proptest::prelude::*;

use super::Telnet;
use super::wire::{BREAK, IAC, SB, SE, doubled};
use crate::back::layers::talk::{settle, wire};
use crate::back::layers::tn3270::Tn3270;

const WILL: u8 = 251;
const WONT: u8 = 252;
const DO: u8 = 253;
const DONT: u8 = 254;

fn stack(layer: impl Layer + 'static) -> Stack {
    Stack::new(vec![Box::new(layer)])
}

fn send(stack: &mut Stack, bytes: &[u8]) -> Vec<u8> {
    assert_eq!(stack.send(&[IoSlice::new(bytes)]), bytes.len());
    wire(stack)
}

/// Everything that has come up: bytes as they are, `!` for a break, a size as text, each in
/// brackets.
fn read(stack: &mut Stack) -> Vec<u8> {
    let mut told = Vec::new();
    loop {
        let mut buf = [0; 4096];
        let count = stack.read(&mut [IoSliceMut::new(&mut buf)]);
        told.extend_from_slice(&buf[..count]);
        match stack.poll_event() {
            Some(BackendEvent::Break) => told.extend_from_slice(b"[!]"),
            Some(BackendEvent::Resized(TerminalSize { cols, rows })) => {
                told.extend_from_slice(format!("[{cols}x{rows}]").as_bytes());
            }
            Some(other) => panic!("{other:?}"),
            None if count == 0 => return told,
            None => {}
        }
    }
}

#[test]
fn a_server_greets_as_qemus_does() {
    let expected = [IAC, WILL, 1, IAC, WILL, 3, IAC, WILL, 0, IAC, DO, 0];
    let mut server = stack(Telnet::server());
    assert_eq!(wire(&mut server), expected);
    assert!(server.is_open(), "who says nothing is served as well");
    assert_eq!(send(&mut server, b"x\xffy\r\0z"), b"x\xff\xffy\r\0z");
    let expected = [
        [IAC, DO, 25, IAC, WILL, 25, IAC, DO, 0, IAC, WILL, 0].as_slice(),
        &[IAC, DO, 24, IAC, SB, 24, 1, IAC, SE],
    ]
    .concat();
    assert_eq!(wire(&mut stack(Tn3270::server())), expected);
}

#[test]
fn two_of_ours_agree_and_fall_silent_whoever_they_are() {
    let sides: [fn() -> Stack; 4] = [
        || stack(Telnet::server()),
        || stack(Telnet::client()),
        || stack(Tn3270::server()),
        || stack(Tn3270::client()),
    ];
    for one in sides {
        for other in sides {
            let (mut one, mut other) = (one(), other());
            settle(&mut one, &mut other, 200);
        }
    }
}

#[test]
fn every_byte_comes_through_both_ways_and_a_break_and_a_size_with_them() {
    let (mut server, mut client) = (stack(Telnet::server()), stack(Telnet::client()));
    settle(&mut server, &mut client, 200);
    let all: Vec<u8> = (0..=255).flat_map(|byte| [byte, 0, b'\r', byte]).collect();
    client.receive(&send(&mut server, &all));
    assert_eq!(read(&mut client), all);
    server.receive(&send(&mut client, &all));
    assert_eq!(read(&mut server), all);
    let line = Line {
        break_on: true,
        ..Line::default()
    };
    for _ in 0..2 {
        client.apply(&line, &mut Answers::default());
    }
    let mut said = wire(&mut client);
    assert_eq!(said, [IAC, BREAK], "told once");
    said.extend([IAC, SB, 31, 0, IAC, IAC, 0, 24, IAC, SE, b'.']);
    said.extend([IAC, SB, 31, 0, 0, 0, 24, IAC, SE, IAC, SB, 31, 0, IAC, SE]);
    server.receive(&said);
    assert_eq!(read(&mut server), b"[!][255x24].");
    client.apply(&Line::default(), &mut Answers::default());
    client.apply(&line, &mut Answers::default());
    assert_eq!(wire(&mut client), [IAC, BREAK], "and again");
}

#[test]
fn the_size_is_asked_for_once_the_peer_speaks_telnet() {
    let mut server = stack(Telnet::server());
    wire(&mut server);
    server.receive(b"text\xff\xf1");
    assert_eq!(wire(&mut server), [], "not yet");
    server.receive(&[IAC, DO, 1]);
    assert_eq!(wire(&mut server), [IAC, DO, 31]);
    server.receive(&[IAC, DO, 3, IAC, WILL, 31]);
    assert_eq!(wire(&mut server), [], "all has been said");
    assert_eq!(read(&mut server), b"text");
}

#[test]
fn a_terminal_without_binary_has_a_nul_behind_its_returns() {
    let mut server = stack(Telnet::server());
    wire(&mut server);
    server.receive(b"a\r\0b\r\nc\r");
    server.receive(b"\0\0\r");
    server.receive(&[IAC, 241, 0, b'd', b'\r', 0, b'\r', b'\r']);
    assert_eq!(read(&mut server), b"a\rb\r\nc\r\0\rd\r\r\r");
    server.receive(&[IAC, DONT, 0]);
    wire(&mut server);
    let sent = [send(&mut server, b"a\r\nb\r"), send(&mut server, b"c\r")];
    assert_eq!(sent, [b"a\r\nb\r".to_vec(), b"\0c\r".to_vec()]);
    assert_eq!(send(&mut server, b"\nd\r\r"), b"\nd\r\0\r");
    server.receive(&[IAC, WILL, 0, IAC, DO, 0]);
    wire(&mut server);
    server.receive(b"\r\0\r");
    server.receive(b"\0");
    assert_eq!(read(&mut server), b"\r\0\r\0");
    assert_eq!(send(&mut server, b"a\rb"), b"a\rb");
}

#[test]
fn what_nobody_knows_is_refused_and_repeated_refusals_are_not_answered() {
    let mut server = stack(Telnet::server());
    wire(&mut server);
    server.receive(&[IAC, WILL, 99, IAC, DO, 99, IAC, DO, 31, IAC, WILL, 1]);
    let refusals = [IAC, DONT, 99, IAC, DO, 31, IAC, WONT, 99, IAC, WONT, 31];
    assert_eq!(wire(&mut server), [&refusals[..], &[IAC, DONT, 1]].concat());
    for _ in 0..1000 {
        server.receive(&[IAC, WONT, 99, IAC, DONT, 99, IAC, DONT, 31, IAC, DO, 1]);
    }
    assert_eq!(wire(&mut server), []);
}

#[test]
fn a_3270_has_its_records_and_its_type_as_they_are_on_the_wire() {
    let (mut server, mut client) = (stack(Tn3270::server()), stack(Tn3270::client()));
    settle(&mut server, &mut client, 200);
    let kind = [b"\xff\xfa\x18\0IBM-3278-2".as_slice(), &[IAC, SE]].concat();
    assert_eq!(read(&mut server), kind);
    let record = b"\x01\xff\xff\r\0\xff\xef";
    client.receive(&send(&mut server, record));
    assert_eq!(read(&mut client), record);
    server.receive(&send(&mut client, record));
    assert_eq!(read(&mut server), record);
}

/// Something a peer may say, be it sense or not.
fn utterance() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(0_u8),
        Just(1),
        Just(3),
        Just(24),
        Just(31),
        any::<u8>()
    ];
    let negotiation =
        (WILL..=DONT, option.clone()).prop_map(|(verb, option)| vec![IAC, verb, option]);
    let about = (option, prop::collection::vec(any::<u8>(), 0..8));
    let subnegotiation = about.prop_map(|(option, said)| {
        let mut all = vec![IAC, SB, option];
        doubled(&said, |piece| all.extend_from_slice(piece));
        all.extend([IAC, SE]);
        all
    });
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(prop_oneof![Just(b'\r'), Just(0), Just(b'\n'), Just(IAC)], 0..8),
        2 => negotiation,
        1 => subnegotiation,
        1 => any::<u8>().prop_map(|command| vec![IAC, command]),
    ]
}

proptest! {
    /// Wherever the stream is cut, it says the same, and is answered the same.
    #[test]
    fn any_split_gives_the_same(
        said in prop::collection::vec(utterance(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        side in 0..4,
    ) {
        let new = || match side {
            0 => stack(Telnet::server()),
            1 => stack(Telnet::client()),
            2 => stack(Tn3270::server()),
            _ => stack(Tn3270::client()),
        };
        let all = said.concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(all.len() + 1)).collect();
        cuts.sort_unstable();
        let (mut whole, mut cut) = (new(), new());
        whole.receive(&all);
        let mut from = 0;
        for to in cuts.into_iter().chain([all.len()]) {
            cut.receive(&all[from..to]);
            from = to;
        }
        prop_assert_eq!(wire(&mut whole), wire(&mut cut));
        prop_assert_eq!(read(&mut whole), read(&mut cut));
    }

    /// What is sent comes out at the other end, however it is cut, whatever was agreed.
    #[test]
    fn what_is_sent_comes_out(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(0), Just(IAC)], 0..200),
        size in 1_usize..20,
        binary in any::<bool>(),
    ) {
        let (mut server, mut client) = (stack(Telnet::server()), stack(Telnet::client()));
        settle(&mut server, &mut client, 200);
        if !binary {
            server.receive(&[IAC, DONT, 0]);
            client.receive(&[IAC, WONT, 0]);
            wire(&mut server);
            wire(&mut client);
        }
        for piece in bytes.chunks(size) {
            let sent = send(&mut server, piece);
            for piece in sent.chunks(size + 1) {
                client.receive(piece);
            }
        }
        prop_assert_eq!(read(&mut client), bytes);
    }
}
