//! front → chardev → [back] → host: a descriptor passed by name, given back unless the back end
//! goes live.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::back::{FdSource, OpenContext};

/// A descriptor taken from a [`FdSource`]. It goes back there if the back end never goes live,
/// so that a change that fails leaves it where it was.
pub(super) struct Lent {
    source: Arc<dyn FdSource>,
    name: String,
    fd: Arc<OwnedFd>,
    kept: bool,
}

impl Lent {
    pub(super) fn new(context: &OpenContext, name: &str, fd: OwnedFd) -> Self {
        Lent {
            source: Arc::clone(&context.fds),
            name: name.to_owned(),
            fd: Arc::new(fd),
            kept: false,
        }
    }

    /// The descriptor.
    pub(super) fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// The back end is live and keeps the descriptor.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Ok(fd) = self.fd.try_clone() {
            self.source.give_back(&self.name, fd);
        }
    }
}
