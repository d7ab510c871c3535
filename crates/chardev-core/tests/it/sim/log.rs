//! front → [log]: a log with little room, for which output waits or does not.

use std::sync::{Arc, Mutex, MutexGuard};

use chardev_core::LogSink;

/// A log with little room that keeps what it was given in one step.
#[derive(Clone, Debug, Default)]
pub(super) struct SimLog(Arc<Mutex<LogState>>);

#[derive(Debug, Default)]
pub(super) struct LogState {
    pub(super) room: usize,
    /// Output waits for room.
    pub(super) prompt: bool,
    pub(super) watched: bool,
    pub(super) activated: u32,
    /// What came in one step; `None` is a byte of a hole.
    pub(super) pushed: Vec<Option<u8>>,
    pub(super) inside_hole: bool,
}

impl SimLog {
    pub(super) fn new(room: usize, prompt: bool) -> Self {
        let log = SimLog::default();
        log.state().room = room;
        log.state().prompt = prompt;
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

    fn push(&mut self, bytes: &[u8]) -> usize {
        let mut state = self.state();
        assert!(!state.inside_hole, "a hole goes on behind what is pushed");
        state.room -= bytes.len();
        state.pushed.extend(bytes.iter().copied().map(Some));
        bytes.len()
    }

    fn is_prompt(&self) -> bool {
        self.state().prompt
    }

    fn skip(&mut self, bytes: u64) {
        let mut state = self.state();
        state.inside_hole = true;
        let len = state.pushed.len() + bytes as usize;
        state.pushed.resize(len, None);
    }

    fn go_on(&mut self) {
        let mut state = self.state();
        assert!(state.inside_hole, "a hole ends that had not begun");
        state.inside_hole = false;
    }

    fn watch(&mut self) {
        self.state().watched = true;
    }

    fn activate(&mut self) {
        self.state().activated += 1;
    }
}
