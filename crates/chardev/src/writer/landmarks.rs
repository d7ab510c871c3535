//! front → [chardev] → back → host: landmarks of the output on their way to a log's index.
//!
//! One waits in its place among the bytes that were accepted, so that its line says truly where in
//! the file that is. One that comes inside a hole is put at the hole's end.

use std::fmt::Write as _;
use std::sync::Arc;

use chardev_core::{Landmark, LandmarkKind};

use super::crew::Haste;
use super::index::put_line;
use super::{WRITTEN, WriterState, Writing};

/// The most landmarks that wait for the disk, and the most that there are in the index of a file
/// that will be rotated: they must not make that larger than the log.
const MAX_WAITING: usize = 256;
const MAX_IN_FILE: usize = 4096;

/// A landmark that is not in the index yet.
#[derive(Clone, Debug)]
pub(super) struct Awaited {
    /// How many bytes were accepted before it.
    pub(super) at: u64,
    /// It comes after the hole that is there.
    pub(super) after_hole: bool,
    /// In microseconds.
    time: u64,
    words: String,
}

impl WriterState {
    /// Whether the first one comes before everything else.
    pub(super) fn landmark_is_due(&self) -> bool {
        let hole = self.holes.front().map(|hole| hole.at);
        self.landmarks
            .front()
            .is_some_and(|it| it.at <= self.written && !(it.after_hole && hole == Some(it.at)))
    }

    /// Everything accepted is given up, and missing in one hole: what was to be found in it is
    /// found at its end.
    pub(super) fn move_landmarks(&mut self) {
        for landmark in &mut self.landmarks {
            (landmark.at, landmark.after_hole) = (self.accepted, true);
        }
    }
}

impl Writing {
    /// There is a landmark after what was accepted and left out. Returns whether the index has room
    /// for it, if there is one.
    pub(super) fn note(self: &Arc<Self>, landmark: &Landmark) -> Option<bool> {
        if !self.indexes() {
            return None;
        }
        let mut state = self.lock();
        let waiting = state.landmarks.len();
        let room = self
            .log
            .as_ref()
            .and_then(|log| log.landmark_room(MAX_IN_FILE));
        if waiting >= MAX_WAITING || room.is_some_and(|room| waiting >= room) {
            return Some(false);
        }
        let at = state.accepted;
        let after_hole = state.holes.back().is_some_and(|hole| hole.at == at);
        state.landmarks.push_back(Awaited {
            at,
            after_hole,
            time: u64::try_from(landmark.time.as_micros()).unwrap_or(u64::MAX),
            words: words(&landmark.what),
        });
        // One that has no place of its own yet waits for the end of its hole.
        if state.landmark_is_due() {
            self.rouse(&mut state, Haste::Paced);
        }
        Some(true)
    }

    /// Puts the landmarks that come next into the index.
    pub(super) fn put_landmarks(&self) {
        let Some(log) = &self.log else { return };
        let mut lines = String::new();
        loop {
            let mut state = self.lock();
            if !state.landmark_is_due() {
                break;
            }
            let Some(landmark) = state.landmarks.pop_front() else {
                break;
            };
            let offset = state.times.base + landmark.at;
            // There is room for it, as `note` has seen to.
            log.count_landmark();
            drop(state);
            put_line(&mut lines, offset, landmark.time, self.place());
            // Writing to a string does not fail.
            let _ = writeln!(lines, " {}", landmark.words);
        }
        self.write_index(&lines);
        WRITTEN.notify_waiters();
    }
}

fn words(what: &LandmarkKind) -> String {
    match what {
        LandmarkKind::Mark { text, by } => format!("mark {text}\t{by}"),
        LandmarkKind::Change { to } => format!("change {to}"),
    }
}
