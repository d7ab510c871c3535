//! front → chardev → back → [host]: what happens when a file cannot be written.
//!
//! The bytes of a back end stay queued and are tried again: the queue fills up and the front end
//! waits, as it would for any slow peer. A log is secondary: its path is opened anew where the
//! descriptor is of no use any more, and one that has no path is given up, until later output shows
//! that it takes bytes again. What a log is missing is in [`hole`](super::hole).

use std::os::fd::AsFd;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use chardev_core::Ready;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::crew::Haste;
use super::rotation::LogFile;
use super::steps::Work;
use super::{WriterState, Writing};
use crate::sys::{async_fd, strerror};

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

/// A failed attempt to write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    /// `None` where the descriptor takes nothing now, and says so.
    error: Option<Errno>,
    /// When it is tried again.
    until: Instant,
}

impl Work {
    /// A pause begins, and the next one is longer.
    fn wait(&mut self, error: Option<Errno>) -> Instant {
        let until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(RETRY_MAX);
        self.trouble = Some(Trouble { error, until });
        until
    }
}

impl Writing {
    /// An attempt failed, with `error` or by writing nothing: when to try again.
    pub(super) fn fail(
        self: &Arc<Self>,
        work: &mut Work,
        error: Option<Errno>,
    ) -> Result<Option<Instant>, Stopped> {
        let error = error.unwrap_or(Errno::IO);
        if error == Errno::INTR {
            return Ok(None);
        }
        if error == Errno::AGAIN {
            self.rouse_when_writable();
            return Ok(Some(work.wait(None)));
        }
        self.warn_once(error);
        let named = self.log.as_ref().is_none_or(LogFile::has_name);
        match is_permanent(error) && !named {
            true => Err(Stopped::Dead),
            false => Ok(Some(work.wait(Some(error)))),
        }
    }

    /// How long the pause after a failed attempt goes on; fails if nobody holds the writer any
    /// more.
    pub(super) fn still_waits(
        self: &Arc<Self>,
        work: &mut Work,
    ) -> Result<Option<Instant>, Stopped> {
        let Some(Trouble { error, until }) = work.trouble else {
            return Ok(None);
        };
        let is_over = Instant::now() >= until;
        let Some(error) = error else {
            return self.still_full(work, until, is_over);
        };
        if self.lock().closed {
            return Err(Stopped::Closed);
        }
        if !is_over {
            return Ok(Some(until));
        }
        if let Some(log) = self.log.as_ref().filter(|_| is_permanent(error)) {
            // If it cannot be opened either, that is tried again as well.
            let _ = self.open_anew(log);
        }
        self.turn_early();
        work.trouble = None;
        Ok(None)
    }

    /// A FIFO or a terminal as a log file is full; its reader decides when that changes.
    fn still_full(
        self: &Arc<Self>,
        work: &mut Work,
        until: Instant,
        is_over: bool,
    ) -> Result<Option<Instant>, Stopped> {
        if is_writable(&self.target().fd) {
            work.trouble = None;
            return Ok(None);
        }
        if !is_over {
            return Ok(Some(until));
        }
        let mut state = self.lock();
        if !std::mem::replace(&mut state.blocked, true) {
            self.report_stuck();
        }
        match state.closed {
            true => Err(Stopped::Closed),
            false => Ok(Some(work.wait(None))),
        }
    }

    /// A task waits for what the kernel tells; without one it is found out when the pause is over.
    fn rouse_when_writable(self: &Arc<Self>) {
        if std::mem::replace(&mut self.lock().awaited, true) {
            return;
        }
        let shared = Arc::downgrade(self);
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.target().fd, 0);
        self.port.spawn(async move {
            if let Ok(fd) = fd.map_err(Into::into).and_then(async_fd) {
                let _ = fd.writable().await;
            }
            if let Some(shared) = shared.upgrade() {
                let mut state = shared.lock();
                state.awaited = false;
                if state.scheduled {
                    shared.rouse(&mut state, Haste::Now);
                }
            }
        });
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

fn is_writable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}
