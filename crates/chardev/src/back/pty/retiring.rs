//! front → chardev → back → [host]: the master of a replaced pty, kept until its reader has taken
//! everything, since closing it would destroy what is buffered.
//!
//! Output is on its way in two kernel buffers: a queue, and the 4 KiB the terminal's line
//! discipline holds, which a worker of the kernel fills from the queue. A read that empties the
//! second one sets the worker off only at its end, so between the two nothing can be seen although
//! there is more. `FIONREAD` waits for such a read to end, and `poll` for the worker: after both
//! only another read that took a whole buffer can have hidden what is left, and there are not many
//! buffers. So a pty that looks empty often enough in a row is empty.
//!
//! Either call may wait for the reader, who may be stopped in the middle, so a thread makes them.
//!
//! While our own descriptor of the slave is open nothing tells that the reader has left, and nobody
//! would ever take what is unread. So it is closed and opened again at each look.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use chardev_core::{Drain, Late};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{Action, tcflow};

use crate::port::Port;
use crate::reactor::FdWatch;

/// How often a pty must look empty in a row: more often than all that the kernel buffers, 64 KiB
/// and a little, can fill the smallest second buffer (a third of 4 KiB, where errors are marked).
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
    /// The reader has left.
    Gone,
}

/// Our own descriptor of the slave: the only way to ask what is unread there. There is none where
/// the peer has the terminal to itself (`TIOCEXCL`) and we are not privileged. Whoever looks has it
/// for that time, so that nobody else waits.
type ReaderEnd = Option<OwnedFd>;

/// A replaced pty with a reader.
pub(super) struct RetiringPty {
    port: Port,
    master: Arc<FdWatch>,
    reader_end: Arc<Mutex<ReaderEnd>>,
    asks: bool,
    read_at: u64,
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
            master: Arc::new(master),
            held_since: reader_end.is_some().then(Instant::now),
            asks: reader_end.is_some(),
            read_at: 0,
            reader_end: Arc::new(Mutex::new(reader_end)),
            look: Arc::new(Mutex::new(Look::None)),
            unread: UNKNOWN,
            sent: false,
            parted: false,
        }
    }

    /// What the last look found, and the next one on its way.
    fn look(&mut self) -> u64 {
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        match *look {
            Look::Running => return self.unread,
            Look::Found(0) if !self.sent => return 0,
            Look::Gone => {
                self.unread = 0;
                return 0;
            }
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
        let (reader_end, found) = (Arc::clone(&self.reader_end), Arc::clone(&self.look));
        let (port, master) = (self.port.clone(), Arc::downgrade(&self.master));
        self.port.spawn(async move {
            let look = port
                .offload(move || look_closely(&reader_end, &master))
                .await;
            *found.lock().unwrap_or_else(PoisonError::into_inner) = look;
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
            let Ok(reader_end) = self.reader_end.try_lock() else {
                return;
            };
            self.held_since = None;
            if let Some(reader_end) = &*reader_end {
                let _ = tcflow(reader_end, Action::OOn);
            }
        }
    }
}

impl Drain for RetiringPty {
    /// Without a way to ask, the reader has what time there is, unless it leaves.
    fn pending(&mut self) -> u64 {
        if let Ok(reader_end) = self.reader_end.try_lock() {
            self.asks = reader_end.is_some();
        }
        if !self.asks {
            return match super::is_hung_up(&self.master) {
                true => 0,
                false => UNKNOWN,
            };
        }
        let unread = self.look();
        self.release_a_stuck_writer();
        unread
    }

    /// The unread count saturates, so a slow reader's progress shows only in the access time.
    fn progress(&mut self) -> u64 {
        if let Ok(reader_end) = self.reader_end.try_lock() {
            #[expect(clippy::disallowed_methods, reason = "a terminal is on no disk")]
            let found = reader_end.as_ref().map(rustix::fs::fstat);
            if let Some(Ok(stat)) = found {
                self.read_at = stat.st_atime as u64;
            }
        }
        self.read_at
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
        match self.asks {
            true => self.unread,
            false => 0,
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

/// What is unread, and whether anybody is there to read it.
fn look_closely(reader_end: &Mutex<ReaderEnd>, master: &Weak<FdWatch>) -> Look {
    let mut reader_end = reader_end.lock().unwrap_or_else(PoisonError::into_inner);
    let unread = reader_end.as_ref().map_or(UNKNOWN, unread);
    let Some(master) = master.upgrade().filter(|_| unread > 0) else {
        return Look::Found(unread);
    };
    *reader_end = None;
    if super::is_hung_up(&master) {
        return Look::Gone;
    }
    *reader_end = super::open_slave(master.fd()).ok();
    Look::Found(unread)
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
