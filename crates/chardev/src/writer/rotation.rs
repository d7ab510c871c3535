//! front → [chardev] → back → host: a log that is rotated, reopened and indexed while it is
//! written.
//!
//! All of it happens on the writing thread, between two writes, so no byte is in two files or in
//! none, and a log is never larger than its limit. Between the files it is cut at the end of a
//! line where there is one.
//!
//! Who rotates from outside may rename the file and have it [reopened](super::reopen), or copy and
//! truncate it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chardev_core::text::shown_path;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::index_file::IndexFile;
use super::shift::{Steps, Turn};
use super::{Target, Writing, live, open_target};
use crate::back::FDSET;
use crate::disk;
use crate::slow_fd::SlowFd;
use crate::sys::strerror;

/// How long a file that could not be rotated is written on before the next attempt.
const AGAIN: Duration = Duration::from_secs(5);
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
    pub(super) index: Option<Arc<IndexFile>>,
    /// Only the writing thread uses it.
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The last byte written does not end a line.
    pub(super) inside_line: bool,
    /// How many landmarks its index has.
    landmarks: usize,
    /// When the file could not be rotated.
    refused: Option<Instant>,
    /// Nobody needs to hear again that it cannot be rotated.
    warned: bool,
}

/// When which bytes were accepted, for an index.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// The absolute offset of the log's first byte.
    pub(super) base: u64,
    /// A count of bytes, and when those up to there were accepted, in microseconds.
    accepted: VecDeque<(u64, u64)>,
}

impl LogFile {
    pub(super) fn new(
        path: &Path,
        limit: Option<RotationLimit>,
        index: Option<(PathBuf, SlowFd)>,
        truncate: bool,
    ) -> Self {
        let index = index.map(|(path, fd)| {
            let named = !path.starts_with(FDSET);
            IndexFile::new(path, fd, named, truncate)
        });
        LogFile {
            path: path.to_owned(),
            limit,
            index,
            progress: Mutex::default(),
        }
    }

    /// Neither the log nor its index is a descriptor out of a set.
    pub(super) fn has_name(&self) -> bool {
        let mut paths = [Some(self.path.as_path()), self.index_path()].into_iter();
        !paths.any(|path| path.is_some_and(|path| path.starts_with(FDSET)))
    }

    fn index_path(&self) -> Option<&Path> {
        self.index.as_ref().map(|index| index.path.as_path())
    }

    /// How many more landmarks the index has room for, of so `many`, if it is rotated.
    pub(super) fn landmark_room(&self, many: usize) -> Option<usize> {
        let room = || self.with_progress(|progress| many.saturating_sub(progress.landmarks));
        self.limit.is_some().then(room)
    }

    /// Counts one more landmark in the index.
    pub(super) fn count_landmark(&self) {
        self.with_progress(|progress| progress.landmarks += 1);
    }

    pub(super) fn with_progress<R>(&self, action: impl FnOnce(&mut Progress) -> R) -> R {
        action(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        if let Some(index) = &self.index {
            index.close();
        }
    }
}

impl Times {
    /// Notes that the bytes up to `count` are accepted now.
    pub(super) fn note(&mut self, count: u64) {
        let now = now_in_micros();
        let full = self.accepted.len() >= MAX_TIMES;
        match self.accepted.back_mut() {
            Some((last, time)) if full || now.abs_diff(*time) < SAME_TIME => *last = count,
            _ => self.accepted.push_back((count, now)),
        }
    }

    /// When byte number `at` was accepted. Earlier bytes are not asked for any more.
    pub(super) fn of(&mut self, at: u64) -> u64 {
        while self.accepted.len() > 1 && self.accepted[0].0 <= at {
            self.accepted.pop_front();
        }
        self.accepted.front().map_or(0, |(_, time)| *time)
    }
}

impl Writing {
    /// The log's first byte will be the one at the absolute offset `offset`.
    pub(super) fn begin_at(&self, offset: u64) {
        self.lock().times.base = offset;
    }

    /// Before a write: turns to the file that is due, and marks the holes that are. Returns how
    /// much of `chunk` may go to it.
    pub(super) fn prepare(&self, chunk: &VecDeque<u8>) -> usize {
        let mut most = chunk.len();
        let up_to = |at: u64, written: u64| usize::try_from(at - written).unwrap_or(usize::MAX);
        loop {
            let mut state = self.lock();
            let written = state.written;
            if state
                .reopened
                .front()
                .is_some_and(|next| next.at <= written)
            {
                let next = state.reopened.pop_front();
                drop(state);
                if let Some(next) = next {
                    self.turn_to(next.target, next.index);
                }
            } else if state.landmark_is_due() {
                drop(state);
                self.put_landmarks();
            } else if state.hole_is_due() {
                drop(state);
                self.mark_holes();
            } else {
                let file = state.reopened.front().map(|next| next.at);
                let hole = state.holes.front().map(|hole| hole.at);
                let landmark = state.landmarks.front().map(|landmark| landmark.at);
                let later = hole.into_iter().chain(landmark);
                let places = file.into_iter().chain(later.filter(|at| *at > written));
                if let Some(next) = places.min() {
                    most = most.min(up_to(next, written));
                }
                break;
            }
        }
        let Some(log) = &self.log else {
            return most;
        };
        if std::mem::take(&mut self.lock().follow) {
            self.allow_refusal(log, self.follow(log));
        }
        match log.limit.filter(|_| self.target().is_regular()) {
            Some(limit) => self.within_limit(log, limit, chunk, most),
            None => most,
        }
    }

    /// How much of the first `most` bytes of `chunk` fits in the file, which is rotated if that is
    /// nothing. One that cannot be rotated is written on.
    fn within_limit(
        &self,
        log: &LogFile,
        limit: RotationLimit,
        chunk: &VecDeque<u8>,
        most: usize,
    ) -> usize {
        loop {
            let size = self.size();
            let room = usize::try_from(limit.size.saturating_sub(size)).unwrap_or(usize::MAX);
            if most <= room {
                return most;
            }
            let last_line = chunk.iter().take(room).rposition(|byte| *byte == b'\n');
            let fits = match last_line {
                Some(end) => end + 1,
                // A line that has begun is cut only where it must be.
                None if size == 0 || log.with_progress(|progress| progress.inside_line) => room,
                None => 0,
            };
            if fits > 0 {
                return fits;
            }
            let refused = log.with_progress(|progress| progress.refused);
            let waits = refused.is_some_and(|refused| refused.elapsed() < AGAIN);
            if waits || !self.allow_refusal(log, self.rotate(log, limit)) {
                return most;
            }
        }
    }

    /// Notes whether the file was rotated; what cannot be is said once.
    fn allow_refusal(&self, log: &LogFile, rotated: Result<(), Errno>) -> bool {
        let Err(error) = rotated else {
            log.with_progress(|progress| {
                (progress.refused, progress.warned) = (None, false);
            });
            return true;
        };
        let warned = log.with_progress(|progress| {
            progress.refused = Some(Instant::now());
            std::mem::replace(&mut progress.warned, true)
        });
        if !warned {
            let cause = strerror(error);
            tracing::warn!(
                "cannot rotate '{}': {cause}; still writing to the old file, will retry",
                shown_path(&log.path)
            );
        }
        false
    }

    /// The size of the file as it is now, whoever made it so; 0 for what is no file.
    pub(super) fn size(&self) -> u64 {
        let target = self.target();
        match disk::fstat(&target.fd) {
            Ok(stat) if target.is_regular() => u64::try_from(stat.st_size).unwrap_or(0),
            _ => 0,
        }
    }

    /// What the old file does not take goes to the new one, if it was reopened.
    pub(super) fn turn_early(&self) {
        let next = self.lock().reopened.pop_front();
        if let Some(next) = next {
            self.turn_to(next.target, next.index);
        }
    }

    fn turn_to(&self, target: Target, index: Option<SlowFd>) {
        drop(live::turn(self, target));
        if let Some(log) = &self.log {
            if let (Some(current), Some(index)) = (&log.index, index) {
                current.turn_to(Some(index));
            }
            log.with_progress(|progress| (progress.inside_line, progress.landmarks) = (false, 0));
        }
    }

    /// Somebody else may have rotated the log since it was opened.
    fn follow(&self, log: &LogFile) -> Result<(), Errno> {
        match self.file() {
            Some(file) if log.has_name() && !is_at(file, &log.path) => {}
            _ => return Ok(()),
        }
        let Some(limit) = log.limit.filter(|limit| limit.count > 0) else {
            return self.open_anew(log);
        };
        let mut steps = Steps::default();
        let index = self.renew_index(log, limit, &mut steps)?;
        let target = steps.open(&log.path)?;
        steps.keep();
        self.turn_to(target, index);
        Ok(())
    }

    fn rotate(&self, log: &LogFile, limit: RotationLimit) -> Result<(), Errno> {
        if limit.count == 0 {
            disk::empty(&self.target().fd)?;
            if let Some(index) = &log.index {
                index.turn_to(None);
            }
            log.with_progress(|progress| progress.landmarks = 0);
            return Ok(());
        }
        let Some(current) = self.file() else {
            return self.open_anew(log);
        };
        let _turn = Turn::to_rotate(current);
        // Somebody else may have moved it away already.
        if !is_at(current, &log.path) {
            return self.follow(log);
        }
        let mut steps = Steps::default();
        let index = self.renew_index(log, limit, &mut steps)?;
        let target = steps.renew(&log.path, current, limit.count)?;
        steps.keep();
        self.turn_to(target, index);
        // Others who write it would go on in the old file until that is full, or gone.
        for other in live::of_file(current) {
            other.lock().follow = true;
        }
        Ok(())
    }

    /// The index that belongs to a new log, unless it stays as it is.
    fn renew_index(
        &self,
        log: &LogFile,
        limit: RotationLimit,
        steps: &mut Steps,
    ) -> Result<Option<SlowFd>, Errno> {
        let file = log.index.as_ref().and_then(|index| index.file());
        let (Some(path), Some(file)) = (log.index_path(), file) else {
            return Ok(None);
        };
        let target = match is_at(file, path) {
            true => steps.renew(path, file, limit.count)?,
            false => steps.open(path)?,
        };
        Ok(Some(target.fd))
    }

    /// Opens the log and its index by their paths. What does not open stays as it was.
    pub(super) fn open_anew(&self, log: &LogFile) -> Result<(), Errno> {
        let (target, index) = open_both(log, |_, error| error)?;
        self.turn_to(target, index);
        Ok(())
    }
}

/// Opens the log and its index, or neither.
pub(super) fn open_both<E>(
    log: &LogFile,
    failed: impl Fn(&Path, Errno) -> E,
) -> Result<(Target, Option<SlowFd>), E> {
    let open = |path: &Path| open_target(path, true).map_err(|error| failed(path, error));
    let (target, created) = open(&log.path)?;
    let index = log.index_path().map(open).transpose()?;
    let (index, index_created) = index.unzip();
    for mut created in created.into_iter().chain(index_created.flatten()) {
        created.keep();
    }
    Ok((target, index.map(|target| target.fd)))
}

fn is_at(file: (u64, u64), path: &Path) -> bool {
    disk::stat(path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == file)
}
impl Target {
    fn is_regular(&self) -> bool {
        self.file_type() == FileType::RegularFile
    }
}

/// The time now, since the Unix epoch.
pub(super) fn now_in_micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}

/// The same, to the microsecond.
pub(crate) fn since_epoch() -> Duration {
    Duration::from_micros(now_in_micros())
}
