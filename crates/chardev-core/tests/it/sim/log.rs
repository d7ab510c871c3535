//! front → [log]: a log with little room.

use std::sync::{Arc, Mutex, MutexGuard};

use chardev_core::LogSink;

/// A log with little room that keeps what it was given in one step.
#[derive(Clone, Debug, Default)]
pub(super) struct SimLog(Arc<Mutex<LogState>>);

#[derive(Debug, Default)]
pub(super) struct LogState {
    pub(super) room: usize,
    pub(super) watched: bool,
    pub(super) activated: u32,
    pub(super) pushed: Vec<u8>,
}

impl SimLog {
    pub(super) fn new(room: usize) -> Self {
        let log = SimLog::default();
        log.state().room = room;
        log
    }

    pub(super) fn state(&self) -> MutexGuard<'_, LogState> {
        self.0.lock().unwrap()
    }
}

impl LogSink for SimLog {
    fn room(&self) -> usize {
        self.state().room
    }

    fn push(&mut self, bytes: &[u8]) {
        let mut state = self.state();
        state.room -= bytes.len();
        state.pushed.extend(bytes);
    }

    fn watch(&mut self) {
        self.state().watched = true;
    }

    fn activate(&mut self) {
        self.state().activated += 1;
    }
}
