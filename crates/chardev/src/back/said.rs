//! front → chardev → [back] → host: what a device of our own says, as long as the front end has not
//! read it.

use std::collections::VecDeque;
use std::io::IoSliceMut;

/// Bytes for the front end, of which no more than a limit wait.
#[derive(Debug)]
pub(crate) struct Said {
    bytes: VecDeque<u8>,
    limit: usize,
}

impl Said {
    /// Nothing yet, and never more than `limit`.
    pub(crate) fn new(limit: usize) -> Self {
        Said {
            bytes: VecDeque::new(),
            limit,
        }
    }

    /// Says all of `bytes` or, where they have no room, nothing.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> bool {
        let fits = self.bytes.len() + bytes.len() <= self.limit;
        if fits {
            self.bytes.extend(bytes);
        }
        fits
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Fills `bufs` with what was said first.
    pub(crate) fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let mut total = 0;
        for buf in bufs {
            let count = buf.len().min(self.bytes.len());
            for (place, byte) in buf.iter_mut().zip(self.bytes.drain(..count)) {
                *place = byte;
            }
            total += count;
        }
        total
    }

    /// Takes all of it.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.bytes.drain(..).collect()
    }
}
