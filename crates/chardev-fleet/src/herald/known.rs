//! What a host knows of how others see it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// What a host knows of how others see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known(Arc<Mutex<Seeming>>);

#[derive(Debug, Default)]
struct Seeming {
    /// Until when others know that it is up.
    until: Option<Instant>,
    is_name_taken: bool,
}

impl Known {
    pub(crate) fn is_present(&self) -> bool {
        self.lock()
            .until
            .is_some_and(|until| Instant::now() < until)
    }

    pub(crate) fn is_name_taken(&self) -> bool {
        self.lock().is_name_taken
    }

    pub(super) fn is_up_until(&self, until: Instant) {
        self.lock().until = Some(until);
    }

    /// Tells if there is, or is no more, another host with this name.
    pub(super) fn name_is_taken(&self, is_taken: bool, host: &str) {
        let was_taken = std::mem::replace(&mut self.lock().is_name_taken, is_taken);
        match (was_taken, is_taken) {
            (false, true) => tracing::warn!(
                event = "fleet-name-taken",
                "fleet: another host is called '{host}', too; give each a [fleet] host of its own"
            ),
            (true, false) => tracing::info!(
                event = "fleet-name-taken",
                "fleet: no other host is called '{host}' any more"
            ),
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seeming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
