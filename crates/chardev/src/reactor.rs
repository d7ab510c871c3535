//! front → chardev → back → [host]: readiness of descriptors, level triggered and one shot.
//!
//! A back end reads and writes its descriptor itself, on whatever thread the front end runs. Only
//! when the kernel says "not now" does it arm an [`FdWatch`]; the I/O thread then reports readiness
//! once through the back end's [`Port`]. Level triggering with one-shot arming has no edge to lose,
//! and an idle descriptor costs nothing. A hang-up, which stays true, is reported once and never
//! armed again while it lasts.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use chardev_core::Ready;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use crate::port::Port;
use crate::sys::async_fd;

/// Collects the readiness of all descriptors of all back ends.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: OwnedFd,
    watches: Mutex<HashMap<u64, Weak<Watched>>>,
    reports: AtomicU64,
    /// Listeners that wait for a descriptor.
    #[cfg(feature = "socket")]
    pub(crate) shortage: crate::shortage::Shortage,
    next_token: AtomicU64,
    /// Who comes and goes, which no readiness tells.
    #[cfg(any(feature = "pty", feature = "serial"))]
    pub(crate) presences: crate::presence::Presences,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Reactor {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            watches: Mutex::default(),
            reports: AtomicU64::new(0),
            #[cfg(feature = "socket")]
            shortage: crate::shortage::Shortage::default(),
            next_token: AtomicU64::new(1),
            #[cfg(any(feature = "pty", feature = "serial"))]
            presences: crate::presence::Presences::default(),
        }))
    }

    /// Reports readiness for as long as the I/O thread lives.
    pub(crate) async fn run(self: Arc<Self>) -> io::Result<()> {
        let async_epoll = async_fd(self.epoll.try_clone()?)?;
        let mut events = Vec::with_capacity(64);
        let mut fired = Vec::new();
        loop {
            let mut guard = async_epoll.readable().await?;
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&rustix::event::Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                }),
            ) {
                Ok(0) => guard.clear_ready(),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                fired.extend(self.dispatch(event.data.u64(), event.flags));
            }
            tokio::task::yield_now().await;
            // Whoever has read by now has armed the rest as well, with one call for both.
            for watched in fired
                .drain(..)
                .filter_map(|watched: Weak<Watched>| watched.upgrade())
            {
                watched.arm_rest(&self);
            }
        }
    }

    /// How many events the kernel has reported so far.
    pub(crate) fn reports(&self) -> u64 {
        self.reports.load(Ordering::Relaxed)
    }

    /// Returns the watch if a part of it is still to be armed.
    fn dispatch(&self, token: u64, flags: epoll::EventFlags) -> Option<Weak<Watched>> {
        self.reports.fetch_add(1, Ordering::Relaxed);
        let watched = {
            let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
            watches.get(&token).and_then(Weak::upgrade)?
        };
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
        let has_rest = watched.fired(ready, flags.contains(epoll::EventFlags::HUP));
        let rest = has_rest.then(|| Arc::downgrade(&watched));
        let port = watched.port.clone();
        // The kick may wait for the chardev's lock, and whoever has that may be closing the
        // descriptor.
        drop(watched);
        port.kick(ready);
        rest
    }
}

/// One descriptor under watch; dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct FdWatch(Arc<Watched>);

/// What can be watched.
pub(crate) trait Descriptor: AsFd + std::fmt::Debug + Send + Sync {}
impl<T: AsFd + std::fmt::Debug + Send + Sync> Descriptor for T {}

#[derive(Debug)]
struct Watched {
    token: u64,
    fd: Arc<dyn Descriptor>,
    port: Port,
    state: Mutex<Arming>,
}

#[derive(Debug)]
struct Arming {
    armed: Ready,
    /// The kernel has reported, and so knows of nothing that is armed.
    spent: bool,
    /// A hang-up was reported: the kernel would go on reporting it with whatever is armed.
    hung_up: bool,
}

impl FdWatch {
    /// Registers `fd`. Nothing is armed but its hang-up, which the kernel reports once
    /// uncalled-for. Regular files are refused by the kernel (`EPERM`).
    pub(crate) fn new(port: &Port, fd: Arc<impl Descriptor + 'static>) -> io::Result<Self> {
        let reactor = port.reactor();
        let token = reactor.next_token.fetch_add(1, Ordering::Relaxed);
        epoll::add(
            &reactor.epoll,
            fd.as_fd(),
            epoll::EventData::new_u64(token),
            epoll::EventFlags::ONESHOT,
        )?;
        let watched = Arc::new(Watched {
            token,
            fd,
            port: port.clone(),
            state: Mutex::new(Arming {
                armed: Ready::empty(),
                spent: false,
                hung_up: false,
            }),
        });
        let mut watches = reactor
            .watches
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        watches.insert(token, Arc::downgrade(&watched));
        drop(watches);
        Ok(FdWatch(watched))
    }

    /// Asks for one report of each of `interest`, on top of what is armed already. Where a hang-up
    /// was reported there is nothing to wait for until somebody comes back: reads and writes say at
    /// once what there is.
    ///
    /// May be called from any thread, also under the chardev's lock.
    pub(crate) fn arm(&self, interest: Ready) {
        let mut state = self.0.lock();
        if state.armed.contains(interest) {
            return;
        }
        if state.hung_up && is_hung_up(self.fd()) {
            return;
        }
        state.hung_up = false;
        state.armed |= interest;
        self.0.modify(self.0.port.reactor(), &mut state);
    }

    /// The descriptor under watch.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl Drop for FdWatch {
    fn drop(&mut self) {
        let reactor = self.0.port.reactor();
        let _ = epoll::delete(&reactor.epoll, self.0.fd.as_fd());
        let mut watches = reactor
            .watches
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        watches.remove(&self.0.token);
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Arming> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One-shot disarmed the whole registration. Whether there is something that has not fired yet,
    /// which is to be armed again soon. A hang-up fires everything.
    fn fired(&self, ready: Ready, hung_up: bool) -> bool {
        let mut state = self.lock();
        state.hung_up |= hung_up;
        state.armed -= ready;
        state.spent = true;
        !state.armed.is_empty()
    }

    /// Arms what has not fired, unless somebody has armed more since.
    fn arm_rest(&self, reactor: &Reactor) {
        let mut state = self.lock();
        if state.spent && !state.armed.is_empty() {
            self.modify(reactor, &mut state);
        }
    }

    fn modify(&self, reactor: &Reactor, state: &mut Arming) {
        state.spent = false;
        let armed = state.armed;
        // The kernel reports what `Ready::GONE` means with whatever else is armed, or nothing else.
        let mut flags = epoll::EventFlags::ONESHOT;
        if armed.contains(Ready::READ) {
            flags |= epoll::EventFlags::IN;
        }
        if armed.contains(Ready::WRITE) {
            flags |= epoll::EventFlags::OUT;
        }
        if armed.contains(Ready::HANGUP) {
            flags |= epoll::EventFlags::RDHUP;
        }
        let _ = epoll::modify(
            &reactor.epoll,
            self.fd.as_fd(),
            epoll::EventData::new_u64(self.token),
            flags,
        );
    }
}

fn is_hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}
