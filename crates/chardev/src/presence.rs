//! front → chardev → back → [host]: word that somebody came to a file or left it, from one inotify
//! instance for all back ends.
//!
//! The kernel lets a user have few instances (128 unless told otherwise) and a great many watches.
//! A watch only says that something happened; what there is now the back end finds out itself, so
//! nothing is lost when the kernel's queue runs over.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use chardev_core::Ready;
use rustix::fs::inotify::{self, ReadFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use crate::port::{OwnedTask, Port};
use crate::sys::async_fd;

/// Where a set of chardevs keeps its instance, from the first watch on. It is not closed with the last
/// watch, which ends under a chardev's lock: closing it waits for the kernel to clear up after all
/// watches, and on a busy machine that was seen to take seconds.
#[derive(Debug, Default)]
pub(crate) struct Presences(Mutex<Option<Arc<Shared>>>);

/// One file under watch; dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct PresenceWatch {
    wd: i32,
    port: Port,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inotify: OwnedFd,
    /// By watch descriptor. One file can be watched by two: by a back end and its successor.
    watchers: Mutex<HashMap<i32, Vec<Port>>>,
    _task: OwnedTask,
}

impl PresenceWatch {
    /// Kicks `port` whenever somebody opens or closes the file at `path`.
    ///
    /// Fails as `inotify_init` and `inotify_add_watch` do: with `EMFILE` where the user has no
    /// instance left, with `ENOSPC` where the watches have run out.
    pub(crate) fn new(path: &str, port: &Port) -> Result<Self, Errno> {
        let shared = port.reactor().presences.shared(port)?;
        let wanted = inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE;
        let mut watchers = shared.lock();
        let wd = inotify::add_watch(&shared.inotify, path, wanted)?;
        watchers.entry(wd).or_default().push(port.clone());
        drop(watchers);
        Ok(PresenceWatch {
            wd,
            port: port.clone(),
            shared,
        })
    }
}

impl Drop for PresenceWatch {
    fn drop(&mut self) {
        let mut watchers = self.shared.lock();
        let Some(ports) = watchers.get_mut(&self.wd) else {
            return;
        };
        if let Some(own) = ports.iter().position(|port| port.id() == self.port.id()) {
            ports.swap_remove(own);
        }
        if ports.is_empty() {
            watchers.remove(&self.wd);
            // A file that is gone has taken its watch along.
            let _ = inotify::remove_watch(&self.shared.inotify, self.wd);
        }
    }
}

impl Presences {
    fn shared(&self, port: &Port) -> Result<Arc<Shared>, Errno> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = &*known {
            return Ok(Arc::clone(shared));
        }
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let inotify = inotify::init(flags)?;
        let copy = rustix::io::fcntl_dupfd_cloexec(&inotify, 0)?;
        let shared = Arc::new_cyclic(|shared: &Weak<Shared>| Shared {
            inotify,
            watchers: Mutex::default(),
            _task: OwnedTask::spawn(port, report(copy, shared.clone())),
        });
        *known = Some(Arc::clone(&shared));
        Ok(shared)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Vec<Port>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Empties the kernel's queue; whom its events concern.
    fn concerned(&self) -> Vec<Port> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        let mut concerned = HashMap::new();
        while let Ok(event) = events.next() {
            let watchers = self.lock();
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                concerned = watchers.clone();
            } else if let Some(ports) = watchers.get(&event.wd()) {
                concerned.insert(event.wd(), ports.clone());
            }
        }
        concerned.into_values().flatten().collect()
    }
}

async fn report(inotify: OwnedFd, shared: Weak<Shared>) {
    let inotify: AsyncFd<OwnedFd> = match async_fd(inotify) {
        Ok(inotify) => inotify,
        Err(error) => {
            tracing::error!("nobody who comes to a pseudoterminal will be noticed: {error}");
            return;
        }
    };
    while let Ok(mut guard) = inotify.readable().await {
        // Cleared first: what comes while the queue is emptied makes it readable again.
        guard.clear_ready();
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let concerned = shared.concerned();
        drop(shared);
        for port in concerned {
            port.kick(Ready::empty());
        }
    }
}
