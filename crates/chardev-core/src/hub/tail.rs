//! front → chardev → [hub] → chardevs → host: members' input that is in flight when something above
//! changes.

use std::collections::VecDeque;
use std::io::IoSliceMut;

use super::HubParts;
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

impl HubParts {
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
            // One that is held for an earlier mark may have more by now.
            let held = member.passed > self.marks.complete;
            match held || member.link.is_under_way() {
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
        let mut breaks = 0;
        // What is to be told comes before input that is read after it.
        let waits = !self.events.is_empty();
        self.left.retain(|tail| {
            if total > 0 || breaks > 0 || waits {
                return true;
            }
            loop {
                match tail.read(buf) {
                    TailRead::Data(count) => total = count,
                    TailRead::Break => breaks += 1,
                    TailRead::Mark(_) => continue,
                    TailRead::Wait => {}
                    TailRead::End => return false,
                }
                return true;
            }
        });
        if breaks > 0 {
            self.tell(BackendEvent::Break);
        }
        self.pass_marks();
        self.show(was_open);
        total
    }

    /// The hub is replaced: what members have and what is under way from them is its own.
    pub(super) fn leave(&mut self) {
        for tail in std::mem::take(&mut self.left) {
            self.tails.push(MemberTail {
                tail,
                passed: 0,
                marks: VecDeque::new(),
            });
        }
        for member in &mut self.members {
            let held = member.passed > self.marks.complete;
            if held || member.link.is_under_way() {
                self.tails.push(MemberTail {
                    tail: member.link.tail(None),
                    passed: member.passed,
                    marks: std::mem::take(&mut member.marks),
                });
            }
        }
    }
}

/// What a replaced hub still reads of one member, and how far it has come there.
pub(super) struct MemberTail {
    tail: Tail,
    passed: u64,
    marks: VecDeque<(u64, u64)>,
}

impl MemberTail {
    fn read(&mut self, buf: &mut [u8]) -> TailRead {
        let read = self.tail.read(buf);
        if let TailRead::Mark(below) = read {
            while let Some((mark, number)) = self.marks.pop_front() {
                self.passed = number;
                if mark == below {
                    break;
                }
            }
        }
        read
    }
}

/// Reads what is still to come to a hub that was replaced.
pub(super) struct HubDrain {
    pub(super) tails: Vec<MemberTail>,
    pub(super) marks: Marks,
    pub(super) passed: Option<u64>,
    pub(super) breaks: u64,
}

impl HubDrain {
    /// Whether every member has come to the next mark.
    fn pass_mark(&mut self) -> bool {
        let Some((mark, number)) = self.marks.waiting.front().copied() else {
            return false;
        };
        let passes = self.tails.iter().all(|tail| tail.passed >= number);
        if passes {
            self.marks.waiting.pop_front();
            self.marks.complete = number;
            self.passed = Some(mark);
        }
        passes
    }
}

impl Drain for HubDrain {
    fn pending(&mut self) -> u64 {
        0
    }

    fn read_late(&mut self, buf: &mut [u8]) -> Late {
        let mut at = 0;
        while !self.pass_mark() {
            let complete = self.marks.complete;
            let Some(tail) = self.tails.get_mut(at) else {
                return match self.tails.is_empty() {
                    true => Late::End,
                    false => Late::Quiet,
                };
            };
            if tail.passed > complete {
                at += 1;
                continue;
            }
            match tail.read(buf) {
                TailRead::Data(count) => return Late::Data(count),
                TailRead::Break => {
                    self.breaks += 1;
                    return Late::Quiet;
                }
                TailRead::Mark(_) => {}
                TailRead::Wait => at += 1,
                TailRead::End => drop(self.tails.remove(at)),
            }
        }
        Late::Quiet
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::BackendEvent;
    use crate::hub::Hub;

    #[test]
    fn a_mark_is_under_way_until_it_has_been_told() {
        let hub = Hub::new(Vec::new(), Waker::noop().clone());
        let mut inner = hub.lock();
        assert!(!inner.is_under_way());
        inner.tell(BackendEvent::Mark(7));
        assert!(inner.is_under_way());
        assert_eq!(inner.events.pop(), Some(BackendEvent::Mark(7)));
        assert!(!inner.is_under_way());
    }
}
