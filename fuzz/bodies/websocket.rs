//! A websocket layer fed with anything: it never panics, what it keeps has a bound, and any cut of
//! the stream comes to the same input, the same answers and the same end.
//!
//! The first byte says how the stream is cut, and whether the peer has shaken hands.

use std::io::IoSliceMut;

use chardev::spec::{OptionValue, Options};
use chardev_core::Stack;

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Checks one stream.
pub(crate) fn run(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else {
        return;
    };
    let greeted = first & 0x80 != 0;
    let size = usize::from(first & 0x7f).max(1);
    let whole = outcome(greeted, [stream].into_iter());
    let cut = outcome(greeted, stream.chunks(size));
    assert_eq!(whole, cut, "in pieces of {size}");
}

type Outcome = (bool, Vec<u8>, Vec<u8>, Option<String>);

fn outcome<'a>(greeted: bool, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let options = Options::new("socket").with("websocket", OptionValue::Bool(true));
    let kind = chardev::back::websocket(&options).unwrap().unwrap();
    let mut stack = Stack::new(vec![kind.make()]);
    if greeted {
        stack.receive(REQUEST);
        assert!(stack.is_open());
    }
    let (mut input, mut answers) = (Vec::new(), Vec::new());
    for piece in pieces.chain([&[][..]]) {
        stack.receive(piece);
        // An answer is no longer than what asked for it, and a refusal is short.
        assert!(stack.pending() <= piece.len() + 8192);
        let mut buf = [0; 512];
        loop {
            match stack.read(&mut [IoSliceMut::new(&mut buf)]) {
                0 => break,
                count => input.extend_from_slice(&buf[..count]),
            }
        }
        answers.extend(stack.wire().iter().flat_map(|part| part.to_vec()));
        stack.sent(usize::MAX);
    }
    let end = stack.failure().map(str::to_owned);
    (stack.is_open(), input, answers, end)
}
