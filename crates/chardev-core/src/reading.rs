//! front ← [chardev] ← back: the path of input, from the back end to the front end's buffers.

use std::io::IoSliceMut;

use crate::backend::{Backend, Ready};
use crate::chardev::Chardev;
use crate::event::Event;
use crate::line::{Answer, Purge};

impl Chardev {
    pub(crate) fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let count = self.read_now(bufs);
        self.stats.input_delivered += count as u64;
        count
    }

    fn read_now(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        match self.misses(Ready::READ) {
            true => 0,
            false => self.read_held(bufs),
        }
    }

    /// Reads although a transaction may hold the chardev.
    pub(crate) fn read_held(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return 0;
        }
        match self.next_input(|backend| Some(backend.read(bufs))) {
            Some(count) => count,
            None => self.read_carried(bufs),
        }
    }

    /// Input as `live` takes it from the back end, once it is the back end's turn; `None` while
    /// what is carried comes first, or if `live` cannot.
    pub(crate) fn next_input(
        &mut self,
        mut live: impl FnMut(&mut dyn Backend) -> Option<usize>,
    ) -> Option<usize> {
        // Whoever comes for more has taken what came with the last of it, or does not want it.
        if self.input.is_empty() && !self.rare.input_fds.is_empty() {
            self.rare.input_fds.clear();
        }
        loop {
            if !self.input.is_empty() {
                return None;
            }
            if self.freeze.is_cut() {
                return Some(0);
            }
            if self.brings_awaited() {
                self.backend.watch(Ready::READ);
                return None;
            }
            if !self.input.is_empty() {
                continue;
            }
            let count = live(&mut *self.backend)?;
            if count > 0 {
                self.books.take_in(count);
                return Some(count);
            }
            let told = self.collect_events();
            if !told && self.input.is_empty() {
                self.backend.watch(Ready::READ);
                return Some(0);
            }
        }
    }

    /// Whether the read before has taken everything there was; then more is waited for.
    pub(crate) fn waits_for_more(&mut self) -> bool {
        let was_all = self.backend.has_read_all() && !self.freeze.is_cut();
        if !was_all || self.collect_events() || !self.input.is_empty() {
            return false;
        }
        self.backend.watch(Ready::READ);
        true
    }

    fn read_carried(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let mut total = 0;
        for buf in bufs {
            let count = self.input.read(buf);
            total += count;
            if count < buf.len() {
                break;
            }
        }
        total
    }

    /// What waits up to the next event is thrown away, and what is in the device.
    /// While a change is being decided nothing is.
    pub(crate) fn purge(&mut self, which: Purge) -> Answer {
        if self.misses(Ready::empty()) {
            return Answer::Failed;
        }
        if which.contains(Purge::INPUT) {
            let mut piece = [0; 4096];
            loop {
                match self.input.read(&mut piece) {
                    0 => break,
                    count => self.stats.input_purged += count as u64,
                }
            }
        }
        if which.contains(Purge::OUTPUT) {
            let kept = self.preface.take().len();
            self.stats.output_discarded += kept as u64;
        }
        self.backend.purge(which)
    }

    pub(crate) fn next_event(&mut self) -> Option<Event> {
        if self.misses(Ready::READ) {
            return None;
        }
        if self.input.is_empty() {
            self.collect_events();
        }
        self.take_event()
    }

    /// Takes the event that comes next, if it is one.
    pub(crate) fn take_event(&mut self) -> Option<Event> {
        let event = self.input.next_event()?;
        self.books.see(event);
        Some(event)
    }
}
