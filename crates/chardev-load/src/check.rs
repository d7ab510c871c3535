//! Checks what the peers received: joined in the order of the back ends it must be the lines 0, 1,
//! 2 … without a hole, a repetition or a change of order.
//!
//! Every peer condenses what it reads into a [`Segment`] of constant size, in its own thread. A
//! [`Tally`] joins the segments, in order, and [`Tally::verdict`] counts what is wrong.

mod condensed;
mod place;
mod ranges;
#[cfg(test)]
mod tests;

pub use place::{difference, place};

use condensed::{Condensed, Fragment};
use ranges::Ranges;

use crate::lines::{Form, Last};

/// What one peer read.
#[derive(Debug, Default)]
pub struct Segment {
    /// What came before the first line end: the rest of a line whose start went to another peer.
    head: Fragment,
    /// What came after the last line end, or everything if there was no line end.
    tail: Fragment,
    /// Whether a line end was seen; until then everything is in `tail`.
    divided: bool,
    lines: Condensed,
    bytes: u64,
}

/// The segments joined so far.
#[derive(Debug, Default)]
pub struct Tally {
    pending: Fragment,
    lines: Condensed,
    bytes: u64,
}

/// What became of the numbered lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Bytes received by all peers together.
    pub bytes: u64,
    /// Different lines received.
    pub lines: u64,
    /// Lines that no peer received.
    pub lost: u64,
    /// Lines received more than once, counted once for every repetition.
    pub doubled: u64,
    /// Lines received after a later one.
    pub reordered: u64,
    /// Lines that are not numbers, or too large.
    pub damaged: u64,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.damaged == 0
    }
}

impl Segment {
    /// Nothing read yet of lines of this form.
    pub fn new(form: Form) -> Self {
        Segment {
            lines: Condensed::new(form),
            ..Segment::default()
        }
    }

    /// Takes in what was read next.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.divided && self.tail.is_empty() {
                bytes = &bytes[self.lines.skip_expected(bytes)..];
            }
            let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.tail.push(bytes);
                return;
            };
            self.tail.push(&bytes[..at]);
            let line = std::mem::take(&mut self.tail);
            if self.divided {
                self.lines.push(line);
            } else {
                self.divided = true;
                self.head = line;
            }
            bytes = &bytes[at + 1..];
        }
    }

    /// How many bytes were taken in.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the program's last line was among them.
    pub fn has_end(&self) -> bool {
        self.lines.last.is_some() || self.head.last(self.lines.form).is_some()
    }

    /// Whether the whole lines so far are one after the other; the first may be the rest of one
    /// whose start went to another peer.
    pub fn goes_on(&self) -> bool {
        self.lines.runs.len() <= 1 && self.lines.damaged == 0
    }
}

impl Tally {
    /// Nothing yet of lines of this form.
    pub fn new(form: Form) -> Self {
        Tally {
            lines: Condensed::new(form),
            ..Tally::default()
        }
    }

    /// Appends what the next peer read.
    pub fn append(&mut self, segment: Segment) {
        self.bytes += segment.bytes;
        if !segment.divided {
            self.pending.join(&segment.tail);
            return;
        }
        self.pending.join(&segment.head);
        self.lines.push(std::mem::take(&mut self.pending));
        self.lines.append(segment.lines);
        self.pending = segment.tail;
    }

    /// The first damaged lines, as evidence.
    pub fn samples(&self) -> &[String] {
        &self.lines.samples
    }

    /// What is wrong so far; lines that may still come are not missed.
    pub fn interim(&self) -> Verdict {
        self.judge(self.highest())
    }

    /// What is wrong after everything was appended; without the program's last line the rest of
    /// the stream is of unknown length, and at least one line is lost.
    pub fn verdict(&self) -> Verdict {
        let Some(last) = self.lines.last else {
            let mut verdict = self.interim();
            verdict.lost += 1;
            return verdict;
        };
        let mut verdict = self.judge(match last {
            Last::Count(count) => count,
            Last::Bare => self.highest(),
        });
        verdict.damaged += u64::from(!self.pending.is_empty());
        verdict
    }

    fn highest(&self) -> u64 {
        let ends = self.lines.runs.iter().map(|run| run.end);
        ends.max().unwrap_or(0)
    }

    fn judge(&self, total: u64) -> Verdict {
        let mut seen = Ranges::default();
        let mut verdict = Verdict {
            bytes: self.bytes,
            damaged: self.lines.damaged,
            ..Verdict::default()
        };
        let mut highest = 0;
        for run in &self.lines.runs {
            let turn = highest.clamp(run.start, run.end);
            let late = seen.insert(run.start..turn);
            let fresh = seen.insert(turn..run.end);
            verdict.doubled += run.end - run.start - late - fresh;
            verdict.reordered += late;
            verdict.damaged += run.end.saturating_sub(total.max(run.start));
            highest = highest.max(run.end);
        }
        verdict.lines = seen.below(total);
        verdict.lost = total - verdict.lines;
        verdict
    }
}
