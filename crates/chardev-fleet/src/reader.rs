//! Messages of the stream in, a console's output out: each byte once, in order, without I/O.
//!
//! What a server stored may be doubled, cut at other places than before, or in another order, by
//! up to a publisher's window. Each life of the console is put in order by itself; two lives
//! overlap only where the end of one was stored late.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf as _, Bytes};
use chardev::Epoch;

use crate::message::{Body, Message};
use crate::publisher::{WINDOW_BYTES, WINDOW_MESSAGES};

/// How much may be stored before what comes before it: the window of a publisher, and that of one
/// that was begun anew meanwhile.
pub(crate) const EARLY_MESSAGES: usize = 2 * WINDOW_MESSAGES;
const EARLY_BYTES: usize = 2 * WINDOW_BYTES;
/// How many lives are kept apart; with one more, the oldest is over.
const LIVES: usize = 8;

/// Where the first life that is found begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At its offset 0: what the stream does not have of it is a gap.
    Beginning,
    /// With the first message, for who looks on from now.
    Anywhere,
    /// That life at that offset; another one, which can only be a later one, at its beginning.
    At(Epoch, u64),
}

/// What a reader has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This was printed.
    Output {
        /// In which life.
        epoch: Epoch,
        /// The offset of the first byte.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// This is not known.
    Gap {
        /// In which life.
        epoch: Epoch,
        /// The offset of the first byte of it.
        from: u64,
        /// The offset of what comes after it.
        to: u64,
        /// Why.
        why: Why,
    },
    /// The console was removed.
    End {
        /// Which life is over.
        epoch: Epoch,
        /// What was printed in it.
        offset: u64,
    },
}

/// Why there is a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The host says so: the output was overwritten before it could be sent.
    Told,
    /// The stream does not have it: it is older than what is kept, or was lost with the host.
    Missing,
}

/// Puts the messages of one console's output subject in order. Bounded: it holds a window of each
/// of a few lives, and what was found until that is taken.
#[derive(Debug)]
pub struct Reader {
    begin: Begin,
    /// The newest last.
    lives: VecDeque<Life>,
    found: VecDeque<Found>,
}

#[derive(Debug)]
struct Life {
    epoch: Epoch,
    /// The offset of the byte that comes next.
    next: u64,
    /// What came too early.
    held: BTreeMap<u64, Body>,
    held_bytes: usize,
    /// How many messages of it came.
    messages: usize,
    is_over: bool,
}

impl Reader {
    /// One that has read nothing.
    pub fn new(begin: Begin) -> Self {
        Reader {
            begin,
            lives: VecDeque::new(),
            found: VecDeque::new(),
        }
    }

    /// Takes a message, in the order in which the stream has them.
    pub fn push(&mut self, message: Message) {
        let known = self.lives.iter().position(|it| it.epoch == message.epoch);
        let at = match known {
            Some(at) => at,
            None => self.begin_life(&message),
        };
        let is_newest = at + 1 == self.lives.len();
        let Some(life) = self.lives.get_mut(at) else {
            return;
        };
        life.messages += 1;
        let is_settled = is_newest && life.messages == EARLY_MESSAGES;
        life.push(message, &mut self.found);
        // By now nothing of the lives before is on its way any more.
        if is_settled {
            for life in self.lives.iter_mut().take(at) {
                life.flush(&mut self.found);
            }
        }
    }

    /// What was found next.
    pub fn next_found(&mut self) -> Option<Found> {
        self.found.pop_front()
    }

    /// Nothing comes any more, or for now: what was held back because something before it is
    /// missing is found now, with gaps.
    pub fn flush(&mut self) {
        for life in &mut self.lives {
            life.flush(&mut self.found);
        }
    }

    /// Nothing comes any more of the lives before the newest.
    pub fn settle(&mut self) {
        let before = self.lives.len().saturating_sub(1);
        for life in self.lives.iter_mut().take(before) {
            life.flush(&mut self.found);
        }
    }

    /// A life that nothing was read of yet. Returns its place.
    fn begin_life(&mut self, first: &Message) -> usize {
        if self.lives.len() == LIVES {
            if let Some(mut oldest) = self.lives.pop_front() {
                oldest.flush(&mut self.found);
            }
        }
        let next = match self.begin {
            Begin::Beginning => 0,
            Begin::Anywhere => first.offset,
            Begin::At(epoch, offset) if epoch == first.epoch => offset,
            Begin::At(..) => 0,
        };
        self.begin = Begin::Beginning;
        self.lives.push_back(Life {
            epoch: first.epoch,
            next,
            held: BTreeMap::new(),
            held_bytes: 0,
            messages: 0,
            is_over: false,
        });
        self.lives.len() - 1
    }
}

impl Life {
    fn push(&mut self, message: Message, found: &mut VecDeque<Found>) {
        if message.offset > self.next {
            self.hold(message);
            if self.held.len() >= EARLY_MESSAGES || self.held_bytes > EARLY_BYTES {
                self.skip(found);
            }
            return;
        }
        self.deliver(message.offset, message.body, found);
        self.deliver_held(found);
    }

    fn hold(&mut self, message: Message) {
        // Of two that begin at the same place the longer one says more.
        let other = self.held.get(&message.offset);
        let other = other.map_or(0, |body| length(message.offset, body));
        if length(message.offset, &message.body) > other || other == 0 {
            self.held_bytes += size(&message.body);
            if let Some(old) = self.held.insert(message.offset, message.body) {
                self.held_bytes -= size(&old);
            }
        }
    }

    /// Delivers what of it was not delivered yet; it begins no later than that.
    fn deliver(&mut self, offset: u64, body: Body, found: &mut VecDeque<Found>) {
        let (epoch, from) = (self.epoch, self.next);
        match body {
            Body::Output(mut bytes) => {
                let known = usize::try_from(from - offset).unwrap_or(usize::MAX);
                if known >= bytes.len() {
                    return;
                }
                bytes.advance(known);
                self.next += bytes.len() as u64;
                found.push_back(Found::Output {
                    epoch,
                    offset: from,
                    bytes,
                });
            }
            Body::Gap { to } if to > from => {
                self.next = to;
                let why = Why::Told;
                found.push_back(Found::Gap {
                    epoch,
                    from,
                    to,
                    why,
                });
            }
            Body::End if !self.is_over && offset == from => {
                self.is_over = true;
                found.push_back(Found::End { epoch, offset });
            }
            Body::Gap { .. } | Body::End => {}
        }
    }

    fn deliver_held(&mut self, found: &mut VecDeque<Found>) {
        while let Some(first) = self.held.first_entry() {
            if *first.key() > self.next {
                break;
            }
            let (offset, body) = first.remove_entry();
            self.held_bytes -= size(&body);
            self.deliver(offset, body, found);
        }
    }

    /// What comes before the first that is held never comes.
    fn skip(&mut self, found: &mut VecDeque<Found>) {
        if let Some((to, _)) = self.held.first_key_value() {
            found.push_back(Found::Gap {
                epoch: self.epoch,
                from: self.next,
                to: *to,
                why: Why::Missing,
            });
            self.next = *to;
            self.deliver_held(found);
        }
    }

    fn flush(&mut self, found: &mut VecDeque<Found>) {
        while !self.held.is_empty() {
            self.skip(found);
        }
    }
}

fn size(body: &Body) -> usize {
    match body {
        Body::Output(bytes) => bytes.len(),
        Body::Gap { .. } | Body::End => 0,
    }
}

/// How much of the output a message is about.
fn length(offset: u64, body: &Body) -> u64 {
    match body {
        Body::Output(bytes) => bytes.len() as u64,
        Body::Gap { to } => to - offset,
        Body::End => 0,
    }
}
