//! The host's part in a fleet: one thread, a connection, and a task for each console.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use chardev::{Chardevs, Epoch};
use chardev_logs::Shelf;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

use crate::events::Feed;
use crate::follow::{Common, Follower};
use crate::herald::{Known, Presence};
use crate::link::{self, Connection};
use crate::make;
use crate::pool::Pool;
use crate::settings::Settings;
use crate::source::Source;
use crate::subject::{Name, Topic};
use crate::tell::tell;
use crate::turns::Turns;

/// How many bytes may be on their way, of all consoles together.
const BUDGET: usize = 16 << 20;
/// How many threads read logs.
const LOG_THREADS: usize = 2;
/// The priority of the thread: consoles go first.
const NICE: i32 = 15;
/// How long one rests between two looks at which consoles there are.
const REST: Duration = Duration::from_millis(50);

/// Of ids of chardevs that are there, leaves those that take part.
pub type Which = Arc<dyn Fn(&mut Vec<String>) + Send + Sync>;

/// What is on the near side of chardevs, by their ids, where that is known.
pub type Fronts = Arc<dyn Fn() -> HashMap<String, String> + Send + Sync>;

/// What a program says of itself. It is asked on the fleet's thread, and may not wait for long.
pub struct Program {
    /// Which of its chardevs take part.
    pub which: Which,
    /// Its name and version.
    pub version: String,
    /// When it was started.
    pub started: SystemTime,
    /// What is on the near side of its chardevs.
    pub fronts: Fronts,
    /// What happens there.
    pub events: Option<Feed>,
}

/// A host in a fleet: the output of its consoles goes to the stream until this is dropped.
pub struct Fleet {
    settings: Settings,
    connected: watch::Receiver<Connection>,
    followed: Followed,
    known: Known,
    /// Ends the thread when it is dropped.
    stop: Option<oneshot::Sender<Ending>>,
    /// Fails once the thread has ended.
    ended: Mutex<Receiver<()>>,
}

/// How the thread is to end.
enum Ending {
    /// Once what was printed is in the stream, and the host is no more present.
    Last,
    /// Once the host is no more present.
    Leave,
}

/// What of each console is in the stream, for a fleet that goes on where another one has stopped.
#[derive(Debug, Default)]
pub struct Progress(HashMap<(String, Epoch), u64>);

/// How a host's part in a fleet goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether there is a connection to a server now.
    pub is_connected: bool,
    /// How many consoles are followed.
    pub consoles: usize,
    /// How many bytes of what they have printed are not in the stream yet.
    pub behind: u64,
    /// Whether others know that the host is up, unless something has gone wrong since it said so.
    pub is_present: bool,
    /// Whether another host of the cluster has the same name, as far as is known: they are taken
    /// for one, and which of them is up changes all the time.
    pub is_name_taken: bool,
}

type Followed = Arc<Mutex<HashMap<(String, Epoch), Arc<AtomicU64>>>>;

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl<F: Fn(&mut Vec<String>) + Send + Sync + 'static> From<Arc<F>> for Program {
    /// One that has nothing else to say.
    fn from(which: Arc<F>) -> Program {
        Program {
            which,
            version: String::new(),
            started: SystemTime::now(),
            fronts: Arc::new(HashMap::new),
            events: None,
        }
    }
}

impl Fleet {
    /// Publishes the output of all chardevs that the program leaves, from the oldest byte that is
    /// kept, or from where `progress` says; and that the host is there, what its consoles are, and
    /// what happens to them. Returns at once; the servers need not be there.
    ///
    /// # Errors
    /// The process is out of threads.
    pub fn start(
        chardevs: &Chardevs,
        settings: Settings,
        program: impl Into<Program>,
        progress: Progress,
    ) -> io::Result<Fleet> {
        let mut program = program.into();
        let (alive, ended) = channel::<()>();
        let (stop, stopped) = oneshot::channel();
        let (connected, connection) = watch::channel(Connection::default());
        let (busy, idle) = mpsc::channel(1);
        let followed = progress.0.into_iter();
        let followed = followed.map(|(console, at)| (console, Arc::new(AtomicU64::new(at))));
        let worker = Worker {
            chardevs: chardevs.clone(),
            settings: settings.clone(),
            events: program.events.take(),
            program: Arc::new(program),
            known: followed.collect(),
            followed: Followed::default(),
            shelf: Arc::default(),
            busy,
            presence: Arc::default(),
            changed: Arc::default(),
            known_until: Known::default(),
        };
        let followed = Arc::clone(&worker.followed);
        let known = worker.known_until.clone();
        let run = move || run(worker, connected, (stopped, idle), alive);
        chardev::new_thread("fleet")?.spawn(run)?;
        Ok(Fleet {
            settings,
            connected: connection,
            followed,
            known,
            stop: Some(stop),
            ended: Mutex::new(ended),
        })
    }

    /// What it goes by.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How it goes, with the chardevs that it was started with.
    pub fn status(&self, chardevs: &Chardevs) -> Status {
        let followed = lock(&self.followed).clone();
        let behind = followed.iter().map(|((id, epoch), acknowledged)| {
            let details = chardevs.details(id);
            let printed = details
                .filter(|it| it.epoch == Some(*epoch))
                .map_or(0, |it| it.stats.output_accepted);
            printed.saturating_sub(acknowledged.load(Ordering::Relaxed))
        });
        Status {
            is_connected: self.connected.borrow().is_there,
            behind: behind.sum(),
            consoles: followed.len(),
            is_present: self.known.is_present(),
            is_name_taken: self.known.is_name_taken(),
        }
    }

    /// Ends it at once. What is not in the stream yet is left to who goes on there.
    pub fn stop(mut self) -> Progress {
        drop(self.stop.take());
        self.wait(Duration::from_secs(1));
        let followed = lock(&self.followed);
        let progress = followed
            .iter()
            .map(|(console, acknowledged)| (console.clone(), acknowledged.load(Ordering::Relaxed)));
        Progress(progress.collect())
    }

    /// The same for a host that is no more present then, under the name it had; it waits a second
    /// at most for the servers to know.
    pub fn leave(mut self) {
        if let Some(stop) = self.stop.take() {
            // It fails where the thread has ended.
            let _ = stop.send(Ending::Leave);
            self.wait(Duration::from_secs(1));
        }
    }

    /// The chardevs have been shut down: waits until what they have printed is in the stream, and
    /// the servers know that the host has ended, but no longer than `limit`, and not at all while
    /// there is no connection.
    pub fn finish(mut self, limit: Duration) {
        if let Some(stop) = self.stop.take() {
            // It fails where the thread has ended.
            let _ = stop.send(Ending::Last);
            self.wait(limit);
        }
    }

    fn wait(&self, limit: Duration) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // It fails when the thread has ended, and that it takes longer stops nobody.
        let _ = ended.recv_timeout(limit);
    }
}

/// What the thread works with.
struct Worker {
    chardevs: Chardevs,
    settings: Settings,
    program: Arc<Program>,
    events: Option<Feed>,
    /// Where to go on, from an earlier fleet.
    known: HashMap<(String, Epoch), Arc<AtomicU64>>,
    followed: Followed,
    shelf: Arc<Shelf>,
    /// Each task that follows a console has one of its own until it is done.
    busy: mpsc::Sender<Infallible>,
    presence: Arc<Mutex<Option<Presence>>>,
    /// Consoles may be others than they were.
    changed: Arc<Notify>,
    known_until: Known,
}

fn run(
    worker: Worker,
    connected: watch::Sender<Connection>,
    (stopped, mut idle): (oneshot::Receiver<Ending>, mpsc::Receiver<Infallible>),
    _alive: Sender<()>,
) {
    // It is done without that, too.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(LOG_THREADS)
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let connection = connected.subscribe();
        let presence = Arc::clone(&worker.presence);
        tokio::select! {
            () = worker.work(connected) => {}
            // By now no further console is followed.
            ending = stopped => {
                let Some(ending) = ending.ok().filter(|_| connection.borrow().is_there) else {
                    return;
                };
                let presence = lock(&presence).take();
                let leave = async {
                    if let Some(presence) = presence {
                        presence.leave().await;
                    }
                };
                let idle = async {
                    if let Ending::Last = ending {
                        idle.recv().await;
                    }
                };
                tokio::join!(leave, idle);
            },
        }
    });
    runtime.shutdown_background();
}

impl Worker {
    /// Follows the consoles there are, and those that come, until it is dropped.
    async fn work(mut self, connected: watch::Sender<Connection>) {
        let name = format!("chardevd {}", self.settings.host);
        let connection = connected.subscribe();
        let client = match link::connect(&self.settings, &name, connected).await {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(event = "fleet-failed", "fleet: {error}");
                return std::future::pending().await;
            }
        };
        let common = Common {
            context: link::context(client),
            connected: connection,
            budget: Arc::new(Semaphore::new(BUDGET)),
            pool: Pool::default(),
            turns: Turns::start(),
        };
        if self.settings.stream.create {
            tokio::spawn(make::all(common.clone(), self.settings.clone()));
        }
        let run = chardev::fresh_epoch();
        let changed = (run, Arc::clone(&self.changed), self.known_until.clone());
        let (chardevs, program) = (&self.chardevs, &self.program);
        *lock(&self.presence) =
            Presence::start(&common, chardevs, program, &self.settings, changed);
        if let Some(feed) = self.events.take() {
            tokio::spawn(tell(common.clone(), self.settings.clone(), run, feed));
        }
        let mut seen = 0;
        loop {
            self.chardevs.added(&mut seen).await;
            self.follow_all(&common);
            tokio::time::sleep(REST).await;
        }
    }

    /// Follows those that are not followed yet.
    fn follow_all(&mut self, common: &Common) {
        let all = self.chardevs.list().into_iter();
        let mut ids = all.map(|it| it.label).collect();
        (self.program.which)(&mut ids);
        for id in ids {
            let Some(epoch) = self.chardevs.details(&id).and_then(|it| it.epoch) else {
                continue;
            };
            let console = (id, epoch);
            if lock(&self.followed).contains_key(&console) {
                continue;
            }
            let acknowledged = self.known.remove(&console).unwrap_or_default();
            if let Some(follower) = self.follower(&console, &acknowledged, common) {
                let (followed, busy) = (Arc::clone(&self.followed), self.busy.clone());
                let changed = Arc::clone(&self.changed);
                lock(&followed).insert(console.clone(), acknowledged);
                tokio::spawn(async move {
                    follower.run().await;
                    lock(&followed).remove(&console);
                    changed.notify_one();
                    drop(busy);
                });
            }
        }
    }

    fn follower(
        &self,
        (id, epoch): &(String, Epoch),
        acknowledged: &Arc<AtomicU64>,
        common: &Common,
    ) -> Option<Follower> {
        let name = Name {
            cluster: self.settings.cluster.clone(),
            host: self.settings.host.clone(),
            console: id.clone(),
        };
        let Some(subject) = name.subject(Topic::Out) else {
            tracing::warn!(
                console = id,
                event = "fleet-name",
                "fleet: the name of '{id}' is too long for a subject; it takes no part"
            );
            return None;
        };
        let from = acknowledged.load(Ordering::Relaxed);
        let source = Source::open(&self.chardevs, &self.shelf, (id, *epoch), from)?;
        let progress = (*epoch, Arc::clone(acknowledged));
        Some(Follower::new(common.clone(), subject, source, progress))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
