//! Bytes on their way to the client.

use chardev_qapi::text::to_bytes;

/// A queue of bytes that can be looked at as one slice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    start: usize,
}

/// A buffer larger than this is given back when it runs empty.
const KEEP_CAPACITY: usize = 64 << 10;

impl Output {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Drops up to `count` bytes from the front.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count.min(self.len());
        if self.start == self.bytes.len() {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEEP_CAPACITY {
            self.bytes = Vec::new();
        }
    }

    /// Appends one message, its line ends as QMP sends them.
    pub(crate) fn push_lines(&mut self, text: &str) {
        for line in text.split('\n') {
            self.push(line);
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    /// Appends text as it is.
    pub(crate) fn push(&mut self, text: &str) {
        // Moving what is left is paid for by what was consumed before it.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(&to_bytes(text));
    }
}
