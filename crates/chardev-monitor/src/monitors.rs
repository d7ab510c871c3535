//! All monitors, and who is at them: what `x-query-monitors` tells, and how many there may be.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use chardev::{Accepted, Chardevs, FrontEnd, OpenError, ServiceThread, Stay};
use chardev_qapi::{Json, Object};
use rustix::process::{Resource, getrlimit};
use tokio::runtime::Handle;

use crate::access::Role;
use crate::client::{Client, Who};
use crate::monitor::{Answering, Mode};
use crate::stop::{Reason, Stop};
use crate::strangers::{Stranger, Strangers};
use crate::tokens::Origin;

/// The least number of clients that are served where no limit was set, however few descriptors the
/// process may have.
const MIN_ROOM: usize = 16;

/// What the monitors on descriptors that clients handed over are listed as.
pub(crate) const PASSED: &str = "x-monitor-add";

/// All monitors of a server. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Monitors {
    shared: Arc<Posts>,
}

#[derive(Debug)]
struct Posts {
    /// The thread that monitors run on.
    runtime: Handle,
    /// That thread, if it is the server's own and the server is still there.
    thread: Weak<ServiceThread>,
    /// How many clients may be taken altogether: the other half of the descriptors is for consoles.
    room: usize,
    taken: AtomicUsize,
    posts: Mutex<Vec<Arc<Post>>>,
    /// The chardevs that have no monitor yet, or none any more, and are for nothing else.
    reserved: Mutex<Vec<String>>,
    passed: OnceLock<Arc<Post>>,
    strangers: Strangers,
}

/// On which terms the clients of a monitor are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The most that they may do.
    pub role: Role,
    /// Whether they have to prove who they are before anything else: a user of this host has done
    /// so, and who has shown a certificate; others present a token. Until then a client may
    /// negotiate and present one, within 30 s.
    pub known_only: bool,
}

impl From<Role> for Terms {
    fn from(role: Role) -> Self {
        Terms {
            role,
            known_only: false,
        }
    }
}

/// One monitor, with whoever is at it.
#[derive(Debug)]
pub(crate) struct Post {
    label: String,
    mode: Mode,
    terms: Mutex<Terms>,
    state: Mutex<Taken>,
    /// Asked for when the monitor is wanted no more, and once it has let its chardev go.
    closing: Stop,
    gone: Stop,
}

#[derive(Debug, Default)]
struct Taken {
    limit: usize,
    /// Clients that were taken, and not served over the monitor's own chardev.
    taken: usize,
    clients: Vec<Arc<Client>>,
    /// The monitor that takes the next one.
    waker: Option<Waker>,
}

/// Keeps a chardev on the list of [`Server::monitors`](crate::Server::monitors) while it is here.
#[derive(Debug)]
pub struct Reserved {
    monitors: Monitors,
    label: String,
}

/// A place that a taken client has; the next one may come when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    monitors: Monitors,
    post: Arc<Post>,
    used: bool,
}

impl Monitors {
    /// No monitors yet; those that come run on `runtime`, which is that of `thread` if there is
    /// one.
    pub(crate) fn new(runtime: Handle, thread: Weak<ServiceThread>) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let half = usize::try_from(descriptors / 2).unwrap_or(usize::MAX);
        Monitors {
            shared: Arc::new(Posts {
                runtime,
                thread,
                room: half.max(MIN_ROOM),
                taken: AtomicUsize::new(0),
                posts: Mutex::default(),
                reserved: Mutex::default(),
                passed: OnceLock::new(),
                strangers: Strangers::default(),
            }),
        }
    }

    /// The thread they run on.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// A front end for a client that has come, where monitors run.
    pub(crate) fn front_end_of(
        &self,
        chardevs: &Chardevs,
        label: &str,
        peer: impl Into<Accepted>,
    ) -> Result<FrontEnd, OpenError> {
        let hooks = Arc::new(Answering);
        match self.shared.thread.upgrade() {
            Some(thread) => chardevs.front_end_on(&thread, label, peer, hooks),
            None => chardevs.front_end_of(label, peer, hooks),
        }
    }

    /// Has what comes to chardev `id` seen where monitors run, for as long as there is one on it.
    pub(crate) fn take_in(&self, chardevs: &Chardevs, id: &str) -> Option<Stay> {
        self.shared.thread.upgrade()?.take_in(chardevs, id)
    }

    /// A further monitor.
    pub(crate) fn open(&self, label: &str, mode: Mode, terms: Terms) -> Arc<Post> {
        let post = Arc::new(Post {
            label: label.to_owned(),
            mode,
            terms: Mutex::new(terms),
            state: Mutex::default(),
            closing: Stop::default(),
            gone: Stop::default(),
        });
        lock(&self.shared.posts).push(Arc::clone(&post));
        post
    }

    /// Where the clients of descriptors that were handed over are.
    pub(crate) fn passed(&self) -> Arc<Post> {
        let open = || self.open(PASSED, Mode::Control { pretty: false }, Terms::default());
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

    /// The monitors there are, as arguments of `-mon`.
    pub(crate) fn lines(&self) -> Vec<String> {
        let posts = lock(&self.shared.posts);
        let served = posts
            .iter()
            .filter(|post| post.label != PASSED && !post.closing.is_requested());
        let line = |post: &Arc<Post>| {
            let mode = match post.mode {
                Mode::Control { pretty: true } => "control,pretty=on",
                Mode::Control { pretty: false } => "control",
                Mode::Readline => "readline",
            };
            format!("chardev={},mode={mode}", post.label)
        };
        served.map(line).collect()
    }

    /// The chardevs that monitors are on, and those that are kept for one.
    pub(crate) fn labels(&self) -> Vec<String> {
        // They are looked at first: a monitor is there before its chardev is kept no more.
        let mut labels = lock(&self.shared.reserved).clone();
        let posts = lock(&self.shared.posts);
        let served = posts.iter().filter(|post| post.label != PASSED);
        labels.extend(served.map(|post| post.label.clone()));
        labels
    }

    /// Keeps chardev `label` for a monitor.
    pub(crate) fn reserve(&self, label: &str) -> Reserved {
        lock(&self.shared.reserved).push(label.to_owned());
        Reserved {
            monitors: self.clone(),
            label: label.to_owned(),
        }
    }

    /// The monitors on chardev `label` serve on these terms from here on.
    pub(crate) fn limit(&self, label: &str, terms: Terms) {
        let posts = lock(&self.shared.posts).clone();
        for post in posts.iter().filter(|post| post.label == label) {
            *lock(&post.terms) = terms;
            let clients = lock(&post.state).clients.clone();
            clients.iter().for_each(|client| client.set_terms(terms));
        }
    }

    /// Somebody has come from `origin` who has yet to say anything.
    pub(crate) fn enter_stranger(&self, origin: Origin) -> Stranger {
        self.shared.strangers.enter(origin)
    }

    /// Notes that `client` has yet to prove who it is, if that is so.
    pub(crate) fn note_stranger(&self, client: &Client) -> Option<Stranger> {
        let strangers = &self.shared.strangers;
        client
            .is_stranger()
            .then(|| strangers.enter(client.origin()))
    }

    /// Ends the monitors on chardev `label`, and returns once they have let it go.
    pub(crate) async fn close(&self, label: &str) {
        let all = lock(&self.shared.posts).clone();
        let closing: Vec<_> = all.iter().filter(|post| post.label == label).collect();
        for post in &closing {
            post.closing.request(Reason::Deleted);
        }
        for post in closing {
            post.gone.requested().await;
        }
    }

    /// The monitor at `post` has let its chardev go.
    pub(crate) fn closed(&self, post: &Arc<Post>) {
        lock(&self.shared.posts).retain(|other| !Arc::ptr_eq(other, post));
        post.gone.request(Reason::Deleted);
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

    /// Asked for when the monitor is wanted no more.
    pub(crate) fn closing(&self) -> &Stop {
        &self.closing
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

    /// Somebody has come, perhaps brought by a client of ours.
    pub(crate) fn enter(&self, who: Who, sponsor: Option<Arc<Client>>) -> Arc<Client> {
        let client = Client::new(who, *lock(&self.terms));
        let client = Arc::new(match sponsor {
            Some(sponsor) => client.brought_by(sponsor),
            None => client,
        });
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

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut reserved = lock(&self.monitors.shared.reserved);
        if let Some(at) = reserved.iter().position(|label| *label == self.label) {
            reserved.swap_remove(at);
        }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_room_for_so_many_and_then_no_more_until_one_leaves() {
        let monitors = Monitors::new(Handle::current(), Weak::new());
        let post = monitors.open("m", Mode::Readline, Terms::default());
        let places: Vec<Place> = std::iter::from_fn(|| monitors.place(&post)).collect();
        assert_eq!(places.len(), monitors.shared.room);
        assert_eq!(post.taken(), places.len());
        drop(places);
        assert_eq!(post.taken(), 0);
        assert!(monitors.place(&post).is_some());
    }
}
