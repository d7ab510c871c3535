//! front → chardev → back → [host]: the threads that do the I/O of all chardevs, and which does
//! whose.
//!
//! Each chardev has a [`Home`], one of the threads: its descriptors report there, and its tasks run
//! there. It is chosen when it is first needed, and so are the threads but the first made. Nothing
//! that is right depends on who is where: a home saves wake-ups of other threads, and more than one
//! lets consoles use more than one CPU.

mod home;
mod roam;
mod service;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::first::{First, first};
use crate::offload;
#[cfg(any(feature = "pty", feature = "serial"))]
use crate::presence::Presences;
use crate::reactor::Reactor;
#[cfg(feature = "socket")]
use crate::shortage::Shortage;
use crate::tasks::Tasks;
use crate::threads::new_thread;

pub(crate) use self::home::Home;
pub(crate) use self::roam::roam;
pub use self::service::{ServiceThread, Stay};

/// The most I/O threads that a set of chardevs may have.
pub const IO_THREADS_LIMIT: usize = 16;

/// With many devices at work descriptors are still looked at in time; one that always has more to
/// move sees to that itself (`null_modem.rs` of the daemon).
const FEW_LOOKS: u32 = 16;

/// All I/O threads of a set of chardevs, and what they share.
#[derive(Debug)]
pub(crate) struct IoThreads {
    first: IoThread,
    more: [OnceLock<IoThread>; IO_THREADS_LIMIT - 1],
    /// How many there may be.
    most: AtomicUsize,
    /// How many of those only serve chardevs that are spread out.
    for_bulk: AtomicUsize,
    places: Mutex<Places>,
    /// What goes on on them in the background.
    pub(crate) tasks: Arc<Tasks>,
    /// Listeners that wait for a descriptor.
    #[cfg(feature = "socket")]
    pub(crate) shortage: Shortage,
    /// Who comes and goes, which no readiness tells.
    #[cfg(any(feature = "pty", feature = "serial"))]
    pub(crate) presences: Presences,
}

/// One of the threads.
#[derive(Debug)]
pub(crate) struct IoThread {
    pub(crate) runtime: Handle,
    pub(crate) reactor: Arc<Reactor>,
}

#[derive(Debug)]
struct Places {
    /// How many chardevs each has.
    loads: [usize; IO_THREADS_LIMIT],
    /// How many of those are spread out.
    bulk: [usize; IO_THREADS_LIMIT],
    /// Each ends its thread when it is dropped; none are left once they were stopped.
    stops: Vec<oneshot::Sender<()>>,
}

impl IoThreads {
    /// Starts the first thread.
    ///
    /// # Errors
    /// The process is out of threads or descriptors.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let (stop, stopped) = oneshot::channel();
        Ok(Arc::new(IoThreads {
            first: IoThread::start("chardev-io", FEW_LOOKS, stopped)?,
            more: Default::default(),
            most: AtomicUsize::new(at_first()),
            for_bulk: AtomicUsize::new(0),
            places: Mutex::new(Places {
                loads: [0; IO_THREADS_LIMIT],
                bulk: [0; IO_THREADS_LIMIT],
                stops: vec![stop],
            }),
            tasks: Arc::default(),
            #[cfg(feature = "socket")]
            shortage: Shortage::default(),
            #[cfg(any(feature = "pty", feature = "serial"))]
            presences: Presences::default(),
        }))
    }

    /// The one that everything runs on that is not a chardev's.
    pub(crate) fn first(&self) -> &IoThread {
        &self.first
    }

    /// How many there may be from here on, within the limit, and how many of those are for bulk.
    /// Those that there are stay.
    pub(crate) fn set_most(&self, most: usize, for_bulk: usize) {
        let most = most.clamp(1, IO_THREADS_LIMIT);
        self.most.store(most, Ordering::Relaxed);
        self.for_bulk
            .store(for_bulk.min(most - 1), Ordering::Relaxed);
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Ends them, without waiting. No further one is started.
    pub(crate) fn stop(&self) {
        self.lock().stops.clear();
    }

    /// Those that there are.
    pub(crate) fn all(&self) -> impl Iterator<Item = &IoThread> {
        std::iter::once(&self.first).chain(self.more.iter().filter_map(OnceLock::get))
    }

    /// The thread with the fewest chardevs beside those of `homes`; where there is none yet it is
    /// started, if it can be.
    fn least_loaded(&self, places: &mut Places, homes: &[Arc<Home>]) -> usize {
        let mut loads = places.loads;
        for at in homes.iter().filter_map(|home| home.at()) {
            loads[at] = loads[at].saturating_sub(1);
        }
        let for_bulk = self.for_bulk.load(Ordering::Relaxed);
        let most = self.most().saturating_sub(for_bulk).max(1);
        let best = (0..most).min_by_key(|at| loads[*at]).unwrap_or(0);
        let Err(error) = self.start_one(best, places) else {
            return best;
        };
        tracing::debug!("no further I/O thread: {error}");
        let started = (0..most).filter(|at| self.is_started(*at));
        started.min_by_key(|at| loads[*at]).unwrap_or(0)
    }

    /// Starts the thread `at`, unless it was started before.
    fn start_one(&self, at: usize, places: &mut Places) -> io::Result<()> {
        if self.is_started(at) {
            return Ok(());
        }
        if places.stops.is_empty() {
            return Err(io::Error::other("they have been stopped"));
        }
        let (stop, stopped) = oneshot::channel();
        let name = format!("chardev-io-{}", at + 1);
        let thread = IoThread::start(&name, FEW_LOOKS, stopped)?;
        places.stops.push(stop);
        let _ = self.more[at - 1].set(thread);
        Ok(())
    }

    fn is_started(&self, at: usize) -> bool {
        at == 0 || self.more[at - 1].get().is_some()
    }

    fn thread(&self, at: usize) -> &IoThread {
        let more = at.checked_sub(1).and_then(|at| self.more[at].get());
        more.unwrap_or(&self.first)
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IoThread {
    /// Starts it, to serve its reactor and all its tasks until the other end of `stopped` is
    /// dropped. It looks at descriptors at least once in so many `polls` of tasks.
    fn start(name: &str, polls: u32, stopped: oneshot::Receiver<()>) -> io::Result<Self> {
        let reactor = Reactor::new()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(polls)
            .build()?;
        let handle = runtime.handle().clone();
        let serving = Arc::clone(&reactor);
        let serve = move || {
            offload::become_io_thread();
            // As a task it comes after those that it has woken: what `block_on` runs comes before
            // all.
            let reports = runtime.spawn(serving.run());
            runtime.block_on(async {
                if let First::One(ended) = first(reports, stopped).await {
                    if let Err(error) = ended.map_err(io::Error::from).and_then(|ended| ended) {
                        tracing::error!("a chardev I/O thread has stopped: {error}");
                    }
                }
            });
            runtime.shutdown_background();
        };
        new_thread(name)?.spawn(serve)?;
        Ok(IoThread {
            runtime: handle,
            reactor,
        })
    }
}

/// One, so that nobody who embeds the library is surprised; in a build for tests as many as its
/// environment says, so that all tests can be run with several.
fn at_first() -> usize {
    let asked = cfg!(debug_assertions)
        .then(|| std::env::var("CHARDEV_IO_THREADS").ok())
        .flatten();
    let asked = asked.and_then(|asked| asked.parse().ok());
    asked.unwrap_or(1).clamp(1, IO_THREADS_LIMIT)
}
