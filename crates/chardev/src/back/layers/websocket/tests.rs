//! Websocket without a wire: the cases of Autobahn's suite that concern frames (1 to 7), and what
//! it leaves to the reader: any cut of the stream comes to the same.

use std::io::{IoSlice, IoSliceMut};

use chardev_core::{Layer, Stack};
use proptest::prelude::*;

use super::digest::{base64, sha1};
use super::*;
use crate::back::layers::talk::wire;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: there\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: chat, binary\r\n\r\n";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

fn stack(layer: Websocket) -> Stack {
    Stack::new(vec![Box::new(layer) as Box<dyn Layer>])
}

fn input(stack: &mut Stack) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buf = [0; 999];
    loop {
        match stack.read(&mut [IoSliceMut::new(&mut buf)]) {
            0 => return all,
            count => all.extend_from_slice(&buf[..count]),
        }
    }
}

fn send(stack: &mut Stack, bytes: &[u8]) -> usize {
    stack.send(&[IoSlice::new(bytes)])
}

/// A server whose client has been let in.
fn opened() -> Stack {
    let mut stack = stack(Websocket::server());
    stack.receive(REQUEST.as_bytes());
    assert!(stack.is_open());
    wire(&mut stack);
    stack
}

/// A client's frame with a first byte of its own.
fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    data_frame(payload, Some(MASK), &mut frame);
    frame[0] = first;
    frame
}

fn whole(opcode: u8, payload: &[u8]) -> Vec<u8> {
    raw(0x80 | opcode, payload)
}

/// A server's frame.
fn plain(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    data_frame(payload, None, &mut frame);
    frame[0] = 0x80 | opcode;
    frame
}

/// What came of `frames`: input, answers, and whether it is the end in peace (`true`) or not.
type Outcome = (Vec<u8>, Vec<u8>, Option<bool>);

fn outcome(frames: &[u8], size: usize) -> Outcome {
    let mut stack = opened();
    for piece in frames.chunks(size) {
        stack.receive(piece);
    }
    let end = stack.failure().is_some().then(|| stack.is_closed());
    (input(&mut stack), wire(&mut stack), end)
}

#[track_caller]
fn check(frames: &[Vec<u8>], expected: (&[u8], &[u8], Option<bool>)) {
    let frames = frames.concat();
    let (up, down, end) = expected;
    for size in [1, 2, 7, frames.len().max(1)] {
        let expected = (up.to_vec(), down.to_vec(), end);
        assert_eq!(outcome(&frames, size), expected, "in pieces of {size}");
    }
}

fn closed_with(code: u16) -> Vec<u8> {
    plain(CLOSE, &code.to_be_bytes())
}

#[track_caller]
fn check_refused(frames: &[Vec<u8>], up: &[u8], code: u16) {
    check(frames, (up, &closed_with(code), Some(false)));
}

#[test]
fn a_client_is_let_in_with_the_answer_of_rfc_6455() {
    let mut stack = stack(Websocket::server());
    for byte in REQUEST.as_bytes() {
        assert!(!stack.is_open());
        assert_eq!(send(&mut stack, b"early"), 0);
        stack.receive(&[*byte]);
    }
    assert!(stack.is_open());
    let answer = String::from_utf8(wire(&mut stack)).unwrap();
    assert_eq!(
        answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: binary\r\n\r\n"
    );
    let unnamed = REQUEST.replace("Sec-WebSocket-Protocol: chat, binary\r\n", "");
    let mut other = self::stack(Websocket::server());
    other.receive(unnamed.as_bytes());
    assert!(other.is_open());
    assert!(
        !String::from_utf8(wire(&mut other))
            .unwrap()
            .contains("-Protocol")
    );
}

#[test]
fn what_comes_with_the_request_is_not_lost() {
    let mut stack = stack(Websocket::server());
    stack.receive(&[REQUEST.as_bytes(), &whole(BINARY, b"at once")].concat());
    assert_eq!(input(&mut stack), b"at once");
}

#[test]
fn a_request_that_is_none_is_told_so() {
    for (from, to, status) in [
        ("GET / ", "GET /console ", "404"),
        ("GET", "POST", "400"),
        ("HTTP/1.1", "HTTP/1.0", "400"),
        ("HTTP/1.1", "HTTP/1.1 x", "400"),
        ("Host: there\r\n", "", "400"),
        ("Host: there\r\n", "Host: a\r\nHost: b\r\n", "400"),
        ("Upgrade: websocket", "Upgrade: h2c", "400"),
        ("keep-alive, Upgrade", "keep-alive", "400"),
        ("Version: 13", "Version: 8", "426"),
        (
            "Version: 13\r\n",
            "Version: 13\r\nSec-WebSocket-Version: 13\r\n",
            "400",
        ),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short==", "400"),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZ!==",
            "400",
        ),
        ("chat, binary", "chat", "400"),
        ("Host: there", "Host : there", "400"),
        ("Host: there", "Host: there\r\n folded", "400"),
        ("Host: there", &format!("Host: {}", "x".repeat(4096)), "403"),
    ] {
        let mut stack = stack(Websocket::server());
        stack.receive(REQUEST.replacen(from, to, 1).as_bytes());
        let answer = String::from_utf8(wire(&mut stack)).unwrap();
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{to}: {answer}");
        assert!(stack.failure().is_some() && !stack.is_open(), "{to}");
    }
    let mut stack = stack(Websocket::server());
    stack.receive(b"\xff\r\n\r\n");
    assert!(stack.failure().is_some());
}

#[test]
fn a_head_without_an_end_is_not_kept_for_ever() {
    let mut stack = stack(Websocket::server());
    for _ in 0..5 {
        stack.receive(&[b'x'; 1000]);
    }
    assert!(stack.failure().is_some());
}

#[test]
fn cases_1_payloads_of_every_length_arrive() {
    for length in [0, 1, 125, 126, 127, 128, 65535, 65536, 100_000] {
        for opcode in [TEXT, BINARY] {
            let payload = b"*".repeat(length);
            check(&[whole(opcode, &payload)], (&payload, &[], None));
        }
    }
}

#[test]
fn cases_2_pings_are_answered_with_what_they_hold() {
    let longest = [0xfe; 125];
    check(&[whole(PING, b"")], (b"", &plain(PONG, b""), None));
    check(
        &[whole(PING, b"Hello")],
        (b"", &plain(PONG, b"Hello"), None),
    );
    check(
        &[whole(PING, &longest)],
        (b"", &plain(PONG, &longest), None),
    );
    check_refused(&[whole(PING, &[0xfe; 126])], b"", 1002);
    check(&[whole(PONG, b"nobody asked")], (b"", b"", None));
    let ten: Vec<_> = (0..10u8).map(|at| whole(PING, &[at])).collect();
    let answers: Vec<_> = (0..10u8).map(|at| plain(PONG, &[at])).collect();
    check(&ten, (b"", &answers.concat(), None));
}

#[test]
fn cases_3_a_reserved_bit_ends_it() {
    for bits in 1..8u8 {
        let bad = raw(0x80 | bits << 4 | BINARY, b"");
        check_refused(&[whole(BINARY, b"before"), bad], b"before", 1002);
    }
}

#[test]
fn cases_4_a_reserved_opcode_ends_it() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let bad = whole(opcode, b"x");
        check_refused(&[whole(BINARY, b"before"), bad], b"before", 1002);
    }
}

#[test]
fn cases_5_fragments_make_a_message_and_control_frames_come_between() {
    let frames = [
        raw(TEXT, b"frag"),
        whole(PING, b"!"),
        raw(0, b"men"),
        raw(0x80, b"ts"),
    ];
    check(&frames, (b"fragments", &plain(PONG, b"!"), None));
    let parts = [raw(PING, b"in parts"), raw(0x80, b"")];
    check_refused(&parts, b"", 1002);
    check_refused(&[raw(0x80, b"of nothing")], b"", 1002);
    check_refused(&[raw(BINARY, b"a"), whole(BINARY, b"b")], b"a", 1002);
    let twice = [raw(BINARY, b"a"), raw(0x80, b"b"), raw(0x80, b"c")];
    check_refused(&twice, b"ab", 1002);
}

#[test]
fn cases_6_text_is_utf_8_and_is_judged_as_it_comes() {
    let right = "κόσμε𐍈\u{10ffff}".as_bytes();
    check(&[whole(TEXT, right)], (right, b"", None));
    let cut: Vec<_> = right.iter().map(|byte| raw(0, &[*byte])).collect();
    let cut = [vec![raw(TEXT, b"")], cut, vec![raw(0x80, b"")]].concat();
    check(&cut, (right, b"", None));
    for wrong in [
        &b"\xed\xa0\x80"[..],
        b"\xf4\x90\x80\x80",
        b"\xc0\xaf",
        b"\xfe",
    ] {
        let mut stack = opened();
        stack.receive(&whole(TEXT, wrong));
        assert!(stack.failure().is_some() && !stack.is_closed());
        assert_eq!(wire(&mut stack), closed_with(1007));
    }
    // A character that is cut by the end of its message.
    let mut stack = opened();
    stack.receive(&whole(TEXT, &right[..3]));
    assert_eq!(wire(&mut stack), closed_with(1007));
    // Without its end, as soon as it cannot become right.
    let mut stack = opened();
    stack.receive(&raw(TEXT, b"\xf4\x90"));
    assert_eq!(wire(&mut stack), closed_with(1007));
    check(&[whole(BINARY, b"\xfe\xff")], (b"\xfe\xff", b"", None));
}

#[test]
fn cases_7_closing_is_answered_once_and_ends_it() {
    let all = [
        whole(BINARY, b"last"),
        whole(CLOSE, b"\x03\xe8bye"),
        whole(PING, b"?"),
    ];
    check(&all, (b"last", &closed_with(1000), Some(true)));
    check(&[whole(CLOSE, b"")], (b"", &plain(CLOSE, b""), Some(true)));
    check_refused(&[whole(CLOSE, b"\x03")], b"", 1002);
    check_refused(&[whole(CLOSE, b"\x03\xe8\xff")], b"", 1007);
    check_refused(&[whole(CLOSE, &[b'x'; 126])], b"", 1002);
    for code in [
        1000u16, 1001, 1002, 1003, 1007, 1011, 3000, 3999, 4000, 4999,
    ] {
        let frame = whole(CLOSE, &code.to_be_bytes());
        check(&[frame], (b"", &closed_with(code), Some(true)));
    }
    for code in [
        0u16, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535,
    ] {
        check_refused(&[whole(CLOSE, &code.to_be_bytes())], b"", 1002);
    }
}

#[test]
fn frames_are_masked_by_clients_and_by_nobody_else() {
    check_refused(&[plain(BINARY, b"bare")], b"", 1002);
    let mut length = whole(BINARY, &[0; 65536]);
    length[2] = 0x80;
    check_refused(&[length[..14].to_vec()], b"", 1002);
}

#[test]
fn our_end_is_told_once_and_the_answer_is_waited_for() {
    let mut stack = opened();
    assert_eq!(send(&mut stack, b"bye"), 3);
    stack.send_end();
    let expected = [plain(BINARY, b"bye"), closed_with(1000)].concat();
    assert_eq!(wire(&mut stack), expected);
    assert_eq!(send(&mut stack, b"late"), 0);
    stack.receive(&[whole(BINARY, b"still"), whole(PING, b""), whole(CLOSE, b"")].concat());
    assert_eq!(input(&mut stack), b"still");
    assert!(stack.is_closed());
    assert_eq!(wire(&mut stack), b"");
}

#[test]
fn a_peer_that_reads_no_answers_is_not_heard_for_ever() {
    let mut stack = opened();
    let mut asked = 0;
    while stack.takes_input() {
        stack.receive(&whole(PING, &[0; 125]));
        asked += 1;
        assert!(asked < 10_000);
    }
    assert!(stack.pending() < 400 << 10);
}

fn no_random(buf: &mut [u8]) -> Result<(), Errno> {
    buf.fill(0x5a);
    Ok(())
}

/// A client and what it asks.
fn asking() -> (Stack, String) {
    let mut client = stack(Websocket::client("there:80", no_random));
    let request = String::from_utf8(wire(&mut client)).unwrap();
    (client, request)
}

#[test]
fn client_and_server_understand_each_other() {
    let (mut client, request) = asking();
    assert!(
        request.starts_with("GET / HTTP/1.1\r\nHost: there:80\r\n"),
        "{request}"
    );
    let mut server = stack(Websocket::server());
    server.receive(request.as_bytes());
    for byte in wire(&mut server) {
        client.receive(&[byte]);
    }
    assert!(client.is_open() && server.is_open());
    send(&mut client, b"up");
    let masked = wire(&mut client);
    assert_eq!(
        masked,
        [0x82, 0x82, 0x5a, 0x5a, 0x5a, 0x5a, b'u' ^ 0x5a, b'p' ^ 0x5a]
    );
    server.receive(&masked);
    assert_eq!(input(&mut server), b"up");
    send(&mut server, b"down");
    client.receive(&wire(&mut server));
    assert_eq!(input(&mut client), b"down");
    server.send_end();
    client.receive(&wire(&mut server));
    assert!(client.is_closed());
    server.receive(&wire(&mut client));
    assert!(server.is_closed());
}

#[test]
fn a_server_that_is_none_is_left() {
    let key = base64(&[0x5a; 16]);
    let accept = base64(&sha1(
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    ));
    let good = format!(
        "HTTP/1.1 101 Yes\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    let (mut client, _) = asking();
    client.receive(good.as_bytes());
    assert!(client.is_open());
    for (from, to) in [
        ("101 Yes", "200 OK"),
        ("101 Yes", "1012"),
        ("Upgrade: WebSocket\r\n", ""),
        ("Connection: upgrade\r\n", ""),
        (accept.as_str(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n"),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        ),
        ("101", "x\r\ny"),
    ] {
        let (mut client, _) = asking();
        client.receive(good.replacen(from, to, 1).as_bytes());
        assert!(client.failure().is_some() && !client.is_open(), "{to}");
    }
    let (mut client, _) = asking();
    client.receive(&[good.as_bytes(), &whole(BINARY, b"masked")].concat());
    assert!(client.failure().is_some());
}

/// Frames, right and wrong.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let opcodes = prop_oneof![
        Just(0),
        Just(1),
        Just(2),
        Just(8),
        Just(9),
        Just(10),
        0..16u8
    ];
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    let frame = (any::<bool>(), opcodes, payload).prop_map(|(is_final, opcode, payload)| {
        raw(opcode | if is_final { 0x80 } else { 0 }, &payload)
    });
    prop::collection::vec(frame, 0..8).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn any_cut_of_the_stream_comes_to_the_same(
        frames in frames(),
        junk in prop::collection::vec(any::<u8>(), 0..20),
        cuts in prop::collection::vec(1..40usize, 1..20),
    ) {
        let all = [frames, junk].concat();
        let at_once = outcome(&all, all.len().max(1));
        let mut stack = opened();
        let mut rest = &all[..];
        for size in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, others) = rest.split_at((*size).min(rest.len()));
            stack.receive(piece);
            rest = others;
        }
        let end = stack.failure().is_some().then(|| stack.is_closed());
        prop_assert_eq!((input(&mut stack), wire(&mut stack), end), at_once);
    }

    #[test]
    fn what_is_sent_is_what_arrives(writes in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..3000), 0..8
    )) {
        let mut server = opened();
        let (mut client, _) = asking();
        let key = base64(&[0x5a; 16]);
        let accept = base64(&sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()));
        client.receive(format!(
            "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes());
        for bytes in &writes {
            send(&mut server, bytes);
            client.receive(&wire(&mut server));
            send(&mut client, bytes);
            server.receive(&wire(&mut client));
        }
        let all = writes.concat();
        prop_assert_eq!(input(&mut client), all.clone());
        prop_assert_eq!(input(&mut server), all);
    }
}
