//! One end of a reliable stream of bytes, both ways, over messages that may be lost, doubled and
//! reordered, without I/O and without a clock: whoever uses it says how late it is, since whenever.
//!
//! ```text
//!   0 ─── the other end has it ───▶ acknowledged ─── window ───▶ written       credit
//! ```
//!
//! Each message says where its bytes are, up to where its sender has taken what came, and up to
//! where it takes more. What is not acknowledged is sent again as it was cut. One that comes too
//! early is dropped, and told to be missing once; so both ends hold a window each way at most.
//!
//! Core NATS loses messages when a connection breaks or somebody is slow, and says nothing of it:
//! an end that hears nothing for [`SILENCE`] gives the other one up.

mod frame;
mod state;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

pub use frame::{Frame, Id, Kind, REASON_LIMIT, SESSION};

/// How many bytes may be on their way in one direction, and wait to be read at its end.
pub const WINDOW: usize = 256 << 10;
/// The most bytes in a message.
pub const LARGEST: usize = 32 << 10;
/// How many messages may be on their way in one direction.
pub const WINDOW_FRAMES: usize = 256;
/// Who is not heard of for so long is not there any more.
pub const SILENCE: Duration = Duration::from_secs(30);
/// The same for somebody of whom a server has said that they are not there.
pub const ABSENCE: Duration = Duration::from_secs(10);
/// An end that has had nothing to say for so long says that it is there.
const KEEP: Duration = Duration::from_secs(5);
/// How long what was taken may go without being acknowledged: mostly an answer carries that.
const LATE: Duration = Duration::from_millis(50);
/// After how long without an acknowledgement something is sent again, at first and at most.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// After how long somebody who is not there is asked again whether they are.
const SOON: Duration = Duration::from_millis(150);

/// One end of a stream.
#[derive(Debug)]
pub struct End {
    id: Id,
    /// It opens the stream, with this wish, and has not heard of the other end yet.
    opens: Option<Bytes>,
    out: Out,
    into: Into,
    /// When a message without bytes is to be sent, if nothing else is before that.
    tell_at: Option<Duration>,
    told: Duration,
    heard: Duration,
    absent: Option<Duration>,
    /// What it has failed of is still to be told.
    to_tell: bool,
    /// The other end is to say no more, which it is told until it has ended; and the same of it.
    stops: bool,
    is_stopped: bool,
    /// How many bytes were not acknowledged when it failed.
    lost: usize,
    why: Option<Why>,
}

/// What goes out.
#[derive(Debug, Default)]
struct Out {
    /// What is not acknowledged, as it was cut. So many of the messages are on their way.
    window: VecDeque<Bytes>,
    sent: usize,
    /// Where the next one begins.
    at: u64,
    acknowledged: u64,
    written: u64,
    credit: u64,
    ended: bool,
    /// The end has been told since something else was, and the other end has all up to it.
    end_sent: bool,
    end_taken: bool,
    attempts: u32,
    again_at: Option<Duration>,
    /// What follows this was sent again because it was missed.
    missed: Option<u64>,
}

/// What comes in.
#[derive(Debug, Default)]
struct Into {
    unread: BytesMut,
    taken: u64,
    end: Option<u64>,
    /// Up to where more may come, as far as the other end was told.
    granted: u64,
    /// How many messages were taken since that was told.
    untold: usize,
    /// What follows this is missing, which has been told, or is to be.
    missing: Option<u64>,
    missing_untold: bool,
}

/// How a stream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Open,
    /// Both directions have come to their ends, and each end knows it.
    Over,
    /// It has failed: nothing more goes out, and what comes in ends where it is.
    Failed(Why),
}

/// Why a stream has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing was heard of the other end for [`SILENCE`].
    Silent,
    /// Nothing was heard of it for [`ABSENCE`] since a server has said that it is not there.
    Absent,
    /// The other end knows nothing of the stream: it was begun anew.
    Forgotten,
    /// The other end has said why.
    Refused(String),
    /// It was given up here.
    GivenUp(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Silent => write!(f, "nothing was heard for {} s", SILENCE.as_secs()),
            Why::Absent => f.write_str("nobody is there any more"),
            Why::Forgotten => f.write_str("it was begun anew, and knows nothing of this session"),
            Why::Refused(why) | Why::GivenUp(why) => f.write_str(why),
        }
    }
}

impl End {
    /// The end that opens the stream; the other one is told what is `wanted`.
    pub fn open(id: Id, wanted: Bytes, now: Duration) -> Self {
        let mut end = End::accept(id, now);
        end.opens = Some(wanted);
        end
    }

    /// The end of whoever was asked to open it: the message that does so has yet to be
    /// [taken](End::handle).
    pub fn accept(id: Id, now: Duration) -> Self {
        End {
            id,
            opens: None,
            out: Out::default(),
            into: Into::default(),
            tell_at: Some(now),
            told: now,
            heard: now,
            absent: None,
            to_tell: false,
            stops: false,
            is_stopped: false,
            lost: 0,
            why: None,
        }
    }

    /// How it stands.
    pub fn fate(&self) -> Fate {
        match &self.why {
            Some(why) => Fate::Failed(why.clone()),
            None if self.is_done() && self.tell_at.is_none() => Fate::Over,
            None => Fate::Open,
        }
    }

    /// Whether it opens the stream, and has not heard of the other end yet.
    pub fn is_opening(&self) -> bool {
        self.opens.is_some()
    }

    /// How many bytes it takes now to be sent.
    pub fn wants(&self) -> usize {
        let out = &self.out;
        let is_full = out.ended || self.why.is_some() || out.window.len() >= WINDOW_FRAMES;
        let room = WINDOW.saturating_sub(length(out.acknowledged, out.written));
        let credit = length(out.written, out.credit);
        if is_full {
            0
        } else {
            room.min(credit).min(LARGEST)
        }
    }

    /// Takes what is to be sent next: some bytes, and no more than [`End::wants`] said.
    pub fn write(&mut self, bytes: Bytes) {
        debug_assert!(!bytes.is_empty() && bytes.len() <= self.wants());
        self.out.written += bytes.len() as u64;
        self.out.window.push_back(bytes);
    }

    /// Nothing more is to be sent.
    pub fn end(&mut self) {
        self.out.ended = true;
    }

    /// What came and was not read yet.
    pub fn unread(&self) -> &[u8] {
        &self.into.unread
    }

    /// So many bytes of that were read.
    pub fn consume(&mut self, count: usize, now: Duration) {
        drop(self.into.unread.split_to(count));
        if length(self.into.granted, self.into.credit()) >= WINDOW / 4 {
            self.tell(now);
        }
    }

    /// The other end is to say no more than it has by now, and then to end.
    pub fn stop(&mut self, now: Duration) {
        if !self.stops && !self.into.is_complete() {
            self.stops = true;
            self.tell(now);
        }
    }

    /// Whether the other end wants to hear no more than is there by now. Whoever uses this end
    /// takes nothing more from whom it is for, writes what it has, and [ends](End::end).
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Whether nothing more comes than is there to be read.
    pub fn has_all(&self) -> bool {
        self.into.is_complete() || self.why.is_some()
    }

    /// How many bytes that were written the other end has not taken; of a stream that has failed,
    /// how many it had not taken then.
    pub fn untaken(&self) -> usize {
        length(self.out.acknowledged, self.out.written) + self.lost
    }

    /// Whether all was read that ever comes.
    pub fn is_read_out(&self) -> bool {
        self.has_all() && self.into.unread.is_empty()
    }

    /// How many bytes it holds.
    pub fn held(&self) -> usize {
        self.into.unread.len() + length(self.out.acknowledged, self.out.written)
    }

    /// The connection is another one: what was on its way is lost, as far as one can know.
    pub fn reconnected(&mut self, now: Duration) {
        self.out.rewind();
        self.tell(now);
    }

    /// A server says that the other end is not there.
    pub fn is_absent(&mut self, now: Duration) {
        self.absent.get_or_insert(now);
    }

    /// It is given up here, which the other end is told.
    pub fn give_up(&mut self, why: &str) {
        if self.fate() == Fate::Open {
            self.fail(Why::GivenUp(why.to_owned()));
            self.to_tell = true;
        }
    }
}

/// How many bytes lie between two offsets.
fn length(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}
