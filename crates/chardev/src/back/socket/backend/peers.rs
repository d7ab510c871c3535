//! front → chardev → [back] → host: who is at the other end of a socket, and what is done to them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev_core::{Accepted, Peers, Presence};

use super::SocketBackend;
use crate::back::socket::peer::Peer;

impl Peers for SocketBackend {
    fn peer(&self) -> Option<String> {
        self.peer.as_ref()?.transport().peer()
    }

    fn names(&self) -> Vec<String> {
        self.peer.as_ref().map_or_else(Vec::new, Peer::names)
    }

    fn input_ended(&self) -> bool {
        self.peer.as_ref().is_some_and(Peer::input_ended)
    }

    fn presence(&self) -> Presence {
        // One that was given and could not be spoken to leaves nothing to wait for.
        let nobody = match self.source.is_given() && self.handshakes.is_empty() {
            true => Presence::Gone,
            false => Presence::There,
        };
        self.peer.as_ref().map_or(nobody, Peer::presence)
    }

    fn accept(&mut self, serving: usize) -> Option<Accepted> {
        self.front.serves = serving > 0;
        let limit = usize::from(self.clients?);
        if !self.front.accepts || (limit != 0 && serving >= limit) {
            return None;
        }
        let fd = self.source.next()?;
        let means = (self.layering.is_some()).then(|| self.means());
        Some(Accepted { fd, means })
    }

    fn accept_limit(&self) -> Option<usize> {
        self.clients.map(usize::from)
    }

    fn take_fds(&mut self) -> Vec<OwnedFd> {
        self.fds.take()
    }

    fn yankable(&self) -> bool {
        true
    }

    fn yank(&mut self) {
        for peer in self.peer.iter().chain(self.handshakes.iter()) {
            peer.transport().shut_down();
        }
    }

    fn add_client(&mut self, fd: OwnedFd) -> Result<(), OwnedFd> {
        // A client's one handshake is with its server.
        let has_server = !self.handshakes.is_empty() && !self.source.is_listener();
        if self.peer.is_some() || has_server {
            return Err(fd);
        }
        let fd = Arc::new(fd);
        if self.establish(Arc::clone(&fd), false).is_err() {
            return Err(Arc::into_inner(fd).unwrap_or_else(|| unreachable!("nobody kept it")));
        }
        Ok(())
    }

    fn disconnect(&mut self) {
        if self.peer.is_none() && self.handshakes.end() {
            self.source.peer_left();
        }
        if let Some(peer) = self.peer.take() {
            let mut fds = Vec::new();
            let unread = peer.dismiss(&mut fds);
            self.keep_fds(fds);
            self.after_peer(unread);
        }
    }
}
