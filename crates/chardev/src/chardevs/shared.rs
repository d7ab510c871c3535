//! What all chardevs of a process share: the I/O threads, the kinds.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chardev_core::spec::KindSpec;
use chardev_core::{BackendId, ChardevRef, MuxHost};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::durations::Durations;
use crate::back::{KINDS, Kind};
#[cfg(feature = "dbus")]
use crate::dbus::Buses;
#[cfg(any(feature = "input", feature = "vc"))]
use crate::input_events::InputEvents;
use crate::io_threads::{Home, IoThreads};
#[cfg(feature = "tls")]
use crate::objects::Objects;
use crate::tasks::Tasks;
use crate::viewers::Viewers;

#[derive(Debug)]
pub(crate) struct Shared {
    threads: Arc<IoThreads>,
    /// The home of those that have none of their own.
    home: Arc<Home>,
    next_backend: AtomicU64,
    began: Instant,
    /// Where the paths of the last chardev start.
    directory: Mutex<Arc<Path>>,
    /// The byte before a command key of a multiplexer.
    escape: AtomicU8,
    default_history: AtomicUsize,
    quit: Notify,
    /// The status that a guest has asked for.
    exit: watch::Sender<Option<u8>>,
    kinds: Vec<&'static Kind>,
    viewers: Viewers,
    #[cfg(feature = "tls")]
    objects: Objects,
    #[cfg(feature = "dbus")]
    buses: Buses,
    pub(super) durations: Durations,
    #[cfg(any(feature = "input", feature = "vc"))]
    input_events: Arc<InputEvents>,
}

impl Shared {
    /// Starts the first I/O thread.
    ///
    /// # Errors
    /// The process is out of threads or descriptors; or two kinds have the same name.
    pub(super) fn start(own: &[&'static Kind]) -> io::Result<Self> {
        let kinds = [KINDS, own].concat();
        let mut names = HashSet::new();
        if let Some(kind) = kinds.iter().find(|kind| !names.insert(kind.spec.name)) {
            let name = kind.spec.name;
            let why = format!("there is a kind of back end called '{name}' already; rename yours");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        crate::disposal::start()?;
        let threads = IoThreads::start()?;
        Ok(Shared {
            #[cfg(feature = "tls")]
            objects: Objects::new(threads.first().runtime.clone()),
            home: Home::shared(&threads),
            threads,
            next_backend: AtomicU64::new(1),
            began: Instant::now(),
            directory: Mutex::new(Path::new("").into()),
            escape: AtomicU8::new(1),
            default_history: AtomicUsize::new(0),
            quit: Notify::new(),
            exit: watch::Sender::new(None),
            kinds,
            viewers: Viewers::new()?,
            #[cfg(feature = "dbus")]
            buses: Buses::default(),
            durations: Durations::default(),
            #[cfg(any(feature = "input", feature = "vc"))]
            input_events: Arc::default(),
        })
    }

    /// The same path for all whose paths start there one after the other.
    pub(crate) fn one_text(&self, directory: PathBuf) -> Arc<Path> {
        let last = self.directory.lock();
        let mut last = last.unwrap_or_else(PoisonError::into_inner);
        if **last != *directory {
            *last = directory.into();
        }
        Arc::clone(&last)
    }

    pub(crate) fn next_backend(&self) -> BackendId {
        BackendId(self.next_backend.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn io_threads(&self) -> &Arc<IoThreads> {
        &self.threads
    }

    /// A home for a new chardev.
    pub(crate) fn home(&self) -> Arc<Home> {
        Home::new(&self.threads, &self.home)
    }

    /// Where `chardev` lives.
    pub(crate) fn home_of(&self, chardev: &ChardevRef) -> Arc<Home> {
        Home::of(chardev).unwrap_or_else(|| Arc::clone(&self.home))
    }

    /// The first I/O thread's, for what is not a chardev's.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.threads.first().runtime
    }

    pub(crate) fn escape(&self) -> u8 {
        self.escape.load(Ordering::Relaxed)
    }

    pub(super) fn set_escape(&self, byte: u8) {
        self.escape.store(byte, Ordering::Relaxed);
    }

    pub(crate) fn default_history(&self) -> usize {
        self.default_history.load(Ordering::Relaxed)
    }

    pub(super) fn set_default_history(&self, bytes: usize) {
        self.default_history.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn viewers(&self) -> &Viewers {
        &self.viewers
    }

    pub(crate) fn tasks(&self) -> &Arc<Tasks> {
        &self.threads.tasks
    }

    #[cfg(any(feature = "input", feature = "vc"))]
    pub(crate) fn input_events(&self) -> &Arc<InputEvents> {
        &self.input_events
    }

    #[cfg(feature = "tls")]
    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    #[cfg(feature = "dbus")]
    pub(crate) fn buses(&self) -> &Buses {
        &self.buses
    }

    /// Told when somebody quits over a multiplexer.
    pub(super) async fn quit_requested(&self) {
        self.quit.notified().await;
    }

    /// Notes the status that a guest asks for; `false` if there was one before, which then stands.
    pub(crate) fn request_exit(&self, status: u8) -> bool {
        self.exit.send_if_modified(|asked| {
            let first = asked.is_none();
            asked.get_or_insert(status);
            first
        })
    }

    /// Told when a guest asks for the end.
    pub(super) async fn exit_requested(&self) -> u8 {
        let mut exit = self.exit.subscribe();
        match exit.wait_for(Option::is_some).await.map(|asked| *asked) {
            Ok(Some(status)) => status,
            // The sender is borrowed.
            _ => std::future::pending().await,
        }
    }

    /// The kind called `name`.
    pub(crate) fn kind(&self, name: &str) -> Option<&'static Kind> {
        self.kinds
            .iter()
            .copied()
            .find(|kind| kind.spec.name == name)
    }

    pub(super) fn specs(&self) -> Vec<&'static KindSpec> {
        self.kinds.iter().map(|kind| &kind.spec).collect()
    }
}

impl MuxHost for Shared {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn quit(&self) {
        self.quit.notify_one();
    }
}

/// The last `Chardevs` has gone, and the I/O threads go with it.
impl Drop for Shared {
    fn drop(&mut self) {
        self.threads.stop();
    }
}
