//! Whether the devices run: `stop` and `cont`.
//!
//! A device that honours it moves no bytes while it is stopped; what its program or peer sends
//! waits where it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The state of all devices. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct RunState {
    state: Arc<Mutex<Stopped>>,
}

#[derive(Debug, Default)]
struct Stopped {
    stopped: bool,
    waiting: Vec<Waker>,
}

impl RunState {
    /// Whether the devices run.
    pub fn is_running(&self) -> bool {
        !self.lock().stopped
    }

    /// Stops the devices, or lets them go on; `false` if they did that already.
    pub fn set_running(&self, running: bool) -> bool {
        let wakers = {
            let mut state = self.lock();
            if state.stopped != running {
                return false;
            }
            state.stopped = !running;
            std::mem::take(&mut state.waiting)
        };
        wakers.into_iter().for_each(Waker::wake);
        true
    }

    /// Ready while the devices run.
    pub fn poll_running(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.stopped {
            return Poll::Ready(());
        }
        let waits = |waker: &Waker| waker.will_wake(cx.waker());
        if !state.waiting.iter().any(waits) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Stopped> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
