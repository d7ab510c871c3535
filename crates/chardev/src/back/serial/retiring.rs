//! front → chardev → back → [host]: the device of a replaced back end, until it has sent what it
//! was given.
//!
//! A driver that is asked how much it has not sent yet may first have to end what it does for
//! somebody else, such as setting up the line for the next back end, so a thread asks it.

use std::io::IoSliceMut;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use chardev_core::{Drain, Late};

use super::claim::Share;
use super::device::Device;
use crate::back::stream::Duplex;
use crate::offload::sometime;
use crate::slow_fd::SlowFd;
use crate::sys;

/// What is said to be unsent while nobody knows.
const UNKNOWN: u64 = 1;

/// What asking the driver has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Nobody has asked since.
    Not,
    Waiting,
    Unsent(u64),
}

/// The drain.
pub(super) struct RetiringSerial {
    fd: Arc<SlowFd>,
    /// Whoever opens the device next may have one as well.
    _share: Option<Share>,
    asked: Arc<Mutex<Asked>>,
    unsent: u64,
    /// Something was sent since the driver was asked last.
    sent: bool,
    /// Where input could not be read at the moment of the change, because the line was being set
    /// up.
    unread: Option<Duplex>,
    is_busy: Box<dyn Fn() -> bool + Send>,
}

impl RetiringSerial {
    /// Of a back end whose input was cut off.
    pub(super) fn new(device: Device) -> Self {
        RetiringSerial {
            is_busy: Box::new(device.control.watch_busy()),
            fd: device.fd,
            _share: device.share.map(Share::for_drain),
            asked: Arc::new(Mutex::new(Asked::Not)),
            unsent: UNKNOWN,
            sent: false,
            unread: device.unread.then_some(device.duplex),
        }
    }

    /// What the driver said last, and the next answer on its way.
    pub(super) fn ask(&mut self, unsent: impl FnOnce(&SlowFd) -> u64 + Send + 'static) -> u64 {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match *asked {
            Asked::Waiting => return self.unsent,
            Asked::Unsent(0) if !self.sent => return 0,
            Asked::Not | Asked::Unsent(0) => self.unsent = UNKNOWN,
            Asked::Unsent(unsent) => self.unsent = unsent,
        }
        *asked = Asked::Waiting;
        self.sent = false;
        let (fd, answer) = (Arc::clone(&self.fd), Arc::clone(&self.asked));
        sometime(move || {
            let unsent = unsent(&fd);
            *answer.lock().unwrap_or_else(PoisonError::into_inner) = Asked::Unsent(unsent);
        });
        self.unsent
    }
}

impl Drain for RetiringSerial {
    fn pending(&mut self) -> u64 {
        self.ask(|fd| sys::unsent_by(fd.as_fd()).unwrap_or(0))
    }

    fn read_late(&mut self, buf: &mut [u8]) -> Late {
        let Some(duplex) = &mut self.unread else {
            return Late::End;
        };
        if (self.is_busy)() {
            return Late::Quiet;
        }
        match duplex.read(&mut [IoSliceMut::new(buf)]) {
            0 => {
                self.unread = None;
                Late::End
            }
            count => Late::Data(count),
        }
    }

    fn refuse_input(&mut self) {
        self.unread = None;
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        match (self.is_busy)() {
            true => 0,
            false => {
                let count = rustix::io::write(&self.fd, bytes).unwrap_or(0);
                self.sent |= count > 0;
                count
            }
        }
    }
}
