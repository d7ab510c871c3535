//! Rights that end while somebody makes use of them.

use std::time::Duration;

use super::{Access, Identity, Role};
use crate::tokens::seconds;

/// The longest time between two looks at what expires, and how long after that it is looked at.
const HOUR: u64 = 3600;
const MOMENT: Duration = Duration::from_millis(100);

impl Access {
    /// Waits until `identity` has not (any more) `role` for chardev `id`.
    pub(crate) async fn lost(&self, identity: &Identity, role: Role, id: &str) {
        let mut changed = self.tokens().changed.subscribe();
        while self.permits(identity, role, Some(id)) {
            tokio::select! {
                // We have the sender, so it is there.
                _ = changed.changed() => {}
                () = expire([identity]) => {}
            }
        }
    }
}

/// Waits until the first token of these may have expired; for ever if none does.
pub(crate) async fn expire(identities: impl IntoIterator<Item = &Identity>) {
    let ends = identities
        .into_iter()
        .filter_map(|identity| match identity {
            Identity::Token(token) => token.expires,
            _ => None,
        });
    match ends.min() {
        Some(end) => {
            let left = end.saturating_sub(seconds());
            // A clock may be set; and what is due has a moment to be over.
            tokio::time::sleep(Duration::from_secs(left.min(HOUR)) + MOMENT).await;
        }
        None => std::future::pending().await,
    }
}
