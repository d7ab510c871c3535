//! The facets of a back end: what some kinds have and others lack.

use std::any::Any;
use std::os::fd::OwnedFd;

use super::{Accepted, Backend, Presence};
use crate::chardev::ChardevRef;
use crate::error::OpenError;
use crate::hub::Hub;
use crate::line::{Answer, Answers, Line, ModemLines, Purge};
use crate::mux::Mux;
use crate::ringbuf::RingBuffer;

/// A line that can be set up: a serial port, a terminal, or what passes that on.
pub trait LineControl {
    /// Sets the whole line up and says what came of each part. Called again after every change of
    /// the line, so it must be idempotent. What takes a while is
    /// [`Answer::Pending`](crate::Answer::Pending), and told as
    /// [`BackendEvent::Tell`](super::BackendEvent::Tell) of an
    /// [`Event::LineAnswered`](crate::Event::LineAnswered) when it is known. Modem inputs that
    /// change are told in the same way, as [`Event::Modem`](crate::Event::Modem).
    fn apply(&mut self, line: &Line) -> Answers;

    /// The modem inputs as they stand, where there are any.
    fn modem_inputs(&mut self) -> Option<ModemLines> {
        None
    }

    /// Throws away what the device has received and nobody has read, and what it has not sent.
    /// [`Answer::Pending`] is followed by [`BackendEvent::Purged`](super::BackendEvent::Purged);
    /// until then nothing may be read or written. Where several share the device nobody may: what
    /// is in it belongs to the others as well.
    fn purge(&mut self, _which: Purge) -> Answer {
        Answer::Unsupported
    }

    /// Sends a break where input goes now; `false` leaves that to the chardev.
    fn send_break(&mut self) -> bool {
        false
    }
}

/// Peers that have a name, can be dropped, or come by other ways than the kind's own.
pub trait Peers {
    /// Who the present peer is, where the kind can tell: an address, a process.
    fn peer(&self) -> Option<String> {
        None
    }

    /// What the present peer has proven to be called, by a certificate: first its subject, then
    /// its other names.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    /// The slave's path, for the kind `pty` (QAPI `ChardevReturn`).
    fn pty(&self) -> Option<String> {
        None
    }

    /// Whether the peer that was there last is still there.
    fn presence(&self) -> Presence {
        Presence::There
    }

    /// Whether all input of the present peer has been read and it has ended its sending, which is
    /// not its end where the line says [`Line::half_close`].
    fn input_ended(&self) -> bool {
        false
    }

    /// Descriptors that came with the last input, oldest first; taken once.
    fn take_fds(&mut self) -> Vec<OwnedFd> {
        Vec::new()
    }

    /// Drops the present peer, if the kind can.
    fn disconnect(&mut self) {}

    /// The next peer that waits, for a front end that takes them itself ([`Line::accepts`]);
    /// `serving` is how many it serves.
    fn accept(&mut self, _serving: usize) -> Option<Accepted> {
        None
    }

    /// How many peers [`Peers::accept`] gives at a time, 0 for any number.
    fn accept_limit(&self) -> Option<usize> {
        None
    }

    /// Whether there may be a connection that [`Peers::yank`] can break.
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
}

/// A ring buffer as a back end, for the kinds `ringbuf` and `memory`.
pub trait RingControl {
    /// What it holds.
    fn buffer(&mut self) -> &mut RingBuffer;

    /// Bytes overwritten since the last call before anybody read them.
    fn take_overwritten(&mut self) -> u64;
}

/// A back end that is the front end of other chardevs. What it changes lies behind a lock of its
/// own, which all its front ends share.
pub trait Group {
    /// The chardevs this back end rests on.
    fn members(&self) -> Vec<ChardevRef>;

    /// The multiplexer inside, for the kind `mux` alone.
    #[doc(hidden)]
    fn as_mux(&self) -> Option<&Mux> {
        None
    }

    /// The hub inside, for the kind `hub` alone.
    #[doc(hidden)]
    fn as_hub(&self) -> Option<&Hub> {
        None
    }

    /// The front end wants the focus of a multiplexer.
    fn take_focus(&self) {}

    /// Whether input that was sent before a change further down has not come yet.
    fn is_under_way(&self) -> bool;

    /// Asks for [`BackendEvent::Mark`](super::BackendEvent::Mark) behind all that is under way;
    /// `false` if nothing is. From then on nothing else is handed out until that event has been
    /// taken.
    fn mark(&self, mark: u64) -> bool;

    /// Breaks that stood among what [`Backend::cut_input`] has handed out; told once.
    fn take_cut_breaks(&self) -> u64 {
        0
    }
}

/// What two back ends may both want while one replaces the other.
pub trait Sharing {
    /// The last step that can fail before the back end goes live, and the first that touches what
    /// another back end may be using, such as putting a listening socket in its place. May wait for
    /// a disk: no lock is held that anybody else needs.
    ///
    /// # Errors
    /// The cause in QEMU's words; the change is then refused and nothing has been touched.
    fn activate(&mut self) -> Result<(), OpenError> {
        Ok(())
    }

    /// Undoes [`Sharing::activate`], because another part of the same transaction failed, or what
    /// was agreed on no longer stands. May wait as that may.
    fn deactivate(&mut self) {}

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

    /// Another back end has [adopted](Sharing::adopt) the peer: this one is dropped without
    /// touching it.
    fn hand_over(&mut self) {}
}
