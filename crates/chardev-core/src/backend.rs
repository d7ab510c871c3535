//! front → chardev → [back end] → host: what a back end must offer.
//!
//! The machine calls a back end only through [`Backend`], always under the chardev's lock and never
//! expecting it to wait. A back end tells of readiness out of band (see [`Ready`]) and of
//! everything else through [`Backend::poll_event`]. What only some kinds have is in a facet of its
//! own, asked for by name (`facets.rs`); what the machine makes of a kind that lacks one is in
//! `ask.rs`.

mod ask;
mod facets;

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bitflags::bitflags;

use crate::chardev::WeakChardev;
use crate::drain::Drain;
use crate::event::Event;
use crate::line::TerminalSize;
use crate::parallel::ParallelPort;
use crate::splice::Splicing;

pub use facets::{Group, LineControl, Peers, RingControl, Sharing};

/// Names one back end among all that a chardev has had; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u64);

impl BackendId {
    /// Not a back end: the log, which survives changes. Its readiness means room in the log.
    pub const LOG: BackendId = BackendId(0);
}

bitflags! {
    /// Directions: what a chardev waits for, or what became possible.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Ready: u8 {
        /// A read may return bytes.
        const READ = 1;
        /// A write may take bytes.
        const WRITE = 2;
        /// The peer hung up, wholly or for writing.
        const HANGUP = 4;
        /// The peer hung up wholly.
        const GONE = 8;
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// This many bytes, at least one, now belong to the back end.
    Taken(usize),
    /// There is a peer, but it takes nothing just now.
    Full,
    /// Nobody is there to take output; the chardev's policy decides.
    NoPeer,
}

/// A peer that a front end takes itself ([`Peers::accept`]).
#[derive(Debug)]
pub struct Accepted {
    /// Its connection.
    pub fd: OwnedFd,
    /// How the back end would have spoken to it, if that is not in plain bytes; for the library
    /// that the back end is of.
    pub means: Option<Arc<dyn Any + Send + Sync>>,
}

/// Spoken to in plain bytes.
impl From<OwnedFd> for Accepted {
    fn from(fd: OwnedFd) -> Self {
        Accepted { fd, means: None }
    }
}

/// Whether a peer is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is, or the kind cannot tell; also where there is no peer, such as on a listening socket
    /// nobody has come to.
    There,
    /// It has ended its sending, and nobody can tell whether it is still there to be answered.
    Unknown,
    /// It is gone, although something that it had sent may still be unread.
    Gone,
}

/// What a back end tells the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendEvent {
    /// A peer is there.
    Opened,
    /// The peer is gone. `unread` is everything it had sent that nobody has read yet.
    Closed {
        /// Input received from the peer and not yet returned by [`Backend::read`].
        unread: Vec<u8>,
    },
    /// The peer sent a break.
    Break,
    /// The peer's terminal has this size.
    Resized(TerminalSize),
    /// What [`LineControl::purge`] was to throw away is gone: this many bytes.
    Purged {
        /// Of what the line had received.
        input: u64,
        /// Of what it had been given.
        output: u64,
    },
    /// Something else that the front end is told as it stands.
    Tell(Event),
    /// All that had been under way when [`Group::mark`] was called has been handed over.
    Mark(u64),
}

/// One end of the world: a pty, a socket, a file …
///
/// Every method returns at once. A method that cannot do its work now says so and, if asked by
/// [`Backend::watch`], reports readiness later. A kind implements what it has: the methods with a
/// default are for those that need them, and so are the seven facets at the end.
pub trait Backend: Send {
    /// The QAPI kind, for example `pty`.
    fn kind(&self) -> &'static str;

    /// The name shown by `query-chardev` (QEMU's `filename`).
    fn filename(&self) -> String;

    /// Whether a peer is there, or the kind counts as one by itself, as files and ring buffers do
    /// (QEMU's `be_open`).
    fn is_open(&self) -> bool;

    /// Whether what is written now would get to somebody.
    fn reaches_somebody(&self) -> bool {
        self.is_open()
    }

    /// Takes as much of `bufs` as fits now.
    ///
    /// `fds` are to reach the peer together with the first byte taken; a back end that passed
    /// them on empties the vector.
    fn write(&mut self, bufs: &[IoSlice<'_>], fds: &mut Vec<OwnedFd>) -> Sent;

    /// Fills `bufs` with input; 0 means none now. After 0 the machine looks for events.
    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize;

    /// Whether the last read is known to have taken all there was. Nothing is lost if that is not
    /// so any more: what is there is reported to whoever asks for it.
    fn has_read_all(&self) -> bool {
        false
    }

    /// Asks for one report of each readiness in `interest`, level triggered, one shot.
    fn watch(&mut self, interest: Ready);

    /// The machine has more output and lets others have its lock first: report write readiness
    /// soon. `false`: it cannot be reported or what is written costs nothing, so go on at once.
    fn resume_soon(&mut self) -> bool {
        self.watch(Ready::WRITE);
        true
    }

    /// Readiness was seen, or the back end's own tasks have news: bring the state up to date.
    fn update(&mut self, _ready: Ready) {}

    /// The next thing to tell the machine, oldest first.
    fn poll_event(&mut self) -> Option<BackendEvent> {
        None
    }

    /// The policy for output nobody takes: a ring buffer that holds does not overwrite.
    fn set_hold(&mut self, _hold: bool) {}

    /// A front end was attached to the chardev, or detached from it.
    fn set_attached(&mut self, _attached: bool) {}

    /// The back end is in the slot of `chardev` under `id`, for good. Here is what cannot be
    /// undone: truncating a file, unlinking the name that was replaced; but under the chardev's
    /// lock, so it only gets such things going.
    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {}

    /// The back end is about to be replaced for good: from here on the peer's own writes fail
    /// wherever the kernel can refuse them. What it has sent by now stays readable.
    fn refuse_input(&mut self) {}

    /// Hands out all input the peer has sent so far and nobody has read.
    ///
    /// The second value says that there is more, or that more may still be on its way (TCP): the
    /// drain goes on reading until it is quiet.
    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        (Vec::new(), false)
    }

    /// Whether to put it into its place ([`Sharing::activate`]), or to let go of it, may wait for a
    /// disk or a device: a transaction of such a back end leaves the thread that asks for it.
    fn may_wait(&self) -> bool {
        true
    }

    /// Releases names and listeners and leaves what is needed to deliver accepted output.
    fn retire(self: Box<Self>) -> Box<dyn Drain>;

    /// The line it can set up: a serial port, a terminal.
    fn line(&mut self) -> Option<&mut dyn LineControl> {
        None
    }

    /// The bytes it moves without a copy: a plain socket.
    fn splicing(&mut self) -> Option<&mut dyn Splicing> {
        None
    }

    /// The parallel port it is.
    fn parallel(&self) -> Option<Arc<dyn ParallelPort>> {
        None
    }

    /// The peers it can tell apart, drop or take: a socket.
    fn peers(&mut self) -> Option<&mut dyn Peers> {
        None
    }

    /// The ring buffer it is.
    fn ring(&mut self) -> Option<&mut dyn RingControl> {
        None
    }

    /// The chardevs it rests on: a multiplexer, a hub.
    fn group(&self) -> Option<&dyn Group> {
        None
    }

    /// What it may share with a back end that replaces it.
    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        None
    }
}
