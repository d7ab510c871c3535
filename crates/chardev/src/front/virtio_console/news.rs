//! guest → [front: virtio-console] → chardev → back → host: which ports have news, as one descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

use chardev_core::{FrontEnd, Ready};
use rustix::event::{EventfdFlags, eventfd};

/// What became possible since the last look, one bit a port. The descriptor is readable while
/// there is something.
#[derive(Debug)]
pub(super) struct News {
    fd: OwnedFd,
    input: AtomicU64,
    output: AtomicU64,
}

impl News {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(News {
            fd,
            input: AtomicU64::new(0),
            output: AtomicU64::new(0),
        }))
    }

    /// Makes `front` report to bit `port`.
    pub(super) fn watch(self: &Arc<Self>, port: usize, front: &FrontEnd) {
        for which in [Ready::READ, Ready::WRITE] {
            let waker = PortWaker {
                news: Arc::clone(self),
                port,
                which,
            };
            front.set_waker(which, &Waker::from(Arc::new(waker)));
        }
    }

    /// Asks for another look at a port's output.
    pub(super) fn output_again(&self, port: usize) {
        self.set(&self.output, port);
    }

    /// Asks for another look at a port's input.
    pub(super) fn input_again(&self, port: usize) {
        self.set(&self.input, port);
    }

    /// Takes all news: ports with input, ports with room for output.
    pub(super) fn take(&self) -> (u64, u64) {
        // The descriptor first: what is set after this makes it readable again.
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.fd, &mut count);
        (
            self.input.swap(0, Ordering::AcqRel),
            self.output.swap(0, Ordering::AcqRel),
        )
    }

    fn set(&self, which: &AtomicU64, port: usize) {
        if which.fetch_or(1 << port, Ordering::AcqRel) == 0 {
            // A full counter is readable already, so a failed write changes nothing.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

struct PortWaker {
    news: Arc<News>,
    port: usize,
    which: Ready,
}

impl Wake for PortWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.which == Ready::READ {
            self.news.input_again(self.port);
        } else {
            self.news.output_again(self.port);
        }
    }
}
