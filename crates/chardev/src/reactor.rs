//! front → chardev → back → [host]: readiness of descriptors, level triggered and one shot.
//!
//! A back end reads and writes its descriptor itself, on whatever thread the front end runs. Only
//! when the kernel says "not now" does it arm an [`FdWatch`]; the I/O thread then reports readiness
//! once through the back end's [`Port`]. Level triggering with one-shot arming has no edge to lose,
//! and an idle descriptor costs nothing. A hang-up, which stays true, is reported once and never
//! armed again while it lasts. What costs a system call of that, [`watch`] leaves out.

mod watch;

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use chardev_core::Ready;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

pub(crate) use self::watch::{FdWatch, Watched};
use crate::sys::async_fd;

/// Collects the readiness of the descriptors of the back ends of one I/O thread.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: OwnedFd,
    watches: Mutex<HashMap<u64, Weak<Watched>>>,
    reports: AtomicU64,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Reactor {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            watches: Mutex::default(),
            reports: AtomicU64::new(0),
        }))
    }

    /// Reports readiness for as long as the I/O thread lives.
    pub(crate) async fn run(self: Arc<Self>) -> io::Result<()> {
        let async_epoll = async_fd(self.epoll.try_clone()?)?;
        let mut fired = Vec::new();
        loop {
            let mut guard = async_epoll.readable().await?;
            if !self.look(&mut fired)? {
                guard.clear_ready();
            }
            drop(guard);
            tokio::task::yield_now().await;
            // Whoever has read by now has armed the rest as well, with one call for both.
            for watched in fired
                .drain(..)
                .filter_map(|watched: Weak<Watched>| watched.upgrade())
            {
                watched.arm_rest();
            }
        }
    }

    /// Tells of what is ready, and adds to `fired` what is partly to be armed again. Whether there
    /// was anything.
    fn look(&self, fired: &mut Vec<Weak<Watched>>) -> io::Result<bool> {
        let mut events = [const { MaybeUninit::uninit() }; 64];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match epoll::wait(&self.epoll, &mut events, Some(&at_once)) {
            Ok(([], _)) => Ok(false),
            Ok((events, _)) => {
                let reported = events.iter();
                fired.extend(
                    reported.filter_map(|event| self.dispatch(event.data.u64(), event.flags)),
                );
                Ok(true)
            }
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// How many events the kernel has reported so far.
    pub(crate) fn reports(&self) -> u64 {
        self.reports.load(Ordering::Relaxed)
    }

    /// Returns the watch if a part of it is still to be armed.
    fn dispatch(&self, token: u64, flags: epoll::EventFlags) -> Option<Weak<Watched>> {
        self.reports.fetch_add(1, Ordering::Relaxed);
        let watched = self.watches().get(&token).and_then(Weak::upgrade)?;
        let mut ready = Ready::empty();
        if flags.contains(epoll::EventFlags::IN) {
            ready |= Ready::READ;
        }
        if flags.contains(epoll::EventFlags::OUT) {
            ready |= Ready::WRITE;
        }
        if flags
            .intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR | epoll::EventFlags::RDHUP)
        {
            ready |= Ready::HANGUP | Ready::READ | Ready::WRITE;
        }
        if flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            ready |= Ready::GONE;
        }
        let fired = watched.fired(ready, flags.contains(epoll::EventFlags::HUP));
        let rest = fired.rest.then(|| Arc::downgrade(&watched));
        let port = watched.port().clone();
        // The kick may wait for the chardev's lock, and whoever has that may be closing the
        // descriptor.
        drop(watched);
        if fired.news {
            port.kick(ready);
        }
        rest
    }

    fn watches(&self) -> MutexGuard<'_, HashMap<u64, Weak<Watched>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
