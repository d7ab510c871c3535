//! front → chardev → back → [host]: word that somebody came to a file or left it, or that a file
//! came to a directory, from one inotify instance for all back ends.
//!
//! The kernel lets a user have few instances (128 unless told otherwise) and a great many watches.
//! A watch only says that something happened; what there is now the back end finds out itself, so
//! nothing is lost when the kernel's queue runs over.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use chardev_core::Ready;
use rustix::fs::inotify::{self, ReadFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::port::{OwnedTask, Port};
use crate::sys::async_fd;

/// Where a set of chardevs keeps its instance, from the first watch on. It is not closed with the
/// last watch, which ends under a chardev's lock: closing it waits for the kernel to clear up after
/// all watches, and on a busy machine that was seen to take seconds.
#[derive(Debug, Default)]
pub(crate) struct Presences(Mutex<Option<Arc<Watchers>>>);

/// One file under watch; dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct PresenceWatch {
    wd: i32,
    id: u64,
    has_told: Arc<AtomicBool>,
    shared: Arc<Watchers>,
}

#[derive(Debug)]
struct Watchers {
    inotify: OwnedFd,
    next_id: AtomicU64,
    /// By watch descriptor. One file can be watched by two: by a back end and its successor.
    watchers: Mutex<HashMap<i32, Vec<Watcher>>>,
    _task: OwnedTask,
}

#[derive(Clone, Debug)]
struct Watcher {
    id: u64,
    told: Told,
    has_told: Arc<AtomicBool>,
}

/// Who is told.
#[derive(Clone, Debug)]
enum Told {
    /// A back end, of whatever happens.
    Port(Port),
    /// A task, of what happens to this name in a directory, or to the directory.
    Task(OsString, Arc<Notify>),
}

impl PresenceWatch {
    /// Kicks `port` whenever somebody opens or closes the file at `path`, with [`Ready::GONE`] if
    /// it was somebody who could write.
    ///
    /// Fails as `inotify_init` and `inotify_add_watch` do: with `EMFILE` where the user has no
    /// instance left, with `ENOSPC` where the watches have run out.
    pub(crate) fn new(path: &str, port: &Port) -> Result<Self, Errno> {
        let wanted = inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE;
        Self::add(path.as_ref(), wanted, port, Told::Port(port.clone()))
    }

    /// Notifies `task` whenever `name` comes to `directory` or is given to others, and when the
    /// directory itself goes away.
    pub(crate) fn of_name(
        directory: &Path,
        name: &OsStr,
        port: &Port,
        task: &Arc<Notify>,
    ) -> Result<Self, Errno> {
        let wanted = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::ATTRIB
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::MOVE_SELF
            | inotify::WatchFlags::ONLYDIR;
        let told = Told::Task(name.to_owned(), Arc::clone(task));
        Self::add(directory, wanted, port, told)
    }

    /// Notifies `task` when the directory or symbolic link at `path` is removed or gets another
    /// name.
    pub(crate) fn of_itself(path: &Path, port: &Port, task: &Arc<Notify>) -> Result<Self, Errno> {
        let wanted = inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::MOVE_SELF
            | inotify::WatchFlags::DONT_FOLLOW;
        let told = Told::Task(OsString::new(), Arc::clone(task));
        Self::add(path, wanted, port, told)
    }

    /// What others want to know of the same file stays wanted.
    fn add(
        path: &Path,
        wanted: inotify::WatchFlags,
        port: &Port,
        told: Told,
    ) -> Result<Self, Errno> {
        let shared = port.io_threads().presences.shared(port)?;
        let mut watchers = shared.lock();
        let wanted = wanted | inotify::WatchFlags::MASK_ADD;
        let wd = inotify::add_watch(&shared.inotify, path, wanted)?;
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let has_told = Arc::new(AtomicBool::new(false));
        let watcher = Watcher {
            id,
            told,
            has_told: Arc::clone(&has_told),
        };
        watchers.entry(wd).or_default().push(watcher);
        drop(watchers);
        Ok(PresenceWatch {
            wd,
            id,
            has_told,
            shared,
        })
    }

    /// Whether anything has been told of so far.
    pub(crate) fn has_told(&self) -> bool {
        self.has_told.load(Ordering::Acquire)
    }
}

impl Drop for PresenceWatch {
    fn drop(&mut self) {
        let mut watchers = self.shared.lock();
        let Some(others) = watchers.get_mut(&self.wd) else {
            return;
        };
        others.retain(|watcher| watcher.id != self.id);
        if others.is_empty() {
            watchers.remove(&self.wd);
            // A file that is gone has taken its watch along.
            let _ = inotify::remove_watch(&self.shared.inotify, self.wd);
        }
    }
}

impl Watcher {
    /// Whether an event about `name` concerns it; one without a name is about the watched file.
    fn cares_for(&self, name: Option<&OsStr>) -> bool {
        match (&self.told, name) {
            (Told::Task(wanted, _), Some(name)) => wanted == name,
            _ => true,
        }
    }

    fn tell(self, left: Ready) {
        self.has_told.store(true, Ordering::Release);
        match self.told {
            Told::Port(port) => port.kick(left),
            Told::Task(_, task) => task.notify_one(),
        }
    }
}

impl Presences {
    fn shared(&self, port: &Port) -> Result<Arc<Watchers>, Errno> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = &*known {
            return Ok(Arc::clone(shared));
        }
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let inotify = inotify::init(flags)?;
        let copy = rustix::io::fcntl_dupfd_cloexec(&inotify, 0)?;
        let shared = Arc::new_cyclic(|shared: &Weak<Watchers>| Watchers {
            inotify,
            next_id: AtomicU64::new(0),
            watchers: Mutex::default(),
            _task: OwnedTask::spawn(port, report(copy, shared.clone())),
        });
        *known = Some(Arc::clone(&shared));
        Ok(shared)
    }
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Vec<Watcher>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Empties the kernel's queue; whom its events concern, and whether a writer has left.
    fn concerned(&self) -> Vec<(Watcher, Ready)> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        let mut concerned: HashMap<u64, (Watcher, Ready)> = HashMap::new();
        while let Ok(event) = events.next() {
            let watchers = self.lock();
            let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let name = event
                .file_name()
                .map(|name| OsStr::from_bytes(name.to_bytes()));
            let found = match lost {
                true => watchers.values().flatten().collect(),
                false => watchers
                    .get(&event.wd())
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>(),
            };
            let cares = |watcher: &&Watcher| lost || watcher.cares_for(name);
            for watcher in found.into_iter().filter(cares) {
                let unknown = || (watcher.clone(), Ready::empty());
                let (_, left) = concerned.entry(watcher.id).or_insert_with(unknown);
                if lost || event.events().contains(ReadFlags::CLOSE_WRITE) {
                    *left = Ready::GONE;
                }
            }
        }
        concerned.into_values().collect()
    }
}

async fn report(inotify: OwnedFd, shared: Weak<Watchers>) {
    let inotify: AsyncFd<OwnedFd> = match async_fd(inotify) {
        Ok(inotify) => inotify,
        Err(error) => {
            tracing::error!("cannot watch pseudoterminals and devices for clients: {error}");
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
        for (watcher, left) in concerned {
            watcher.tell(left);
        }
    }
}
