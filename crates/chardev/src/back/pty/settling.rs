//! front → chardev → back → [host]: a client has just opened a pty, and may flush it first.
//!
//! Almost every program that opens a terminal sets it up first and flushes it with that or right
//! after, which throws away what was delivered in between. So output waits until the client has
//! flushed, which packet mode tells, or has had the time for it.

use std::io::IoSliceMut;
use std::time::{Duration, Instant};

use chardev_core::Ready;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::port::{OwnedTask, Port};
use crate::reactor::FdWatch;
use crate::sys;
use crate::tasks::TaskKind;

/// How long a client has for flushing where nothing else is said, in milliseconds.
pub(super) const SETTLE_MS: u64 = 100;
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(5);
/// The slave's input, which is our output, was flushed (`TIOCPKT_FLUSHREAD`).
const FLUSHED: u8 = 0x01;

/// A client that may still flush; the master is in packet mode meanwhile.
#[derive(Debug)]
pub(super) struct Settling {
    until: Instant,
    flushed: bool,
    _looks: OwnedTask,
}

impl Settling {
    /// From now on, for at most `limit`; the port is kicked to look whether it is over. `None` if
    /// it is over already.
    pub(super) fn begin(master: &FdWatch, limit: Duration, port: &Port) -> Option<Self> {
        if limit.is_zero() || sys::set_packet_mode(master.fd(), true).is_err() {
            return None;
        }
        let (until, looking) = (Instant::now() + limit, port.clone());
        let looks = OwnedTask::spawn_listed(port, TaskKind::Timer, async move {
            loop {
                tokio::time::sleep(LOOK).await;
                looking.kick(Ready::empty());
            }
        });
        Some(Settling {
            until,
            flushed: false,
            _looks: looks,
        })
    }

    /// Whether the client has flushed, or will not any more.
    pub(super) fn is_over(&mut self, master: &FdWatch) -> bool {
        // The status comes before any input, and is all that a read gets.
        while !self.flushed && has_status(master) {
            let mut status = [0];
            match rustix::io::read(master.fd(), &mut status) {
                Ok(1) => self.note(status[0]),
                _ => break,
            }
        }
        self.flushed || Instant::now() >= self.until
    }

    /// Reads input, which has a byte of packet mode before it.
    pub(super) fn read(
        &mut self,
        master: &FdWatch,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Result<usize, Errno> {
        let mut status = [0];
        let mut all = Vec::with_capacity(1 + bufs.len());
        all.push(IoSliceMut::new(&mut status));
        all.extend(bufs.iter_mut().map(|buf| IoSliceMut::new(buf)));
        let count = rustix::io::readv(master.fd(), &mut all)?;
        self.note(status[0]);
        match count {
            0 => Ok(0),
            1 => Err(Errno::AGAIN),
            more => Ok(more - 1),
        }
    }

    /// Goes back to plain bytes.
    pub(super) fn end(self, master: &FdWatch) {
        let _ = sys::set_packet_mode(master.fd(), false);
    }

    fn note(&mut self, status: u8) {
        self.flushed |= status & FLUSHED != 0;
    }
}

/// Whether something other than input is to be read.
fn has_status(master: &FdWatch) -> bool {
    let fd = master.fd();
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::PRI)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let _ = poll(&mut fds, Some(&now));
    fds[0].revents().contains(PollFlags::PRI)
}
