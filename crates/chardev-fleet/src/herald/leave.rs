//! A host's keys, and how it deletes them when it leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinHandle;

use super::{Known, publish};
use crate::follow::Common;
use crate::presence::Key;

/// How long lies between two attempts of a host that leaves, which has little time.
const PAUSE: Duration = Duration::from_millis(50);

/// What is left to do when a host leaves.
pub(crate) struct Presence {
    pub(super) common: Common,
    pub(super) keys: Keys,
    /// On how many pages something may be by now.
    pub(super) pages: Arc<AtomicUsize>,
    pub(super) known: Known,
    pub(super) task: JoinHandle<()>,
}

/// Where a host's keys are.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) prefix: String,
    pub(super) host: String,
}

impl Keys {
    pub(super) fn subject(&self, key: Key) -> String {
        format!("{}{}", self.prefix, key.of(&self.host))
    }
}

impl Presence {
    /// Deletes what is written, and waits for that. What fails, as where the servers look for a
    /// leader, is tried again for as long as others may know of the host.
    pub(crate) async fn leave(self) {
        self.task.abort();
        let pages = (0..self.pages.load(Ordering::Relaxed)).map(Key::Page);
        let mut left: Vec<Key> = pages.chain([Key::Host]).collect();
        loop {
            left = self.delete(left).await;
            if left.is_empty() || !self.known.is_present() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Deletes those; returns which of them it could not.
    async fn delete(&self, keys: Vec<Key>) -> Vec<Key> {
        let mut answers = FuturesUnordered::new();
        let mut left = Vec::new();
        for key in keys {
            let (context, subject) = (&self.common.context, self.keys.subject(key));
            match context.send_publish(subject, publish(None)).await {
                Ok(answer) => answers.push(async move { (key, answer.await) }),
                Err(_) => left.push(key),
            }
        }
        while let Some((key, result)) = answers.next().await {
            left.extend(result.is_err().then_some(key));
        }
        left
    }
}
