//! How long a command goes on once its client may have left.

use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// When a waiting command's client is looked after first, and how often later.
const FIRST_TICK: Duration = Duration::from_millis(250);
const TICK: Duration = Duration::from_secs(1);
/// How long a command waits for a client of whom nobody knows whether it is there.
const GRACE: Duration = Duration::from_secs(2);

/// The patience with one client. A command that does not wait never needs it.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    tick: Option<Pin<Box<Sleep>>>,
    ticked: bool,
    /// Since when nobody knows.
    doubtful: Option<Instant>,
}

impl Patience {
    /// Whether it is time to look after the client.
    pub(crate) fn poll_tick(&mut self, cx: &mut Context<'_>) -> bool {
        let pause = if self.ticked { TICK } else { FIRST_TICK };
        let fresh = || Box::pin(tokio::time::sleep(pause));
        let tick = self.tick.get_or_insert_with(fresh);
        let over = tick.as_mut().poll(cx).is_ready();
        if over {
            self.tick = None;
            self.ticked = true;
        }
        over
    }

    /// The client is there.
    pub(crate) fn hope(&mut self) {
        self.doubtful = None;
    }

    /// It may have left: whether that has been so for too long.
    pub(crate) fn is_over(&mut self) -> bool {
        let since = *self.doubtful.get_or_insert_with(Instant::now);
        since.elapsed() >= GRACE
    }
}
