//! A toy protocol to show what a layer can do: some bytes are escaped, and the escape byte with a
//! letter says something. It is the same in both directions.

use chardev::{Answer, Answers, BackendEvent, Flow, Layer, Line};

const ESC: u8 = 0x1b;
const FLIP: u8 = 0x80;

/// Whether `byte` is not sent as it is: one in sixteen.
fn is_special(byte: u8) -> bool {
    byte & 0x0f == 0x0b
}

/// The bytes as they are sent.
pub(crate) fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes.len() + bytes.len() / 8);
    for piece in bytes.split_inclusive(|byte| is_special(*byte)) {
        match piece.split_last() {
            Some((last, plain)) if is_special(*last) => {
                all.extend_from_slice(plain);
                all.extend([ESC, last ^ FLIP]);
            }
            _ => all.extend_from_slice(piece),
        }
    }
    all
}

/// How many of `bytes` are complete in the first `count` bytes of what they are sent as.
pub(crate) fn complete(bytes: &[u8], count: usize) -> usize {
    let ends = bytes.iter().scan(0, |end, byte| {
        *end += 1 + usize::from(is_special(*byte));
        Some(*end)
    });
    ends.take_while(|end| *end <= count).count()
}

/// Makes the bytes again of what was sent.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    escaped: bool,
    /// The end was said.
    pub(crate) ended: bool,
}

impl Decoder {
    pub(crate) fn decode(&mut self, sent: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(sent.len());
        for byte in sent {
            assert!(!self.ended, "something is said behind the end");
            match (std::mem::take(&mut self.escaped), *byte) {
                (false, ESC) => self.escaped = true,
                (false, plain) => bytes.push(plain),
                (true, b'h') => {}
                (true, b'e') => self.ended = true,
                (true, special) => bytes.push(special ^ FLIP),
            }
        }
        bytes
    }
}

/// What is said besides bytes.
pub(crate) const HELLO: &[u8] = &[ESC, b'h'];
pub(crate) const END: &[u8] = &[ESC, b'e'];
pub(crate) const BREAK: &[u8] = &[ESC, b'z'];
pub(crate) const PAUSE: &[u8] = &[ESC, b'p'];
pub(crate) const RESUME: &[u8] = &[ESC, b'r'];
pub(crate) const QUESTION: &[u8] = &[ESC, b'q'];
pub(crate) const ANSWER: &[u8] = &[ESC, b'a'];
pub(crate) const REFUSAL: &[u8] = &[ESC, b'x'];

/// The layer. It is open once both sides have said hello.
#[derive(Debug, Default)]
pub(crate) struct Escape {
    greeted: bool,
    escaped: bool,
    paused: bool,
    breaks: bool,
}

impl Escape {
    fn told(&mut self, what: u8, flow: &mut Flow<'_>) {
        match what {
            b'h' => self.greeted = true,
            b'e' => flow.end(),
            b'z' => flow.event(BackendEvent::Break),
            b'p' => self.paused = true,
            b'r' => self.paused = false,
            b'q' => flow.down(ANSWER),
            b'a' => {}
            other if is_special(other ^ FLIP) => flow.up(&[other ^ FLIP]),
            other => {
                flow.down(REFUSAL);
                flow.fail(format!("nobody knows {other:#x}"));
            }
        }
    }
}

impl Layer for Escape {
    fn start(&mut self, flow: &mut Flow<'_>) {
        flow.down(HELLO);
    }

    fn is_open(&self) -> bool {
        self.greeted
    }

    fn receive(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        let mut rest = bytes;
        while let Some((first, others)) = rest.split_first() {
            if std::mem::take(&mut self.escaped) {
                self.told(*first, flow);
                rest = others;
            } else {
                let plain = rest.iter().position(|byte| *byte == ESC);
                let plain = plain.unwrap_or(rest.len());
                flow.up(&rest[..plain]);
                self.escaped = plain < rest.len();
                rest = &rest[(plain + 1).min(rest.len())..];
            }
        }
    }

    fn room(&self) -> usize {
        if self.paused { 0 } else { usize::MAX }
    }

    fn send(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        flow.down(&encode(bytes));
    }

    fn send_end(&mut self, flow: &mut Flow<'_>) {
        flow.down(END);
    }

    fn apply(&mut self, line: &Line, answers: &mut Answers, flow: &mut Flow<'_>) {
        if line.break_on && !self.breaks {
            flow.down(BREAK);
        }
        self.breaks = line.break_on;
        answers.break_on = if line.break_on {
            Answer::Done
        } else {
            Answer::NotAsked
        };
    }
}
