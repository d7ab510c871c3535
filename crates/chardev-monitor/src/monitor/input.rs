//! Input from the client, and what happens when it sends no more.

use std::task::{Context, Poll};

use chardev::{Event, Input};

use super::Monitor;

/// How much is read ahead of a session that has no room, to see that its client has left.
pub(super) const READ_AHEAD: usize = 64 << 10;
/// How much is read at a time. The buffer is made, and cleared, for each time something comes.
const READ_SIZE: usize = 8 << 10;
/// How many descriptors wait for their `getfd` at most.
const MAX_SENT: usize = 16;

impl Monitor {
    /// Whether what is read now comes from before a change that has yet to be noticed.
    pub(super) fn is_outdated(&self) -> bool {
        self.front.stats().changes != self.changes
    }

    pub(super) fn read_input(&mut self, cx: &mut Context<'_>) -> bool {
        if self.stopped || self.closed {
            return false;
        }
        if !self.unread.is_empty() && self.session.wants_input() && !self.is_outdated() {
            let (first, _) = self.unread.as_slices();
            let used = self.session.handle_bytes(first);
            self.unread.drain(..used);
            return true;
        }
        if self.unread.len() >= READ_AHEAD {
            return self.drop_departed();
        }
        if self.buffer.is_empty() {
            self.buffer = vec![0; READ_SIZE].into();
        }
        match self.front.poll_read(cx, &mut self.buffer) {
            Poll::Pending => {
                self.buffer = Box::default();
                return false;
            }
            Poll::Ready(Input::Data(count)) => self.receive(count),
            Poll::Ready(Input::Event(Event::Opened)) => self.greet(),
            Poll::Ready(Input::Event(Event::Changed(answers))) => {
                self.changes = self.front.stats().changes;
                match (answers.same_peer, answers.open) {
                    (true, _) => {}
                    (false, true) => self.greet(),
                    (false, false) => self.forget_client(),
                }
            }
            Poll::Ready(Input::Event(Event::Closed)) => {
                self.forget_client();
                self.ended = self.place.is_some();
            }
            Poll::Ready(Input::Event(Event::MuxIn)) => self.session.handle_focus(true),
            Poll::Ready(Input::Event(Event::MuxOut)) => self.session.handle_focus(false),
            Poll::Ready(Input::Event(_)) => {}
        }
        true
    }

    fn receive(&mut self, count: usize) {
        let came = self.front.take_fds();
        if !came.is_empty() {
            // With nothing under way these replace older ones nobody asked for, as in QEMU.
            if self.running.is_none() && self.unread.is_empty() {
                self.sent.clear();
            }
            self.sent.extend(came);
            self.sent.truncate(MAX_SENT);
        }
        if !self.connected {
            return;
        }
        self.count_input(count);
        let used = match self.unread.is_empty() && !self.is_outdated() {
            true => self.session.handle_bytes(&self.buffer[..count]),
            false => 0,
        };
        self.unread.extend(&self.buffer[used..count]);
    }

    /// A client that sends nothing more and has all its answers need not be waited for.
    pub(super) fn end_served_client(&mut self) -> bool {
        let owed = self.running.is_some()
            || !self.overtaking.is_empty()
            || !self.unread.is_empty()
            || !self.session.output().is_empty();
        if owed || !self.front.input_ended() {
            return false;
        }
        self.front.disconnect();
        true
    }

    /// A client may leave more unread than is read ahead; its command must not wait on for it.
    fn drop_departed(&mut self) -> bool {
        if self.front.is_open() && !self.front.has_left() {
            return false;
        }
        self.forget_client();
        true
    }
}
