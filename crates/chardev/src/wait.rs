//! [front] → chardev → back → host: readiness as a descriptor, and the few calls that wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use chardev_core::{FrontEnd, Input, Ready};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// A descriptor that becomes readable when a front end should look again, for an epoll loop.
///
/// Level triggered: it stays readable until [`ReadyFd::clear`].
#[derive(Debug)]
pub struct ReadyFd {
    inner: Arc<Signal>,
}

/// A waker that makes a descriptor readable.
#[derive(Debug)]
pub(crate) struct Signal(OwnedFd);

impl Signal {
    pub(crate) fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Signal(fd))
    }

    pub(crate) fn notify(&self) {
        // A full counter is readable already, so a failed write changes nothing.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    pub(crate) fn clear(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.0, &mut count);
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify();
    }
}

impl ReadyFd {
    /// A descriptor for `which` directions of `front`, set as its waker.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn new(front: &FrontEnd, which: Ready) -> io::Result<Self> {
        let ready = ReadyFd::alone()?;
        front.set_waker(which, &ready.waker());
        Ok(ready)
    }

    /// A descriptor that becomes readable when [`ReadyFd::waker`] is woken, for devices that take a
    /// waker.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn alone() -> io::Result<Self> {
        let inner = Arc::new(Signal::new()?);
        Ok(ReadyFd { inner })
    }

    /// What makes the descriptor readable.
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.inner))
    }

    /// Makes the descriptor unreadable until the next report. Call it before trying again, never
    /// after, so that no report is lost between.
    pub fn clear(&self) {
        self.inner.clear();
    }

    fn wait(&self, deadline: Option<Instant>) -> io::Result<bool> {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let mut fds = [PollFd::new(&self.inner.0, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => Ok(false),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for ReadyFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.0.as_fd()
    }
}

/// The calls of a front end that wait, for code that may. Never use them on a vCPU thread.
pub trait BlockingFrontEnd {
    /// Writes all of `bytes`, waiting for room, and returns how many were accepted, as by
    /// [`FrontEnd::write`]: fewer only when `timeout` ran out. `None` waits for ever. While nobody
    /// is there it waits only if the policy is to hold.
    ///
    /// # Errors
    /// The process is out of descriptors.
    #[doc(alias = "qemu_chr_fe_write_all")]
    fn write_all(&self, bytes: &[u8], timeout: Option<Duration>) -> io::Result<usize>;

    /// Waits for the next input or event; `Ok(None)` when `timeout` ran out first. A `timeout` of
    /// `None` waits for ever.
    ///
    /// # Errors
    /// The process is out of descriptors.
    fn wait_input(&self, buf: &mut [u8], timeout: Option<Duration>) -> io::Result<Option<Input>>;

    /// Waits until a peer is there ([`FrontEnd::is_open`]); `false` when `timeout` ran out first.
    /// On `null` and `udp` that never is.
    ///
    /// # Errors
    /// The process is out of descriptors.
    #[doc(alias = "qemu_chr_fe_wait_connected")]
    fn wait_connected(&self, timeout: Option<Duration>) -> io::Result<bool>;
}

impl BlockingFrontEnd for FrontEnd {
    fn write_all(&self, bytes: &[u8], timeout: Option<Duration>) -> io::Result<usize> {
        let mut taken = self.write(bytes);
        if taken == bytes.len() {
            return Ok(taken);
        }
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let _former = Former::of(self, Ready::WRITE);
        let ready = ReadyFd::new(self, Ready::WRITE)?;
        loop {
            ready.clear();
            taken += self.write(&bytes[taken..]);
            if taken == bytes.len() || !ready.wait(deadline)? {
                return Ok(taken);
            }
        }
    }

    fn wait_input(&self, buf: &mut [u8], timeout: Option<Duration>) -> io::Result<Option<Input>> {
        let mut next = || match self.read(buf) {
            0 => self.next_event().map(Input::Event),
            count => Some(Input::Data(count)),
        };
        if let Some(input) = next() {
            return Ok(Some(input));
        }
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let _former = Former::of(self, Ready::READ);
        let ready = ReadyFd::new(self, Ready::READ)?;
        loop {
            ready.clear();
            let input = next();
            if input.is_some() || !ready.wait(deadline)? {
                return Ok(input);
            }
        }
    }

    fn wait_connected(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let _former = (
            Former::of(self, Ready::READ),
            Former::of(self, Ready::WRITE),
        );
        let ready = ReadyFd::new(self, Ready::READ | Ready::WRITE)?;
        loop {
            ready.clear();
            if self.is_open() {
                return Ok(true);
            }
            if !ready.wait(deadline)? {
                return Ok(self.is_open());
            }
        }
    }
}

/// The waker that was set before a waiting call, put back when the call ends.
struct Former<'a> {
    front: &'a FrontEnd,
    which: Ready,
    waker: Option<Waker>,
}

impl<'a> Former<'a> {
    fn of(front: &'a FrontEnd, which: Ready) -> Self {
        Former {
            front,
            which,
            waker: front.take_waker(which),
        }
    }
}

impl Drop for Former<'_> {
    fn drop(&mut self) {
        if let Some(waker) = &self.waker {
            self.front.set_waker(self.which, waker);
        }
    }
}
