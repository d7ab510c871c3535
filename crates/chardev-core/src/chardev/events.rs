//! What a back end tells, on its way to the front end: events and input, in one order.

use super::Chardev;
use crate::backend::{BackendEvent, Ready};
use crate::event::Event;

impl Chardev {
    /// Takes over what the back end has to tell; returns whether there was anything.
    pub(crate) fn collect_events(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = self.backend.poll_event() {
            any = true;
            match event {
                BackendEvent::Opened => {
                    self.tell_connected();
                    self.show_open(true);
                    self.flush_preface();
                    // A peer that left and came back between two looks shows no event, but
                    // whoever waited for the former one must look again.
                    self.wake(Ready::READ | Ready::WRITE);
                }
                BackendEvent::Closed { unread } if self.rare.parked.is_some() => {
                    // Nothing after this concerns the temporary back end any more.
                    self.tell_gone();
                    self.carry_fds();
                    self.push_input(unread);
                    self.unpark();
                }
                BackendEvent::Closed { unread } => {
                    self.tell_gone();
                    self.carry_fds();
                    self.push_remaining_input(unread);
                    self.show_open(false);
                    self.wake(Ready::WRITE);
                }
                BackendEvent::Break => self.take_break(),
                BackendEvent::Resized(size) => self.resize(size),
                BackendEvent::Tell(event) => self.push_event(event),
                BackendEvent::Purged { input, output } => {
                    self.books.take_in(input as usize);
                    self.stats.input_purged += input;
                    self.stats.output_purged += output;
                    self.push_event(Event::Purged);
                }
                BackendEvent::Mark(mark) => self.mark_comes(mark),
            }
        }
        any
    }

    /// The source of input goes: what came with it stays as long as the input, and not for nobody.
    pub(crate) fn carry_fds(&mut self) {
        let came = self.backend.take_fds();
        if self.front.is_some() && !came.is_empty() {
            self.rare.input_fds = came;
        }
    }

    /// Input of a peer that has left. If its coming was never shown it is shown now, so that no
    /// input follows a closing.
    pub(crate) fn push_remaining_input(&mut self, unread: Vec<u8>) {
        if !unread.is_empty() {
            self.show_open(true);
            self.push_input(unread);
        }
    }

    /// Shows the front end an opening or closing, unless that is what it saw last.
    pub(crate) fn show_open(&mut self, open: bool) {
        if self.shown_open == open {
            return;
        }
        self.shown_open = open;
        self.push_event(if open { Event::Opened } else { Event::Closed });
    }

    pub(crate) fn push_event(&mut self, event: Event) {
        let is_break = event == Event::Break;
        // Who was above until a while ago may still have to have it.
        let of_tail = is_break && self.input.has_fence_later();
        if self.front.is_some() || of_tail {
            self.stats.breaks_dropped += self.input.push_event(event);
            self.wake(Ready::READ);
        } else {
            self.stats.breaks_dropped += u64::from(is_break);
        }
    }

    pub(crate) fn push_input(&mut self, bytes: Vec<u8>) {
        self.books.take_in(bytes.len());
        self.stats.input_overflowed += self.input.push_bytes(bytes) as u64;
        self.wake(Ready::READ);
    }

    pub(crate) fn settle(&mut self, marker: Option<u64>, bytes: &[u8]) {
        self.books.take_in(bytes.len());
        let lost = match marker {
            Some(marker) => self.input.settle(marker, bytes),
            None => bytes.len(),
        };
        self.stats.input_overflowed += lost as u64;
        self.wake(Ready::READ);
    }

    pub(crate) fn settled(&mut self, marker: u64) {
        self.input.settled(marker);
        self.end_awaited(marker);
        self.wake(Ready::READ);
    }

    pub(crate) fn count_undrained(&mut self, bytes: u64) {
        self.stats.output_undrained += bytes;
    }

    pub(crate) fn count_late_input(&mut self, bytes: u64) {
        self.stats.input_late += bytes;
    }
}
