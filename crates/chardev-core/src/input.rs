//! front ← [chardev] ← back: input that outlived its source, and events, in one order.
//!
//! Input normally stays in the kernel until the front end reads it. When its source goes away
//! (a change, a departed peer) what it had sent is carried here, and events stand between the
//! bytes where they happened. What is here is read before anything from the present back end.

use std::collections::VecDeque;

use crate::event::Event;
use crate::line::ModemChange;

/// The most input that waits here; a change that would add to more is refused.
pub const CARRY_LIMIT: usize = 16 << 20;
/// Items that may wait before they are squeezed.
const ITEMS_LIMIT: usize = 256;

#[derive(Debug)]
enum Item {
    Bytes(VecDeque<u8>),
    /// Input of a replaced back end that is still settling; `true` once it is complete.
    Settling {
        marker: u64,
        bytes: VecDeque<u8>,
        complete: bool,
    },
    Event(Event),
}

/// Bytes and events that come before the present back end's input.
#[derive(Debug, Default)]
pub(crate) struct InputQueue {
    items: VecDeque<Item>,
    bytes: usize,
    next_marker: u64,
}

impl InputQueue {
    /// Bytes waiting.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing waits and nothing is settling: the present back end may be read.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Appends what fits and returns how many bytes did not. A change is refused from
    /// [`CARRY_LIMIT`] on, so one that is not has as much room again for its cut.
    pub(crate) fn push_bytes(&mut self, bytes: Vec<u8>) -> usize {
        let kept = bytes
            .len()
            .min((2 * CARRY_LIMIT).saturating_sub(self.bytes));
        let lost = bytes.len() - kept;
        if kept > 0 {
            self.bytes += kept;
            if let Some(Item::Bytes(last)) = self.items.back_mut() {
                last.extend(&bytes[..kept]);
            } else {
                let mut bytes = VecDeque::from(bytes);
                bytes.truncate(kept);
                self.items.push_back(Item::Bytes(bytes));
            }
        }
        lost
    }

    /// Leaves a place for input that is still on its way; nothing behind it is read before
    /// [`InputQueue::settled`].
    pub(crate) fn push_settling(&mut self) -> u64 {
        self.next_marker += 1;
        self.items.push_back(Item::Settling {
            marker: self.next_marker,
            bytes: VecDeque::new(),
            complete: false,
        });
        self.next_marker
    }

    /// Adds input at its place; returns how many bytes did not fit.
    pub(crate) fn settle(&mut self, marker: u64, input: &[u8]) -> usize {
        let kept = input
            .len()
            .min((3 * CARRY_LIMIT).saturating_sub(self.bytes));
        for item in &mut self.items {
            if let Item::Settling {
                marker: found,
                bytes,
                ..
            } = item
            {
                if *found == marker {
                    bytes.extend(&input[..kept]);
                    self.bytes += kept;
                    return input.len() - kept;
                }
            }
        }
        input.len()
    }

    /// Input at this place is complete.
    pub(crate) fn settled(&mut self, marker: u64) {
        for item in &mut self.items {
            match item {
                Item::Settling {
                    marker: found,
                    complete,
                    ..
                } if *found == marker => {
                    *complete = true;
                }
                _ => {}
            }
        }
        self.drop_spent();
    }

    /// Appends an event. An opening that nobody has seen yet is undone by its closing, so a
    /// flapping peer cannot make the queue grow.
    pub(crate) fn push_event(&mut self, mut event: Event) {
        match (self.items.back(), event) {
            (Some(Item::Event(Event::Opened)), Event::Closed) => {
                self.items.pop_back();
                return;
            }
            (Some(Item::Event(Event::Changed(_))), Event::Changed(_))
            | (Some(Item::Event(Event::Resized(_))), Event::Resized(_)) => {
                self.items.pop_back();
            }
            (Some(Item::Event(Event::Modem(earlier))), Event::Modem(later)) => {
                event = Event::Modem(earlier.and(later));
                self.items.pop_back();
            }
            _ => {}
        }
        self.items.push_back(Item::Event(event));
        if self.items.len() > ITEMS_LIMIT {
            self.squeeze();
        }
    }

    /// Puts an event before everything that waits.
    pub(crate) fn push_event_first(&mut self, event: Event) {
        self.items.push_front(Item::Event(event));
    }

    /// Nobody takes events while peers come and go: inner closings and openings are left out as
    /// if the flaps between had not been, and of resizes and changes only the last counts.
    fn squeeze(&mut self) {
        let opens_last = self.items.iter().rev().find_map(|item| match item {
            Item::Event(Event::Opened) => Some(true),
            Item::Event(Event::Closed) => Some(false),
            _ => None,
        });
        let opens_first = self.items.iter().find_map(|item| match item {
            Item::Event(Event::Opened) => Some(true),
            Item::Event(Event::Closed) => Some(false),
            _ => None,
        });
        let (mut changed, mut resized) = (None, None);
        let mut modem: Option<ModemChange> = None;
        let mut bytes = VecDeque::new();
        let mut settling = VecDeque::new();
        for item in std::mem::take(&mut self.items) {
            match item {
                Item::Event(Event::Changed(answers)) => changed = Some(Event::Changed(answers)),
                Item::Event(Event::Resized(size)) => resized = Some(Event::Resized(size)),
                Item::Event(Event::Modem(later)) => {
                    modem = Some(modem.map_or(later, |earlier| earlier.and(later)));
                }
                Item::Event(_) => {}
                Item::Bytes(more) if settling.is_empty() => bytes.extend(more),
                other => settling.push_back(other),
            }
        }
        // What the front end saw last is the opposite of the first event that waited.
        let events = match (opens_first, opens_last) {
            (Some(true), Some(true)) => vec![Event::Opened],
            (Some(false), Some(false)) => vec![Event::Closed],
            (Some(false), Some(true)) => vec![Event::Closed, Event::Opened],
            (Some(true), Some(false)) => vec![Event::Opened, Event::Closed],
            _ => Vec::new(),
        };
        if opens_first == Some(true) {
            self.items.push_back(Item::Event(Event::Opened));
        }
        if !bytes.is_empty() {
            self.items.push_back(Item::Bytes(bytes));
        }
        self.items.append(&mut settling);
        let rest = events
            .into_iter()
            .skip(usize::from(opens_first == Some(true)));
        let modem = modem.map(Event::Modem);
        let last = changed.into_iter().chain(resized).chain(modem);
        self.items.extend(rest.chain(last).map(Item::Event));
    }

    /// Takes bytes from the front, up to the next event.
    pub(crate) fn read(&mut self, mut buf: &mut [u8]) -> usize {
        let mut total = 0;
        while let Some(Item::Bytes(bytes) | Item::Settling { bytes, .. }) = self.items.front_mut() {
            let count = copy_front(bytes, buf);
            buf = &mut buf[count..];
            total += count;
            self.bytes -= count;
            if !self.drop_spent() || buf.is_empty() {
                break;
            }
        }
        total
    }

    /// Takes the event at the front, if that is what comes next.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let Some(Item::Event(event)) = self.items.front() else {
            return None;
        };
        let event = *event;
        self.items.pop_front();
        self.drop_spent();
        Some(event)
    }

    /// Removes events only, for a front end that goes away.
    pub(crate) fn clear_events(&mut self) {
        self.items.retain(|item| !matches!(item, Item::Event(_)));
        self.drop_spent();
    }

    /// Drops empty complete items at the front; true if one was dropped.
    fn drop_spent(&mut self) -> bool {
        let mut dropped = false;
        while let Some(item) = self.items.front() {
            let spent = match item {
                Item::Bytes(bytes) => bytes.is_empty(),
                Item::Settling {
                    bytes, complete, ..
                } => *complete && bytes.is_empty(),
                Item::Event(_) => false,
            };
            if !spent {
                break;
            }
            self.items.pop_front();
            dropped = true;
        }
        dropped
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
        use crate::line::ModemLines;
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
