//! front → [chardev] → back → host: the index of a log (`x-logindex`).
//!
//! A line for each line of the log: its absolute offset, the time at which it was accepted, its place
//! in the log file. After those three a line may say what is missing there: `hole N` are N bytes of
//! output that the log does not have, `unindexed N` are N lines that are in the log and not here,
//! because the index could not be written. An index that cannot be written holds up nothing: a bounded
//! number of lines waits, and is tried again now and then.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use chardev_core::text::shown_path;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::rotation::Progress;
use super::{Shared, open_target};
use crate::disk;
use crate::slow_fd::SlowFd;
use crate::sys::strerror;

/// The most bytes of lines that wait for an index that cannot be written.
const MAX_WAITING: usize = 1 << 16;
/// How long such an index is left alone.
const AGAIN: Duration = Duration::from_secs(2);

/// Lines on their way to the index.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    text: VecDeque<u8>,
    /// The first of the lines that found no room, and how many they are.
    left_out: Option<(String, u64)>,
    failed: Option<Instant>,
    warned: bool,
}

impl Waiting {
    /// Takes whole lines in, as many as there is room for.
    fn push(&mut self, lines: &str) {
        for line in lines.split_inclusive('\n') {
            if self.left_out.is_none() && self.text.len() + line.len() <= MAX_WAITING {
                self.text.extend(line.as_bytes());
                continue;
            }
            let (_, count) = self.left_out.get_or_insert_with(|| (line.to_owned(), 0));
            *count += 1;
        }
    }

    /// Whether there is something to write, and it is time to try.
    fn is_due(&self) -> bool {
        let waits = !self.text.is_empty() || self.left_out.is_some();
        waits && self.failed.is_none_or(|failed| failed.elapsed() >= AGAIN)
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

impl Shared {
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

    /// Writes to the index what can be written now; the rest waits.
    pub(super) fn write_index(&self, lines: &str) {
        let Some(log) = &self.log else { return };
        let failed = log.with_progress(|progress| {
            progress.waiting.push(lines);
            progress
                .waiting
                .is_due()
                .then(|| progress.write_waiting())?
        });
        let Some(error) = failed else { return };
        let Some(path) = log.index.as_deref() else {
            return;
        };
        if log.has_name() && !matches!(error, Errno::AGAIN | Errno::NOSPC | Errno::DQUOT) {
            // Another file may be there by now.
            if let Ok((target, created)) = open_target(path, true) {
                created.into_iter().for_each(|mut created| created.keep());
                log.with_progress(|progress| progress.index = Some(target.fd));
            }
        }
        if !log.with_progress(|progress| std::mem::replace(&mut progress.waiting.warned, true)) {
            tracing::warn!(
                "writing the index '{}' fails: {}; the log goes on, and it is tried again",
                shown_path(path),
                strerror(error)
            );
        }
    }

    /// How long until the index is to be tried again; `None` while nothing waits for it.
    pub(super) fn index_pause(&self) -> Option<Duration> {
        self.log.as_ref()?.with_progress(|progress| {
            let failed = progress.waiting.failed?;
            Some(AGAIN.saturating_sub(failed.elapsed()))
        })
    }

    /// Where the next byte goes in the file, if an index is to say so.
    pub(super) fn place(&self) -> u64 {
        if self.indexes() { self.size() } else { 0 }
    }
}

impl Progress {
    /// Device and inode of an index that is a file.
    pub(super) fn index_file(&self) -> Option<(u64, u64)> {
        let stat = disk::fstat(self.index.as_ref()?).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        is_file.then_some((stat.st_dev, stat.st_ino))
    }

    /// Another file is the index from here on. What the old one still cannot take is told in it.
    pub(super) fn turn_index(&mut self, index: SlowFd) {
        self.write_waiting();
        self.waiting = Waiting {
            left_out: self.waiting.as_left_out(),
            warned: self.waiting.warned,
            ..Waiting::default()
        };
        self.index = Some(index);
        self.truncate_index = false;
        self.waiting.tell_left_out();
    }

    fn write_waiting(&mut self) -> Option<Errno> {
        let result = self.try_waiting();
        self.waiting.failed = result.is_err().then(Instant::now);
        self.waiting.warned &= result.is_err();
        result.err()
    }

    fn try_waiting(&mut self) -> Result<(), Errno> {
        let Some(fd) = &self.index else {
            self.waiting = Waiting::default();
            return Ok(());
        };
        if self.truncate_index {
            disk::empty(fd).or_else(|error| match error {
                // It is no file, or may only grow.
                Errno::INVAL | Errno::PERM => Ok(()),
                error => Err(error),
            })?;
            self.truncate_index = false;
        }
        loop {
            if self.waiting.text.is_empty() {
                self.waiting.tell_left_out();
            }
            let (first, _) = self.waiting.text.as_slices();
            if first.is_empty() {
                return Ok(());
            }
            match rustix::io::write(fd, first) {
                Ok(0) => return Err(Errno::IO),
                Ok(count) => drop(self.waiting.text.drain(..count)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn put_line(lines: &mut String, offset: u64, time: u64, place: u64) {
    let (seconds, micros) = (time / 1_000_000, time % 1_000_000);
    // Writing to a string does not fail.
    let _ = write!(lines, "{offset} {seconds}.{micros:06} {place}");
}
