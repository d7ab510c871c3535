//! [front] → chardev → back → host: a device that writes, reads and waits, and what it was told.

use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use chardev_core::{Answers, Channel, ChardevRef, Event, FrontEnd, FrontEndHooks, Input, Ready};

use crate::rig::{TestPipe, Woken};

/// What the device answers when it is asked about a change.
#[derive(Debug, Default)]
pub(super) struct SimHooks {
    pub(super) fixed: AtomicBool,
    pub(super) refuses: AtomicBool,
    /// Asked, it uses its handle, as a real device may.
    pub(super) busy: Mutex<Option<ChardevRef>>,
}

impl FrontEndHooks for SimHooks {
    fn swappable(&self) -> bool {
        !self.fixed.load(Ordering::Relaxed)
    }

    fn backend_change(&self, _: &Answers) -> Result<(), String> {
        if let Some(chardev) = &*self.busy.lock().unwrap() {
            chardev.with(|chardev| chardev.stats());
        }
        match self.refuses.load(Ordering::Relaxed) {
            true => Err("not now".to_owned()),
            false => Ok(()),
        }
    }
}

/// One attached device.
pub(super) struct Front {
    pub(super) handle: FrontEnd,
    pub(super) hooks: Arc<SimHooks>,
    pub(super) can_read: (Arc<Woken>, Waker),
    pub(super) can_write: (Arc<Woken>, Waker),
    /// It was told that nothing more fits now.
    pub(super) waits_to_write: bool,
    /// It was told that nothing is there now.
    pub(super) waits_to_read: bool,
    /// Whether the last opened/closed event was an opening.
    pub(super) open: bool,
    /// A change it has not been told of.
    pub(super) owed_changed: bool,
    /// Whether the last change kept the peer: that it did, and what was told.
    pub(super) peer_kept: bool,
    pub(super) told_kept: bool,
    /// What an event showed to be wrong.
    pub(super) fault: Option<String>,
}

impl Front {
    pub(super) fn attach(chardev: &ChardevRef) -> Self {
        let hooks = Arc::new(SimHooks::default());
        let front = Front {
            handle: FrontEnd::attach(chardev, hooks.clone()).unwrap(),
            hooks,
            can_read: Woken::new(),
            can_write: Woken::new(),
            waits_to_write: false,
            waits_to_read: false,
            open: false,
            owed_changed: false,
            peer_kept: false,
            told_kept: false,
            fault: None,
        };
        front.handle.set_waker(Ready::READ, &front.can_read.1);
        front.handle.set_waker(Ready::WRITE, &front.can_write.1);
        front
    }

    /// Writes `bytes` in one of the ways there are and returns how many were accepted.
    pub(super) fn write(&mut self, bytes: &[u8], way: u64) -> usize {
        self.can_write.0.take();
        let count = match way % 4 {
            3 => self.pour(bytes),
            0 => self.handle.write(bytes),
            1 => {
                let (first, second) = bytes.split_at(bytes.len() / 3);
                let bufs = [IoSlice::new(first), IoSlice::new(&[]), IoSlice::new(second)];
                self.handle.write_vectored(&bufs)
            }
            _ => {
                let mut cx = Context::from_waker(&self.can_write.1);
                match self.handle.poll_write(&mut cx, bytes) {
                    Poll::Ready(count) => count,
                    Poll::Pending => 0,
                }
            }
        };
        self.waits_to_write = count < bytes.len();
        count
    }

    /// Writes them as one that couples two chardevs does: without a look at them, where that is
    /// possible.
    fn pour(&mut self, bytes: &[u8]) -> usize {
        let mut cx = Context::from_waker(&self.can_write.1);
        let mut pipe = TestPipe::of(bytes);
        match self.handle.poll_pour(&mut cx, &mut pipe) {
            None => self.handle.write(bytes),
            Some(_) => bytes.len() - pipe.len(),
        }
    }

    /// Reads in the same way.
    fn fill(&mut self, buf: &mut [u8]) -> Option<Input> {
        let mut cx = Context::from_waker(&self.can_read.1);
        let mut pipe = TestPipe::default();
        let filled = self.handle.poll_fill(&mut cx, &mut pipe, buf.len());
        let input = filled.unwrap_or_else(|| self.handle.poll_read(&mut cx, buf));
        for (to, from) in buf.iter_mut().zip(&pipe.bytes) {
            *to = *from;
        }
        match input {
            Poll::Ready(input) => Some(input),
            Poll::Pending => None,
        }
    }

    /// Takes the next input or event.
    pub(super) fn read(&mut self, buf: &mut [u8], way: u64) -> Option<Input> {
        self.can_read.0.take();
        let mut was_all = false;
        let input = if way % 3 == 2 {
            self.fill(buf)
        } else if way % 6 == 3 {
            let mut cx = Context::from_waker(&self.can_read.1);
            match self.handle.poll_read_few(&mut cx, buf, usize::MAX) {
                Poll::Ready((input, all)) => {
                    was_all = all;
                    Some(input)
                }
                Poll::Pending => None,
            }
        } else if way % 3 == 0 {
            let mut cx = Context::from_waker(&self.can_read.1);
            match self.handle.poll_read(&mut cx, buf) {
                Poll::Ready(input) => Some(input),
                Poll::Pending => None,
            }
        } else {
            match self.handle.read(buf) {
                0 => self.handle.next_event().map(Input::Event),
                count => Some(Input::Data(count)),
            }
        };
        self.waits_to_read = was_all || input.is_none();
        match input {
            Some(Input::Event(event)) => self.see(event),
            Some(Input::Data(_)) if !self.open => self.fail("input came while no peer was shown"),
            _ => {}
        }
        input
    }

    fn see(&mut self, event: Event) {
        match event {
            Event::Opened if self.open => self.fail("opened twice"),
            Event::Closed if !self.open => self.fail("closed without an opening"),
            Event::Opened => self.open = true,
            Event::Closed => self.open = false,
            Event::Changed(answers) => {
                self.owed_changed = false;
                self.told_kept = answers.same_peer;
            }
            _ => {}
        }
    }

    fn fail(&mut self, what: &str) {
        self.fault.get_or_insert_with(|| what.to_owned());
    }
}
