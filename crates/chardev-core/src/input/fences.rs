//! front ← [chardev] ← back: input that belongs to a former reader above.
//!
//! A multiplexer or hub may be replaced while what a base chardev's former peer sent is still
//! settling. A fence is put behind all that is to come of it; the replaced one's *tail* reads up to
//! there, and everybody later reads from there on. Breaks belong to the input; other events are not
//! fenced: they tell how things stand to whoever is above now.

use std::collections::VecDeque;

use super::{InputQueue, Item};

/// What a tail found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TailRead {
    /// This many bytes.
    Data(usize),
    /// A break.
    Break,
    /// A place that the reader had marked.
    Mark(u64),
    /// Nothing now; more is on its way.
    Wait,
    /// Everything before the fence has been read.
    End,
}

impl InputQueue {
    /// Where that begins which no tail is to have.
    pub(super) fn own(&self) -> usize {
        if self.fences == 0 {
            return 0;
        }
        let is_fence = |item: &Item| matches!(item, Item::Fence(_));
        let last = self.items.iter().rposition(is_fence);
        last.map_or(0, |last| last + 1)
    }

    /// Whether an event stands among what belongs to tails.
    pub(super) fn shows_first(&self) -> bool {
        self.fences > 0 && self.items.range(..self.own()).any(Item::tells_state)
    }

    /// Whether something of what the front end is to have has not come yet.
    pub(crate) fn is_under_way(&self) -> bool {
        let is_late = |item: &Item| matches!(item, Item::Settling { .. } | Item::Mark(_));
        !self.later.is_empty() || self.items.range(self.own()..).any(is_late)
    }

    /// The number for a new tail or mark.
    pub(crate) fn new_number(&mut self) -> u64 {
        self.new_marker()
    }

    /// All that is here belongs to `tail`.
    pub(crate) fn push_fence(&mut self, tail: u64) {
        self.fence_all();
        self.items.push_back(Item::Fence(tail));
        self.fences += 1;
    }

    /// All that is here belongs to `tail`, and what comes until [`InputQueue::fence_comes`].
    pub(crate) fn fence_later(&mut self, tail: u64) {
        self.later.push_back(tail);
    }

    /// The back end has handed over everything that belongs to `tail`.
    pub(crate) fn fence_comes(&mut self, tail: u64) {
        while self.later.contains(&tail) {
            self.first_fence_comes();
        }
    }

    /// The back end that fences and `marks` were under way through is replaced. Each stands where
    /// it will have come to in what is still to settle at `marker`.
    pub(crate) fn divide_settling(&mut self, marker: u64, marks: &[u64]) {
        let tails = self.later.take();
        let mut all: Vec<u64> = tails.iter().chain(marks).copied().collect();
        all.sort_unstable();
        for number in all {
            if marks.contains(&number) {
                self.items.push_back(Item::Mark(number));
            } else {
                self.items.push_back(Item::Fence(number));
                self.fences += 1;
            }
            let bytes = VecDeque::new();
            self.items.push_back(Item::Settling { marker, bytes });
        }
    }

    /// What settles at `marker` has come to the fence or mark of this number.
    pub(crate) fn settling_passes(&mut self, marker: u64, passed: u64) {
        let is_it = |item: &Item| matches!(item, Item::Fence(number) | Item::Mark(number) if *number == passed);
        while let Some(end) = self.items.iter().position(is_it) {
            if !self.settled_before(marker, end) {
                return;
            }
        }
    }

    /// The back end that fences were under way through is replaced: its rest has been handed over.
    pub(crate) fn fence_all(&mut self) {
        while !self.later.is_empty() {
            self.first_fence_comes();
        }
    }

    fn first_fence_comes(&mut self) {
        if let Some(first) = self.later.pop_front() {
            self.items.push_back(Item::Fence(first));
            self.fences += 1;
        }
    }

    /// A place that whoever reads up to there is told of.
    pub(crate) fn push_mark(&mut self, mark: u64) {
        self.items.push_back(Item::Mark(mark));
    }

    /// Takes the mark that comes next for the front end.
    pub(crate) fn next_mark(&mut self) -> Option<u64> {
        let own = self.own();
        match self.items.get(own) {
            Some(Item::Mark(mark)) if self.later.is_empty() && !self.shows_first() => {
                let mark = *mark;
                self.take_item(own);
                Some(mark)
            }
            _ => None,
        }
    }

    /// Whether a tail reads the back end.
    pub(crate) fn has_fence_later(&self) -> bool {
        !self.later.is_empty()
    }

    /// Whether a tail is to have what settles at `place`.
    pub(crate) fn is_of_tail(&self, place: u64) -> bool {
        let is_it = |item: &Item| matches!(item, Item::Settling { marker, .. } if *marker == place);
        !self.later.is_empty() || self.items.range(..self.own()).any(is_it)
    }

    /// Whether `tail` is to have what the back end brings, and nothing stands before that.
    pub(crate) fn is_next_of_back_end(&self, tail: u64) -> bool {
        let mut before = self.items.range(self.own()..);
        self.later.front() == Some(&tail) && before.all(Item::tells_state)
    }

    /// Takes what belongs to `tail`.
    pub(crate) fn read_tail(&mut self, tail: u64, buf: &mut [u8]) -> TailRead {
        let is_it = |item: &Item| matches!(item, Item::Fence(number) if *number == tail);
        let fence = self.items.iter().position(is_it);
        let end = match fence {
            Some(at) => at,
            None if self.later.front() == Some(&tail) => self.items.len(),
            None if self.later.contains(&tail) => return TailRead::Wait,
            None => return TailRead::End,
        };
        let is_fence = |item: &Item| matches!(item, Item::Fence(_));
        let begin = self.items.range(..end).rposition(is_fence);
        let begin = begin.map_or(0, |before| before + 1);
        let input = (begin..end).find(|at| !self.items[*at].tells_state());
        let Some(at) = input else {
            if fence.is_none() {
                return TailRead::Wait;
            }
            self.end_tail(tail);
            return TailRead::End;
        };
        match &mut self.items[at] {
            Item::Mark(mark) => {
                let mark = *mark;
                self.take_item(at);
                TailRead::Mark(mark)
            }
            Item::Breaks(count) => {
                *count -= 1;
                if *count == 0 {
                    self.take_item(at);
                    self.join(at.wrapping_sub(1));
                }
                TailRead::Break
            }
            _ => match self.read_at(at, buf) {
                0 => TailRead::Wait,
                count => TailRead::Data(count),
            },
        }
    }

    /// Nobody reads for `tail` any more: what is left comes to whoever is next.
    pub(crate) fn end_tail(&mut self, tail: u64) {
        let is_it = |item: &Item| matches!(item, Item::Fence(number) if *number == tail);
        if let Some(at) = self.items.iter().position(is_it) {
            self.take_item(at);
            self.fences -= 1;
            self.join(at.wrapping_sub(1));
        }
        self.later.retain(|other| *other != tail);
    }
}
