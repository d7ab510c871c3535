//! front → chardev → [hub] → chardevs → host: input of members under way when something above changes.

use std::collections::VecDeque;
use std::io::IoSliceMut;

use super::Inner;
use crate::backend::BackendEvent;
use crate::drain::{Drain, Late};
use crate::input::TailRead;
use crate::link::Tail;

/// Marks on the way up. A mark has come when every member has come to it; one that comes first is
/// not read until then.
#[derive(Default)]
pub(super) struct Marks {
    /// Each with its number here, from 1 on.
    waiting: VecDeque<(u64, u64)>,
    last: u64,
    complete: u64,
}

impl Marks {
    /// The number of the newest mark, which concerns nobody who comes later.
    pub(super) fn last(&self) -> u64 {
        self.last
    }
}

impl Inner {
    pub(super) fn is_under_way(&self) -> bool {
        let late = |member: &super::Member| member.link.is_under_way();
        let marked = !self.marks.waiting.is_empty() || self.events.has_mark();
        marked || !self.left.is_empty() || self.members.iter().any(late)
    }

    pub(super) fn mark(&mut self, mark: u64) -> bool {
        if !self.is_under_way() {
            return false;
        }
        self.marks.last += 1;
        let number = self.marks.last;
        self.marks.waiting.push_back((mark, number));
        for member in &mut self.members {
            match member.link.is_under_way() {
                true => member.marks.push_back((member.link.mark(), number)),
                false if member.marks.is_empty() => member.passed = number,
                false => {}
            }
        }
        self.pass_marks();
        true
    }

    /// Whether a member has not run ahead of others that a mark waits for.
    pub(super) fn may_read(&self, at: usize) -> bool {
        self.tails.is_empty()
            && self.members[at].passed <= self.marks.complete
            && !self.events.has_mark()
    }

    pub(super) fn reach_mark(&mut self, at: usize, below: u64) {
        let marks = &mut self.members[at].marks;
        let Some(place) = marks.iter().position(|(mark, _)| *mark == below) else {
            return;
        };
        let (_, number) = marks.drain(..=place).next_back().unwrap_or_default();
        self.members[at].passed = number;
        self.pass_marks();
    }

    /// Tells of marks that every member has come to.
    pub(super) fn pass_marks(&mut self) {
        while let Some((mark, number)) = self.marks.waiting.front().copied() {
            let waits =
                !self.left.is_empty() || self.members.iter().any(|member| member.passed < number);
            if waits {
                return;
            }
            self.marks.waiting.pop_front();
            self.marks.complete = number;
            self.tell(BackendEvent::Mark(mark));
            self.notify.wake_by_ref();
        }
    }

    /// Reads what members that have left had by then.
    pub(super) fn read_left(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let Some(buf) = bufs.iter_mut().find(|buf| !buf.is_empty()) else {
            return 0;
        };
        let was_open = self.is_open();
        let mut total = 0;
        self.left.retain(|tail| {
            if total > 0 {
                return true;
            }
            loop {
                match tail.read(buf) {
                    TailRead::Data(count) => total = count,
                    TailRead::Mark(_) => continue,
                    TailRead::Wait => {}
                    TailRead::End => return false,
                }
                return true;
            }
        });
        self.pass_marks();
        self.show(was_open);
        total
    }

    /// The hub is replaced: what members have and what is under way from them is its own.
    pub(super) fn leave(&mut self) {
        self.tails.append(&mut self.left);
        for member in &self.members {
            if member.link.is_under_way() {
                self.tails.push(member.link.tail(None));
            }
        }
    }
}

/// Reads what is still to come to a hub that was replaced.
pub(super) struct HubDrain(pub(super) Vec<Tail>);

impl Drain for HubDrain {
    fn pending(&mut self) -> u64 {
        0
    }

    fn read_late(&mut self, buf: &mut [u8]) -> Late {
        let mut found = None;
        self.0.retain(|tail| {
            while found.is_none() {
                match tail.read(buf) {
                    TailRead::Data(count) => found = Some(count),
                    TailRead::Mark(_) => continue,
                    TailRead::Wait => break,
                    TailRead::End => return false,
                }
            }
            true
        });
        match found {
            Some(count) => Late::Data(count),
            None if self.0.is_empty() => Late::End,
            None => Late::Quiet,
        }
    }

    fn rests_on_others(&self) -> bool {
        true
    }
}
