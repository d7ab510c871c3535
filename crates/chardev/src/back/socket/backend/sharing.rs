//! front → chardev → [back] → host: what a socket gives to the back end that follows it, and takes
//! from the one before: its place to listen, and its peer.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev_core::{Backend, OpenError, Sharing};

use super::SocketBackend;
use crate::back::socket::layered::Layered;
use crate::back::socket::listen::WantListener;
use crate::back::socket::source::WantPeer;

/// The connection of a peer that another back end is to take over.
pub(in crate::back::socket) struct LentPeer {
    fd: OwnedFd,
    layers: Option<Layered>,
    ours: bool,
}

impl Sharing for SocketBackend {
    fn activate(&mut self) -> Result<(), OpenError> {
        self.source.activate()
    }

    fn deactivate(&mut self) {
        self.source.deactivate();
    }

    fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        if let Some(wanted) = wanted.downcast_ref::<WantListener>() {
            return Some(Box::new(self.source.lend(wanted)?));
        }
        #[cfg(feature = "dbus")]
        if let Some(wanted) = wanted.downcast_ref::<crate::dbus::WantSlot>() {
            return Some(Box::new(self.source.registration()?.lend(wanted)?));
        }
        let wanted = wanted.downcast_ref::<WantPeer>()?;
        if *wanted != self.source.own_peer(self.layers()) {
            return None;
        }
        let (fd, layers, ours) = self.peer.as_ref()?.share()?;
        Some(Box::new(LentPeer { fd, layers, ours }))
    }

    fn adopt(&mut self, old: &mut dyn Backend) -> bool {
        let lent = old.lend(&self.source.own_peer(self.layers()));
        let Some(peer) = lent.and_then(|lent| lent.downcast::<LentPeer>().ok()) else {
            return false;
        };
        self.source.adopted();
        self.peer = None;
        self.connect(Arc::new(peer.fd), peer.layers, peer.ours)
            .is_ok()
    }
}
