//! front → chardev → back → [host]: the few threads that write for all files, logs and indexes.
//!
//! Whoever has something to write is a [`Job`], and asks for a *step*: about one system call. What
//! a job waits for is not waited for by a thread, it is a time at which the job asks again.
//!
//! ```text
//!          rouse            the gate is open            Again
//!   idle ─────────▶ ready ───────────────────▶ at work ───────▶ ready, urgent
//!    ▲                │ rouse, now             ▲  │  │   At
//!    │                └───────▶ urgent ────────┘  │  └─────────▶ waiting ─▶ urgent
//!    └─────────────────── Done ───────────────────┘                 time, rouse
//! ```
//!
//! *Pace.* Ten thousand consoles that print a line now and then would be a system call for each
//! line. So what is ready is gone through in *passes*: each takes who is ready at its beginning,
//! and between two is a rest of [`REST`](state::REST), or as long as keeps the passes at a tenth of
//! a CPU, but never longer than [`LONGEST_REST`](state::LONGEST_REST). What comes after such a rest
//! is written at once, so a line after a silence waits for nothing. The urgent do not wait for a
//! pass: who has much, is to come to an end, or is waited for.
//!
//! *What hangs.* A step may never come back (a server that is gone). One that has taken longer than
//! [`HANGS`](state::HANGS) keeps its thread for itself, and counts no more among those at work, so
//! that another thread goes on with the rest. Of one device no more than
//! [`HANG_TOGETHER`](state::HANG_TOGETHER) steps hang at a time; its other jobs are *held* until
//! one of them comes back. So the number of threads is bound by that of the devices, not of the
//! jobs.
//!
//! Invariants: a job is at one place, and no two threads do its steps at the same time. Who is
//! roused has a step that begins after that. While somebody is ready and somebody at work, a thread
//! watches. With nothing to do there is no thread.

mod state;

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::state::{Turns, URGENT_TOGETHER};
use crate::threads::new_thread;

/// The most threads, those that hang included.
const MOST: usize = 256;
/// A thread that has had nothing to do for so long ends, unless it watches others.
const IDLE: Duration = Duration::from_secs(2);

/// All writers of the process.
pub(super) static CREW: Crew = Crew::new();

thread_local! {
    /// The step that this thread does.
    static STEP: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Somebody who has something to write from time to time.
pub(super) trait Job: Send + Sync {
    /// Its place in the crew.
    fn ticket(&self) -> &Ticket;

    /// What hangs together with it, if anything does.
    fn device(&self) -> u64;

    /// Does about one system call, which may hang.
    fn step(self: Arc<Self>) -> Next;
}

/// What comes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing, until it is roused.
    Done,
    /// Another step.
    Again(Haste),
    /// Another step at this time, or when it is roused.
    At(Instant),
}

/// When a step is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// With the next pass.
    Paced,
    Now,
}

/// Where a job is.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    /// Only looked at with the crew's lock held.
    place: Mutex<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Idle,
    Ready,
    Urgent,
    AtWork,
    /// At work, and roused since that began.
    Roused(Haste),
    Waiting(Instant),
    /// Its device hangs.
    Held,
}

pub(super) struct Crew {
    state: Mutex<Turns>,
    /// There is something to do or to wait for.
    changed: Condvar,
}

impl Ticket {
    pub(super) fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Ticket {
            number: LAST.fetch_add(1, Ordering::Relaxed),
            place: Mutex::new(Place::Idle),
        }
    }

    /// The device of a job that hangs with no other one.
    pub(super) fn own_device(&self) -> u64 {
        self.number | 1 << 63
    }

    fn get(&self) -> Place {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }
}

/// Runs `wait`, which may wait for another job, while other threads do what this one does not.
pub(super) fn aside<R>(wait: impl FnOnce() -> R) -> R {
    let Some(step) = STEP.get() else {
        return wait();
    };
    CREW.set_aside(step, true);
    let result = wait();
    CREW.set_aside(step, false);
    result
}

impl Crew {
    pub(super) const fn new() -> Self {
        Crew {
            state: Mutex::new(Turns::new()),
            changed: Condvar::new(),
        }
    }

    /// `job` has a step after this. Does not wait, and may be called with the job's locks held.
    ///
    /// # Errors
    /// There is no thread and none can be started. The job stays ready for when there is one.
    pub(super) fn rouse(&'static self, job: Arc<dyn Job>, haste: Haste) -> io::Result<()> {
        let mut state = self.lock();
        let is_first = state.enqueue(job, haste);
        let now_or_watched = haste == Haste::Now || !state.at_work.is_empty() || state.is_open();
        if is_first && now_or_watched {
            self.changed.notify_one();
        }
        self.staff(&mut state)
    }

    /// Sees to it that somebody does what is to be done, and that somebody watches.
    fn staff(&'static self, state: &mut Turns) -> io::Result<()> {
        let (working, free) = (state.working(), state.threads - state.hanging());
        let most = URGENT_TOGETHER + 2;
        let wanted = state.has_work() && state.idle == 0 && free < (working + 1).min(most);
        if !wanted || state.threads >= MOST {
            return Ok(());
        }
        let thread = new_thread("chardev-disk");
        match thread.and_then(|thread| thread.spawn(|| self.serve())) {
            Ok(_) => state.threads += 1,
            Err(error) if state.threads == 0 => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    fn serve(&'static self) {
        let mut worked = Instant::now();
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            state.look(now);
            if let Some((job, haste)) = state.take(now) {
                state = self.work(state, job, haste, now);
                worked = Instant::now();
                continue;
            }
            if now.duration_since(worked) >= IDLE && state.is_to_spare() {
                state.threads -= 1;
                return;
            }
            let limit = state.next_look(now).unwrap_or(IDLE);
            state.next_look = Some(now + limit);
            state.idle += 1;
            let waited = self.changed.wait_timeout(state, limit);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
        }
    }

    /// Has `job` do a step, with the lock released meanwhile.
    fn work<'a>(
        &'static self,
        mut state: MutexGuard<'a, Turns>,
        job: Arc<dyn Job>,
        haste: Haste,
        now: Instant,
    ) -> MutexGuard<'a, Turns> {
        let step = state.begin(&*job, haste, now);
        let _ = self.staff(&mut state);
        if state.has_work() && state.idle > 0 && !state.is_watched(now) {
            self.changed.notify_one();
        }
        drop(state);
        STEP.set(Some(step));
        let next = catch_unwind(AssertUnwindSafe(|| Arc::clone(&job).step()));
        STEP.set(None);
        let mut state = self.lock();
        let again = state.end(step, &job, next.unwrap_or(Next::Done));
        if again && state.idle > 0 {
            self.changed.notify_one();
        }
        let stale = std::mem::take(&mut state.stale);
        drop(state);
        // What they hold may have to be closed.
        drop((job, stale));
        self.lock()
    }

    fn set_aside(&'static self, step: u64, aside: bool) {
        let mut state = self.lock();
        if let Some(step) = state.at_work.get_mut(&step) {
            (step.hangs, step.since) = (aside, Instant::now());
        }
        let _ = self.staff(&mut state);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may wait")]
mod tests;
