//! front → chardev → back → [host]: readiness of descriptors, level triggered and one shot.
//!
//! A back end reads and writes its descriptor itself, on whatever thread the front end runs.
//! Only when the kernel says "not now" does it arm an [`FdWatch`]; the I/O thread then reports
//! readiness once through the back end's [`Port`]. Level triggering with one-shot arming has no
//! edge to lose, and an idle descriptor costs nothing.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use chardev_core::Ready;
use rustix::event::epoll;

use crate::port::Port;
use crate::sys::async_fd;

/// Collects the readiness of all descriptors of all back ends.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: OwnedFd,
    watches: Mutex<HashMap<u64, Weak<Watched>>>,
    next_token: AtomicU64,
    /// Who comes and goes, which no readiness tells.
    #[cfg(feature = "pty")]
    pub(crate) presences: crate::presence::Presences,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Reactor {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            watches: Mutex::default(),
            next_token: AtomicU64::new(1),
            #[cfg(feature = "pty")]
            presences: crate::presence::Presences::default(),
        }))
    }

    /// Reports readiness for as long as the I/O thread lives.
    pub(crate) async fn run(self: Arc<Self>) -> io::Result<()> {
        let async_epoll = async_fd(self.epoll.try_clone()?)?;
        let mut events = Vec::with_capacity(64);
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
                self.dispatch(event.data.u64(), event.flags);
            }
            tokio::task::yield_now().await;
        }
    }

    fn dispatch(&self, token: u64, flags: epoll::EventFlags) {
        let watched = {
            let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
            watches.get(&token).and_then(Weak::upgrade)
        };
        let Some(watched) = watched else { return };
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
        watched.fired(self, ready);
        let port = watched.port.clone();
        // The kick may wait for the chardev's lock, and whoever has that may be closing the descriptor.
        drop(watched);
        port.kick(ready);
    }
}

/// One descriptor under watch; dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct FdWatch {
    watched: Arc<Watched>,
    reactor: Arc<Reactor>,
}

#[derive(Debug)]
struct Watched {
    token: u64,
    fd: Arc<OwnedFd>,
    port: Port,
    armed: Mutex<Ready>,
}

impl FdWatch {
    /// Registers `fd`, with nothing armed. Regular files are refused by the kernel (`EPERM`).
    pub(crate) fn new(port: &Port, fd: Arc<OwnedFd>) -> io::Result<Self> {
        let reactor = Arc::clone(port.reactor());
        let token = reactor.next_token.fetch_add(1, Ordering::Relaxed);
        epoll::add(
            &reactor.epoll,
            fd.as_fd(),
            epoll::EventData::new_u64(token),
            epoll::EventFlags::ONESHOT,
        )?;
        // A fresh registration with no interest would still report a hang-up, so it is disarmed.
        let watched = Arc::new(Watched {
            token,
            fd,
            port: port.clone(),
            armed: Mutex::new(Ready::empty()),
        });
        let mut watches = reactor
            .watches
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        watches.insert(token, Arc::downgrade(&watched));
        drop(watches);
        Ok(FdWatch { watched, reactor })
    }

    /// Asks for one report of each of `interest`, on top of what is armed already.
    /// May be called from any thread, also under the chardev's lock.
    pub(crate) fn arm(&self, interest: Ready) {
        let mut armed = self
            .watched
            .armed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if armed.contains(interest) {
            return;
        }
        *armed |= interest;
        self.watched.modify(&self.reactor, *armed);
    }

    /// The descriptor under watch.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.watched.fd.as_fd()
    }
}

impl Drop for FdWatch {
    fn drop(&mut self) {
        let _ = epoll::delete(&self.reactor.epoll, self.watched.fd.as_fd());
        let mut watches = self
            .reactor
            .watches
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        watches.remove(&self.watched.token);
    }
}

impl Watched {
    /// One-shot disarmed the whole registration: what has not fired yet is armed again.
    fn fired(&self, reactor: &Reactor, ready: Ready) {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        *armed -= ready;
        if !armed.is_empty() {
            self.modify(reactor, *armed);
        }
    }

    fn modify(&self, reactor: &Reactor, armed: Ready) {
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
