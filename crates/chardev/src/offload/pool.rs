//! Threads for what may wait and nobody waits for.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Work, to_the_end};

/// The most threads: so many things can hang before one waits for another.
const MOST: usize = 256;
/// An idle thread ends after this long.
const IDLE: Duration = Duration::from_secs(2);

static STATE: Mutex<State> = Mutex::new(State {
    queue: VecDeque::new(),
    idle: 0,
    threads: 0,
});
static MORE: Condvar = Condvar::new();

struct State {
    queue: VecDeque<Work>,
    idle: usize,
    threads: usize,
}

/// Has `work` done on a thread of its own.
pub(super) fn run(work: Work) {
    let mut state = lock();
    state.queue.push_back(work);
    MORE.notify_one();
    if state.queue.len() <= state.idle || state.threads >= MOST {
        return;
    }
    let thread = std::thread::Builder::new().name("chardev-elsewhere".to_owned());
    match thread.spawn(serve) {
        Ok(_) => state.threads += 1,
        Err(_) if state.threads > 0 => {}
        // With no thread to be had it is done here, late for others and not never.
        Err(_) => {
            let rest = std::mem::take(&mut state.queue);
            drop(state);
            rest.into_iter().for_each(|work| work());
        }
    }
}

fn serve() {
    let mut state = lock();
    loop {
        if let Some(work) = state.queue.pop_front() {
            drop(state);
            to_the_end(work);
            state = lock();
            continue;
        }
        state.idle += 1;
        let waited = MORE.wait_timeout(state, IDLE);
        let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state = next;
        state.idle -= 1;
        if timeout.timed_out() && state.queue.is_empty() {
            state.threads -= 1;
            return;
        }
    }
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
