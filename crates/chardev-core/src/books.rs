//! front → [chardev] → back → host: the books of one chardev, balanced after every operation in
//! debug builds.
//!
//! The counters are kept where bytes move, in many places. That they add up is an invariant of the
//! whole, so it is looked at in one place: when the chardev's lock is about to be released. It
//! costs a few additions, and a release build nothing.

use crate::chardev::Chardev;
use crate::event::Event;

/// What the counters alone do not tell.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// Input bytes taken from back ends, the drains of replaced ones, and beside them.
    input: u64,
    /// Whether the last opening or closing that the front end has taken was an opening.
    seen_open: bool,
}

impl Books {
    /// So much input has come.
    pub(crate) fn take_in(&mut self, bytes: usize) {
        self.input += bytes as u64;
    }

    /// A front end has come, which has seen nothing yet.
    pub(crate) fn begin_front(&mut self) {
        self.seen_open = false;
    }

    /// The front end takes `event`.
    pub(crate) fn see(&mut self, event: Event) {
        let opens = match event {
            Event::Opened => true,
            Event::Closed => false,
            _ => return,
        };
        debug_assert_ne!(self.seen_open, opens, "the front end is told twice");
        self.seen_open = opens;
    }
}

impl Chardev {
    /// Whether every byte is in exactly one place, and what the front end was shown is what it saw
    /// or will see.
    pub(crate) fn check_books(&self) {
        // One fault is enough: a second panic while the first unwinds would end the process.
        if !cfg!(debug_assertions) || std::thread::panicking() {
            return;
        }
        let stats = &self.stats;
        let lost = stats.output_discarded + stats.output_overwritten;
        let pending = self.preface.len() as u64;
        debug_assert!(
            self.removed
                || stats.output_accepted + stats.output_injected
                    == stats.output_delivered + lost + pending,
            "chardev '{}': output accepted and injected is not delivered, discarded, overwritten \
             or pending ({pending}): {stats:?}",
            self.label,
        );
        let (taken, waiting) = (self.books.input, self.input.bytes() as u64);
        debug_assert!(
            taken == stats.input_delivered + stats.input_overflowed + stats.input_purged + waiting,
            "chardev '{}': input taken ({taken}) is not delivered, overflowed, purged or waiting \
             ({waiting}): {stats:?}",
            self.label,
        );
        debug_assert!(
            self.front.is_none()
                || !self.input.has_no_items()
                || self.books.seen_open == self.shown_open,
            "chardev '{}': a peer is shown ({}) but the front end saw otherwise ({})",
            self.label,
            self.shown_open,
            self.books.seen_open,
        );
    }
}
