//! What a peer sends.

use super::{STOP, first_record, is_opener};
use crate::lines::{Form, Lines};

/// How much is made at once.
const BATCH: usize = 16 << 10;

/// An endless supply of records.
#[derive(Debug)]
pub struct Feed {
    records: Lines,
    buffer: Vec<u8>,
    used: usize,
    batch: usize,
}

impl Feed {
    /// The records of `peer`, from number 0.
    pub fn new(peer: u64) -> Self {
        Feed::in_batches(peer, BATCH)
    }

    /// The same, so many bytes at once.
    pub fn in_batches(peer: u64, batch: usize) -> Self {
        Feed {
            records: Lines::of(Form::Plain, first_record(peer)),
            buffer: Vec::new(),
            used: 0,
            batch,
        }
    }

    /// What to send next.
    pub fn pending(&mut self) -> &[u8] {
        if self.used == self.buffer.len() {
            self.buffer.resize(self.batch, 0);
            self.records.fill(&mut self.buffer);
            self.used = 0;
        }
        &self.buffer[self.used..]
    }

    /// Notes that `count` bytes were sent.
    pub fn consume(&mut self, count: usize) {
        self.used = (self.used + count).min(self.buffer.len());
    }

    /// Replaces the supply: the record under way is completed, and [`STOP`] is the last.
    pub fn stop(&mut self) {
        let mut last = Vec::new();
        let pending = self.pending();
        // At the start of a record nothing of it is needed.
        if !is_opener(pending[0]) {
            let end = pending.iter().position(|byte| *byte == b'\n');
            last.extend_from_slice(end.map_or(pending, |end| &pending[..=end]));
            if end.is_none() {
                last.extend_from_slice(self.records.rest_of_line());
            }
        }
        last.extend_from_slice(STOP);
        (self.buffer, self.used) = (last, 0);
    }

    /// What is left to send after [`stop`](Feed::stop).
    pub fn remainder(&self) -> &[u8] {
        &self.buffer[self.used..]
    }
}
