//! front ← [chardev] ← back: input that outlived its source, and events, in one order.
//!
//! Input normally stays in the kernel until the front end reads it. When its source goes away
//! (a change, a departed peer) what it had sent is carried here, and events stand between the
//! bytes where they happened. What is here is read before anything from the present back end.
//!
//! Where a multiplexer or hub that rested on the chardev has been replaced, what came before
//! belongs to it still: a *fence* ends that part, and a *tail* reads it (`input/fences.rs`).

mod fences;
#[cfg(test)]
mod scripts;
mod squeeze;

use std::collections::VecDeque;

pub(crate) use self::fences::TailRead;
use crate::event::Event;
use crate::seldom::Seldom;

/// The most input that waits here; a change that would add to more is refused.
pub const CARRY_LIMIT: usize = 16 << 20;
/// Items that may wait before they are squeezed.
const ITEMS_LIMIT: usize = 256;

#[derive(Debug)]
enum Item {
    /// Never empty.
    Bytes(VecDeque<u8>),
    /// Input of a replaced back end that is still settling.
    Settling {
        marker: u64,
        bytes: VecDeque<u8>,
    },
    Event(Event),
    /// So many breaks with nothing between them.
    Breaks(u64),
    /// What stands before belongs to the tail of this number.
    Fence(u64),
    /// A place that whoever reads is told of.
    Mark(u64),
}

impl Item {
    /// Whether it tells how things stand, which concerns whoever is above now. A break is rather a
    /// part of the input.
    fn tells_state(&self) -> bool {
        matches!(self, Item::Event(_))
    }
}

/// Bytes and events that come before the present back end's input.
#[derive(Debug, Default)]
pub(crate) struct InputQueue {
    items: VecDeque<Item>,
    bytes: usize,
    next_marker: u64,
    /// How many of the items are fences.
    fences: usize,
    /// Tails whose fences are still on their way through the back end.
    later: Seldom<VecDeque<u64>>,
}

impl InputQueue {
    /// Bytes waiting.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many more bytes a back end may be asked for, so that its cut has its own room.
    pub(crate) fn room(&self) -> usize {
        CARRY_LIMIT.saturating_sub(self.bytes)
    }

    /// Neither input nor events nor anything else is here.
    pub(crate) fn has_no_items(&self) -> bool {
        self.items.is_empty()
    }

    /// Nothing waits and nothing is settling: the present back end may be read.
    pub(crate) fn is_empty(&self) -> bool {
        let quick = self.items.is_empty() && self.later.is_empty();
        quick || (self.later.is_empty() && self.own() == self.items.len() && !self.shows_first())
    }

    /// Whether input waits, or is on its way, that the front end is to have.
    pub(crate) fn has_input(&self) -> bool {
        let is_input = |item: &Item| matches!(item, Item::Bytes(_) | Item::Settling { .. });
        self.later.is_empty() && self.items.range(self.own()..).any(is_input)
    }

    /// A closing waits to be seen.
    pub(crate) fn has_closed(&self) -> bool {
        let closed = |item: &Item| matches!(item, Item::Event(Event::Closed));
        self.items.iter().any(closed)
    }

    /// Appends what fits and returns how many bytes did not. A change is refused from
    /// [`CARRY_LIMIT`] on, so one that is not has as much room again for its cut.
    pub(crate) fn push_bytes(&mut self, mut bytes: Vec<u8>) -> usize {
        let length = bytes.len();
        bytes.truncate((2 * CARRY_LIMIT).saturating_sub(self.bytes));
        self.bytes += bytes.len();
        let lost = length - bytes.len();
        if let Some(Item::Bytes(last)) = self.items.back_mut() {
            last.extend(bytes);
        } else if !bytes.is_empty() {
            self.items.push_back(Item::Bytes(bytes.into()));
        }
        lost
    }

    /// Leaves a place for input that is still on its way; nothing behind it is read before
    /// [`InputQueue::settled`].
    pub(crate) fn push_settling(&mut self) -> u64 {
        let marker = self.new_marker();
        let bytes = VecDeque::new();
        self.items.push_back(Item::Settling { marker, bytes });
        marker
    }

    /// Whether that place is still there.
    pub(crate) fn has_place(&self, marker: u64) -> bool {
        let is_it =
            |item: &Item| matches!(item, Item::Settling { marker: found, .. } if *found == marker);
        self.items.iter().any(is_it)
    }

    fn new_marker(&mut self) -> u64 {
        self.next_marker += 1;
        self.next_marker
    }

    /// Adds input at its place; returns how many bytes did not fit.
    pub(crate) fn settle(&mut self, marker: u64, input: &[u8]) -> usize {
        let room = (3 * CARRY_LIMIT).saturating_sub(self.bytes);
        let kept = input.len().min(room);
        let place = self.items.iter_mut().find_map(|item| match item {
            Item::Settling {
                marker: found,
                bytes,
            } if *found == marker => Some(bytes),
            _ => None,
        });
        let Some(place) = place else {
            return input.len();
        };
        place.extend(&input[..kept]);
        self.bytes += kept;
        input.len() - kept
    }

    /// Adds breaks at its place, behind what has settled there; returns how many had to be left
    /// out, and all if nobody is `there` to take them.
    pub(crate) fn settle_breaks(&mut self, marker: u64, count: u64, there: bool) -> u64 {
        let is_it =
            |item: &Item| matches!(item, Item::Settling { marker: found, .. } if *found == marker);
        let found = self.items.iter().position(is_it);
        let taken = |at: &usize| there || *at < self.own() || !self.later.is_empty();
        let Some(at) = found.filter(taken) else {
            return count;
        };
        let Some(Item::Settling { bytes, .. }) = self.items.get_mut(at) else {
            return count;
        };
        let before = std::mem::take(bytes);
        match self.items.get_mut(at.wrapping_sub(1)) {
            Some(Item::Breaks(earlier)) if before.is_empty() => *earlier += count,
            _ => self.items.insert(at, Item::Breaks(count)),
        }
        if !before.is_empty() {
            self.items.insert(at, Item::Bytes(before));
            self.join(at.wrapping_sub(1));
        }
        match self.items.len() > ITEMS_LIMIT {
            true => self.squeeze(),
            false => 0,
        }
    }

    /// Input at this place is complete: it is bytes like all others.
    pub(crate) fn settled(&mut self, marker: u64) {
        while self.settled_before(marker, self.items.len()) {}
    }

    /// Completes the first place of this number that is before `end`; `false` if there is none.
    fn settled_before(&mut self, marker: u64, end: usize) -> bool {
        let is_it =
            |item: &Item| matches!(item, Item::Settling { marker: found, .. } if *found == marker);
        let Some(at) = self.items.range(..end).position(is_it) else {
            return false;
        };
        let Some(Item::Settling { bytes, .. }) = self.items.remove(at) else {
            return false;
        };
        if !bytes.is_empty() {
            self.items.insert(at, Item::Bytes(bytes));
        }
        self.join(at);
        self.join(at.wrapping_sub(1));
        true
    }

    /// Joins the bytes at `at` and those behind them.
    fn join(&mut self, at: usize) {
        let both = (self.items.get(at), self.items.get(at.wrapping_add(1)));
        if let (Some(Item::Bytes(_)), Some(Item::Bytes(_))) = both {
            if let Some(Item::Bytes(mut more)) = self.items.remove(at + 1) {
                if let Some(Item::Bytes(bytes)) = self.items.get_mut(at) {
                    bytes.append(&mut more);
                }
            }
        }
    }

    /// Appends an event; returns how many breaks had to be left out, because nobody takes them. An
    /// opening that nobody has seen yet is undone by its closing.
    pub(crate) fn push_event(&mut self, event: Event) -> u64 {
        match (self.items.back_mut(), event) {
            (Some(Item::Event(Event::Opened)), Event::Closed) => {
                self.items.pop_back();
                return 0;
            }
            (Some(Item::Event(last @ Event::Changed(_))), Event::Changed(_))
            | (Some(Item::Event(last @ Event::LineAnswered(_))), Event::LineAnswered(_))
            | (Some(Item::Event(last @ Event::SerialAsked(_))), Event::SerialAsked(_))
            | (Some(Item::Event(last @ Event::Purged)), Event::Purged)
            | (Some(Item::Event(last @ Event::Resized(_))), Event::Resized(_)) => *last = event,
            (Some(Item::Event(Event::PurgeAsked(last))), Event::PurgeAsked(later)) => {
                *last = last.and(later);
            }
            (Some(Item::Event(Event::Modem(last))), Event::Modem(later)) => *last = last.and(later),
            (Some(Item::Breaks(count)), Event::Break) => *count += 1,
            (_, Event::Break) => self.items.push_back(Item::Breaks(1)),
            _ => self.items.push_back(Item::Event(event)),
        }
        match self.items.len() > ITEMS_LIMIT {
            true => self.squeeze(),
            false => 0,
        }
    }

    /// Puts an event before everything that waits.
    pub(crate) fn push_event_first(&mut self, event: Event) {
        self.items.push_front(Item::Event(event));
    }

    /// Whether the first opening or closing that waits is an opening.
    pub(crate) fn opens_first(&self) -> Option<bool> {
        self.items.iter().find_map(|item| match item {
            Item::Event(Event::Opened) => Some(true),
            Item::Event(Event::Closed) => Some(false),
            _ => None,
        })
    }

    /// Takes bytes from the front, up to the next event.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> usize {
        if !self.later.is_empty() || self.shows_first() {
            return 0;
        }
        self.read_at(self.own(), buf)
    }

    fn read_at(&mut self, at: usize, mut buf: &mut [u8]) -> usize {
        let mut total = 0;
        while let Some(item) = self.items.get_mut(at) {
            let (bytes, settling) = match item {
                Item::Bytes(bytes) => (bytes, false),
                Item::Settling { bytes, .. } => (bytes, true),
                _ => break,
            };
            let count = copy_front(bytes, buf);
            buf = &mut buf[count..];
            total += count;
            self.bytes -= count;
            if settling || !bytes.is_empty() {
                break;
            }
            self.take_item(at);
        }
        total
    }

    /// Takes an item out. Without any there is no memory for them.
    fn take_item(&mut self, at: usize) -> Option<Item> {
        let item = self.items.remove(at);
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
        item
    }

    /// Takes the next event, if that is what comes next.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let own = self.own();
        // What belongs to a tail keeps no event back.
        let before = self.items.range(..own).position(Item::tells_state);
        let at = before.unwrap_or(own);
        match self.items.get_mut(at)? {
            Item::Breaks(_) if !self.later.is_empty() => None,
            Item::Breaks(count) if *count > 1 => {
                *count -= 1;
                Some(Event::Break)
            }
            Item::Breaks(_) => self.take_item(at).map(|_| Event::Break),
            Item::Event(event) => {
                let event = *event;
                self.take_item(at);
                Some(event)
            }
            _ => None,
        }
    }

    /// Removes events only, for a front end that goes away; returns how many breaks were among
    /// them.
    pub(crate) fn clear_events(&mut self) -> u64 {
        let mut of_tails = match self.later.is_empty() {
            true => self.own(),
            false => self.items.len(),
        };
        let mut breaks = 0;
        self.items.retain(|item| {
            let of_tail = of_tails > 0;
            of_tails = of_tails.saturating_sub(1);
            match item {
                Item::Breaks(_) if of_tail => true,
                Item::Breaks(count) => {
                    breaks += *count;
                    false
                }
                item => !item.tells_state(),
            }
        });
        breaks
    }
}

fn copy_front(bytes: &mut VecDeque<u8>, buf: &mut [u8]) -> usize {
    let (first, second) = bytes.as_slices();
    let from_first = first.len().min(buf.len());
    buf[..from_first].copy_from_slice(&first[..from_first]);
    let from_second = second.len().min(buf.len() - from_first);
    buf[from_first..from_first + from_second].copy_from_slice(&second[..from_second]);
    bytes.drain(..from_first + from_second);
    from_first + from_second
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut InputQueue) -> String {
        let mut out = String::new();
        loop {
            let mut buf = [0; 3];
            let count = queue.read(&mut buf);
            if count > 0 {
                out.push_str(&String::from_utf8_lossy(&buf[..count]));
            } else if let Some(event) = queue.next_event() {
                out.push_str(&format!("<{event:?}>"));
            } else {
                return out;
            }
        }
    }

    #[test]
    fn bytes_and_events_keep_their_order() {
        let mut queue = InputQueue::default();
        queue.push_bytes(b"abcdef".to_vec());
        queue.push_event(Event::Closed);
        queue.push_event(Event::Opened);
        queue.push_bytes(b"g".to_vec());
        assert_eq!(drain(&mut queue), "abcdef<Closed><Opened>g");
        assert!(queue.is_empty());
    }

    #[test]
    fn input_waits_for_what_is_settling_before_it() {
        let mut queue = InputQueue::default();
        let marker = queue.push_settling();
        queue.push_event(Event::Break);
        assert_eq!(drain(&mut queue), "");
        assert_eq!(queue.settle(marker, b"xy"), 0);
        assert_eq!(drain(&mut queue), "xy");
        assert!(!queue.is_empty());
        queue.settled(marker);
        assert_eq!(drain(&mut queue), "<Break>");
        assert_eq!(queue.settle(marker, b"late"), 4);
    }

    #[test]
    fn a_flapping_peer_does_not_grow_the_queue() {
        let mut queue = InputQueue::default();
        queue.push_event(Event::Closed);
        for _ in 0..1000 {
            queue.push_event(Event::Opened);
            queue.push_event(Event::Closed);
            queue.push_event(Event::Break);
        }
        assert!(queue.items.len() <= ITEMS_LIMIT + 1);
        assert!(drain(&mut queue).starts_with("<Closed><Break>"));
        for round in 0..1000 {
            queue.push_event(Event::Opened);
            assert_eq!(queue.push_bytes(vec![b'x']), 0, "{round}");
            queue.push_event(Event::Closed);
        }
        assert!(queue.items.len() <= ITEMS_LIMIT + 1);
        let all = drain(&mut queue).replace("<Closed><Opened>", "");
        assert_eq!(all.matches('x').count(), 1000);
        assert!(
            all.starts_with("<Opened>x") && all.ends_with("x<Closed>"),
            "{all}"
        );
    }

    #[test]
    fn changes_of_modem_lines_merge_and_none_is_forgotten() {
        use crate::line::{ModemChange, ModemLines};
        let change = |inputs, changed| Event::Modem(ModemChange { inputs, changed });
        let (cts, ring) = (ModemLines::CTS, ModemLines::RI);
        let mut queue = InputQueue::default();
        queue.push_event(change(cts, cts));
        queue.push_event(change(cts | ring, ring));
        queue.push_event(change(ring, cts));
        assert_eq!(queue.next_event(), Some(change(ring, cts | ring)));
        assert_eq!(queue.next_event(), None);
    }

    #[test]
    fn the_limit_counts_what_it_refuses() {
        let mut queue = InputQueue::default();
        assert_eq!(queue.push_bytes(vec![0; 2 * CARRY_LIMIT - 1]), 0);
        assert_eq!(queue.push_bytes(vec![0; 3]), 2);
        assert_eq!(queue.bytes(), 2 * CARRY_LIMIT);
    }
}
