//! front → chardev → back → [host]: a break on the line, which the kernel begins only when all that
//! was written before it has been sent.
//!
//! That may take minutes on a slow line and for ever on one that is held back, so a thread waits
//! for it.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::offload::sometime;
use crate::slow_fd::SlowFd;
use crate::sys;

/// The break of one device.
#[derive(Default)]
pub(super) struct LineBreak(Arc<Mutex<Breaking>>);

#[derive(Default)]
struct Breaking {
    wanted: bool,
    /// Wanted since the last one began: it is sent even if it was to end meanwhile.
    owed: bool,
    is_on: bool,
    /// A thread is about it.
    busy: bool,
    /// Nothing is begun or ended for now.
    held: bool,
}

impl LineBreak {
    /// Begins or ends a break of `device`, without waiting.
    pub(super) fn set(&self, device: &Arc<SlowFd>, on: bool) {
        let device = Arc::clone(device);
        self.set_by(on, move |on| apply(&device, on));
    }

    /// Begins and ends nothing until [`LineBreak::release`].
    pub(super) fn hold(&self) {
        lock(&self.0).held = true;
    }

    /// Goes on with what was wanted meanwhile.
    pub(super) fn release(&self, device: &Arc<SlowFd>) {
        let device = Arc::clone(device);
        lock(&self.0).held = false;
        self.start(move |on| apply(&device, on));
    }

    /// One that has not begun must not begin when nobody is left to end it.
    pub(super) fn give_up(&self) {
        let mut state = lock(&self.0);
        (state.wanted, state.owed, state.held) = (false, false, false);
    }

    fn set_by(&self, on: bool, apply: impl Fn(bool) + Send + 'static) {
        let mut state = lock(&self.0);
        state.owed |= on && !state.wanted;
        state.wanted = on;
        drop(state);
        self.start(apply);
    }

    fn start(&self, apply: impl Fn(bool) + Send + 'static) {
        let mut state = lock(&self.0);
        if state.busy || state.next().is_none() {
            return;
        }
        state.busy = true;
        drop(state);
        let shared = Arc::clone(&self.0);
        sometime(move || {
            loop {
                let mut state = lock(&shared);
                let Some(on) = state.next() else {
                    state.busy = false;
                    return;
                };
                state.is_on = on;
                state.owed &= !on;
                drop(state);
                apply(on);
            }
        });
    }
}

fn apply(device: &SlowFd, on: bool) {
    // A device that has none, or is gone, sends none.
    let _ = sys::set_break(device.as_fd(), on);
}

impl Breaking {
    /// What is to be done to the line next.
    fn next(&self) -> Option<bool> {
        match self.is_on {
            _ if self.held => None,
            true => (self.owed || !self.wanted).then_some(false),
            false => (self.owed || self.wanted).then_some(true),
        }
    }
}

fn lock(state: &Mutex<Breaking>) -> MutexGuard<'_, Breaking> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// Sets what `wanted` says while the line is held back: what is done to it afterwards.
    fn done_after(wanted: &[bool]) -> Vec<bool> {
        let line = LineBreak::default();
        let (go, gone) = channel::<()>();
        let gone = Arc::new(Mutex::new(gone));
        let (tell, told) = channel();
        for on in wanted {
            let (tell, gone) = (tell.clone(), Arc::clone(&gone));
            line.set_by(*on, move |on| {
                // Fails once it is let go.
                let _ = gone.lock().unwrap().recv();
                tell.send(on).unwrap();
            });
        }
        drop((go, tell));
        let done = std::iter::from_fn(|| told.recv_timeout(DEADLINE).ok());
        done.collect()
    }

    #[test]
    fn nobody_waits_for_a_break_and_each_is_sent() {
        assert_eq!(done_after(&[false]), [false; 0]);
        assert_eq!(done_after(&[true]), [true]);
        assert_eq!(done_after(&[true, true]), [true]);
        assert_eq!(done_after(&[true, false, false]), [true, false]);
    }

    #[test]
    fn one_that_is_held_is_sent_afterwards() {
        let line = LineBreak::default();
        let (tell, told) = channel();
        let apply = move |on| tell.send(on).unwrap();
        line.hold();
        line.set_by(true, apply.clone());
        line.set_by(false, apply.clone());
        assert!(!lock(&line.0).busy);
        lock(&line.0).held = false;
        line.start(apply);
        let done = std::iter::from_fn(|| told.recv_timeout(DEADLINE).ok());
        assert_eq!(done.take(2).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn one_that_comes_while_another_waits_follows_it() {
        let twice = done_after(&[true, false, true, false]);
        assert!(
            twice == [true, false, true, false] || twice == [true, false],
            "{twice:?}"
        );
        assert_eq!(done_after(&[true, false, true]).last(), Some(&true));
    }
}
