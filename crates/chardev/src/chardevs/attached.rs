//! front → [chardev] → peer → host: a peer that is put before a back end, until it leaves.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev_core::{BackendId, ChangeError, Step};

use super::Chardevs;
use crate::back::OneFd;

/// A peer that [`Chardevs::attach_peer`] put before a chardev's back end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedPeer {
    id: String,
    backend: BackendId,
}

/// Where an attached peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerPlace {
    /// Where it was put.
    There,
    /// It has left, and the former back end has resumed.
    Left,
    /// Another one was attached in its place.
    Taken,
    /// The chardev was changed.
    Replaced,
    /// The chardev is gone.
    Removed,
}

impl Chardevs {
    /// Puts a connected stream socket in front of chardev `id`'s back end until its peer leaves;
    /// then the current back end resumes (`x-chardev-attach`).
    ///
    /// # Cancel safety
    /// Dropping the future gives it up, or it has happened; the descriptor is closed or attached.
    ///
    /// # Errors
    /// As [`Chardevs::change`]; [`ChangeError::Open`] if the descriptor is not a connected stream
    /// socket.
    pub async fn attach_peer(&self, id: &str, fd: OwnedFd) -> Result<AttachedPeer, ChangeError> {
        let step = self.prepare_attach(id, Arc::new(OneFd::new(fd))).await?;
        let Step::Change { new, .. } = &step else {
            return Err(ChangeError::NotFound(id.to_owned()));
        };
        let peer = AttachedPeer {
            id: id.to_owned(),
            backend: new.id,
        };
        self.carry_out_one(id, vec![step]).await?;
        Ok(peer)
    }

    /// What has become of an attached peer.
    pub fn attached_peer(&self, peer: &AttachedPeer) -> PeerPlace {
        let Some(chardev) = self.registry.get(&peer.id) else {
            return PeerPlace::Removed;
        };
        let (present, parked) = chardev.with(|chardev| (chardev.backend_id(), chardev.parked_id()));
        match () {
            () if present == peer.backend => PeerPlace::There,
            // A back end that was there before has come back, rather than a new one.
            () if present < peer.backend => PeerPlace::Left,
            () if parked.is_some() => PeerPlace::Taken,
            () => PeerPlace::Replaced,
        }
    }
}
