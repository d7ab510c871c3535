//! front → chardev → [back] → host: the one peer of a socket, and how far it has come.
//!
//! ```text
//!            open ──▶ half closed: it has ended its sending, and is answered
//!             │            │
//!             ▼            ▼
//!        reading out ──▶ gone
//!   it takes nothing more, but left too much unread to be carried at once
//! ```

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev_core::{CARRY_LIMIT, Presence, Ready, Sent};
use rustix::io::Errno;

use super::drain::SocketDrain;
use super::transport::Transport;
use crate::port::Port;

/// The most input of a departed peer that is carried so that the next one may come.
const LEFT_LIMIT: usize = 1 << 20;
/// The most of a refused peer's input that is fetched under the lock; the drain fetches the rest.
const CUT_AT_ONCE: usize = 1 << 20;

/// A connected peer.
pub(super) struct Peer {
    transport: Transport,
    stage: Stage,
}

/// How far it has come with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It sends and takes.
    Open,
    /// It has ended its sending and all of it was read, but it is kept to be answered.
    HalfClosed,
    /// It takes nothing more, but left too much unread to be carried at once.
    ReadingOut,
}

/// The peer is not there any more.
#[derive(Debug)]
pub(super) struct Gone;

impl Peer {
    /// The peer at the other end of `fd`. From here on a hang-up is reported.
    ///
    /// # Errors
    /// The descriptor cannot be made ready for use.
    pub(super) fn new(port: &Port, fd: Arc<OwnedFd>, nodelay: bool) -> Result<Self, String> {
        Ok(Peer {
            transport: Transport::new(port, fd, nodelay)?,
            stage: Stage::Open,
        })
    }

    /// What the bytes go over.
    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Gives the peer as much of `bufs` as it takes now, and `fds` with the first byte.
    ///
    /// # Errors
    /// It takes nothing any more.
    pub(super) fn write(
        &mut self,
        bufs: &[IoSlice<'_>],
        fds: &mut Vec<OwnedFd>,
    ) -> Result<Sent, Gone> {
        if self.stage == Stage::ReadingOut {
            return Ok(Sent::NoPeer);
        }
        match self.transport.send(bufs, fds) {
            Ok(0) | Err(Errno::AGAIN) => Ok(Sent::Full),
            Ok(count) => Ok(Sent::Taken(count)),
            Err(_) => Err(Gone),
        }
    }

    /// Reads what is there; 0 means that nothing is, now or, of a peer that is `kept` although it has
    /// ended its sending, ever.
    ///
    /// # Errors
    /// It has left, and all of its input was read.
    pub(super) fn read(
        &mut self,
        bufs: &mut [IoSliceMut<'_>],
        fds: &mut Vec<OwnedFd>,
        kept: bool,
    ) -> Result<usize, Gone> {
        match self.transport.receive(bufs, fds) {
            Ok(count) if count > 0 => Ok(count),
            Err(Errno::AGAIN) => Ok(0),
            Ok(_) if kept && self.stage != Stage::ReadingOut && !self.transport.is_gone() => {
                self.stage = Stage::HalfClosed;
                Ok(0)
            }
            Ok(_) | Err(_) => Err(Gone),
        }
    }

    /// Asks for one report of each readiness in `interest` that can come.
    pub(super) fn watch(&self, interest: Ready) {
        self.transport.watch(match self.stage {
            Stage::Open => interest,
            // The end of the input would be reported again and again.
            Stage::HalfClosed => interest - Ready::READ,
            Stage::ReadingOut => interest - Ready::WRITE,
        });
    }

    /// A hang-up was reported. It stays armed while there is a peer, so that its end is noticed even
    /// if the front end neither reads nor writes. It is told once and acted upon at once, so it cannot
    /// spin. A peer that only ended its sending stays if it is `kept`.
    ///
    /// # Errors
    /// It has left.
    pub(super) fn look(&self, kept: bool) -> Result<(), Gone> {
        if !self.transport.has_ended() {
            self.transport.watch(Ready::HANGUP);
        } else if kept && !self.transport.is_gone() {
            self.transport.watch(Ready::GONE);
        } else {
            return Err(Gone);
        }
        Ok(())
    }

    /// The peer is gone: whether a lot of what it had sent is unread. Then it stays until the front end
    /// has read to its end, rather than all of it in memory.
    pub(super) fn reads_out(&mut self) -> bool {
        let much = self.transport.unread() > LEFT_LIMIT;
        if much {
            self.stage = Stage::ReadingOut;
        }
        much
    }

    /// Whether it has ended its sending and all of it was read.
    pub(super) fn input_ended(&self) -> bool {
        self.stage == Stage::HalfClosed
    }

    /// Whether it is still there.
    pub(super) fn presence(&self) -> Presence {
        if self.stage == Stage::ReadingOut || self.transport.is_gone() {
            return Presence::Gone;
        }
        // What has closed a Unix socket hangs up; over TCP an end looks the same either way.
        match !self.transport.is_unix() && self.transport.has_ended() {
            true => Presence::Unknown,
            false => Presence::There,
        }
    }

    /// From here on its writes fail, where the kernel can do that.
    pub(super) fn refuse_input(&mut self) {
        self.transport.refuse_input();
    }

    /// Everything that a peer that has ended had sent and nobody read.
    pub(super) fn take_unread(&mut self, fds: &mut Vec<OwnedFd>) -> Vec<u8> {
        self.take_input(CARRY_LIMIT, fds)
    }

    /// All input that is there by now, or of a refused peer's, which cannot become more, its
    /// beginning; the others may go on sending meanwhile. And whether more may come.
    pub(super) fn cut_input(&mut self, fds: &mut Vec<OwnedFd>) -> (Vec<u8>, bool) {
        let limit = match self.transport.is_refused() {
            true => CUT_AT_ONCE,
            false => CARRY_LIMIT,
        };
        let complete = self.transport.is_unix() || self.transport.has_ended();
        let input = self.take_input(self.transport.unread().min(limit), fds);
        self.transport.acknowledge();
        (input, !complete || self.transport.unread() > 0)
    }

    fn take_input(&mut self, limit: usize, fds: &mut Vec<OwnedFd>) -> Vec<u8> {
        let mut input = Vec::new();
        let mut chunk = vec![0; limit.min(64 << 10)];
        while input.len() < limit {
            let wanted = chunk.len().min(limit - input.len());
            let mut piece = [IoSliceMut::new(&mut chunk[..wanted])];
            match self.transport.receive(&mut piece, fds) {
                Ok(0) | Err(_) => break,
                Ok(count) => input.extend_from_slice(&chunk[..count]),
            }
        }
        input
    }

    /// Tells it to go; returns what it had sent by now and nobody read.
    pub(super) fn dismiss(mut self, port: &Port, fds: &mut Vec<OwnedFd>) -> Vec<u8> {
        self.refuse_input();
        let unread = match self.transport.is_unix() {
            true => self.take_unread(fds),
            false => self.cut_input(fds).0,
        };
        SocketDrain::new(self.transport).dismiss(port);
        unread
    }

    /// What is left of it when its back end was replaced.
    pub(super) fn into_drain(self) -> SocketDrain {
        SocketDrain::new(self.transport)
    }
}
