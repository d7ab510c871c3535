//! Those whom the program serves itself, such as the users of its web page.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev::Chardevs;
use chardev_qapi::{Json, Object, QmpError};
use tokio::sync::Notify;

use super::{Attached, Entry, READ_ONLY, SHARE, Tie};
use crate::caller::Caller;

/// Somebody whom the program serves, in the list of those who are attached until this is dropped.
#[derive(Debug)]
pub struct Joined {
    attached: Attached,
    entry: Arc<Entry>,
    ending: Arc<Ending>,
}

/// How it ends for one whom the program serves.
#[derive(Debug, Default)]
pub(super) struct Ending {
    told: Mutex<Option<Object>>,
    ended: Notify,
}

impl Ending {
    pub(super) fn end(&self, reason: &str, data: &Object) {
        let mut all = Object::new().with("reason", reason);
        for (name, value) in data.iter() {
            all.insert(name.to_owned(), Json::clone(value));
        }
        *self.lock() = Some(all);
        self.ended.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Object>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Joined {
    /// Waits until somebody else ends it; the `reason`, and `by` whom, as `X_CHARDEV_DETACHED` has
    /// them.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub async fn ended(&self) -> Object {
        loop {
            if let Some(told) = self.ending.lock().clone() {
                return told;
            }
            self.ending.ended.notified().await;
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.attached.remove(&self.entry);
    }
}

impl Caller {
    /// Puts the one who asks into the list of those who are attached to chardev `id`, beside
    /// others; `may_type` says how they are listed. What they see and type is for the program to
    /// carry, once [`Caller::check`] has permitted it.
    pub fn join(&self, id: &str, may_type: bool) -> Joined {
        let ending = Arc::<Ending>::default();
        let mode = if may_type { SHARE } else { READ_ONLY };
        let entry = self.note(id, mode, Tie::Program(Arc::clone(&ending)));
        Joined {
            attached: self.service.attached.clone(),
            entry,
            ending,
        }
    }

    /// Ends the attachments of all others who may type on chardev `id`, who are told by whom; the
    /// answer is how many those were.
    ///
    /// # Errors
    /// One who had the chardev alone stays.
    pub async fn take_over(&self, id: &str) -> Result<usize, QmpError> {
        let attached = &self.service.attached;
        attached.look(&self.service.chardevs, id);
        let mut others = attached.of(id);
        let own = Arc::downgrade(&self.client);
        others.retain(|entry| entry.mode != READ_ONLY && !entry.client.ptr_eq(&own));
        let alone = others.iter().any(|it| matches!(it.hold, Tie::BackEnd(_)));
        if alone {
            evict(&self.service.chardevs, id).await?;
        }
        self.displace(&others);
        Ok(others.len())
    }

    /// Who is attached to chardev `id`, as `x-query-chardev-stats` tells it, and with `own` whether
    /// that is the one who asks, whom [`Caller::take_over`] leaves there.
    pub fn attached(&self, id: &str) -> Vec<Object> {
        let own = Arc::downgrade(&self.client);
        let entries = self.service.attached.of(id).into_iter();
        let told = entries.map(|entry| entry.describe().with("own", entry.client.ptr_eq(&own)));
        told.collect()
    }
}

/// Whoever has chardev `id` alone has it no more: somebody else comes in their place, and leaves.
async fn evict(chardevs: &Chardevs, id: &str) -> Result<(), QmpError> {
    let failed = |error: std::io::Error| format!("Failed to take over '{id}': {error}");
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let peer = chardevs.attach_peer(id, theirs.into()).await;
    drop(ours);
    peer.map(drop).map_err(QmpError::because)
}
