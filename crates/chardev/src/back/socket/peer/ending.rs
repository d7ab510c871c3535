//! front → chardev → back → [host]: what becomes of a peer, and of what it had sent, when it leaves
//! or its back end is replaced.

use std::os::fd::OwnedFd;

use chardev_core::CARRY_LIMIT;

use super::{Peer, Stage};
use crate::back::socket::drain::SocketDrain;
use crate::back::socket::layered::Layered;

/// The most input of a departed peer that is carried so that the next one may come.
const LEFT_LIMIT: usize = 1 << 20;
/// The most of a refused peer's input that is fetched under the lock; the drain fetches the rest.
const CUT_AT_ONCE: usize = 1 << 20;

impl Peer {
    /// The peer is gone: whether a lot of what it had sent is unread. Then it stays until the front
    /// end has read to its end, rather than all of it in memory; and so it does if there are events
    /// in it, which keep their places only where all is read in turn. They are nothing to a front
    /// end that is not `attached`.
    pub(in crate::back::socket) fn reads_out(&mut self, attached: bool) -> bool {
        let mut much = self.transport.unread() > LEFT_LIMIT;
        if let Some(layers) = self.layers.as_ref().filter(|_| !much) {
            layers.fetch(self.transport.fd(), LEFT_LIMIT);
            much = attached && layers.stack().has_events();
        }
        if much {
            self.stage = Stage::ReadingOut;
        }
        much
    }

    /// From here on its writes fail, where the kernel can do that.
    pub(in crate::back::socket) fn refuse_input(&mut self) {
        self.transport.refuse_input();
    }

    /// Everything that a peer that has ended had sent and nobody read.
    pub(in crate::back::socket) fn take_unread(&mut self, fds: &mut Vec<OwnedFd>) -> Vec<u8> {
        let unread = self.take_input(CARRY_LIMIT, fds);
        self.pass_events(unread, fds)
    }

    /// Adds to `unread` what has come up behind events, which nobody is told of.
    fn pass_events(&mut self, mut unread: Vec<u8>, fds: &mut Vec<OwnedFd>) -> Vec<u8> {
        while self.poll_event().is_some() {
            unread.extend(self.take_input(0, fds));
        }
        unread
    }

    /// All input that is there by now, or of a refused peer's, which cannot become more, its
    /// beginning; the others may go on sending meanwhile. And whether more may come: behind an
    /// event, which only the drain can put in its place, there is more.
    pub(in crate::back::socket) fn cut_input(&mut self, fds: &mut Vec<OwnedFd>) -> (Vec<u8>, bool) {
        let limit = match self.transport.is_refused() {
            true => CUT_AT_ONCE,
            false => CARRY_LIMIT,
        };
        if !self.is_shown() {
            return (Vec::new(), false);
        }
        let complete = self.transport.is_unix() || self.transport.has_ended();
        let input = self.take_input(self.transport.unread().min(limit), fds);
        self.transport.acknowledge();
        let behind_event = self.layers.as_ref().is_some_and(Layered::has_event_next);
        let more = !complete || behind_event || self.transport.unread() > 0;
        (input, more)
    }

    /// Takes what is there, up to `limit` bytes of the transport's and the next event.
    fn take_input(&mut self, limit: usize, fds: &mut Vec<OwnedFd>) -> Vec<u8> {
        let Some(layers) = &self.layers else {
            return self.transport.take_input(limit, fds);
        };
        // Nobody was there before the layers opened.
        if !self.is_shown() {
            return Vec::new();
        }
        layers.fetch(self.transport.fd(), limit);
        layers.stack().take_input()
    }

    /// It has left, or counts as having left: what its layers still have for it is sent, if it is
    /// there.
    pub(in crate::back::socket) fn part(self) {
        let Some(layers) = &self.layers else { return };
        let stack = layers.stack();
        if let Some(reason) = stack.failure().filter(|_| self.is_shown()) {
            if !stack.is_closed() {
                tracing::warn!(label = self.port.label(), "disconnecting a peer: {reason}");
            }
        }
        drop(stack);
        if !self.transport.is_gone() {
            let port = self.port.clone();
            self.into_drain().dismiss(&port);
        }
    }

    /// Tells it to go; returns what it had sent by now and nobody read.
    pub(in crate::back::socket) fn dismiss(mut self, fds: &mut Vec<OwnedFd>) -> Vec<u8> {
        self.refuse_input();
        let unread = match self.transport.is_unix() {
            true => self.take_unread(fds),
            false => {
                let (unread, _) = self.cut_input(fds);
                self.pass_events(unread, fds)
            }
        };
        let port = self.port.clone();
        self.into_drain().dismiss(&port);
        unread
    }

    /// What is left of it when its back end was replaced.
    pub(in crate::back::socket) fn into_drain(self) -> SocketDrain {
        SocketDrain::new(self.transport, self.layers)
    }
}
