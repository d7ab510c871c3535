//! front → chardev → back → [host]: the master of a replaced pty, kept until its reader has taken
//! everything, since closing it would destroy what is buffered.
//!
//! Output is on its way in two kernel buffers: a queue, and the 4 KiB the terminal's line
//! discipline holds, which a worker of the kernel fills from the queue. A read that empties the
//! second one sets the worker off only at its end, so between the two nothing can be seen although
//! there is more. `FIONREAD` waits for such a read to end, and `poll` for the worker: after both only
//! another read that took a whole buffer can have hidden what is left, and there are not many
//! buffers. So a pty that looks empty often enough in a row is empty.
//!
//! Either call may wait for the reader, who may be stopped in the middle, so a thread makes them.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chardev_core::{Drain, Late};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{Action, tcflow};

use crate::port::Port;
use crate::reactor::FdWatch;

/// How often a pty must look empty in a row: more often than all that the kernel buffers, 64 KiB and
/// a little, can fill the smallest second buffer (a third of 4 KiB, where errors are marked).
const LOOKS: usize = 64;
/// How long writers are held while the reader takes nothing: it may be the same program.
const HELD_FOR: Duration = Duration::from_secs(1);
/// What is said to be unread while nobody knows.
const UNKNOWN: u64 = 1;

/// From here on a write to the slave takes nothing: it waits, or fails with `EAGAIN`, and fails
/// with `EIO` once the terminal is hung up.
pub(super) fn hold_writers(slave: &OwnedFd) {
    let _ = tcflow(slave, Action::OOff);
}

/// What a look at the reader's side found.
#[derive(Debug)]
enum Look {
    /// Nobody has looked since.
    None,
    Running,
    /// This many bytes are unread, at least.
    Found(u64),
}

/// A replaced pty with a reader.
pub(super) struct RetiringPty {
    port: Port,
    master: FdWatch,
    /// Our own descriptor of the slave: the only way to ask what is unread there. There is none
    /// where the peer has the terminal to itself (`TIOCEXCL`) and we are not privileged.
    reader_end: Option<Arc<OwnedFd>>,
    look: Arc<Mutex<Look>>,
    unread: u64,
    /// Something was sent since the last look began.
    sent: bool,
    /// When the reader last took something that could be seen, as long as writers are held.
    held_since: Option<Instant>,
    parted: bool,
}

impl RetiringPty {
    pub(super) fn new(port: Port, master: FdWatch, reader_end: Option<OwnedFd>) -> Self {
        RetiringPty {
            port,
            master,
            held_since: reader_end.is_some().then(Instant::now),
            reader_end: reader_end.map(Arc::new),
            look: Arc::new(Mutex::new(Look::None)),
            unread: UNKNOWN,
            sent: false,
            parted: false,
        }
    }

    /// What the last look found, and the next one on its way.
    fn look(&mut self, reader_end: &Arc<OwnedFd>) -> u64 {
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        match *look {
            Look::Running => return self.unread,
            Look::Found(0) if !self.sent => return 0,
            Look::None | Look::Found(0) => self.unread = UNKNOWN,
            Look::Found(unread) => {
                if self.unread != unread {
                    self.held_since = self.held_since.map(|_| Instant::now());
                }
                self.unread = unread;
            }
        }
        *look = Look::Running;
        self.sent = false;
        let (reader_end, found) = (Arc::clone(reader_end), Arc::clone(&self.look));
        let port = self.port.clone();
        self.port.spawn(async move {
            let unread = port.offload(move || unread(&reader_end)).await;
            *found.lock().unwrap_or_else(PoisonError::into_inner) = Look::Found(unread);
        });
        self.unread
    }

    /// A reader that waits in its own write cannot read: better that it writes in vain than that
    /// it loses what it was sent.
    fn release_a_stuck_writer(&mut self) {
        if self
            .held_since
            .is_some_and(|since| since.elapsed() > HELD_FOR)
        {
            self.held_since = None;
            if let Some(reader_end) = &self.reader_end {
                let _ = tcflow(reader_end, Action::OOn);
            }
        }
    }
}

impl Drain for RetiringPty {
    /// Without a way to ask, the reader has what time there is, unless it leaves.
    fn pending(&mut self) -> u64 {
        if super::is_hung_up(&self.master) && self.reader_end.is_none() {
            return 0;
        }
        let Some(reader_end) = self.reader_end.clone() else {
            return UNKNOWN;
        };
        let unread = self.look(&reader_end);
        self.release_a_stuck_writer();
        unread
    }

    /// The unread count saturates, so a slow reader's progress shows only in the access time.
    fn progress(&mut self) -> u64 {
        #[expect(clippy::disallowed_methods, reason = "a terminal is on no disk")]
        let found = self.reader_end.as_ref().map(rustix::fs::fstat);
        found.map_or(0, |stat| stat.map_or(0, |stat| stat.st_atime as u64))
    }

    fn read_late(&mut self, buf: &mut [u8]) -> Late {
        match rustix::io::read(self.master.fd(), buf) {
            _ if self.parted => Late::End,
            Ok(count) if count > 0 => Late::Data(count),
            Err(Errno::AGAIN | Errno::INTR) => Late::Quiet,
            _ => Late::End,
        }
    }

    /// Where nobody could ask, nobody knows what is lost either.
    fn give_up(&mut self) -> u64 {
        match self.reader_end {
            Some(_) => self.unread,
            None => 0,
        }
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        let count = rustix::io::write(self.master.fd(), bytes).unwrap_or(0);
        self.sent |= count > 0;
        count
    }

    fn half_close(&mut self) {
        self.parted = true;
    }
}

/// What is unread on the slave's side: 0 only if that is all of it.
fn unread(reader_end: &OwnedFd) -> u64 {
    for _ in 0..LOOKS {
        let counted = rustix::io::ioctl_fionread(reader_end).unwrap_or(0);
        if counted > 0 {
            return counted;
        }
        let mut fds = [PollFd::new(reader_end, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::IN) {
            // A line that is not complete counts as nothing.
            return rustix::io::ioctl_fionread(reader_end).unwrap_or(1).max(1);
        }
    }
    0
}
