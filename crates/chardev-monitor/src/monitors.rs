//! All monitors, and who is at them: what `x-query-monitors` tells, and how many there may be.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use chardev_qapi::{Json, Object};
use chardev_qmp::Event;
use rustix::process::{Resource, getrlimit};
use tokio::runtime::Handle;

use crate::events::{MAX_WAITING, now};
use crate::monitor::Mode;
use crate::stop::Stop;

/// The least number of clients that are served where no limit was set, however few descriptors the
/// process may have.
const MIN_ROOM: usize = 16;

/// What the monitors on descriptors that clients handed over are listed as.
pub(crate) const PASSED: &str = "x-monitor-add";

/// All monitors of a server. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Monitors {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The thread that monitors run on.
    runtime: Handle,
    /// How many clients may be taken altogether: the other half of the descriptors is for consoles.
    room: usize,
    taken: AtomicUsize,
    posts: Mutex<Vec<Arc<Post>>>,
    passed: OnceLock<Arc<Post>>,
}

/// One monitor, with whoever is at it.
#[derive(Debug)]
pub(crate) struct Post {
    label: String,
    mode: Mode,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    limit: usize,
    /// Clients that were taken, and not served over the monitor's own chardev.
    taken: usize,
    clients: Vec<Arc<Client>>,
    /// The monitor that takes the next one.
    waker: Option<Waker>,
}

/// A place that a taken client has; the next one may come when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    monitors: Monitors,
    post: Arc<Post>,
    used: bool,
}

/// Who is at a monitor.
#[derive(Debug)]
pub(crate) struct Client {
    who: Who,
    since: u64,
    /// Whether it has asked for events about chardevs.
    hears: AtomicBool,
    mail: Mutex<Mail>,
}

/// A peer, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Who {
    /// Its address or process, as `x-query-chardev-stats` shows it.
    pub peer: Option<String>,
    /// Its process, over a Unix socket.
    pub pid: Option<i32>,
    /// What that runs, once it is known.
    pub program: Arc<OnceLock<String>>,
}

/// Events for one client alone.
#[derive(Debug, Default)]
struct Mail {
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

impl Monitors {
    /// No monitors yet; those that come run on `runtime`.
    pub(crate) fn new(runtime: Handle) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let half = usize::try_from(descriptors / 2).unwrap_or(usize::MAX);
        Monitors {
            shared: Arc::new(Shared {
                runtime,
                room: half.max(MIN_ROOM),
                taken: AtomicUsize::new(0),
                posts: Mutex::default(),
                passed: OnceLock::new(),
            }),
        }
    }

    /// The thread they run on.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// A further monitor.
    pub(crate) fn open(&self, label: &str, mode: Mode) -> Arc<Post> {
        let post = Arc::new(Post {
            label: label.to_owned(),
            mode,
            state: Mutex::default(),
        });
        lock(&self.shared.posts).push(Arc::clone(&post));
        post
    }

    /// Where the clients of descriptors that were handed over are.
    pub(crate) fn passed(&self) -> Arc<Post> {
        let open = || self.open(PASSED, Mode::Control { pretty: false });
        Arc::clone(self.shared.passed.get_or_init(open))
    }

    /// Ready once those clients have been told that the daemon ends.
    pub(crate) async fn passed_are_served(self, stop: Stop) {
        stop.requested().await;
        if let Some(post) = self.shared.passed.get() {
            poll_fn(|cx| post.poll_empty(cx)).await;
        }
    }

    /// A place for a client at `post`, if there is any left.
    pub(crate) fn place(&self, post: &Arc<Post>) -> Option<Place> {
        let (taken, relaxed) = (&self.shared.taken, Ordering::Relaxed);
        let more = |taken| (taken < self.shared.room).then_some(taken + 1);
        taken.fetch_update(relaxed, relaxed, more).ok()?;
        lock(&post.state).taken += 1;
        Some(Place {
            monitors: self.clone(),
            post: Arc::clone(post),
            used: false,
        })
    }

    /// What `x-query-monitors` answers.
    pub(crate) fn query(&self) -> Json {
        let posts = lock(&self.shared.posts).clone();
        let described: Vec<Object> = posts.iter().map(|post| post.describe()).collect();
        described.into()
    }
}

impl Post {
    /// Who its clients are.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// How many clients were taken.
    pub(crate) fn taken(&self) -> usize {
        lock(&self.state).taken
    }

    /// Notes how many it takes, 0 for any number.
    pub(crate) fn set_limit(&self, limit: usize) {
        lock(&self.state).limit = limit;
    }

    /// Wakes the task of `cx` when another client may be taken.
    pub(crate) fn wake_when_free(&self, cx: &Context<'_>) {
        lock(&self.state).waker = Some(cx.waker().clone());
    }

    /// Ready once no taken client is left.
    pub(crate) fn poll_empty(&self, cx: &Context<'_>) -> Poll<()> {
        self.wake_when_free(cx);
        match self.taken() {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    /// Somebody has come.
    pub(crate) fn enter(&self, who: Who) -> Arc<Client> {
        let client = Arc::new(Client::new(who));
        lock(&self.state).clients.push(Arc::clone(&client));
        client
    }

    /// The client has left.
    pub(crate) fn leave(&self, client: &Arc<Client>) {
        let mut state = lock(&self.state);
        state.clients.retain(|other| !Arc::ptr_eq(other, client));
    }

    fn describe(&self) -> Object {
        let (limit, clients) = {
            let state = lock(&self.state);
            (state.limit as u64, state.clients.clone())
        };
        let clients: Vec<Object> = clients.iter().map(|client| client.describe()).collect();
        let mode = match self.mode {
            Mode::Control { .. } => "control",
            Mode::Readline => "readline",
        };
        Object::new()
            .with("label", self.label.as_str())
            .with("mode", mode)
            .with("limit", limit)
            .with("clients", clients)
    }
}

impl Place {
    /// Somebody has come. Without this, nobody is told that it is free again.
    pub(crate) fn used(mut self) -> Self {
        self.used = true;
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.monitors.shared.taken.fetch_sub(1, Ordering::Relaxed);
        lock(&self.post.state).taken -= 1;
        if !self.used {
            return;
        }
        // The room is everybody's, so whoever waits for it may have it.
        let posts = lock(&self.monitors.shared.posts).clone();
        let wakers = posts
            .iter()
            .filter_map(|post| lock(&post.state).waker.take());
        wakers.for_each(Waker::wake);
    }
}

impl Client {
    /// A client that has just come.
    pub(crate) fn new(who: Who) -> Self {
        Client {
            who,
            since: now().as_secs(),
            hears: AtomicBool::new(false),
            mail: Mutex::default(),
        }
    }

    /// Who it is.
    pub(crate) fn who(&self) -> &Who {
        &self.who
    }

    /// Whether it has asked for events about chardevs.
    pub(crate) fn hears(&self) -> bool {
        self.hears.load(Ordering::Relaxed)
    }

    /// Notes whether it wants them.
    pub(crate) fn set_hears(&self, hears: bool) {
        self.hears.store(hears, Ordering::Relaxed);
    }

    /// Tells this client alone.
    pub(crate) fn tell(&self, event: Event) {
        let waker = {
            let mut mail = lock(&self.mail);
            if mail.events.len() == MAX_WAITING {
                mail.events.pop_front();
            }
            mail.events.push_back(event);
            mail.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// The next event for this client alone, for its monitor.
    pub(crate) fn poll_mail(&self, cx: &Context<'_>) -> Poll<Event> {
        let mut mail = lock(&self.mail);
        match mail.events.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                mail.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn describe(&self) -> Object {
        let Who { peer, pid, program } = &self.who;
        let mut described = Object::new();
        if let Some(peer) = peer {
            described.insert("peer", peer.as_str());
        }
        if let Some(pid) = *pid {
            described.insert("pid", i64::from(pid));
        }
        if let Some(program) = program.get() {
            described.insert("program", program.as_str());
        }
        described.with("since", self.since)
    }
}

impl Who {
    /// Who is behind a name that a back end gave its peer.
    pub(crate) fn of(peer: Option<String>) -> Self {
        let pid: Option<i32> = peer.as_deref().and_then(|peer| {
            let (pid, _) = peer.strip_prefix("pid ")?.split_once(',')?;
            pid.parse().ok()
        });
        let program = Arc::<OnceLock<String>>::default();
        if let Some(pid) = pid {
            // Whoever comes to a monitor is not to hold up the others, however slow the host is.
            let found = Arc::clone(&program);
            let look = move || {
                if let Ok(name) = std::fs::read(format!("/proc/{pid}/comm")) {
                    let _ = found.set(String::from_utf8_lossy(&name).trim_end().to_owned());
                }
            };
            // Without a thread the name stays unknown.
            let _ = std::thread::Builder::new()
                .name("who".to_owned())
                .spawn(look);
        }
        Who { peer, pid, program }
    }
}

/// For people: `chardevctl (pid 4711, uid 0)`, or what is known of that.
impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.program.get(), &self.peer) {
            (Some(program), Some(peer)) => write!(f, "{} ({peer})", program.escape_debug()),
            (None, Some(peer)) => f.write_str(peer),
            (_, None) => f.write_str("somebody"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_named_by_its_program_where_that_is_known() {
        let id = std::process::id();
        let own = Who::of(Some(format!("pid {id}, uid 7")));
        assert_eq!(own.pid, Some(id as i32));
        // It is looked up elsewhere.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while own.program.get().is_none() && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        assert!(own.to_string().ends_with(&format!(" (pid {id}, uid 7)")));
        let far = Who::of(Some("192.0.2.1:99".to_owned()));
        assert_eq!((far.pid, far.to_string().as_str()), (None, "192.0.2.1:99"));
        assert_eq!(Who::of(None).to_string(), "somebody");
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_and_then_no_more_until_one_leaves() {
        let monitors = Monitors::new(Handle::current());
        let post = monitors.open("m", Mode::Readline);
        let places: Vec<Place> = std::iter::from_fn(|| monitors.place(&post)).collect();
        assert_eq!(places.len(), monitors.shared.room);
        assert_eq!(post.taken(), places.len());
        drop(places);
        assert_eq!(post.taken(), 0);
        assert!(monitors.place(&post).is_some());
    }
}
