//! front end → chardev → [mux slot] → chardev → host: the multiplexer as one front end's chardev
//! sees it.

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;

use super::tail::MuxDrain;
use super::{Mux, SLOT_BUFFER, Straight};
use crate::backend::{
    Backend, BackendEvent, BackendId, Group, LineControl, Peers, Ready, Sent, Sharing,
};
use crate::chardev::{ChardevRef, WeakChardev};
use crate::drain::{Drain, NothingToDrain};
use crate::event::Event;
use crate::frontend::FrontEnd;
use crate::input::CARRY_LIMIT;
use crate::line::{Answers, Line, ModemLines};
use crate::link::WantLink;

/// One slot, as the back end of one front end's chardev.
pub(super) struct MuxSlot {
    pub(super) mux: Mux,
    pub(super) tag: u64,
    id: Option<BackendId>,
}

impl MuxSlot {
    pub(super) fn new(mux: Mux, tag: u64) -> Self {
        MuxSlot { mux, tag, id: None }
    }

    fn forget_user(&mut self) {
        if let Some(id) = self.id.take() {
            self.mux.users.remove(id);
        }
    }
}

impl Backend for MuxSlot {
    fn kind(&self) -> &'static str {
        "mux"
    }

    fn filename(&self) -> String {
        "mux".to_owned()
    }

    /// Where input and a departure wait, somebody is there until they have been taken.
    fn is_open(&self) -> bool {
        let mut inner = self.mux.lock();
        let waiting = inner
            .slot(self.tag)
            .and_then(|slot| slot.queue.opens_first());
        waiting.map_or(inner.open, |opens| !opens)
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        let mut inner = self.mux.lock();
        if !inner.flush_own_text() {
            return Sent::Full;
        }
        let count = match inner.stamps {
            None => inner.front().map_or(0, |front| front.write_vectored(bufs)),
            Some(_) => inner.write_stamped(bufs),
        };
        match count {
            0 => Sent::Full,
            count => Sent::Taken(count),
        }
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let mut inner = self.mux.lock();
        if inner.focus == Some(self.tag) {
            match inner.read_straight(bufs) {
                // Asked twice by each of a tower of multiplexers, the lowest would be asked 2^n
                // times.
                Straight::Nothing => {}
                Straight::Read(count) if count > 0 => return count,
                Straight::Read(_) => inner.pump(SLOT_BUFFER),
            }
        }
        let Some(slot) = inner.slot(self.tag) else {
            return 0;
        };
        let count = bufs.iter_mut().map(|buf| slot.queue.read(buf)).sum();
        if count > 0 {
            // What was read made room below.
            inner.notify.wake_by_ref();
        }
        count
    }

    /// Nothing to arm: the link's waker is always set.
    fn watch(&mut self, _interest: Ready) {}

    fn resume_soon(&mut self) -> bool {
        self.mux.lock().notify.wake_by_ref();
        true
    }

    fn update(&mut self, _ready: Ready) {
        let mut inner = self.mux.lock();
        inner.flush_own_text();
        inner.pump(SLOT_BUFFER);
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        let mut inner = self.mux.lock();
        let queue = &mut inner.slot(self.tag)?.queue;
        if let Some(mark) = queue.next_mark() {
            return Some(BackendEvent::Mark(mark));
        }
        Some(match queue.next_event()? {
            Event::Opened => BackendEvent::Opened,
            Event::Closed => BackendEvent::Closed { unread: Vec::new() },
            Event::Break => BackendEvent::Break,
            Event::Resized(size) => BackendEvent::Resized(size),
            other => BackendEvent::Tell(other),
        })
    }

    fn go_live(&mut self, chardev: &WeakChardev, id: BackendId) {
        let mut inner = self.mux.lock();
        let first = inner.users.all().is_empty();
        inner.users.add(id, chardev);
        if let Some(link) = &inner.link {
            link.serve(&inner.users, &inner.notify);
        }
        if first {
            inner.take_over();
        }
        self.id = Some(id);
    }

    /// Whoever comes last has the focus; when the one that has it leaves, the next one gets it.
    fn set_attached(&mut self, attached: bool) {
        let mut inner = self.mux.lock();
        if let Some(slot) = inner.slot(self.tag) {
            slot.attached = attached;
        }
        if attached {
            inner.set_focus(Some(self.tag));
        } else if inner.focus == Some(self.tag) {
            inner.rotate();
        }
    }

    /// What the chardev below has for this front end by now. That one lives on; what was sent
    /// before an earlier change of it and has not come yet is the tail's.
    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        let mut inner = self.mux.lock();
        let more = inner.leave(self.tag, CARRY_LIMIT);
        let mut cut = Vec::new();
        if let Some(slot) = inner.slot(self.tag) {
            let mut piece = [0; SLOT_BUFFER];
            loop {
                match slot.queue.read(&mut piece) {
                    0 => match slot.queue.next_event() {
                        Some(Event::Break) => slot.cut_breaks += 1,
                        Some(_) => {}
                        None => break,
                    },
                    count => cut.extend_from_slice(&piece[..count]),
                }
            }
        }
        (cut, more)
    }

    fn retire(mut self: Box<Self>) -> Box<dyn Drain> {
        let mut inner = self.mux.lock();
        let Some(_) = inner.tail else {
            drop(inner);
            return Box::new(NothingToDrain);
        };
        // The chardev below is free for others.
        let link = inner.link.take();
        drop(inner);
        drop(link);
        self.forget_user();
        Box::new(MuxDrain::new(*self))
    }

    fn line(&mut self) -> Option<&mut dyn LineControl> {
        Some(self)
    }

    fn peers(&mut self) -> Option<&mut dyn Peers> {
        Some(self)
    }

    fn group(&self) -> Option<&dyn Group> {
        Some(self)
    }

    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }
}

impl LineControl for MuxSlot {
    fn apply(&mut self, line: &Line) -> Answers {
        let mut inner = self.mux.lock();
        let focused = inner.focus == Some(self.tag);
        if let Some(slot) = inner.slot(self.tag) {
            slot.line = line.clone();
        }
        let answers = match inner.apply_line() {
            Some(answers) if focused => answers,
            _ => Answers::unsupported(line, inner.open),
        };
        Answers {
            passes_fds: false,
            ..answers
        }
    }

    fn modem_inputs(&mut self) -> Option<ModemLines> {
        let inner = self.mux.lock();
        inner.front().and_then(FrontEnd::modem_inputs)
    }

    fn send_break(&mut self) -> bool {
        self.mux.lock().send_break()
    }
}

impl Peers for MuxSlot {
    fn disconnect(&mut self) {
        self.mux
            .lock()
            .front()
            .into_iter()
            .for_each(FrontEnd::disconnect);
    }
}

impl Group for MuxSlot {
    fn take_focus(&self) {
        self.mux.lock().set_focus(Some(self.tag));
    }

    fn members(&self) -> Vec<ChardevRef> {
        let inner = self.mux.lock();
        let below = inner.front().map(|front| front.chardev().clone());
        below.into_iter().collect()
    }

    fn as_mux(&self) -> Option<&Mux> {
        Some(&self.mux)
    }

    fn is_under_way(&self) -> bool {
        self.mux.lock().is_under_way(self.tag)
    }

    fn mark(&self, mark: u64) -> bool {
        self.mux.lock().mark(self.tag, mark)
    }

    fn take_cut_breaks(&self) -> u64 {
        let mut inner = self.mux.lock();
        let slot = inner.slot(self.tag);
        slot.map_or(0, |slot| std::mem::take(&mut slot.cut_breaks))
    }
}

impl Sharing for MuxSlot {
    fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        let inner = self.mux.lock();
        let WantLink(label) = wanted.downcast_ref()?;
        let link = inner.link.as_ref().filter(|link| link.label() == label);
        link.map(|link| Box::new(link.clone()) as _)
    }
}

impl Drop for MuxSlot {
    fn drop(&mut self) {
        let mut inner = self.mux.lock();
        if inner.focus == Some(self.tag) {
            if let Some(slot) = inner.slot(self.tag) {
                slot.attached = false;
            }
            inner.rotate();
        }
        inner.slots.retain(|slot| slot.tag != self.tag);
        drop(inner);
        self.forget_user();
    }
}
