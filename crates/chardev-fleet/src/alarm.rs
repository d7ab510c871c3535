//! A timer that rings in time, and perhaps too soon: to set one that rings before all others wakes
//! its own thread once more, which would be felt at each key.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// When one that nobody has set rings.
const FIRST: Duration = Duration::from_secs(60);

/// The timer of a task.
pub(crate) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    /// One that is not set yet.
    pub(crate) fn new() -> Alarm {
        Alarm(Box::pin(sleep(FIRST)))
    }

    /// Waits until then, or less long.
    pub(crate) async fn by(&mut self, at: Instant) {
        if self.0.is_elapsed() || at < self.0.deadline() {
            self.0.as_mut().reset(at);
        }
        self.0.as_mut().await;
    }
}
