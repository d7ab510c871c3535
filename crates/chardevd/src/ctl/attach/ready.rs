//! What the loop waits for, and for how long.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::pump::{BUFFER, Pump, SILENCE};
use super::reason::Reason;
use crate::ctl::failure::Failure;
use crate::ctl::waiting::timespec;

/// Which of the descriptors are ready.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readiness {
    pub(super) typed: bool,
    pub(super) console_in: bool,
    pub(super) console_out: bool,
    pub(super) shown: bool,
    pub(super) gone: bool,
    pub(super) signal: bool,
    pub(super) link: bool,
}

/// A descriptor, what to wait for on it, and where to note that it is ready.
type Want<'fd> = (BorrowedFd<'fd>, PollFlags, fn(&mut Readiness));

impl Pump<'_> {
    pub(super) fn wait(&self) -> Result<Readiness, Failure> {
        let stdin = io::stdin();
        let mut want: Vec<Want<'_>> =
            vec![(self.signals.get_read().as_fd(), PollFlags::IN, |ready| {
                ready.signal = true
            })];
        if !self.input_ended && self.leaving.is_none() && self.typed.len() < BUFFER {
            want.push((stdin.as_fd(), PollFlags::IN, |ready| ready.typed = true));
        }
        if self.screen.has_room() && !self.console_ended {
            want.push((self.console.as_fd(), PollFlags::IN, |ready| {
                ready.console_in = true
            }));
        }
        if self.has_input() && !self.console_ended && self.size_wait().is_none() {
            want.push((self.console.as_fd(), PollFlags::OUT, |ready| {
                ready.console_out = true
            }));
        }
        if self.screen.is_waiting() {
            want.push((self.screen.fd(), PollFlags::OUT, |ready| ready.shown = true));
        } else if !self.screen.has_ended() {
            want.push((self.screen.fd(), PollFlags::empty(), |ready| {
                ready.gone = true
            }));
        }
        if let Some(link) = self.link.fd() {
            want.push((link, PollFlags::IN, |ready| ready.link = true));
        }
        let fds: Vec<_> = want.iter().map(|(fd, flags, _)| (*fd, *flags)).collect();
        let found = match &mut *self.driver.borrow_mut() {
            Some(driver) => driver.poll(&fds, self.timeout()),
            None => look(&fds, self.timeout()),
        };
        let found = found.map_err(|error| format!("poll: {error}"))?;
        let mut ready = Readiness::default();
        for (found, (_, _, mark)) in found.iter().zip(&want) {
            if !found.is_empty() {
                mark(&mut ready);
            }
        }
        Ok(ready)
    }

    /// How long to wait at most; for ever where only descriptors matter.
    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let leaving = self
            .leaving
            .map(|until| until.saturating_duration_since(now));
        let silence = self.silence();
        let silence = silence.map(|silence| silence.saturating_sub(self.active.elapsed()));
        let size = self.size_wait().filter(|_| !self.typed.is_empty());
        let file = self.sending.as_ref().and_then(|file| file.pause());
        [leaving, silence, size, file].into_iter().flatten().min()
    }

    /// Whether there is something for the console now.
    fn has_input(&self) -> bool {
        let file = self.sending.as_ref();
        !self.typed.is_empty() || file.is_some_and(|file| file.pause().is_none())
    }

    /// How long keys still wait for the size of the terminal.
    fn size_wait(&self) -> Option<Duration> {
        let until = self.size_until.filter(|_| self.leaving.is_none())?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// How long the console must be silent for us to leave it, if only that is waited for.
    fn silence(&self) -> Option<Duration> {
        if self.leaving.is_some() || self.screen.is_waiting() {
            return None;
        }
        match self.reason {
            Some(Reason::Program(_)) => Some(SILENCE),
            _ if self.input_ended && self.typed.is_empty() => Some(self.idle),
            _ => None,
        }
    }

    pub(super) fn leave_if_idle(&mut self) {
        let hung_up = self.input_ended && self.terminal.is_some();
        let silence = self.silence();
        let silent = silence.is_some_and(|silence| self.active.elapsed() >= silence);
        if self.leaving.is_none() && (hung_up || silent || self.screen.has_ended()) {
            self.leave(Reason::Left);
        }
    }
}

/// Waits for descriptors.
fn look(
    wanted: &[(BorrowedFd<'_>, PollFlags)],
    timeout: Option<Duration>,
) -> io::Result<Vec<PollFlags>> {
    let fds = wanted.iter();
    let fds = fds.map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags));
    let mut fds: Vec<_> = fds.collect();
    match poll(&mut fds, timeout.map(timespec).as_ref()) {
        Ok(_) => Ok(fds.iter().map(PollFd::revents).collect()),
        Err(Errno::INTR) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
