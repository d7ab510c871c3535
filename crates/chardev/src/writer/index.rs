//! front → [chardev] → back → host: the index of a log (`x-logindex`).
//!
//! A line for each line of the log: its absolute offset, the time at which it was accepted, its
//! place in the log file. After those three a line may say what is missing there: `hole N` are N
//! bytes of output that the log does not have, `unindexed N` are N lines that are in the log and
//! not here, because the index could not be written. Landmarks have lines of their own: `mark`, a
//! text, a tab and by whom; `change` and the new back end. A bounded number of lines waits for it;
//! see [`index_file`](super::index_file).

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::Writing;

/// The most bytes of lines that wait for an index that cannot be written.
const MAX_WAITING: usize = 1 << 16;

/// Lines on their way to the index.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    text: VecDeque<u8>,
    /// The first of the lines that found no room, and how many they are.
    left_out: Option<(String, u64)>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.left_out.is_none()
    }

    pub(super) fn has_room(&self, line: &str) -> bool {
        self.left_out.is_none() && self.text.len() + line.len() <= MAX_WAITING
    }

    /// Takes a whole line in, if there is room.
    pub(super) fn push(&mut self, line: &str) {
        if self.has_room(line) {
            self.text.extend(line.as_bytes());
            return;
        }
        let (_, count) = self.left_out.get_or_insert_with(|| (line.to_owned(), 0));
        *count += 1;
    }

    /// What is to be written first.
    pub(super) fn first(&mut self) -> Vec<u8> {
        if self.text.is_empty() {
            self.tell_left_out();
        }
        self.text.as_slices().0.to_vec()
    }

    /// The first `count` bytes are written.
    pub(super) fn drain(&mut self, count: usize) {
        self.text.drain(..count);
    }

    /// It follows `earlier`, whose lines are left out and told of here.
    pub(super) fn follow(&mut self, earlier: &mut Waiting) {
        let Some(left_out) = earlier.as_left_out() else {
            return;
        };
        let mut told = Waiting {
            left_out: Some(left_out),
            ..Waiting::default()
        };
        told.tell_left_out();
        told.text.append(&mut self.text);
        self.text = told.text;
    }

    /// Everything that waits, as lines that were left out.
    fn as_left_out(&mut self) -> Option<(String, u64)> {
        let text = String::from_utf8_lossy(self.text.make_contiguous()).into_owned();
        let whole = text.lines().find(|line| line.split(' ').count() >= 3);
        let (later, count) = self.left_out.take().unzip();
        let first = whole.map(str::to_owned).or(later)?;
        Some((first, text.lines().count() as u64 + count.unwrap_or(0)))
    }

    /// The lines that were left out are told of once there is room.
    fn tell_left_out(&mut self) {
        if let Some((line, count)) = self.left_out.take() {
            let place = line.split(' ').take(3).map(str::trim_end);
            let place: Vec<&str> = place.collect();
            let text = format!("{} unindexed {count}\n", place.join(" "));
            self.text.extend(text.as_bytes());
        }
    }
}

impl Writing {
    /// Whether the log has an index.
    pub(super) fn indexes(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.index.is_some())
    }

    /// After a write of the first `count` bytes of `chunk`, which began at number `from` and at
    /// `place` of the file: the lines of the index.
    pub(super) fn index_lines(
        &self,
        chunk: &VecDeque<u8>,
        count: usize,
        from: u64,
        place: u64,
    ) -> String {
        let mut lines = String::new();
        let Some(log) = &self.log else { return lines };
        if log.index.is_none() {
            let last = count.checked_sub(1).and_then(|last| chunk.get(last));
            log.with_progress(|progress| progress.inside_line = last != Some(&b'\n'));
            return lines;
        }
        let mut state = self.lock();
        log.with_progress(|progress| {
            for (index, byte) in (0u64..).zip(chunk.iter().take(count)) {
                if !progress.inside_line {
                    let offset = state.times.base + from + index;
                    let time = state.times.of(from + index);
                    put_line(&mut lines, offset, time, place + index);
                    lines.push('\n');
                }
                progress.inside_line = *byte != b'\n';
            }
        });
        lines
    }

    /// Marks the holes that come next; what follows them begins a line.
    pub(super) fn mark_holes(&self) {
        let Some(log) = &self.log else { return };
        let mut lines = String::new();
        loop {
            let mut state = self.lock();
            if !state.hole_is_due() {
                break;
            }
            let Some(hole) = state.holes.pop_front() else {
                break;
            };
            let offset = state.times.base + hole.at - (hole.bytes - hole.skipped);
            state.times.base += hole.skipped;
            drop(state);
            log.with_progress(|progress| progress.inside_line = false);
            if log.index.is_some() {
                put_line(&mut lines, offset, hole.since, self.place());
                // Writing to a string does not fail.
                let _ = writeln!(lines, " hole {}", hole.bytes);
            }
        }
        self.write_index(&lines);
    }

    /// Lines for the index, on their way from here on.
    pub(super) fn write_index(&self, lines: &str) {
        if let Some(index) = self.log.as_ref().and_then(|log| log.index.as_ref()) {
            index.push(lines);
        }
    }

    /// Where the next byte goes in the file, if an index is to say so.
    pub(super) fn place(&self) -> u64 {
        if self.indexes() { self.size() } else { 0 }
    }
}

pub(super) fn put_line(lines: &mut String, offset: u64, time: u64, place: u64) {
    let (seconds, micros) = (time / 1_000_000, time % 1_000_000);
    // Writing to a string does not fail.
    let _ = write!(lines, "{offset} {seconds}.{micros:06} {place}");
}
