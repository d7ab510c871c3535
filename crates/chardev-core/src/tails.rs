//! front ← [chardev] ← back: what replaced multiplexers and hubs above have yet to read of a
//! chardev.
//!
//! See `input/fences.rs` for what belongs to whom.

use std::io::IoSliceMut;
use std::task::Waker;

use crate::backend::Ready;
use crate::chardev::Chardev;
use crate::input::TailRead;
use crate::link::Below;

/// Input is taken from a back end in pieces of this size.
const PIECE: usize = 16 << 10;

/// Somebody who reads up to a fence.
#[derive(Debug)]
pub(crate) struct TailWaker {
    number: u64,
    waker: Waker,
}

impl Chardev {
    /// What comes next for a multiplexer or hub above.
    pub(crate) fn read_below(&mut self, bufs: &mut [IoSliceMut<'_>]) -> Below {
        if !self.freeze.is_cut() && self.misses(Ready::READ) {
            return Below::Nothing;
        }
        let count = self.read_held(bufs);
        if count > 0 {
            self.stats.input_delivered += count as u64;
            return Below::Data(count);
        }
        if self.input.is_empty() {
            self.collect_events();
        }
        if let Some(mark) = self.input.next_mark() {
            return Below::Mark(mark);
        }
        self.take_event().map_or(Below::Nothing, Below::Event)
    }

    /// Whether the last opening or closing that the front end has taken was an opening.
    pub(crate) fn seen_open(&self) -> bool {
        self.input
            .opens_first()
            .map_or(self.shown_open, |opens| !opens)
    }

    /// Whether something of what the front end is to have was sent before a change and has not come
    /// yet.
    pub(crate) fn is_under_way(&self) -> bool {
        self.input.is_under_way() || self.backend.is_under_way()
    }

    /// A mark behind everything that is under way, for the reader above.
    pub(crate) fn mark_input(&mut self) -> u64 {
        self.draw();
        let mark = self.input.new_number();
        if !self.freeze.is_cut() && self.backend.mark(mark) {
            self.rare.marks_later.push(mark);
        } else {
            self.input.push_mark(mark);
        }
        mark
    }

    /// All that is here or under way belongs to a new tail.
    pub(crate) fn begin_tail(&mut self, waker: Option<Waker>) -> u64 {
        self.draw();
        let number = self.input.new_number();
        if !self.freeze.is_cut() && self.backend.mark(number) {
            self.input.fence_later(number);
        } else {
            self.input.push_fence(number);
        }
        self.rare
            .tails
            .extend(waker.map(|waker| TailWaker { number, waker }));
        number
    }

    pub(crate) fn read_tail(&mut self, number: u64, buf: &mut [u8]) -> TailRead {
        let read = loop {
            let waits = self.brings_awaited();
            let read = self.input.read_tail(number, buf);
            let of_back_end = read == TailRead::Wait && self.input.is_next_of_back_end(number);
            if waits || !of_back_end {
                break read;
            }
            let count = self.backend.read(&mut [IoSliceMut::new(buf)]);
            if count > 0 {
                self.books.take_in(count);
                break TailRead::Data(count);
            }
            if !self.collect_events() {
                break read;
            }
        };
        match read {
            TailRead::Data(count) => self.stats.input_delivered += count as u64,
            TailRead::Wait => self.backend.watch(Ready::READ),
            TailRead::End => self.end_tail(number),
            TailRead::Break | TailRead::Mark(_) => {}
        }
        read
    }

    pub(crate) fn end_tail(&mut self, number: u64) {
        let read = self.input.has_fence_later();
        self.input.end_tail(number);
        self.rare.tails.retain(|tail| tail.number != number);
        if read {
            self.rest_if_unused();
        }
        self.wake(Ready::READ);
    }

    /// Tells the back end if nobody reads it any more.
    pub(crate) fn rest_if_unused(&mut self) {
        // One that has been cut off is about to be replaced, and is read by tails alone.
        let in_slot =
            !self.freeze.is_cut() && (self.rare.awaited.is_none() || self.rare.parked.is_some());
        if in_slot && self.front.is_none() && !self.input.has_fence_later() {
            self.backend.set_attached(false);
        }
    }

    /// All that the back end has goes into the queue.
    pub(crate) fn draw(&mut self) {
        self.collect_events();
        let mut piece = vec![0; PIECE];
        while !self.freeze.is_cut() && !self.brings_awaited() {
            let room = self.input.room().min(PIECE);
            if room == 0 {
                break;
            }
            let count = self
                .backend
                .read(&mut [IoSliceMut::new(&mut piece[..room])]);
            if count > 0 {
                self.push_input(piece[..count].to_vec());
            }
            let told = self.collect_events();
            if count == 0 && !told {
                break;
            }
        }
    }

    /// The back end has handed over all that was under way when it was marked.
    pub(crate) fn mark_comes(&mut self, mark: u64) {
        if self.rare.parked.is_none() {
            self.awaited_passes(mark);
        }
        if let Some(at) = self
            .rare
            .marks_later
            .iter()
            .position(|other| *other == mark)
        {
            self.rare.marks_later.remove(at);
            self.input.push_mark(mark);
        } else {
            self.input.fence_comes(mark);
            self.rest_if_unused();
        }
        self.wake(Ready::READ);
    }

    /// The back end is replaced, and marks with it: its rest has been handed over, or will settle
    /// at `place`.
    pub(crate) fn marks_come(&mut self, place: Option<u64>) {
        let rare = self.rare.there();
        let marks = rare.map_or_else(Vec::new, |rare| std::mem::take(&mut rare.marks_later));
        if let Some(place) = place {
            self.input.divide_settling(place, &marks);
        } else {
            marks
                .into_iter()
                .for_each(|mark| self.input.push_mark(mark));
            self.input.fence_all();
        }
    }

    /// What settles has come to breaks.
    pub(crate) fn settle_breaks(&mut self, marker: u64, count: u64) {
        let there = self.front.is_some();
        self.stats.breaks_dropped += self.input.settle_breaks(marker, count, there);
        self.wake(Ready::READ);
    }

    /// What settles has come to a mark.
    pub(crate) fn settling_passes(&mut self, marker: u64, mark: u64) {
        self.input.settling_passes(marker, mark);
        self.wake(Ready::READ);
    }

    pub(crate) fn wake_tails(&mut self) {
        self.wakes
            .extend(self.rare.tails.iter().map(|tail| tail.waker.clone()));
    }
}
