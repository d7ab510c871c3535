//! One console's way into the stream, without I/O and without a clock: what was taken, what is on
//! its way, and what the stream has.
//!
//! ```text
//!   0 ──── in the stream ────▶ acknowledged ──── window ────▶ taken ──── the source's ────▶
//! ```
//!
//! The output is cut into messages once, and a message that may have been lost is sent again as it
//! was, so a server that knows its id takes it once. One that says it knows the id of a message it
//! does not have ([`Publisher::doubt`]) is sent that without an id.
//!
//! The window holds what is not acknowledged yet, and is bounded in messages and bytes; whoever
//! reads the stream relies on the former: when the message [`WINDOW_MESSAGES`] further is there, an
//! earlier one is, too, or never was.

use std::collections::VecDeque;

use bytes::Bytes;
use chardev::Epoch;

use crate::message::{Body, Message};

/// How many messages may be on their way.
pub const WINDOW_MESSAGES: usize = 16;
/// How many bytes may be on their way.
pub const WINDOW_BYTES: usize = 512 << 10;
/// The most bytes in a message.
pub const LARGEST: usize = 64 << 10;
/// While something is on its way, less than this waits for more to come.
const WORTHWHILE: usize = 16 << 10;

/// One life of a console on its way into the stream.
#[derive(Debug)]
pub struct Publisher {
    epoch: Epoch,
    taken: u64,
    bytes: usize,
    ended: bool,
    window: VecDeque<Sending>,
}

/// A message that is not known to be in the stream, or waits for one before it that is not.
#[derive(Debug)]
struct Sending {
    message: Message,
    state: Delivery,
    is_doubted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Waiting,
    Sent,
    Acknowledged,
}

impl Publisher {
    /// One that begins at the offset `from`: what is before that is in the stream already.
    pub fn new(epoch: Epoch, from: u64) -> Self {
        Publisher {
            epoch,
            taken: from,
            bytes: 0,
            ended: false,
            window: VecDeque::new(),
        }
    }

    /// The offset of the byte to be taken next.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Everything below this offset is in the stream.
    pub fn acknowledged(&self) -> u64 {
        self.window
            .front()
            .map_or(self.taken, |it| it.message.offset)
    }

    /// Whether all that was taken is in the stream.
    pub fn is_idle(&self) -> bool {
        self.window.is_empty()
    }

    /// How many of so many bytes there are to take now: none while the window is full, or while it
    /// is better to let more come together.
    pub fn wants(&self, available: usize) -> usize {
        let room = WINDOW_BYTES.saturating_sub(self.bytes);
        let count = available.min(LARGEST).min(room);
        let is_full = self.ended || self.window.len() >= WINDOW_MESSAGES;
        let is_little = count < WORTHWHILE && !self.is_idle();
        if is_full || is_little { 0 } else { count }
    }

    /// Whether [`Publisher::gap`] and [`Publisher::end`] may be called now.
    pub fn has_room(&self) -> bool {
        !self.ended && self.window.len() < WINDOW_MESSAGES
    }

    /// Takes what comes next in the output, as one message. Of bytes there have to be some, and no
    /// more than [`Publisher::wants`] said.
    pub fn take(&mut self, bytes: Bytes) {
        debug_assert!(!bytes.is_empty() && self.has_room());
        self.bytes += bytes.len();
        self.push(Body::Output(bytes));
    }

    /// What comes next is lost, up to the offset `to`.
    pub fn gap(&mut self, to: u64) {
        debug_assert!(to > self.taken && self.has_room());
        self.push(Body::Gap { to });
    }

    /// Nothing comes any more.
    pub fn end(&mut self) {
        debug_assert!(self.has_room());
        self.push(Body::End);
        self.ended = true;
    }

    /// The next message to be sent, the oldest first.
    pub fn next_message(&mut self) -> Option<Message> {
        let mut window = self.window.iter_mut();
        let next = window.find(|it| it.state == Delivery::Waiting)?;
        next.state = Delivery::Sent;
        Some(next.message.clone())
    }

    /// The stream has the message from `offset` to `end`, however often that is said. One that
    /// begins there but ends elsewhere was another publisher's.
    pub fn acknowledge(&mut self, offset: u64, end: u64) {
        if let Some(sent) = self.find(offset).filter(|it| it.message.end() == end) {
            sent.state = Delivery::Acknowledged;
        }
        while let Some(first) = self.window.front() {
            if first.state != Delivery::Acknowledged {
                break;
            }
            self.bytes -= first.message.payload().len();
            self.window.pop_front();
        }
    }

    /// The message that begins there may have been lost, and is sent again.
    pub fn retry(&mut self, offset: u64) {
        if let Some(sent) = self.find(offset) {
            if sent.state == Delivery::Sent {
                sent.state = Delivery::Waiting;
            }
        }
    }

    /// A server says that it knows the message that begins there, and not where the stream has it:
    /// it may have lost that since. It is sent again, without an id.
    pub fn doubt(&mut self, offset: u64) {
        if let Some(sent) = self.find(offset) {
            sent.is_doubted = true;
        }
        self.retry(offset);
    }

    /// By which a server may know a message of the window again; `None` if that was in vain.
    pub fn id(&self, message: &Message) -> Option<String> {
        let mut window = self.window.iter();
        let sent = window.find(|it| it.message.offset == message.offset);
        let is_doubted = sent.is_some_and(|it| it.is_doubted);
        (!is_doubted).then(|| message.id())
    }

    /// The connection is lost, and with it whatever was on its way, as far as one can know.
    pub fn retry_all(&mut self) {
        for sent in &mut self.window {
            if sent.state == Delivery::Sent {
                sent.state = Delivery::Waiting;
            }
        }
    }

    fn push(&mut self, body: Body) {
        let message = Message {
            epoch: self.epoch,
            offset: self.taken,
            body,
        };
        self.taken = message.end();
        self.window.push_back(Sending {
            message,
            state: Delivery::Waiting,
            is_doubted: false,
        });
    }

    fn find(&mut self, offset: u64) -> Option<&mut Sending> {
        let mut window = self.window.iter_mut();
        window.find(|it| it.message.offset == offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: usize) -> Bytes {
        Bytes::from(vec![b'x'; count])
    }

    #[test]
    fn little_waits_for_more_and_much_goes_on() {
        let mut publisher = Publisher::new(Epoch::new(1), 0);
        assert_eq!(publisher.wants(0), 0);
        assert_eq!(publisher.wants(5), 5);
        publisher.take(bytes(5));
        assert_eq!(publisher.wants(5), 0, "one is on its way");
        assert_eq!(publisher.wants(1 << 20), LARGEST);
        let first = publisher.next_message().expect("it is to be sent");
        assert_eq!((first.offset, first.end()), (0, 5));
        publisher.acknowledge(0, 4);
        assert_eq!(publisher.acknowledged(), 0, "that is not what was sent");
        publisher.acknowledge(0, 5);
        assert_eq!((publisher.acknowledged(), publisher.wants(5)), (5, 5));
    }

    #[test]
    fn the_window_is_bounded_and_moves_with_what_is_acknowledged_in_order() {
        let mut publisher = Publisher::new(Epoch::new(1), 10);
        while publisher.wants(usize::MAX) > 0 {
            publisher.take(bytes(publisher.wants(usize::MAX)));
        }
        assert_eq!(publisher.taken(), 10 + WINDOW_BYTES as u64);
        while publisher.next_message().is_some() {}
        let second = 10 + LARGEST as u64;
        publisher.acknowledge(second, second + LARGEST as u64);
        assert_eq!((publisher.acknowledged(), publisher.wants(9)), (10, 0));
        publisher.retry_all();
        let again = publisher.next_message().expect("the first one");
        assert_eq!(again.offset, 10);
        publisher.acknowledge(10, second);
        assert_eq!(publisher.acknowledged(), 10 + 2 * LARGEST as u64);
        let next = publisher.next_message().expect("the third one");
        assert_eq!(next.offset, 10 + 2 * LARGEST as u64);
    }

    #[test]
    fn what_a_server_knows_and_does_not_have_is_sent_again_without_an_id() {
        let mut publisher = Publisher::new(Epoch::new(1), 0);
        publisher.take(bytes(5));
        let first = publisher.next_message().expect("it is to be sent");
        assert_eq!(publisher.id(&first), Some(first.id()));
        publisher.doubt(0);
        assert_eq!(publisher.acknowledged(), 0);
        let again = publisher.next_message().expect("it is sent again");
        assert_eq!((&again, publisher.id(&again)), (&first, None));
        publisher.acknowledge(0, 5);
        publisher.doubt(0);
        assert!(publisher.is_idle());
    }

    #[test]
    fn gaps_and_the_end_are_sent_like_output() {
        let mut publisher = Publisher::new(Epoch::new(1), 0);
        publisher.gap(7);
        publisher.end();
        assert!(!publisher.has_room());
        let bodies: Vec<_> = std::iter::from_fn(|| publisher.next_message()).collect();
        assert_eq!(bodies[0].body, Body::Gap { to: 7 });
        assert_eq!((bodies[1].offset, &bodies[1].body), (7, &Body::End));
        publisher.retry(0);
        assert_eq!(publisher.next_message().map(|it| it.offset), Some(0));
        publisher.acknowledge(0, 7);
        publisher.acknowledge(7, 7);
        assert!(publisher.is_idle());
    }
}
