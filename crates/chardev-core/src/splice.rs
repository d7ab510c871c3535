//! front ↔ [chardev] ↔ back → host: bytes that go from one chardev to another and that nobody has
//! to look at.
//!
//! ```text
//!   back end A ──fill──▶ chardev A ──▶ front end ──▶ chardev B ──pour──▶ back end B
//!                                   a `Channel` in hand    └─ tee: the newest ─▶ scrollback
//! ```
//!
//! A front end that only couples two chardevs reads into a buffer and writes that, so each byte is
//! copied twice. With a [`Channel`] the kernel keeps the bytes (a pipe) and hands pages on. What is
//! in a channel is what a buffer in hand would hold: input that A has delivered and B has not been
//! given. It is in no place that a change of either could forget, and B takes it whatever B has
//! become.
//!
//! Both ways go through the same checks in the same order, [`Chardev::next_input`] here and
//! [`Chardev::begin_write`] there, and count the same. [`FrontEnd::poll_fill`] and
//! [`FrontEnd::poll_pour`] say `None`, and have moved nothing, where only the copies can do it:
//! bytes that the machine itself holds come first, a log wants all of them, descriptors go with the
//! next one, nobody is there, or the back end lacks the facet [`Splicing`].

use std::any::Any;
use std::task::{Context, Poll};

use crate::backend::{Ready, Sent};
use crate::chardev::Chardev;
use crate::frontend::{FrontEnd, Input, set_waker};

/// Bytes on their way, in order, which are in nobody's memory. What it is, the back ends know that
/// move bytes through it.
pub trait Channel: Any + Send {
    /// How many bytes are in it.
    fn len(&self) -> usize;

    /// Whether nothing is in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes ready to show what is in it once it has gone out; `false` if it cannot, and then
    /// nothing may be poured.
    fn tee(&mut self) -> bool;

    /// Of the `count` bytes that have gone out since [`Channel::tee`], gives `to` the newest
    /// `newest`, in pieces, and forgets the others.
    fn show(&mut self, count: usize, newest: usize, to: &mut dyn FnMut(&[u8]));
}

/// What bytes travel over. Pages that came over one medium are dear to another, dearer than a copy,
/// so only between two of the same a channel is worth while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Within this machine: Unix sockets.
    Local,
    /// A network, be it only the machine's own: TCP.
    Network,
}

/// Bytes that a back end moves without a copy. Both methods are [`Backend::read`] and
/// [`Backend::write`] but for that, with everything that those do when a peer has left.
///
/// [`Backend::read`]: crate::Backend::read
/// [`Backend::write`]: crate::Backend::write
pub trait Splicing {
    /// What it moves them over.
    fn medium(&mut self) -> Medium;

    /// Moves input into `channel`, up to `most` bytes; 0 means none now, as after a read. `None`:
    /// nothing can be moved in this way, so read.
    fn fill(&mut self, channel: &mut dyn Channel, most: usize) -> Option<usize>;

    /// Takes as much of what is in `channel` as fits now. `None`: nothing can be moved in this way,
    /// so write.
    fn pour(&mut self, channel: &mut dyn Channel) -> Option<Sent>;
}

impl FrontEnd {
    /// [`FrontEnd::poll_read`] of up to `most` bytes into `channel`. `None` if only that can:
    /// nothing was moved, and the waker is set for neither.
    ///
    /// A process that calls this or [`FrontEnd::poll_pour`] has to ignore `SIGPIPE`, as programs of
    /// the standard library do: the kernel has no other way to move bytes to a peer that has left.
    pub fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        channel: &mut dyn Channel,
        most: usize,
    ) -> Option<Poll<Input>> {
        self.chardev().with(|chardev| {
            set_waker(chardev, Ready::READ, cx.waker());
            match chardev.fill(channel, most)? {
                0 => {
                    let event = chardev.next_event();
                    Some(event.map_or(Poll::Pending, |event| Poll::Ready(Input::Event(event))))
                }
                count => Some(Poll::Ready(Input::Data(count))),
            }
        })
    }

    /// [`FrontEnd::poll_write`] of what is in `channel`: ready with at least one byte taken out of
    /// it. `None` if only that can: nothing was moved. See [`FrontEnd::poll_fill`].
    pub fn poll_pour(
        &self,
        cx: &mut Context<'_>,
        channel: &mut dyn Channel,
    ) -> Option<Poll<usize>> {
        self.chardev().with(|chardev| {
            set_waker(chardev, Ready::WRITE, cx.waker());
            match chardev.pour(channel)? {
                0 if !channel.is_empty() => Some(Poll::Pending),
                count => Some(Poll::Ready(count)),
            }
        })
    }

    /// What it moves bytes over without a copy, if it can do that now.
    pub fn medium(&self) -> Option<Medium> {
        let medium = |chardev: &mut Chardev| Some(chardev.backend.splicing()?.medium());
        self.chardev().with(medium)
    }

    /// How many bytes at a time may well go by [`FrontEnd::poll_pour`], 0 if none can now. Ask
    /// before they are put into a channel: getting them out again costs more than it had saved.
    /// Viewers are given no more at once than they can follow.
    pub fn pours(&self) -> usize {
        self.chardev().with(|chardev| match chardev.can_pour() {
            true if chardev.viewers() > 0 => chardev.tap.keeps(chardev.stats.output_accepted) / 4,
            true => usize::MAX,
            false => 0,
        })
    }
}

impl Chardev {
    fn fill(&mut self, channel: &mut dyn Channel, most: usize) -> Option<usize> {
        if self.misses(Ready::READ) {
            return Some(0);
        }
        let count = self.next_input(|backend| backend.splicing()?.fill(channel, most))?;
        self.stats.input_delivered += count as u64;
        self.stats.input_spliced += count as u64;
        Some(count)
    }

    fn can_pour(&mut self) -> bool {
        self.log.is_none()
            && self.rare.output_fds.is_empty()
            && self.preface.is_empty()
            && self.backend.splicing().is_some()
    }

    fn pour(&mut self, channel: &mut dyn Channel) -> Option<usize> {
        let total = channel.len();
        if total == 0 || !self.begin_write() {
            return Some(0);
        }
        self.flush_preface();
        if !self.can_pour() {
            return None;
        }
        let offset = self.stats.output_accepted;
        let kept = self.tap.keeps(offset);
        if kept > 0 && !channel.tee() {
            return None;
        }
        let sent = self.backend.splicing()?.pour(channel);
        let taken = match sent {
            Some(Sent::Taken(count)) => count,
            Some(Sent::Full | Sent::NoPeer) | None => 0,
        };
        if kept > 0 {
            self.show_to_tap(channel, taken, kept);
        }
        self.stats.output_accepted += taken as u64;
        self.stats.output_spliced += taken as u64;
        match sent {
            Some(Sent::Taken(_)) => self.count_delivered(taken, 0),
            Some(Sent::Full) => {}
            Some(Sent::NoPeer) | None => return None,
        }
        if taken < total {
            self.backend.watch(Ready::WRITE);
        }
        Some(taken)
    }

    /// The scrollback gets of the `count` bytes that have just gone out what it would still hold of
    /// them, so it is none the worse for not having seen the others.
    fn show_to_tap(&mut self, channel: &mut dyn Channel, count: usize, kept: usize) {
        let newest = count.min(kept);
        let mut at = self.stats.output_accepted;
        self.tap.skip(count - newest);
        at += (count - newest) as u64;
        channel.show(count, newest, &mut |piece| {
            let bufs = [std::io::IoSlice::new(piece)];
            self.tap.push(at, &bufs, piece.len(), &mut self.wakes);
            at += piece.len() as u64;
        });
    }
}
