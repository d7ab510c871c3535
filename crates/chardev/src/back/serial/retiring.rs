//! front → chardev → back → [host]: the device of a replaced back end, until it has sent what it was
//! given.

use std::io::IoSliceMut;
use std::os::fd::AsFd;
use std::sync::Arc;

use chardev_core::{Drain, Late};

use super::Device;
use crate::back::stream::Duplex;
use crate::slow_fd::SlowFd;
use crate::sys;

/// The drain.
pub(super) struct RetiringSerial {
    fd: Arc<SlowFd>,
    /// Where input could not be read at the moment of the change, because the line was being set up.
    unread: Option<Duplex>,
    is_busy: Box<dyn Fn() -> bool + Send>,
}

impl RetiringSerial {
    /// Of a back end whose input was cut off.
    pub(super) fn new(device: Device) -> Self {
        RetiringSerial {
            is_busy: Box::new(device.control.watch_busy()),
            fd: device.fd,
            unread: device.unread.then_some(device.duplex),
        }
    }
}

impl Drain for RetiringSerial {
    fn pending(&mut self) -> u64 {
        sys::unsent(self.fd.as_fd()).unwrap_or(0)
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
            false => rustix::io::write(&self.fd, bytes).unwrap_or(0),
        }
    }
}
