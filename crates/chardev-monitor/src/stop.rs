//! The wish to end: asked for once, by a signal or by `quit`, and seen by every task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

/// Why a process ends, in the words of QAPI `ShutdownCause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A monitor's client sent `quit`.
    Quit,
    /// A signal came.
    Signal,
    /// The guest switched its machine off.
    Guest,
    /// A part of the process was to be deleted ([`Stop::child`]).
    Deleted,
}

impl Reason {
    /// The wire spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Quit => "host-qmp-quit",
            Reason::Signal => "host-signal",
            Reason::Guest => "guest-shutdown",
            Reason::Deleted => "none",
        }
    }
}

/// Asks for the end, and waits for it. Clones share the wish.
#[derive(Clone, Debug)]
pub struct Stop {
    reason: Arc<watch::Sender<Option<Reason>>>,
    /// What a part of ends with the whole.
    whole: Option<Arc<Stop>>,
}

impl Default for Stop {
    fn default() -> Self {
        Stop {
            reason: Arc::new(watch::Sender::new(None)),
            whole: None,
        }
    }
}

impl Stop {
    /// Asks for the end; `false` if that was done before, whose reason then stands.
    pub fn request(&self, reason: Reason) -> bool {
        self.reason.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert(reason);
            first
        })
    }

    /// For a part that can end by itself, and ends with this in any case.
    pub fn child(&self) -> Stop {
        Stop {
            whole: Some(Arc::new(self.clone())),
            ..Stop::default()
        }
    }

    /// Why the end was asked for, if it was, apart from that of the whole.
    pub fn reason(&self) -> Option<Reason> {
        *self.reason.borrow()
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        let whole = self.whole.as_ref();
        self.reason.borrow().is_some() || whole.is_some_and(|whole| whole.is_requested())
    }

    /// Waits until the end is asked for. Owns what it needs, so that a task can keep it.
    pub fn requested(&self) -> Pin<Box<dyn Future<Output = Reason> + Send>> {
        let own = self.own();
        let Some(whole) = &self.whole else {
            return Box::pin(own);
        };
        let whole = whole.requested();
        Box::pin(async move {
            tokio::select! {
                reason = own => reason,
                reason = whole => reason,
            }
        })
    }

    fn own(&self) -> impl Future<Output = Reason> + Send + 'static {
        let mut reason = self.reason.subscribe();
        async move {
            loop {
                if let Some(reason) = *reason.borrow_and_update() {
                    return reason;
                }
                // The sender outlives every task; if it did not, there would be nothing to wait
                // for.
                if reason.changed().await.is_err() {
                    return Reason::Signal;
                }
            }
        }
    }
}
