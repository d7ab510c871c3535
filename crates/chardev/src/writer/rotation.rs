//! front → [chardev] → back → host: a log that is rotated, reopened and indexed while it is written.
//!
//! All of it happens on the writing thread, between two writes, so no byte is in two files or in
//! none, and a log is never larger than its limit. Between the files it is cut at the end of a
//! line where there is one.
//!
//! Who rotates from outside may rename the file and ask for a reopening (what was accepted before
//! that goes to the renamed file), or copy and truncate it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use chardev_core::text::from_os;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::{Shared, Target, could_not, open_target};
use crate::back::FDSET;

/// Acceptances closer than this are one to the index, in microseconds.
const SAME_TIME: u64 = 1000;
/// The most different times that wait for the disk; beyond that, times get coarser.
const MAX_TIMES: usize = 4096;

/// When a log is rotated, and how many old files stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct RotationLimit {
    pub(super) size: u64,
    /// 0 empties the file instead.
    pub(super) count: u32,
}

/// What a log is beyond a file that is written.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    limit: Option<RotationLimit>,
    index: Option<PathBuf>,
    /// Only the writing thread uses it.
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// The last byte written does not end a line.
    inside_line: bool,
    index: Option<OwnedFd>,
    truncate_index: bool,
}

/// When which bytes were accepted, for an index.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// The absolute offset of the log's first byte.
    base: u64,
    /// A count of bytes, and when those up to there were accepted, in microseconds.
    accepted: VecDeque<(u64, u64)>,
}

/// A file that is to be written from a certain byte on.
#[derive(Debug)]
pub(super) struct Reopened {
    at: u64,
    target: Target,
    index: Option<OwnedFd>,
}

impl LogFile {
    pub(super) fn new(
        path: &Path,
        limit: Option<RotationLimit>,
        index: Option<(PathBuf, OwnedFd)>,
        truncate: bool,
    ) -> Self {
        let (index, fd) = index.unzip();
        LogFile {
            path: path.to_owned(),
            limit,
            index,
            progress: Mutex::new(Progress {
                inside_line: false,
                index: fd,
                truncate_index: truncate,
            }),
        }
    }

    /// Neither the log nor its index is a descriptor out of a set.
    pub(super) fn has_name(&self) -> bool {
        let mut paths = [Some(&self.path), self.index.as_ref()].into_iter();
        !paths.any(|path| path.is_some_and(|path| path.starts_with(FDSET)))
    }

    fn with_progress<R>(&self, action: impl FnOnce(&mut Progress) -> R) -> R {
        action(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Times {
    /// Notes that the bytes up to `count` are accepted now.
    pub(super) fn note(&mut self, count: u64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
        let full = self.accepted.len() >= MAX_TIMES;
        match self.accepted.back_mut() {
            Some((last, time)) if full || now.abs_diff(*time) < SAME_TIME => *last = count,
            _ => self.accepted.push_back((count, now)),
        }
    }

    /// When byte number `at` was accepted. Earlier bytes are not asked for any more.
    fn of(&mut self, at: u64) -> u64 {
        while self.accepted.len() > 1 && self.accepted[0].0 <= at {
            self.accepted.pop_front();
        }
        self.accepted.front().map_or(0, |(_, time)| *time)
    }
}

impl Shared {
    /// The log's first byte will be the one at the absolute offset `offset`.
    pub(super) fn begin_at(&self, offset: u64) {
        self.lock().times.base = offset;
    }

    pub(super) fn indexes(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.index.is_some())
    }

    /// Opens the log's path anew; what is accepted from now on goes there.
    pub(super) fn reopen(self: &Arc<Self>) -> Result<(), String> {
        let Some(log) = &self.log else { return Ok(()) };
        let open = |path: &Path| match open_target(path, true) {
            Ok((target, mut created)) => {
                created.iter_mut().for_each(super::Created::keep);
                Ok(target)
            }
            Err(error) => Err(could_not(
                "reopen log file",
                from_os(path.as_os_str()),
                error,
            )),
        };
        let target = open(&log.path)?;
        let index = log.index.as_deref().map(open).transpose()?;
        let mut state = self.lock();
        let at = state.accepted;
        // An earlier reopening that has not come to its turn is superseded from there on only; two
        // at one place are one.
        state.reopened.retain(|earlier| earlier.at < at);
        if state.reopened.len() >= MAX_REOPENED {
            return Err(format!(
                "Could not reopen log file '{}': {MAX_REOPENED} reopenings wait for the disk",
                from_os(log.path.as_os_str())
            ));
        }
        state.reopened.push_back(Reopened {
            at,
            target,
            index: index.map(|target| target.fd),
        });
        self.rouse(&mut state);
        Ok(())
    }

    /// Before a write: turns to the file that is due. Returns how much of `chunk` may go to it;
    /// `None` if that failed and nobody holds the writer any more.
    pub(super) fn prepare(&self, chunk: &VecDeque<u8>) -> Option<usize> {
        let mut most = chunk.len();
        loop {
            let mut state = self.lock();
            let Some(next) = state.reopened.front() else {
                break;
            };
            let left = next.at - state.written;
            if left > 0 {
                most = most.min(usize::try_from(left).unwrap_or(usize::MAX));
                break;
            }
            let next = state.reopened.pop_front();
            drop(state);
            if let Some(next) = next {
                self.turn_to(next.target, next.index);
            }
        }
        let Some(log) = &self.log else {
            return Some(most);
        };
        if std::mem::take(&mut self.lock().follow) {
            self.persist(|| self.follow(log).map(|()| 1))?;
        }
        let Some(limit) = log.limit.filter(|_| self.target().is_regular()) else {
            return Some(most);
        };
        loop {
            let size = self.size();
            let room = usize::try_from(limit.size.saturating_sub(size)).unwrap_or(usize::MAX);
            if most <= room {
                return Some(most);
            }
            let last_line = chunk.iter().take(room).rposition(|byte| *byte == b'\n');
            let fits = match last_line {
                Some(end) => end + 1,
                // A line that has begun is cut only where it must be.
                None if size == 0 || log.with_progress(|progress| progress.inside_line) => room,
                None => 0,
            };
            if fits > 0 {
                return Some(fits);
            }
            self.persist(|| self.rotate(log, limit).map(|()| 1))?;
        }
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
                    let (offset, time) = (
                        state.times.base + from + index,
                        state.times.of(from + index),
                    );
                    let (seconds, micros) = (time / 1_000_000, time % 1_000_000);
                    // Writing to a string does not fail.
                    let _ = writeln!(lines, "{offset} {seconds}.{micros:06} {}", place + index);
                }
                progress.inside_line = *byte != b'\n';
            }
        });
        lines
    }

    /// Writes to the index; `false` if that failed and nobody holds the writer any more.
    pub(super) fn write_index(&self, lines: &str) -> bool {
        let Some(log) = &self.log else { return true };
        let mut rest = lines.as_bytes();
        while !rest.is_empty() {
            let wrote = self.persist(|| {
                log.with_progress(|progress| {
                    let Some(fd) = &progress.index else {
                        return Ok(rest.len());
                    };
                    if progress.truncate_index {
                        rustix::fs::ftruncate(fd, 0)?;
                        progress.truncate_index = false;
                    }
                    rustix::io::write(fd, rest)
                })
            });
            let Some(count) = wrote else { return false };
            rest = &rest[count..];
        }
        true
    }

    /// Where the next byte goes in the file, if an index is to say so.
    pub(super) fn place(&self) -> u64 {
        if self.indexes() { self.size() } else { 0 }
    }

    /// The size of the file as it is now, whoever made it so; 0 for what is no file.
    fn size(&self) -> u64 {
        let target = self.target();
        match rustix::fs::fstat(&target.fd) {
            Ok(stat) if target.is_regular() => u64::try_from(stat.st_size).unwrap_or(0),
            _ => 0,
        }
    }

    fn turn_to(&self, target: Target, index: Option<OwnedFd>) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(target);
        if let Some(log) = &self.log {
            log.with_progress(|progress| {
                if index.is_some() {
                    progress.index = index;
                    progress.truncate_index = false;
                }
                progress.inside_line = false;
            });
        }
    }

    /// An earlier log of the same path may have rotated it since it was opened.
    fn follow(&self, log: &LogFile) -> Result<(), Errno> {
        match log.has_name() && !self.is_at(&log.path) {
            true => self.open_anew(log),
            false => Ok(()),
        }
    }

    fn rotate(&self, log: &LogFile, limit: RotationLimit) -> Result<(), Errno> {
        if limit.count == 0 {
            log.with_progress(|progress| progress.truncate_index = true);
            return rustix::fs::ftruncate(&self.target().fd, 0);
        }
        // Somebody else may have moved it away already.
        if self.is_at(&log.path) {
            if let Some(index) = &log.index {
                shift(index, limit.count)?;
            }
            shift(&log.path, limit.count)?;
        }
        self.open_anew(log)
    }

    fn open_anew(&self, log: &LogFile) -> Result<(), Errno> {
        let open = |path: &Path| {
            let (target, mut created) = open_target(path, true)?;
            created.iter_mut().for_each(super::Created::keep);
            Ok(target)
        };
        let index = log.index.as_deref().map(open).transpose()?;
        let target = open(&log.path)?;
        self.turn_to(target, index.map(|target| target.fd));
        Ok(())
    }

    fn is_at(&self, path: &Path) -> bool {
        let found = rustix::fs::stat(path);
        found.is_ok_and(|stat| Some((stat.st_dev, stat.st_ino)) == self.file())
    }
}

/// The most reopenings that wait for the disk.
const MAX_REOPENED: usize = 16;

impl Target {
    fn is_regular(&self) -> bool {
        self.file_type() == FileType::RegularFile
    }
}

/// Renames `path` to `path.1`, that one to `path.2` and so on; the last of `count` is replaced.
fn shift(path: &Path, count: u32) -> Result<(), Errno> {
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        name
    };
    for number in (0..count).rev() {
        match rustix::fs::rename(name(number), name(number + 1)) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
