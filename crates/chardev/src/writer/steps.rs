//! front → chardev → back → [host]: what a writer does with its turns.
//!
//! A step takes what is queued, and writes it with one call. Whatever it would have to wait for
//! (an earlier writer of the same file, a full disk, a FIFO that nobody reads) is looked at again
//! by a later step, so that no thread waits.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::crew::{CREW, Haste, Job, Next, Ticket};
use super::trouble::{RETRY_MAX, RETRY_MIN, Stopped, Trouble};
use super::{LOOK_AGAIN, MUCH, Target, WRITTEN, WriterState, Writing};
use crate::disk;
use crate::sys::strerror;

/// What is left from one step to the next.
#[derive(Debug)]
pub(super) struct Work {
    /// Picked up, and not written yet.
    pub(super) chunk: VecDeque<u8>,
    /// The last attempt has failed.
    pub(super) trouble: Option<Trouble>,
    /// How long to wait after the next failure.
    pub(super) pause: Duration,
}

impl Default for Work {
    fn default() -> Self {
        Work {
            chunk: VecDeque::new(),
            trouble: None,
            pause: RETRY_MIN,
        }
    }
}

impl Job for Writing {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn device(&self) -> u64 {
        match self.file() {
            Some((device, _)) => device,
            None => self.ticket.own_device(),
        }
    }

    fn step(self: Arc<Self>) -> Next {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = match self.advance(&mut work) {
            Ok(next) => return next,
            Err(stopped) => stopped,
        };
        *work = Work::default();
        drop(work);
        match stopped {
            Stopped::Closed => self.give_up(),
            Stopped::Dead => self.die(),
        }
        Next::Done
    }
}

impl Writing {
    pub(super) fn lock(&self) -> MutexGuard<'_, WriterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn target(&self) -> Arc<Target> {
        Arc::clone(&self.target.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Device and inode, for files where the order of two writers can be seen.
    pub(super) fn file(&self) -> Option<(u64, u64)> {
        self.target().ordered_file()
    }

    /// Logs wait for the next pass. A file is where a console goes, and whoever has seen its output
    /// elsewhere looks for it there.
    pub(super) fn pace(&self) -> Haste {
        match self.log {
            Some(_) => Haste::Paced,
            None => Haste::Now,
        }
    }

    /// Has a step done, also one that looks at something else than bytes.
    pub(super) fn rouse(self: &Arc<Self>, state: &mut WriterState, haste: Haste) {
        state.scheduled = true;
        let job: Arc<dyn Job> = Arc::<Writing>::clone(self);
        if let Err(error) = CREW.rouse(job, haste) {
            tracing::warn!("cannot start a thread to write '{}': {error}", self.name);
            let shared = Arc::clone(self);
            self.port.spawn(async move {
                tokio::time::sleep(RETRY_MAX).await;
                shared.rouse(&mut shared.lock(), haste);
            });
        }
    }

    /// Does a step here, on a thread that may wait, as if the crew had been asked for it.
    pub(super) fn step_here(self: Arc<Self>) {
        let haste = match Arc::clone(&self).step() {
            Next::Done => return,
            Next::Again(haste) => haste,
            Next::At(_) => Haste::Now,
        };
        self.rouse(&mut self.lock(), haste);
    }

    fn advance(self: &Arc<Self>, work: &mut Work) -> Result<Next, Stopped> {
        let mut state = self.lock();
        while state.owes_report() {
            state = self.report_room(state);
        }
        if work.chunk.is_empty() {
            if !state.has_work() {
                state.scheduled = false;
                return Ok(Next::Done);
            }
            std::mem::swap(&mut state.queue, &mut work.chunk);
        }
        drop(state);
        if let Some(until) = self.still_waits(work)? {
            return Ok(Next::At(until));
        }
        if let Some(until) = self.look_for_turn()? {
            return Ok(Next::At(until));
        }
        if let Some(until) = self.write_some(work)? {
            return Ok(Next::At(until));
        }
        Ok(self.what_next(work))
    }

    /// After something was written, or there was nothing to write.
    fn what_next(&self, work: &mut Work) -> Next {
        let mut state = self.lock();
        while state.owes_report() {
            state = self.report_room(state);
        }
        if !work.chunk.is_empty() || state.pending() >= MUCH {
            return Next::Again(Haste::Now);
        }
        // An idle writer has no buffer.
        work.chunk = VecDeque::new();
        match state.has_work() {
            true => Next::Again(self.pace()),
            false => {
                state.scheduled = false;
                Next::Done
            }
        }
    }

    /// When to look again for the end of an earlier writer of the same file; fails if one that will
    /// not end stands in the way of a writer that nobody holds any more.
    fn look_for_turn(self: &Arc<Self>) -> Result<Option<Instant>, Stopped> {
        let mut before = std::mem::take(&mut self.lock().after);
        while let Some((other, target)) = before.last() {
            let pause = self.follow_after(other, *target)?;
            if let Some(pause) = pause {
                self.lock().after = before;
                return Ok(Some(Instant::now() + pause));
            }
            before.pop();
        }
        let truncate = self.lock().truncate;
        if truncate {
            self.empty_file();
            let mut state = self.lock();
            (state.truncate, state.empties_first) = (false, false);
            self.tell_followers(&mut state);
            drop(state);
            WRITTEN.notify_waiters();
        }
        Ok(None)
    }

    /// How long to wait for `other` to have written `target` bytes. It rouses this one, too.
    fn follow_after(
        self: &Arc<Self>,
        other: &Arc<Writing>,
        target: u64,
    ) -> Result<Option<Duration>, Stopped> {
        let mut state = other.lock();
        if state.written < target || state.truncate {
            let fails = state.failing.is_some();
            let this = Arc::downgrade(self);
            if !state.followers.iter().any(|other| other.ptr_eq(&this)) {
                state.followers.push(this);
            }
            drop(state);
            return match fails && self.lock().closed {
                true => Err(Stopped::Closed),
                false => Ok(Some(RETRY_MIN)),
            };
        }
        drop(state);
        let index = other.log.as_ref().and_then(|log| log.index.as_ref());
        Ok(index
            .is_some_and(|index| index.hurry())
            .then_some(LOOK_AGAIN))
    }

    /// A file that cannot be emptied after all is written at its end.
    fn empty_file(&self) {
        let target = self.target();
        if let Err(error) = disk::empty(&target.fd) {
            tracing::warn!("cannot truncate '{}': {}", self.name, strerror(error));
            let _ = rustix::fs::seek(&target.fd, rustix::fs::SeekFrom::End(0));
        }
    }

    /// Writes with one call; what did not work is tried again then.
    fn write_some(self: &Arc<Self>, work: &mut Work) -> Result<Option<Instant>, Stopped> {
        let most = self.prepare(&work.chunk);
        if work.chunk.is_empty() {
            self.recover(work);
            return Ok(None);
        }
        let (first, second) = work.chunk.as_slices();
        let first = &first[..first.len().min(most)];
        let second = &second[..second.len().min(most - first.len())];
        let bufs = [IoSlice::new(first), IoSlice::new(second)];
        let place = self.place();
        let count = match rustix::io::writev(&self.target().fd, &bufs) {
            Ok(count) if count > 0 => count,
            result => return self.fail(work, result.err()),
        };
        work.pause = RETRY_MIN;
        let mut state = self.lock();
        (state.failing, state.blocked) = (None, false);
        let from = state.written;
        drop(state);
        let lines = self.index_lines(&work.chunk, count, from, place);
        work.chunk.drain(..count);
        self.write_index(&lines);
        let mut state = self.lock();
        state.written += count as u64;
        self.report_progress(&mut state);
        drop(state);
        self.recover(work);
        Ok(None)
    }

    fn recover(&self, work: &Work) {
        if self.log.is_some() && work.chunk.is_empty() {
            self.tell_recovery();
        }
    }

    /// Tells who waits for this writer, and who waits for all.
    pub(super) fn report_progress(&self, state: &mut WriterState) {
        self.tell_followers(state);
        if state.pending() == 0 {
            state.late = false;
            WRITTEN.notify_waiters();
        }
    }

    fn tell_followers(&self, state: &mut WriterState) {
        for follower in std::mem::take(&mut state.followers) {
            if let Some(follower) = follower.upgrade() {
                // It has work, and so it is scheduled.
                let _ = CREW.rouse(follower, Haste::Now);
            }
        }
    }

    /// Nobody who ends waits for this one.
    pub(super) fn report_stuck(&self) {
        WRITTEN.notify_waiters();
    }
}
