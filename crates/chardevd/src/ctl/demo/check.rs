//! Checks what the peers received: joined in the order of the back ends it must be the lines 0, 1,
//! 2 … without a hole, a repetition or a change of order.
//!
//! Every peer condenses what it reads into a [`Segment`] of constant size, in its own thread. A
//! [`Tally`] joins the segments, in order, and [`Tally::verdict`] counts what is wrong.

use std::ops::Range;

use super::numbers::Decimal;

/// The longest line worth keeping: the longest number, and the words of the last line.
const MAX_LINE: usize = 40;
/// How many separate runs of lines are kept; a stream with more is damaged beyond counting.
const MAX_RUNS: usize = 100_000;
/// How many damaged lines are shown.
const MAX_SAMPLES: usize = 4;
/// How the program's last line begins; the number of lines follows.
pub const END: &str = "end ";

/// What one peer read.
#[derive(Debug, Default)]
pub struct Segment {
    /// What came before the first line end: the rest of a line whose start went to another peer.
    head: Fragment,
    /// What came after the last line end, or everything if there was no line end.
    tail: Fragment,
    /// Whether a line end was seen; until then everything is in `tail`.
    divided: bool,
    lines: Lines,
    bytes: u64,
}

/// Part of a line, cut off where no line of ours can be so long.
#[derive(Debug, Default)]
struct Fragment {
    text: Vec<u8>,
    overflowed: bool,
}

/// Whole lines, condensed.
#[derive(Debug, Default)]
struct Lines {
    runs: Vec<Range<u64>>,
    expected: Decimal,
    damaged: u64,
    /// The first damaged lines, as evidence.
    samples: Vec<String>,
    end: Option<u64>,
}

/// The segments joined so far.
#[derive(Debug, Default)]
pub struct Tally {
    pending: Fragment,
    lines: Lines,
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
        self.lines.end.is_some() || self.head.text.starts_with(END.as_bytes())
    }
}

impl Tally {
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
        let known = self.lines.runs.iter().map(|run| run.end).max().unwrap_or(0);
        self.judge(known)
    }

    /// What is wrong after everything was appended; without the program's last line the rest of
    /// the stream is of unknown length, and at least one line is lost.
    pub fn verdict(&self) -> Verdict {
        let Some(end) = self.lines.end else {
            let mut verdict = self.interim();
            verdict.lost += 1;
            return verdict;
        };
        let mut verdict = self.judge(end);
        verdict.damaged += u64::from(!self.pending.is_empty());
        verdict
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

impl Fragment {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && !self.overflowed
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.text.len();
        self.overflowed |= bytes.len() > room;
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn join(&mut self, next: &Fragment) {
        self.push(&next.text);
        self.overflowed |= next.overflowed;
    }

    fn number(&self, prefix: &str) -> Option<u64> {
        if self.overflowed {
            return None;
        }
        let digits = self.text.strip_prefix(prefix.as_bytes())?;
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        // Exactly one spelling of a number is right: no sign, no leading zeros.
        (Decimal::new(number).digits() == digits).then_some(number)
    }
}

impl Lines {
    /// Takes in the lines at the start of `bytes` that are the next ones expected, and returns how
    /// many bytes they had. This is the path of a healthy stream.
    fn skip_expected(&mut self, bytes: &[u8]) -> usize {
        let Some(run) = self.runs.last_mut() else {
            return 0;
        };
        let mut at = 0;
        while self.end.is_none() {
            let digits = self.expected.digits();
            let after = at + digits.len();
            if bytes.get(after) != Some(&b'\n') || bytes[at..after] != *digits {
                break;
            }
            at = after + 1;
            run.end += 1;
            self.expected.increment();
        }
        at
    }

    fn push(&mut self, line: Fragment) {
        if let Some(number) = line.number("") {
            self.push_run(number..number.saturating_add(1));
        } else if let Some(count) = line.number(END) {
            self.damaged += u64::from(self.end.is_some());
            self.end = Some(count);
        } else {
            self.damaged += 1;
            if self.samples.len() < MAX_SAMPLES {
                let after = self.runs.last().map_or(0, |run| run.end);
                let text = String::from_utf8_lossy(&line.text);
                self.samples.push(format!("{text:?} before line {after}"));
            }
        }
    }

    fn push_run(&mut self, run: Range<u64>) {
        // A line after the last one has no place in the stream.
        self.damaged += u64::from(self.end.is_some());
        self.expected = Decimal::new(run.end);
        let full = self.runs.len() >= MAX_RUNS;
        match self.runs.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ if full => self.damaged += 1,
            _ => self.runs.push(run),
        }
    }

    fn append(&mut self, next: Lines) {
        for run in next.runs {
            self.push_run(run);
        }
        self.damaged += next.damaged;
        self.samples.extend(next.samples);
        self.samples.truncate(MAX_SAMPLES);
        if let Some(end) = next.end {
            self.damaged += u64::from(self.end.is_some());
            self.end = Some(end);
        }
    }
}

/// Disjoint ranges in ascending order.
#[derive(Debug, Default)]
struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds a range and returns how many of its numbers are new.
    fn insert(&mut self, new: Range<u64>) -> u64 {
        if new.is_empty() {
            return 0;
        }
        let from = self.0.partition_point(|range| range.end < new.start);
        let to = self.0.partition_point(|range| range.start <= new.end);
        let (mut merged, mut known) = (new.clone(), 0);
        for range in &self.0[from..to] {
            known += range.end.min(new.end) - range.start.max(new.start);
            merged = merged.start.min(range.start)..merged.end.max(range.end);
        }
        self.0.splice(from..to, [merged]);
        new.end - new.start - known
    }

    /// How many of the numbers are below `limit`.
    fn below(&self, limit: u64) -> u64 {
        let size = |range: &Range<u64>| range.end.min(limit).saturating_sub(range.start);
        self.0.iter().map(size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Segment, Tally, Verdict};

    fn judge(pieces: &[&str]) -> Verdict {
        let mut tally = Tally::default();
        for piece in pieces {
            let mut segment = Segment::default();
            segment.push(piece.as_bytes());
            tally.append(segment);
        }
        tally.verdict()
    }

    fn faults(pieces: &[&str]) -> [u64; 4] {
        let verdict = judge(pieces);
        [
            verdict.lost,
            verdict.doubled,
            verdict.reordered,
            verdict.damaged,
        ]
    }

    #[test]
    fn accepts_every_way_to_cut_a_whole_stream() {
        let text: String = (0..120).map(|number| format!("{number}\n")).collect();
        let text = format!("{text}end 120\n");
        for first in 0..text.len() {
            for step in [0, 1, 2, 5, 40] {
                let second = (first + step).min(text.len());
                let pieces = [&text[..first], &text[first..second], "", &text[second..]];
                let verdict = judge(&pieces);
                assert!(verdict.is_clean(), "{first} {step} {verdict:?}");
                assert_eq!((verdict.lines, verdict.bytes), (120, text.len() as u64));
            }
        }
    }

    #[test]
    fn accepts_reads_of_one_byte() {
        let mut segment = Segment::default();
        for byte in b"0\n1\n2\n3\nend 4\n" {
            segment.push(&[*byte]);
        }
        assert!(segment.has_end());
        let mut tally = Tally::default();
        tally.append(segment);
        assert!(tally.verdict().is_clean());
    }

    #[test]
    fn names_every_kind_of_fault() {
        // lost, doubled, reordered, damaged
        for (pieces, expected) in [
            (&["0\n1\n", "2\nend 3\n"][..], [0, 0, 0, 0]),
            (&["0\n1\n", "3\nend 4\n"], [1, 0, 0, 0]),
            (&["0\n1\n", "end 4\n"], [2, 0, 0, 0]),
            (&["0\n1\n1\n2\n", "3\nend 4\n"], [0, 1, 0, 0]),
            (&["0\n1\n2\n", "1\n2\n3\nend 4\n"], [0, 2, 0, 0]),
            (&["0\n2\n1\n3\nend 4\n"], [0, 0, 1, 0]),
            (&["0\n3\n1\n2\nend 4\n"], [0, 0, 2, 0]),
            (&["0\n1\n", "x\n2\nend 3\n"], [0, 0, 0, 1]),
            (&["0\n1\n", "02\n2\nend 3\n"], [0, 0, 0, 1]),
            (&["0\n1\n", "2\n3\nend 3\n"], [0, 0, 0, 1]),
            (&["0\n1\n2\nend 3\n3\n"], [0, 0, 0, 2]),
            (&["0\n1\n2\nend 3\nrest"], [0, 0, 0, 1]),
            (&["0\n1\n2\n"], [1, 0, 0, 0]),
            (&[""], [1, 0, 0, 0]),
        ] {
            assert_eq!(faults(pieces), expected, "{pieces:?}");
        }
    }

    #[test]
    fn notices_every_single_missing_doubled_or_changed_byte() {
        let text: String = (0..300).map(|number| format!("{number}\n")).collect();
        let text = format!("{text}end 300\n").into_bytes();
        for at in 0..text.len() {
            let mut shorter = text.clone();
            shorter.remove(at);
            let mut longer = text.clone();
            longer.insert(at, text[at]);
            let mut other = text.clone();
            other[at] ^= 1;
            for wrong in [shorter, longer, other] {
                let mut segment = Segment::default();
                segment.push(&wrong);
                let mut tally = Tally::default();
                tally.append(segment);
                assert!(
                    !tally.verdict().is_clean(),
                    "byte {at} of {:?}",
                    text[at] as char
                );
            }
        }
    }

    #[test]
    fn a_stream_without_line_ends_takes_no_memory() {
        let mut segment = Segment::default();
        for _ in 0..1000 {
            segment.push(&[b'7'; 4096]);
        }
        assert!(segment.tail.text.len() < 64);
        let mut tally = Tally::default();
        tally.append(segment);
        assert!(!tally.verdict().is_clean());
    }

    #[test]
    fn an_interim_verdict_does_not_miss_what_may_still_come() {
        let mut tally = Tally::default();
        let mut segment = Segment::default();
        segment.push(b"0\n1\n2");
        tally.append(segment);
        assert!(tally.interim().is_clean());
    }
}
