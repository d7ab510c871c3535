//! Rights that end while somebody makes use of them.

use super::{Access, Identity, Role};

impl Access {
    /// Waits until `identity` has not (any more) `role` for chardev `id`.
    pub(crate) async fn lost(&self, identity: &Identity, role: Role, id: &str) {
        let mut changed = self.tokens().changed.subscribe();
        while self.permits(identity, role, Some(id)) {
            // We have the sender, so it is there.
            let _ = changed.changed().await;
        }
    }
}
