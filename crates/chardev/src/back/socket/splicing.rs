//! front ↔ chardev ↔ [back] ↔ host: a socket's bytes that nobody has to look at.
//!
//! Only of a peer in plain bytes; and only into a connection that is ours alone: `splice` has no
//! flag of its own for a call that must not wait, and somebody else who has the descriptor may have
//! taken `O_NONBLOCK` off it.

use std::any::Any;

use chardev_core::{Channel, Medium, Sent, Splicing};
use rustix::io::Errno;

use super::backend::SocketBackend;
use super::peer::{Gone, Peer};
use crate::splice::Pipe;

impl SocketBackend {
    pub(super) fn splices(&mut self) -> Option<&mut dyn Splicing> {
        match self.peer_mut().is_some_and(|peer| peer.splices()) {
            true => Some(self),
            false => None,
        }
    }
}

impl Splicing for SocketBackend {
    fn medium(&mut self) -> Medium {
        match self
            .peer_mut()
            .is_some_and(|peer| peer.transport().is_unix())
        {
            true => Medium::Local,
            false => Medium::Network,
        }
    }

    fn fill(&mut self, channel: &mut dyn Channel, most: usize) -> Option<usize> {
        let pipe = as_pipe(channel)?;
        let kept = self.half_close();
        match self.peer_mut()?.fill(pipe, most, kept)? {
            Ok(count) => Some(count),
            Err(Gone) => {
                self.lose_peer();
                Some(0)
            }
        }
    }

    fn pour(&mut self, channel: &mut dyn Channel) -> Option<Sent> {
        let pipe = as_pipe(channel)?;
        let sent = self.peer_mut()?.pour(pipe)?;
        Some(sent.unwrap_or_else(|Gone| {
            self.lose_peer_unless_unread();
            Sent::NoPeer
        }))
    }
}

fn as_pipe(channel: &mut dyn Channel) -> Option<&mut Pipe> {
    let channel: &mut dyn Any = channel;
    channel.downcast_mut()
}

impl Peer {
    fn fill(&mut self, pipe: &mut Pipe, most: usize, kept: bool) -> Option<Result<usize, Gone>> {
        let received = refused(pipe.fill(self.transport().fd(), most))?;
        Some(self.after_receiving(received, kept))
    }

    fn pour(&mut self, pipe: &mut Pipe) -> Option<Result<Sent, Gone>> {
        let sent = refused(pipe.pour(self.transport().fd()))?;
        if !pipe.is_empty() {
            self.widen();
        }
        Some(self.after_sending(sent))
    }
}

/// `None` where the kernel cannot do it with this descriptor.
fn refused(moved: Result<usize, Errno>) -> Option<Result<usize, Errno>> {
    match moved {
        Err(Errno::INVAL) => None,
        Err(Errno::NOBUFS | Errno::NOMEM) => Some(Err(Errno::AGAIN)),
        moved => Some(moved),
    }
}
