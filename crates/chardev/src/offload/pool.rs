//! Threads for what may wait, made as they are needed, in pools that do not know of each other:
//! what hangs in one keeps nothing in another waiting.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Work;
use crate::disposal::do_instead;
use crate::threads::new_thread;

/// An idle thread ends after this long.
const IDLE: Duration = Duration::from_secs(2);

/// Opening what a user named, which may take for ever.
pub(super) static OPENS: Pool = Pool::new("chardev-open", 256, Duration::from_secs(5));
/// What somebody awaits. No chardev asks for more than a few such things at a time.
pub(super) static AWAITED: Pool = Pool::new("chardev-offload", 2048, Duration::MAX);
/// What nobody waits for.
pub(super) static LEFT: Pool = Pool::new("chardev-elsewhere", 256, Duration::MAX);

/// A number of threads and what they are to do.
pub(super) struct Pool {
    name: &'static str,
    /// The most threads: so many things can hang before one waits for another.
    pub(super) most: usize,
    /// How long something waits for the others before it is given up.
    pub(super) patience: Duration,
    state: Mutex<Crew>,
    more: Condvar,
}

struct Crew {
    queue: VecDeque<(u64, Work)>,
    last: u64,
    idle: usize,
    threads: usize,
}

/// Work that waits until others have ended. Dropping this gives it up, unless it has begun.
pub(super) struct Waiting {
    pub(super) pool: &'static Pool,
    pub(super) number: u64,
}

impl Pool {
    pub(super) const fn new(name: &'static str, most: usize, patience: Duration) -> Self {
        let state = Crew {
            queue: VecDeque::new(),
            last: 0,
            idle: 0,
            threads: 0,
        };
        Pool {
            name,
            most,
            patience,
            state: Mutex::new(state),
            more: Condvar::new(),
        }
    }

    /// Has `work` done on a thread of its own or, where there are too many, once another has ended:
    /// its number then.
    pub(super) fn run(&'static self, work: Work) -> Option<u64> {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.queue.push_back((number, work));
        self.more.notify_one();
        if state.queue.len() <= state.idle {
            return None;
        }
        if state.threads >= self.most {
            return Some(number);
        }
        let thread = new_thread(self.name);
        match thread.and_then(|thread| thread.spawn(|| self.serve())) {
            Ok(_) => state.threads += 1,
            Err(_) if state.threads > 0 => return Some(number),
            // Not here, where it may wait under a lock.
            Err(_) => {
                let rest = std::mem::take(&mut state.queue);
                drop(state);
                rest.into_iter().for_each(|(_, work)| do_instead(work));
            }
        }
        None
    }

    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if let Some((_, work)) = state.queue.pop_front() {
                drop(state);
                // Whoever awaits it is told; the thread goes on.
                let _ = catch_unwind(AssertUnwindSafe(work));
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let waited = self.more.wait_timeout(state, IDLE);
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = next;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Crew> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Gives the work up; `false` if it has begun.
    pub(super) fn give_up(&self) -> bool {
        let mut state = self.pool.lock();
        let is_it = |(number, _): &(u64, Work)| *number == self.number;
        let at = state.queue.iter().position(is_it);
        let work = at.and_then(|at| state.queue.remove(at));
        drop(state);
        let found = work.is_some();
        // What it holds may have to be closed.
        if found {
            super::sometime(move || drop(work));
        }
        found
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.give_up();
    }
}
