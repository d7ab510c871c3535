//! guest → [front: virtio-console] → chardev → back → host: which ports have something pending, as
//! one descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use chardev_core::{FrontEnd, Ready};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// What became possible since the last look, one bit a port. The descriptor is readable while
/// there is something.
#[derive(Debug)]
pub(super) struct Pending {
    /// Readable if one of the others is.
    all: OwnedFd,
    fd: OwnedFd,
    input: AtomicU64,
    output: AtomicU64,
}

impl Pending {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let all = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &all,
            &fd,
            epoll::EventData::new_u64(0),
            epoll::EventFlags::IN,
        )?;
        Ok(Arc::new(Pending {
            all,
            fd,
            input: AtomicU64::new(0),
            output: AtomicU64::new(0),
        }))
    }

    /// Makes `front` report to bit `port`.
    pub(super) fn watch(self: &Arc<Self>, port: usize, front: &FrontEnd) {
        for which in [Ready::READ, Ready::WRITE] {
            let waker = PortWaker {
                pending: Arc::clone(self),
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

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.all.as_fd()
    }
}

/// Which ports' output is to be looked at soon. An idle device's timer does not run.
#[derive(Debug)]
pub(super) struct Clock {
    timer: OwnedFd,
    later: u64,
    /// What the timer was set to.
    wait: Duration,
}

impl Clock {
    /// A clock that makes the descriptor of `news` readable.
    pub(super) fn new(news: &Pending) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let data = epoll::EventData::new_u64(1);
        epoll::add(&news.all, &timer, data, epoll::EventFlags::IN)?;
        Ok(Clock {
            timer,
            later: 0,
            wait: Duration::ZERO,
        })
    }

    /// Asks for a look at a port's output after `wait`, or earlier if another port's is then.
    pub(super) fn look_later(&mut self, port: usize, wait: Duration) {
        if self.later == 0 || wait < self.wait {
            self.wait = wait;
            self.set(wait);
        }
        self.later |= 1 << port;
    }

    /// Takes the ports whose time has come, or soon will.
    pub(super) fn take(&mut self) -> u64 {
        if self.later != 0 {
            // Also a time that has passed makes the descriptor readable no longer.
            self.set(Duration::ZERO);
        }
        std::mem::take(&mut self.later)
    }

    fn set(&self, wait: Duration) {
        let value = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: 0,
                tv_nsec: wait.subsec_nanos().into(),
            },
        };
        // Fails only for a value or descriptor that is none.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &value);
    }
}

struct PortWaker {
    pending: Arc<Pending>,
    port: usize,
    which: Ready,
}

impl Wake for PortWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.which == Ready::READ {
            self.pending.input_again(self.port);
        } else {
            self.pending.output_again(self.port);
        }
    }
}
