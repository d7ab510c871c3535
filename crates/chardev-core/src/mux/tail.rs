//! front ends → chardev → [mux] → chardev → host: input for front ends that have moved on, and
//! marks on the way up.

use super::slot::MuxSlot;
use super::{Multiplexer, SLOT_BUFFER};
use crate::drain::{Drain, Late};
use crate::event::Event;
use crate::input::TailRead;
use crate::link::{Below, Link};

/// A mark in the chardev below, and what is to be told to which slot when it comes.
#[derive(Debug)]
pub(super) struct SlotMark {
    below: u64,
    tag: u64,
    mark: u64,
}

impl Multiplexer {
    pub(super) fn is_leaving(&self) -> bool {
        self.slots.iter().any(|slot| slot.leaving)
    }

    /// Whether something that was sent before a change further down has not come yet.
    pub(super) fn is_under_way(&self, tag: u64) -> bool {
        // So are its marks, which stand behind that below or pass when the focus goes.
        self.focus == Some(tag) && self.link.as_ref().is_some_and(Link::is_under_way)
    }

    /// The slot is replaced, and as it may not leave others behind so are all. What there is for
    /// them by now is read, up to `room` bytes; returns whether more may come, which is a tail's.
    pub(super) fn leave(&mut self, tag: u64, room: usize) -> bool {
        let in_use = self.slots.iter().any(|slot| slot.attached);
        let Some(slot) = self.slot(tag).filter(|slot| slot.attached || !in_use) else {
            return false;
        };
        slot.attached = true;
        self.focus.get_or_insert(tag);
        self.pump(room);
        self.slot(tag)
            .into_iter()
            .for_each(|slot| slot.leaving = true);
        let mut attached = self.slots.iter().filter(|slot| slot.attached);
        let all_leave = attached.all(|slot| slot.leaving);
        let under_way = self.link.as_ref().filter(|link| link.is_under_way());
        if let Some(link) = under_way.filter(|_| all_leave) {
            self.tail = Some(link.tail(None));
            return true;
        }
        under_way.is_some()
    }

    pub(super) fn next_of_tail(&mut self, buf: &mut [u8]) -> Below {
        match self.tail.as_ref().map(|tail| tail.read(buf)) {
            Some(TailRead::Data(count)) => Below::Data(count),
            Some(TailRead::Break) => Below::Event(Event::Break),
            Some(TailRead::Mark(mark)) => Below::Mark(mark),
            Some(TailRead::Wait) => Below::Nothing,
            Some(TailRead::End) | None => {
                self.tail = None;
                Below::Nothing
            }
        }
    }

    /// Tells the slot when it has got all that is under way; `false` if nothing is.
    pub(super) fn mark(&mut self, tag: u64, mark: u64) -> bool {
        if !self.is_under_way(tag) {
            return false;
        }
        let Some(link) = &self.link else { return false };
        let below = link.mark();
        self.marks.push(SlotMark { below, tag, mark });
        true
    }

    /// Whoever reads has come to a mark in the chardev below.
    pub(super) fn pass_mark(&mut self, below: u64) {
        self.pass_marks(|mark| mark.below == below);
    }

    /// The slot loses the focus, so nothing comes to it any more.
    pub(super) fn pass_all_marks(&mut self, tag: u64) {
        self.pass_marks(|mark| mark.tag == tag);
    }

    fn pass_marks(&mut self, reached: impl Fn(&SlotMark) -> bool) {
        let (passed, rest) = std::mem::take(&mut self.marks)
            .into_iter()
            .partition(reached);
        self.marks = rest;
        let passed: Vec<SlotMark> = passed;
        for SlotMark { tag, mark, .. } in passed {
            if let Some(slot) = self.slot(tag) {
                slot.queue.push_mark(mark);
            }
            self.notify.wake_by_ref();
        }
    }
}

/// Reads what is still to come to one slot of a multiplexer that was replaced.
pub(super) struct MuxDrain {
    slot: MuxSlot,
    passed: Option<u64>,
    breaks: u64,
}

impl MuxDrain {
    pub(super) fn new(slot: MuxSlot) -> Self {
        MuxDrain {
            slot,
            passed: None,
            breaks: 0,
        }
    }
}

impl Drain for MuxDrain {
    fn pending(&mut self) -> u64 {
        0
    }

    fn read_late(&mut self, buf: &mut [u8]) -> Late {
        let mut inner = self.slot.mux.lock();
        loop {
            inner.pump(SLOT_BUFFER);
            let nobody = inner.focus.is_none() || inner.tail.is_none();
            let Some(slot) = inner.slot(self.slot.tag) else {
                return Late::End;
            };
            let count = slot.queue.read(buf);
            if count > 0 {
                return Late::Data(count);
            }
            self.passed = slot.queue.next_mark();
            if self.passed.is_some() {
                return Late::Quiet;
            }
            match slot.queue.next_event() {
                Some(Event::Break) => {
                    self.breaks += 1;
                    return Late::Quiet;
                }
                // Other events were for a front end that has another back end now.
                Some(_) => {}
                None if nobody => return Late::End,
                None => return Late::Quiet,
            }
        }
    }

    fn take_mark(&mut self) -> Option<u64> {
        self.passed.take()
    }

    fn take_breaks(&mut self) -> u64 {
        std::mem::take(&mut self.breaks)
    }

    fn rests_on_others(&self) -> bool {
        true
    }
}
