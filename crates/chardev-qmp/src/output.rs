//! Bytes on their way to the client.

use std::collections::VecDeque;

use chardev_qapi::text::to_bytes;
use chardev_qapi::{LazyText, Written, push_escaped};

/// A queue of bytes that can be looked at as one slice.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    start: usize,
    /// What comes after a text that is being made, and that text itself.
    later: VecDeque<Part>,
    later_bytes: usize,
}

/// Output that waits for what is made before it.
#[derive(Debug)]
enum Part {
    Bytes(Vec<u8>),
    Text(LazyText, fn(&mut String, &str)),
}

/// A buffer larger than this is given back when it runs empty.
const KEEP_CAPACITY: usize = 64 << 10;
/// So much of a text that is made as it is sent is there at once.
const MADE_AHEAD: usize = 64 << 10;

/// A copy has none of the text that is still to be made: that is read once.
impl Clone for Output {
    fn clone(&self) -> Self {
        Output {
            bytes: self.bytes.clone(),
            start: self.start,
            ..Output::default()
        }
    }
}

impl Output {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Bytes waiting, without what is still to be made.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start + self.later_bytes
    }

    /// Whether a text is still being made as it is sent.
    pub(crate) fn is_streaming(&self) -> bool {
        !self.later.is_empty()
    }

    /// Drops up to `count` bytes from the front.
    pub(crate) fn consume(&mut self, count: usize) {
        let there = self.bytes.len() - self.start;
        self.start += count.min(there);
        if self.start == self.bytes.len() {
            self.start = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEEP_CAPACITY {
                self.bytes = Vec::new();
            }
        }
        self.make();
    }

    pub(crate) fn clear(&mut self) {
        *self = Output::default();
    }

    /// Appends one message, its line ends as QMP sends them.
    pub(crate) fn push_message(&mut self, message: Written) {
        let mut at = 0;
        for (place, text) in message.holes {
            self.push_lines(&message.text[at..place]);
            self.push_lazy(text, push_escaped);
            at = place;
        }
        self.push_lines(&message.text[at..]);
        self.push("\r\n");
    }

    /// Appends text with the line ends of QMP.
    fn push_lines(&mut self, text: &str) {
        for (number, line) in text.split('\n').enumerate() {
            if number > 0 {
                self.push("\r\n");
            }
            self.push(line);
        }
    }

    /// Appends a text that is made as it is sent, each piece put out by `put`.
    pub(crate) fn push_lazy(&mut self, text: LazyText, put: fn(&mut String, &str)) {
        self.later.push_back(Part::Text(text, put));
        self.make();
    }

    /// Appends text as it is.
    pub(crate) fn push(&mut self, text: &str) {
        let text = to_bytes(text);
        if let Some(last) = self.later.back_mut() {
            self.later_bytes += text.len();
            match last {
                Part::Bytes(bytes) => bytes.extend_from_slice(&text),
                Part::Text(..) => self.later.push_back(Part::Bytes(text.into_owned())),
            }
            return;
        }
        self.push_now(&text);
    }

    /// Makes more of what is made as it is sent, if there is little left.
    fn make(&mut self) {
        while self.bytes.len() - self.start < MADE_AHEAD {
            match self.later.pop_front() {
                None => return,
                Some(Part::Bytes(bytes)) => {
                    self.later_bytes -= bytes.len();
                    self.push_now(&bytes);
                }
                Some(Part::Text(text, put)) => {
                    let (mut piece, mut out) = (String::new(), String::new());
                    let more = text.next_piece(&mut piece);
                    put(&mut out, &piece);
                    self.push_now(out.as_bytes());
                    if more {
                        self.later.push_front(Part::Text(text, put));
                    }
                }
            }
        }
    }

    fn push_now(&mut self, bytes: &[u8]) {
        // Moving what is left is paid for by what was consumed before it.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }
}
