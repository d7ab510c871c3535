//! front → [chardev] → back → host: what is missing in a log that could not be written in time.
//!
//! Output waits for a log that is written, for [`PATIENCE`] at most; then the queue takes what fits
//! and the rest is left out, until there is room for a good part again. The place of each hole is
//! kept with the queue, so that the offsets behind it are true and the index has a line for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chardev_core::Ready;

use super::crew::Haste;
use super::rotation::now_in_micros;
use super::trouble::is_broken;
use super::{CAPACITY, ROOM_WORTH_REPORTING, WriterState, Writing};
use crate::offload::sometime;
use crate::sys::strerror;

/// How long output waits for a log that makes no room.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often a log that was given up is looked at again, when there is output for it.
const REVIVAL: Duration = Duration::from_secs(3);

/// Output that is left out after a certain byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    /// How many bytes were accepted before it.
    pub(super) at: u64,
    /// All that is missing.
    pub(super) bytes: u64,
    /// How much of it was never accepted, so that later numbers do not count it.
    pub(super) skipped: u64,
    /// When it began, in microseconds.
    pub(super) since: u64,
}

/// What is missing since the log was last written to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing {
    from: u64,
    bytes: u64,
    holes: u64,
}

impl WriterState {
    /// Bytes that a log takes now: none inside a hole before there is room for a good part.
    fn log_room(&self) -> usize {
        match self.room() {
            _ if self.dead.is_some() => 0,
            room if self.inside_hole && room < ROOM_WORTH_REPORTING => 0,
            room => room,
        }
    }

    /// The absolute offset of the next byte.
    fn next_offset(&self) -> u64 {
        let skipped: u64 = self.holes.iter().map(|hole| hole.skipped).sum();
        self.times.base + self.accepted + skipped
    }

    /// A hole that has come to its end and is next.
    pub(super) fn hole_is_due(&self) -> bool {
        let complete = self.holes.len() > usize::from(self.inside_hole);
        complete
            && self
                .holes
                .front()
                .is_some_and(|hole| hole.at == self.written)
    }

    fn note_missing(&mut self, from: u64, bytes: u64, begins: bool) {
        let missing = self.missing.get_or_insert(Missing {
            from,
            bytes: 0,
            holes: 0,
        });
        missing.bytes += bytes;
        missing.holes += u64::from(begins);
    }

    /// Everything accepted is given up. Returns its absolute offset and how much it is.
    fn empty(&mut self) -> (u64, u64) {
        let (from, lost) = (self.times.base + self.written, self.pending());
        let before: u64 = self.holes.iter().map(|hole| hole.bytes).sum();
        let skipped: u64 = self.holes.iter().map(|hole| hole.skipped).sum();
        let since = self.holes.front().map(|hole| hole.since);
        self.holes.clear();
        if lost + before > 0 {
            self.holes.push_back(Hole {
                at: self.accepted,
                bytes: lost + before,
                skipped,
                since: since.unwrap_or_else(now_in_micros),
            });
        }
        self.queue = std::collections::VecDeque::new();
        self.written = self.accepted;
        self.move_landmarks();
        self.reopened.clear();
        (from, lost)
    }
}

impl Writing {
    /// Bytes that a log takes now. One that was given up is looked at again from time to time.
    pub(super) fn log_room(&self) -> usize {
        let mut state = self.lock();
        if state.dead.is_some_and(|since| since.elapsed() >= REVIVAL) {
            state.dead = is_broken(&self.target().fd).then(Instant::now);
        }
        state.log_room()
    }

    /// Whether output may wait for room.
    pub(super) fn is_prompt(&self) -> bool {
        let state = self.lock();
        !state.late && !state.blocked && state.failing.is_none() && state.dead.is_none()
    }

    /// Output waits for room from now on; not for long.
    pub(super) fn begin_patience(self: &Arc<Self>, state: &mut WriterState) {
        if state.late || state.failing.is_some() || std::mem::replace(&mut state.timing, true) {
            return;
        }
        let shared = Arc::clone(self);
        self.port.spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            let mut state = shared.lock();
            state.timing = false;
            if state.room() < ROOM_WORTH_REPORTING {
                state.late = true;
                drop(state);
                shared.port.kick(Ready::WRITE);
            }
        });
    }

    /// `bytes` are missing after what was accepted.
    pub(super) fn skip(self: &Arc<Self>, bytes: u64) {
        let mut state = self.lock();
        let (from, at) = (state.next_offset(), state.accepted);
        let begins = !std::mem::replace(&mut state.inside_hole, true);
        let first = state.missing.is_none() && state.failing.is_none();
        state.note_missing(from, bytes, begins);
        match state.holes.back_mut() {
            Some(hole) if !begins || hole.at == at => {
                hole.bytes += bytes;
                hole.skipped += bytes;
            }
            _ => state.holes.push_back(Hole {
                at,
                bytes,
                skipped: bytes,
                since: now_in_micros(),
            }),
        }
        drop(state);
        if first {
            // The chardev's lock is held, and whoever writes messages may wait.
            let shared = Arc::clone(self);
            sometime(move || {
                let name = &shared.name;
                tracing::warn!(
                    "the log '{name}' cannot keep up; it has a hole from offset {from} on"
                );
            });
        }
    }

    /// The last hole has come to its end.
    pub(super) fn go_on(self: &Arc<Self>) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.inside_hole, false) {
            state.dead = None;
            self.rouse(&mut state, Haste::Paced);
        }
    }

    /// Why nothing is written, where that is known.
    pub(super) fn trouble(&self) -> Option<String> {
        let state = self.lock();
        match state.failing {
            Some(error) => Some(strerror(error)),
            None if state.blocked => Some("nobody reads it".to_owned()),
            None if state.late => Some("it takes too long".to_owned()),
            None => None,
        }
    }

    /// Nothing can be written any more: what is queued is lost. Later output may find it alive.
    pub(super) fn die(&self) {
        let mut state = self.lock();
        let (from, lost) = state.empty();
        let begins = !state.inside_hole;
        state.note_missing(from, lost, begins);
        state.inside_hole = true;
        state.dead = Some(Instant::now());
        state.scheduled = false;
        (state.truncate, state.empties_first) = (false, false);
        self.report_progress(&mut state);
        drop(state);
        self.port.lost_in_log(from, lost, false);
    }

    /// The writer was let go and cannot be written: what is queued is lost.
    pub(super) fn give_up(&self) {
        let mut state = self.lock();
        let (from, lost) = state.empty();
        state.inside_hole = false;
        (state.truncate, state.empties_first) = (false, false);
        state.scheduled = false;
        self.report_progress(&mut state);
        drop(state);
        if lost == 0 {
            return;
        }
        tracing::warn!("{lost} bytes could not be written to '{}'", self.name);
        if self.log.is_some() {
            self.mark_holes();
            self.put_landmarks();
            self.port.lost_in_log(from, lost, true);
        }
    }

    /// Whether everything has been written again after something could not be.
    pub(super) fn tell_recovery(&self) {
        let mut state = self.lock();
        if state.pending() > 0 || state.inside_hole || !state.holes.is_empty() {
            return;
        }
        state.late = false;
        let Some(missing) = state.missing.take() else {
            return;
        };
        drop(state);
        let (name, Missing { from, bytes, holes }) = (&self.name, missing);
        tracing::warn!(
            "the log '{name}' is being written again; {bytes} bytes from offset {from} on are missing, in \
             {holes} hole{}",
            if holes == 1 { "" } else { "s" }
        );
    }
}

// A hole ends when there is room for this much, so there are few of them in a queue.
const _: () = assert!(ROOM_WORTH_REPORTING <= CAPACITY / 4);
