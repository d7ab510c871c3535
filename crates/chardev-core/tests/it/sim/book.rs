//! What must be true of the bytes of one simulated console, kept apart from the machine's own
//! counters.
//!
//! Output byte `n` has the value `n % 251`, so where a back end takes a byte its value says
//! which one it is; a byte that is missing, doubled or out of order moves the cursor further
//! than the counted losses allow. Input is compared with what back ends handed to the machine.

use std::collections::VecDeque;

const PERIOD: u64 = 251;

/// The books of one console.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Output accepted so far, from the front end or by `ringbuf-write`.
    pub(super) accepted: u64,
    /// Output that reached its last place: a peer, or a reader of the ring.
    pub(super) taken: u64,
    /// The next output byte that may be taken.
    cursor: u64,
    /// Output bytes that were passed over and must have been counted as lost.
    pub(super) skipped: u64,
    /// Output a drain gave up on.
    pub(super) undrained: u64,
    /// Input read after its back end was replaced and settled.
    pub(super) late: u64,
    segments: VecDeque<Segment>,
    next_segment: u64,
    /// Bytes of output and of input that went through a channel.
    pub(super) poured: u64,
    pub(super) filled: u64,
    /// What went wrong where nothing can be returned.
    pub(super) faults: Vec<String>,
}

/// Input of one source, as it was handed to the machine.
#[derive(Debug)]
struct Segment {
    id: u64,
    /// More may still settle into it.
    open: bool,
    bytes: VecDeque<u8>,
}

impl Book {
    /// The next `count` bytes of output.
    pub(super) fn numbers(&self, count: usize) -> Vec<u8> {
        (self.accepted..)
            .take(count)
            .map(|n| (n % PERIOD) as u8)
            .collect()
    }

    /// Output bytes have reached their last place.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let wanted = self.cursor % PERIOD;
            let skipped = (PERIOD + u64::from(*byte) - wanted) % PERIOD;
            self.skipped += skipped;
            self.cursor += skipped + 1;
            self.taken += 1;
        }
    }

    /// A back end handed input to the machine. With `more`, what is named by the returned
    /// number may still grow.
    pub(super) fn hand(&mut self, bytes: &[u8], more: bool) -> u64 {
        match self.segments.back_mut() {
            Some(last) if !last.open && !more => last.bytes.extend(bytes),
            _ => {
                self.next_segment += 1;
                self.segments.push_back(Segment {
                    id: self.next_segment,
                    open: more,
                    bytes: bytes.iter().copied().collect(),
                });
            }
        }
        self.next_segment
    }

    /// Input that was under way when its back end was replaced.
    pub(super) fn settle(&mut self, id: u64, bytes: &[u8]) {
        match self.segments.iter_mut().find(|segment| segment.id == id) {
            Some(segment) if segment.open => segment.bytes.extend(bytes),
            _ => self.fail("input settled at a place that had been read past"),
        }
    }

    /// The front end read `bytes`, which must be what was handed over first.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            while self
                .segments
                .front()
                .is_some_and(|first| first.bytes.is_empty())
            {
                self.segments.pop_front();
            }
            let expected = self
                .segments
                .front_mut()
                .and_then(|first| first.bytes.pop_front());
            if expected != Some(*byte) {
                self.fail(&format!("input {byte} was read where {expected:?} is next"));
                return;
            }
        }
    }

    /// Input bytes handed over and not read, up to the first place that is still open.
    pub(super) fn unread(&self) -> usize {
        let closed = self.segments.iter().take_while(|segment| !segment.open);
        closed.map(|segment| segment.bytes.len()).sum()
    }

    pub(super) fn fail(&mut self, what: &str) {
        self.faults.push(what.to_owned());
    }
}
