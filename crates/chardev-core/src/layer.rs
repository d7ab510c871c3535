//! front → chardev → [back end] → host: protocols between a peer and plain bytes, without any I/O.
//!
//! A back end that speaks telnet, TLS or the like over a byte stream puts a [`Stack`] of [`Layer`]s
//! between. The stack is driven from one place: what the transport received goes in at the bottom
//! and comes out at the top as input and events; output goes in at the top and comes out at the
//! bottom as the *wire*, which the back end sends as the transport takes it.

mod rising;
mod stack;

use crate::backend::BackendEvent;
use crate::line::{Answer, Answers, Line, ModemLines, Purge};

use self::rising::{Reader, Rising};
pub use self::stack::Stack;

/// One protocol. *Up* is towards the chardev, *down* towards the transport.
///
/// A layer does no I/O and has no clock. It takes all that it is given, and says by what it puts
/// into the [`Flow`] what came of it.
pub trait Layer: Send {
    /// Everything below is open, so the layer may begin, with a greeting perhaps.
    fn start(&mut self, _flow: &mut Flow<'_>) {}

    /// Whether what is above can be heard: the handshake is over. Once open a layer stays open.
    fn is_open(&self) -> bool {
        true
    }

    /// Takes `bytes` that came from below.
    fn receive(&mut self, bytes: &[u8], flow: &mut Flow<'_>);

    /// Nothing more comes from below. A layer that has its own end of the input and has not seen it
    /// knows by this that something is missing.
    fn receive_end(&mut self, flow: &mut Flow<'_>) {
        flow.end();
    }

    /// Whether it has to hear its peer even while nobody reads, because it answers some things by
    /// itself.
    fn listens(&self) -> bool {
        false
    }

    /// How many bytes may be given to [`Layer::send`] now; 0 while the peer wants nothing, which
    /// only what comes from below changes.
    fn room(&self) -> usize {
        usize::MAX
    }

    /// Takes `bytes` on their way down. Nothing may be kept back: there may be no other call.
    fn send(&mut self, bytes: &[u8], flow: &mut Flow<'_>);

    /// Nothing more is sent.
    fn send_end(&mut self, _flow: &mut Flow<'_>) {}

    /// Sets up what the layer can of `line`, and says so in `answers`. Called again after every
    /// change of the line, and when all layers have opened.
    fn apply(&mut self, _line: &Line, _answers: &mut Answers, _flow: &mut Flow<'_>) {}

    /// Has the line at the peer purged, where the protocol can say so; see
    /// [`LineControl::purge`](crate::LineControl::purge).
    fn purge(&mut self, _which: Purge, _flow: &mut Flow<'_>) -> Answer {
        Answer::Unsupported
    }

    /// What the peer has proven to be called, once the layer is open: first the name that a list of
    /// who may come would have, then its others.
    fn peer_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// The modem inputs as they stand, where the protocol has any.
    fn modem_inputs(&self) -> Option<ModemLines> {
        None
    }
}

/// Where a layer puts what came of a call.
#[derive(Debug)]
pub struct Flow<'a> {
    up: &'a mut Rising,
    reader: Reader<'a>,
    down: &'a mut Vec<u8>,
    failure: &'a mut Option<Ending>,
}

/// Why nothing goes through any more.
#[derive(Debug)]
enum Ending {
    /// The peer has said, in the protocol, that it is over both ways.
    Closed,
    Failed(String),
}

impl Flow<'_> {
    /// Passes `bytes` up.
    #[inline]
    pub fn up(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        self.up_by(bytes.len(), |buf| {
            let (now, later) = rest.split_at(buf.len());
            buf.copy_from_slice(now);
            rest = later;
        });
    }

    /// Passes `count` bytes up, which `fill` puts into place, in order and in one piece or two:
    /// into the buffer of whoever reads, as far as that goes, without another copy.
    #[inline]
    pub fn up_by(&mut self, count: usize, mut fill: impl FnMut(&mut [u8])) {
        if self.failure.is_some() {
            return;
        }
        let read = match self.up.is_empty() {
            true => self.reader.take(count, &mut fill),
            false => 0,
        };
        self.up.push_by(count - read, fill);
    }

    /// Tells of `event` behind the bytes that went up so far: a break, a size, anything but a
    /// coming, going or mark.
    pub fn event(&mut self, event: BackendEvent) {
        if self.failure.is_none() {
            self.up.push_event(event);
        }
    }

    /// The input ends behind the bytes that went up so far.
    pub fn end(&mut self) {
        if self.failure.is_none() {
            self.up.push_end();
        }
    }

    /// Passes `bytes` down, be they output or an answer to the peer.
    pub fn down(&mut self, bytes: &[u8]) {
        if self.failure.is_none() {
            self.down.extend_from_slice(bytes);
        }
    }

    /// As [`Flow::down`], of what `put` puts behind the bytes that went down so far.
    pub fn down_by(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        if self.failure.is_none() {
            put(self.down);
        }
    }

    /// The peer does not keep to the protocol, or is not who it should be. What went down so far is
    /// still sent, what went up is still read, and that is all.
    pub fn fail(&mut self, reason: impl Into<String>) {
        self.failure
            .get_or_insert_with(|| Ending::Failed(reason.into()));
    }

    /// The peer has said, in the protocol, that it neither sends nor takes anything more. As
    /// [`Flow::fail`], but nothing is wrong.
    pub fn close(&mut self) {
        self.failure.get_or_insert(Ending::Closed);
    }
}
