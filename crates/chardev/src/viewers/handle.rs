//! front → [chardev: scrollback] → viewer: what the program keeps of a viewer, to end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chardev_core::Epoch;
use tokio::sync::Notify;

use crate::wait::Signal;

/// A viewer at a socket, as the program has it. It goes on when this is dropped.
#[derive(Clone, Debug)]
pub struct Watching {
    epoch: Option<Epoch>,
    offset: u64,
    fate: Arc<Fate>,
    signal: Arc<Signal>,
}

/// What a viewer and its handles share.
#[derive(Debug, Default)]
pub(super) struct Fate {
    revoked: AtomicBool,
    over: AtomicBool,
    ended: Notify,
}

impl Watching {
    pub(super) fn new(
        epoch: Option<Epoch>,
        offset: u64,
        fate: Arc<Fate>,
        signal: Arc<Signal>,
    ) -> Self {
        Watching {
            epoch,
            offset,
            fate,
            signal,
        }
    }

    /// Which life of the chardev it looks at.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// The absolute offset at which it begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Ends it: it is sent the rest of a frame that has begun and why it ends, and nothing more.
    pub fn revoke(&self) {
        self.fate.revoked.store(true, Ordering::Relaxed);
        self.signal.notify();
    }

    /// Waits until it is gone, for whatever reason.
    pub async fn ended(&self) {
        loop {
            let mut ended = std::pin::pin!(self.fate.ended.notified());
            // Before the look, so that an end right after it is heard.
            ended.as_mut().enable();
            if self.fate.over.load(Ordering::Acquire) {
                return;
            }
            ended.await;
        }
    }
}

impl Fate {
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }

    /// The viewer is gone.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.ended.notify_waiters();
    }
}
