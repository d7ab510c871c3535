//! front → [chardev] → back → host: what happens to output that nobody takes.

use std::time::Duration;

use crate::drain::DRAIN_LIMIT;

/// What happens to output while nobody is there to take it (`x-closed`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closed {
    /// It is dropped and counted, as QEMU does (uncounted).
    #[default]
    Discard,
    /// The front end waits.
    Hold,
    /// The newest [`Policy::history`] bytes are kept for the next peer; older ones are dropped and
    /// counted. What the next peer gets has no seam: first what was kept, then what follows.
    History,
}

/// What happens to output that a log has no room for because it cannot be written (`x-log-full`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFull {
    /// It is missing in the log, which is counted, and nobody else feels it.
    #[default]
    Hole,
    /// The front end waits.
    Hold,
}

/// The policy of one chardev. It belongs to the chardev, so a change keeps what it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Output while nobody is there.
    pub closed: Closed,
    /// How many bytes of output are kept (`x-history`): for the next peer by [`Closed::History`],
    /// and, once it is named in options or a [`PolicyChange`], for viewers whatever the policy.
    pub history: usize,
    /// How long a replaced back end's peer may stall before the rest of what it was given is
    /// counted as lost (`x-drain-ms`).
    pub drain: Duration,
    /// Output that the log has no room for.
    pub log_full: LogFull,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            closed: Closed::Discard,
            history: 1 << 20,
            drain: DRAIN_LIMIT,
            log_full: LogFull::Hole,
        }
    }
}

impl From<Closed> for Policy {
    fn from(closed: Closed) -> Self {
        Policy {
            closed,
            ..Policy::default()
        }
    }
}

/// What a policy is to become; `None` keeps what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyChange {
    /// See [`Policy::closed`].
    pub closed: Option<Closed>,
    /// See [`Policy::history`].
    pub history: Option<usize>,
    /// See [`Policy::drain`].
    pub drain: Option<Duration>,
    /// See [`Policy::log_full`].
    pub log_full: Option<LogFull>,
}

impl Policy {
    /// The policy with `change` made to it.
    #[must_use]
    pub fn with(self, change: PolicyChange) -> Self {
        Policy {
            closed: change.closed.unwrap_or(self.closed),
            history: change.history.unwrap_or(self.history),
            drain: change.drain.unwrap_or(self.drain),
            log_full: change.log_full.unwrap_or(self.log_full),
        }
    }
}
