//! front → chardev → [back end] → host: what a back end must offer.
//!
//! The machine calls a back end only through [`Backend`], always under the chardev's lock and
//! never expecting it to wait. A back end tells of readiness out of band (see [`Ready`]) and of
//! everything else through [`Backend::poll_event`].

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;

use bitflags::bitflags;

use crate::chardev::{ChardevRef, WeakChardev};
use crate::drain::Drain;
use crate::event::Event;
use crate::hub::Hub;
use crate::line::{Answers, Line, ModemLines, TerminalSize};
use crate::mux::Mux;
use crate::ringbuf::RingBuffer;

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

/// Whether a peer is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is, or the kind cannot tell.
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
    /// Something else that the front end is told as it stands.
    Tell(Event),
    /// All that had been under way when [`Backend::mark`] was called has been handed over.
    Mark(u64),
}

/// One end of the world: a pty, a socket, a file …
///
/// Every method returns at once. A method that cannot do its work now says so and, if asked by
/// [`Backend::watch`], reports readiness later.
pub trait Backend: Send {
    /// The QAPI kind, for example `pty`.
    fn kind(&self) -> &'static str;

    /// The name shown by `query-chardev` (QEMU's `filename`).
    fn filename(&self) -> String;

    /// The slave's path, for the kind `pty` (QAPI `ChardevReturn`).
    fn pty(&self) -> Option<String> {
        None
    }

    /// Whether a peer is there, or the kind always takes output (QEMU's `be_open`).
    fn is_open(&self) -> bool;

    /// Who the present peer is, where the kind can tell: an address, a process.
    fn peer(&self) -> Option<String> {
        None
    }

    /// Takes as much of `bufs` as fits now.
    ///
    /// `fds` are to reach the peer together with the first byte taken; a back end that passed
    /// them on empties the vector.
    fn write(&mut self, bufs: &[IoSlice<'_>], fds: &mut Vec<OwnedFd>) -> Sent;

    /// Fills `bufs` with input; 0 means none now. After 0 the machine looks for events.
    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize;

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

    /// Sets the whole line up and says what came of each part. Called again after every change
    /// of the line, so it must be idempotent.
    fn apply(&mut self, line: &Line) -> Answers {
        Answers::unsupported(line, self.is_open())
    }

    /// The modem inputs as they stand, where the kind has any.
    fn modem_inputs(&mut self) -> Option<ModemLines> {
        None
    }

    /// Descriptors that came with the last input, oldest first; taken once.
    fn take_fds(&mut self) -> Vec<OwnedFd> {
        Vec::new()
    }

    /// Drops the present peer, if the kind can.
    fn disconnect(&mut self) {}

    /// Whether all input of the present peer has been read and it has ended its sending, which is
    /// not its end where the line says [`Line::half_close`].
    fn input_ended(&self) -> bool {
        false
    }

    /// Whether the peer that was there last is still there.
    fn presence(&self) -> Presence {
        Presence::There
    }

    /// The next peer that waits, for a front end that takes them itself (`Line::accepts`);
    /// `serving` is how many it serves.
    fn accept(&mut self, _serving: usize) -> Option<OwnedFd> {
        None
    }

    /// How many peers [`Backend::accept`] gives at a time, 0 for any number.
    fn accept_limit(&self) -> Option<usize> {
        None
    }

    /// Whether the kind has a connection that [`Backend::yank`] can break.
    fn yankable(&self) -> bool {
        false
    }

    /// Breaks a connection that may hang, both ways and at once; its end is then told as usual.
    fn yank(&mut self) {}

    /// Takes a connected peer that came by another way (`add_client`).
    ///
    /// # Errors
    /// The descriptor, if the kind takes none or a peer is there.
    fn add_client(&mut self, fd: OwnedFd) -> Result<(), OwnedFd> {
        Err(fd)
    }

    /// The ring buffer inside, for the kinds `ringbuf` and `memory`.
    fn ring(&mut self) -> Option<&mut RingBuffer> {
        None
    }

    /// The policy for output nobody takes: a ring buffer that holds does not overwrite.
    fn set_hold(&mut self, _hold: bool) {}

    /// Bytes overwritten since the last call before anybody read them.
    fn take_overwritten(&mut self) -> u64 {
        0
    }

    /// The last step that can fail before the back end goes live, and the first that touches what
    /// another back end may be using, such as putting a listening socket in its place. May wait for
    /// a disk: no lock is held that anybody else needs.
    ///
    /// # Errors
    /// The cause in QEMU's words; the change is then refused and nothing has been touched.
    fn activate(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Undoes [`Backend::activate`], because another part of the same transaction failed, or what
    /// was agreed on no longer stands. May wait as that may.
    fn deactivate(&mut self) {}

    /// The back end is in the slot of `chardev` under `id`, for good. Here is what cannot be
    /// undone: truncating a file, unlinking the name that was replaced; but under the chardev's lock,
    /// so it only gets such things going.
    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {}

    /// Gives a back end that is to replace this one, or may, a share of what both want: a
    /// listening socket, the right to use stdio … `wanted` and the result are known to the kinds.
    /// If the other one never goes live it lets go of its share and nothing has changed here.
    fn lend(&mut self, _wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        None
    }

    /// Takes over the connected peer of `old` (`x-handover`); `false` if it cannot.
    fn adopt(&mut self, _old: &mut dyn Backend) -> bool {
        false
    }

    /// Ends without touching the peer, which another back end has [adopted](Backend::adopt).
    fn hand_over(self: Box<Self>) {}

    /// A front end was attached to the chardev, or detached from it.
    fn set_attached(&mut self, _attached: bool) {}

    /// The front end wants the focus of a multiplexer.
    fn take_focus(&mut self) {}

    /// Sends a break where input goes now; `false` leaves that to the chardev.
    fn send_break(&mut self) -> bool {
        false
    }

    /// The chardevs this back end rests on.
    fn members(&self) -> Vec<ChardevRef> {
        Vec::new()
    }

    /// The multiplexer inside, for the kind `mux`.
    fn as_mux(&self) -> Option<&Mux> {
        None
    }

    /// The hub inside, for the kind `hub`.
    fn as_hub(&self) -> Option<&Hub> {
        None
    }

    /// The back end is about to be replaced for good: from here on the peer's own writes fail
    /// wherever the kernel can refuse them. What it has sent by now stays readable.
    fn refuse_input(&mut self) {}

    /// Whether input that was sent before a change further down has not come yet.
    fn is_under_way(&self) -> bool {
        false
    }

    /// Asks for [`BackendEvent::Mark`] behind all that is under way; `false` if nothing is. From
    /// then on nothing else is handed out until that event has been taken.
    fn mark(&mut self, _mark: u64) -> bool {
        false
    }

    /// Hands out all input the peer has sent so far and nobody has read.
    ///
    /// The second value says that there is more, or that more may still be on its way (TCP): the
    /// drain goes on reading until it is quiet.
    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        (Vec::new(), false)
    }

    /// Breaks that stood among what [`Backend::cut_input`] has handed out; told once.
    fn take_cut_breaks(&mut self) -> u64 {
        0
    }

    /// Releases names and listeners and leaves what is needed to deliver accepted output.
    fn retire(self: Box<Self>) -> Box<dyn Drain>;
}
