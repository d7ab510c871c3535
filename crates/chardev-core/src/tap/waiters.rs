//! front → [chardev: scrollback] → viewers: who waits for output.
//!
//! The writer of the output never waits for a viewer's thread, which may be preempted while it
//! registers: if the list is taken, the writer leaves a note and whoever has the list wakes.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, fence};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::task::Waker;

use crate::few::Few;

/// Wakers to be woken once.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    wakers: Mutex<Vec<Waker>>,
    /// Somebody is in the list.
    armed: AtomicBool,
    /// News came while the list was taken.
    missed: AtomicBool,
}

impl Waiters {
    /// Adds `waker`, unless it is there. Look again afterwards: what came before is not told.
    pub(super) fn register(&self, waker: &Waker) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        if !wakers.iter().any(|other| other.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        self.armed.store(true, SeqCst);
        drop(wakers);
        fence(SeqCst);
        while self.missed.swap(false, SeqCst) {
            let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            self.armed.store(false, SeqCst);
            let woken = std::mem::take(&mut *wakers);
            drop(wakers);
            woken.into_iter().for_each(Waker::wake);
            fence(SeqCst);
        }
    }

    /// Moves everybody into `woken`. News must be visible before this call.
    pub(super) fn take(&self, woken: &mut Few<Waker>) {
        fence(SeqCst);
        if !self.armed.load(SeqCst) {
            return;
        }
        self.missed.store(true, SeqCst);
        fence(SeqCst);
        let mut wakers = match self.wakers.try_lock() {
            Ok(wakers) => wakers,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            // Whoever has the list looks at the note after giving it back.
            Err(TryLockError::WouldBlock) => return,
        };
        self.missed.store(false, SeqCst);
        self.armed.store(false, SeqCst);
        woken.extend(wakers.drain(..));
    }
}
