//! The sessions that a gate has.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::relay::Session;

/// The sessions there are.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: Mutex<Vec<Arc<Session>>>,
    count: Mutex<usize>,
    fewer: Condvar,
}

impl Sessions {
    /// Gives all up.
    pub(super) fn give_up(&self, why: &str) {
        let all = self.lock().clone();
        all.iter().for_each(|it| it.give_up(why));
    }

    /// Waits until none are counted, but no longer than `limit`.
    pub(super) fn wait_for_none(&self, limit: Duration) {
        let count = self.count.lock();
        let count = count.unwrap_or_else(PoisonError::into_inner);
        drop(
            self.fewer
                .wait_timeout_while(count, limit, |count| *count > 0),
        );
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Arc<Session>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts as a session until it is dropped.
pub(super) struct Counted(pub(super) Arc<Sessions>);

impl Counted {
    pub(super) fn new(sessions: &Arc<Sessions>) -> Counted {
        *sessions
            .count
            .lock()
            .unwrap_or_else(PoisonError::into_inner) += 1;
        Counted(Arc::clone(sessions))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = self.0.count.lock();
        *count.unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.fewer.notify_all();
    }
}
