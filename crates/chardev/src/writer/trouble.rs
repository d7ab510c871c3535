//! front → chardev → back → [host]: what happens when a file cannot be written.
//!
//! The bytes of a back end stay queued and are tried again: the queue fills up and the front end
//! waits, as it would for any slow peer. A log is secondary: its path is opened anew where the
//! descriptor is of no use any more, and one that has no path is given up, until later output shows
//! that it takes bytes again. What a log is missing is in [`hole`](super::hole).

use std::os::fd::AsFd;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chardev_core::Ready;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::rotation::LogFile;
use super::{WriterState, Writing};
use crate::sys::strerror;

/// How long to wait before trying again what the disk refused.
pub(super) const RETRY_MIN: Duration = Duration::from_millis(100);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(2);

/// Why writing ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It failed, and nobody holds the writer any more.
    Closed,
    /// Nothing can be written to this log any more.
    Dead,
}

impl Writing {
    /// Does `attempt` until it succeeds.
    pub(super) fn persist(
        &self,
        mut attempt: impl FnMut() -> Result<usize, Errno>,
    ) -> Result<usize, Stopped> {
        let mut pause = RETRY_MIN;
        loop {
            let error = match attempt() {
                Ok(0) => Errno::IO,
                Ok(count) => {
                    let mut state = self.lock();
                    (state.failing, state.blocked) = (None, false);
                    return Ok(count);
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    self.wait_writable(pause)?;
                    pause = (pause * 2).min(RETRY_MAX);
                    continue;
                }
                Err(error) => error,
            };
            self.warn_once(error);
            let named = self.log.as_ref().is_none_or(LogFile::has_name);
            if is_permanent(error) && !named {
                return Err(Stopped::Dead);
            }
            if !self.pause(pause) {
                return Err(Stopped::Closed);
            }
            pause = (pause * 2).min(RETRY_MAX);
            if let Some(log) = self.log.as_ref().filter(|_| is_permanent(error)) {
                // If it cannot be opened either, that is tried again as well.
                let _ = self.open_anew(log);
            }
            self.turn_early();
        }
    }

    /// A FIFO or a terminal as a log file is full; its reader decides when that changes.
    fn wait_writable(&self, limit: Duration) -> Result<(), Stopped> {
        let writable = is_writable(&self.target().fd, limit);
        let mut state = self.lock();
        if !writable && !std::mem::replace(&mut state.blocked, true) {
            self.report_stuck();
        }
        if state.owes_report() {
            state = self.report_room(state);
        }
        let closed = state.closed;
        drop(state);
        match closed && !writable && !is_writable(&self.target().fd, Duration::ZERO) {
            true => Err(Stopped::Closed),
            false => Ok(()),
        }
    }

    fn warn_once(&self, error: Errno) {
        let mut state = self.lock();
        if state.failing.replace(error).is_some() {
            return;
        }
        let pending = state.pending();
        drop(state);
        tracing::warn!(
            "cannot write '{}': {}; {pending} bytes are queued and will be retried",
            self.name,
            strerror(error),
        );
        if self.log.is_some() {
            // Whoever waits for room need not.
            self.report_stuck();
            self.port.kick(Ready::WRITE);
        }
    }

    /// Waits before the next attempt; `false` if the writer was let go.
    fn pause(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut state = self.lock();
        loop {
            if state.closed {
                return false;
            }
            if state.owes_report() {
                state = self.report_room(state);
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.work.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Tells the chardev that there is room, with our own lock released meanwhile.
    pub(super) fn report_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, WriterState>,
    ) -> MutexGuard<'a, WriterState> {
        state.watched = false;
        drop(state);
        self.port.kick(Ready::WRITE);
        self.lock()
    }
}

/// Whether writing to the same descriptor will fail for good.
fn is_permanent(error: Errno) -> bool {
    !matches!(
        error,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::NOMEM | Errno::NOBUFS | Errno::BUSY
    )
}

/// Whether a descriptor says without being written that it is of no use: a pipe without a reader.
pub(super) fn is_broken(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
    let broken = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().intersects(broken)
}

fn is_writable(fd: impl AsFd, limit: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: limit.subsec_nanos().into(),
    };
    poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&timeout)).is_ok_and(|ready| ready > 0)
}
