//! front → chardev → back → [host]: reopening a log at its path after somebody has renamed the
//! file.
//!
//! What was accepted before that goes to the old file. One that does not open is tried again, and
//! the old file goes on meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chardev_core::OpenError;
use chardev_core::text::{from_os, shown_path};

use super::crew::Haste;
use super::rotation::{LogFile, open_both};
use super::{Target, WriterState, Writing, could_not};
use crate::slow_fd::SlowFd;

/// The most reopenings that wait for the disk.
const MAX_REOPENED: usize = 16;
/// How long until a path that could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// A file that is to be written from a certain byte on.
#[derive(Debug)]
pub(super) struct Reopened {
    pub(super) at: u64,
    pub(super) target: Target,
    pub(super) index: Option<SlowFd>,
}

/// What becomes of a path that is to be opened anew.
#[derive(Debug, Default)]
pub(super) struct Reopening {
    /// It is being opened, and whether somebody has asked again since.
    running: Option<bool>,
    /// It could not be opened, and is tried again.
    owed: bool,
    /// Somebody waits for the time to try again.
    timed: bool,
}

impl Writing {
    /// Opens the log's path anew; what is accepted from now on goes there. While an opening does
    /// not come back there is no second one: it is followed by one for all who asked meanwhile.
    ///
    /// # Errors
    /// The path could not be opened; that is tried again until it can.
    pub(super) fn reopen(self: &Arc<Self>) -> Result<(), OpenError> {
        let Some(log) = &self.log else { return Ok(()) };
        if self.lock().reopening.running.replace(true).is_some() {
            return Ok(());
        }
        loop {
            self.lock().reopening.running = Some(false);
            let result = self.reopen_once(log);
            let mut state = self.lock();
            if state.reopening.running == Some(false) {
                state.reopening.running = None;
                state.reopening.owed = result.is_err();
                if result.is_err() {
                    self.reopen_later(&mut state);
                }
                return result.map_err(|error| {
                    let text = format!("{error}; still writing to the old file, will retry");
                    error.shown_as(text)
                });
            }
        }
    }

    fn reopen_once(self: &Arc<Self>, log: &LogFile) -> Result<(), OpenError> {
        let failed =
            |path: &Path, error| could_not("reopen log file", from_os(path.as_os_str()), error);
        let (target, index) = open_both(log, failed)?;
        let mut state = self.lock();
        let at = state.accepted;
        // An earlier reopening that has not come to its turn is superseded from there on only; two
        // at one place are one.
        state.reopened.retain(|earlier| earlier.at < at);
        if state.reopened.len() >= MAX_REOPENED {
            let path = from_os(log.path.as_os_str());
            let why = format!("{MAX_REOPENED} reopens are already waiting for the disk");
            let text = format!("Could not reopen log file '{path}': {why}");
            return Err(OpenError::new(text).about(path));
        }
        state.reopened.push_back(Reopened { at, target, index });
        self.rouse(&mut state, Haste::Now);
        Ok(())
    }

    /// Tries again until it succeeds, somebody else has succeeded, or the log is let go of.
    fn reopen_later(self: &Arc<Self>, state: &mut WriterState) {
        if std::mem::replace(&mut state.reopening.timed, true) {
            return;
        }
        let (shared, port) = (Arc::downgrade(self), self.port.clone());
        let task = port.clone();
        task.spawn(async move {
            loop {
                tokio::time::sleep(AGAIN).await;
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                if !port.offload(move || shared.reopen_again()).await {
                    return;
                }
            }
        });
    }

    /// Whether that has to be done again.
    fn reopen_again(self: &Arc<Self>) -> bool {
        {
            let mut state = self.lock();
            if state.closed || !state.reopening.owed {
                state.reopening.timed = false;
                return false;
            }
        }
        // `timed` stays until here, so there is no second one who tries.
        if self.reopen().is_err() {
            return true;
        }
        let mut state = self.lock();
        // Somebody else may be opening it, or have failed to right after.
        if state.reopening.running.is_some() || state.reopening.owed {
            return true;
        }
        state.reopening.timed = false;
        drop(state);
        if let Some(log) = &self.log {
            tracing::warn!("log file '{}' has been reopened", shown_path(&log.path));
        }
        false
    }
}
