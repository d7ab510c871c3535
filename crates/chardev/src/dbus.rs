//! front → chardev → back → [host]: chardevs on D-Bus, as QEMU's `org.qemu.Display1.Chardev`.
//!
//! A bus may hang, so nothing waits for one but its own task on a thread that serves buses alone,
//! and the command that opens the first chardev on it, which gives up after a while. What the
//! buses are to show lies in [`Exports`]; a back end changes it under its chardev's lock and goes
//! on, and each bus follows when it can.

mod object;
mod serving;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chardev_core::{OpenError, Ready};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::close_elsewhere;
use crate::port::Port;
use crate::threads::new_thread;

/// How long a bus may take to let us in.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How many connections of single peers (`add_client`) there are at most.
const PEERS_LIMIT: usize = 64;
/// How many breaks wait to be told at most; more at a time mean no more.
const BREAKS_LIMIT: u32 = 16;

/// What buses show, and the thread that serves them.
#[derive(Debug, Default)]
pub(crate) struct Buses {
    exports: Arc<Exports>,
    thread: Mutex<Option<Thread>>,
    connected: Mutex<HashMap<String, Weak<Bus>>>,
    peers: Arc<Mutex<usize>>,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    /// Dropped with the last of everything, which ends the thread.
    _stop: oneshot::Sender<()>,
}

/// A connection to a bus, for as long as a chardev is to be there.
#[derive(Debug)]
pub(crate) struct Bus {
    address: String,
    outcome: watch::Receiver<Option<Result<(), String>>>,
    task: JoinHandle<()>,
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Buses {
    /// What they show.
    pub(crate) fn exports(&self) -> &Arc<Exports> {
        &self.exports
    }

    /// The connection to the bus at `address`, or `session` or `system`. Runs on any executor.
    ///
    /// # Errors
    /// Names the bus.
    pub(crate) async fn connect(&self, address: &str) -> Result<Arc<Bus>, OpenError> {
        let bus = self.bus(address)?;
        let mut outcome = bus.outcome.clone();
        let failure = match outcome.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ok(()))) => return Ok(bus),
            Ok(Some(Err(failure))) => failure.clone(),
            Ok(None) | Err(_) => "the thread of the buses has ended".to_owned(),
        };
        let text = format!("Failed to connect to D-Bus '{address}': {failure}");
        Err(OpenError::new(text).about(address))
    }

    fn bus(&self, address: &str) -> Result<Arc<Bus>, OpenError> {
        let runtime = self.runtime()?;
        let mut connected = lock(&self.connected);
        connected.retain(|_, bus| bus.strong_count() > 0);
        let known = connected.get(address).and_then(Weak::upgrade);
        let failed = |bus: &Arc<Bus>| matches!(*bus.outcome.borrow(), Some(Err(_)));
        if let Some(bus) = known.filter(|bus| !failed(bus)) {
            return Ok(bus);
        }
        let (tell, outcome) = watch::channel(None);
        let serving = serving::serve_bus(address.to_owned(), Arc::clone(&self.exports), tell);
        let bus = Arc::new(Bus {
            address: address.to_owned(),
            outcome,
            task: runtime.spawn(serving),
        });
        connected.insert(address.to_owned(), Arc::downgrade(&bus));
        Ok(bus)
    }

    /// Shows all chardevs to the peer at the other end of `fd`, without a bus.
    ///
    /// # Errors
    /// There are too many such peers, or the host is out of threads.
    pub(crate) fn add_peer(&self, fd: OwnedFd) -> Result<(), OpenError> {
        let runtime = self.runtime()?;
        let full = || {
            let text = format!("There are {PEERS_LIMIT} D-Bus peers already; disconnect one first");
            OpenError::new(text)
        };
        let place = Place::take(&self.peers).ok_or_else(full)?;
        let serving = serving::serve_peer(UnixStream::from(fd), Arc::clone(&self.exports));
        drop(runtime.spawn(async move {
            serving.await;
            drop(place);
        }));
        Ok(())
    }

    /// The runtime of the thread, which is started by the first who needs it.
    fn runtime(&self) -> Result<Handle, OpenError> {
        let mut thread = lock(&self.thread);
        if let Some(thread) = &*thread {
            return Ok(thread.runtime.clone());
        }
        let failed = |error| crate::sys::failed("Failed to start the thread of D-Bus", error);
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            // Ends with an error, since nothing is ever sent.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        };
        new_thread("chardev-dbus")
            .and_then(|thread| thread.spawn(serve))
            .map_err(failed)?;
        *thread = Some(Thread {
            runtime: handle.clone(),
            _stop: stop,
        });
        Ok(handle)
    }
}

/// A place among the peers.
struct Place(Arc<Mutex<usize>>);

impl Place {
    fn take(taken: &Arc<Mutex<usize>>) -> Option<Self> {
        let mut count = lock(taken);
        (*count < PEERS_LIMIT).then(|| {
            *count += 1;
            Place(Arc::clone(taken))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *lock(&self.0) -= 1;
    }
}

/// What buses are to show, by the chardevs' labels.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    objects: Mutex<BTreeMap<String, Arc<Slot>>>,
    changed: watch::Sender<()>,
}

impl Exports {
    /// Shows `slot` from here on, in place of the one that its chardev had.
    fn show(&self, slot: &Arc<Slot>) {
        let label = slot.port.label().to_owned();
        let mut objects = lock(&self.objects);
        let former = objects.insert(label, Arc::clone(slot));
        if let Some(former) = former.filter(|former| !Arc::ptr_eq(former, slot)) {
            slot.succeed(&former);
        }
        drop(objects);
        self.changed.send_replace(());
    }

    /// Shows `slot` no longer: its successor, if there is one, or else nothing.
    fn hide(&self, slot: &Arc<Slot>) {
        let successor = lock(&slot.state).successor.upgrade();
        let mut objects = lock(&self.objects);
        let label = slot.port.label();
        if objects.get(label).is_none_or(|it| !Arc::ptr_eq(it, slot)) {
            return;
        }
        match successor {
            Some(successor) => {
                successor.succeed(slot);
                objects.insert(label.to_owned(), successor);
            }
            None => _ = objects.remove(label),
        }
        drop(objects);
        self.changed.send_replace(());
    }

    fn get(&self, label: &str) -> Option<Arc<Slot>> {
        lock(&self.objects).get(label).cloned()
    }

    /// Leaves something for the back end of `label`, and has it look. One that takes its place
    /// meanwhile finds it, since places change under the same lock.
    fn leave<T>(&self, label: &str, what: impl FnOnce(&mut State) -> T) -> Option<T> {
        let objects = lock(&self.objects);
        let slot = objects.get(label)?;
        let left = what(&mut lock(&slot.state));
        let port = slot.port.clone();
        drop(objects);
        port.kick(Ready::empty());
        Some(left)
    }

    /// All that `bus` is to show; a single peer sees everything.
    fn on(&self, bus: Option<&str>) -> BTreeMap<String, Shown> {
        let objects = lock(&self.objects);
        let here = objects
            .iter()
            .filter(|(_, slot)| bus.is_none() || slot.bus.as_deref() == bus);
        here.map(|(label, slot)| (label.clone(), slot.shown()))
            .collect()
    }
}

/// What a back end and the buses have in common.
#[derive(Debug)]
pub(crate) struct Slot {
    port: Port,
    /// The bus that it is on, besides the connections of single peers.
    bus: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    shown: Shown,
    coming: Option<Coming>,
    breaks: u32,
    /// The one that takes over if a change to it succeeds.
    successor: Weak<Slot>,
    /// The peer is the predecessor's, which this one had registered.
    keeps_peer: bool,
    former_owner: String,
}

impl State {
    /// Which of the two is known first differs.
    fn own_kept_peer(&mut self) {
        if self.keeps_peer && self.shown.owner.is_empty() {
            self.shown.owner = std::mem::take(&mut self.former_owner);
        }
    }
}

/// The properties of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    name: String,
    fe_opened: bool,
    echo: bool,
    owner: String,
}

/// Somebody who wants to be the peer.
#[derive(Debug)]
struct Coming {
    fd: Option<OwnedFd>,
    owner: String,
    taken: Option<oneshot::Sender<()>>,
}

impl Drop for Coming {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            close_elsewhere(fd);
        }
    }
}

impl Slot {
    /// Who is registering at `former` is registered here, and who owns the peer there owns it here
    /// if it is kept.
    fn succeed(&self, former: &Slot) {
        let mut former = lock(&former.state);
        let mut state = lock(&self.state);
        state.coming = state.coming.take().or(former.coming.take());
        state.breaks += std::mem::take(&mut former.breaks);
        state.former_owner = former.shown.owner.clone();
        state.own_kept_peer();
        if state.coming.is_some() || state.breaks > 0 {
            self.port.kick_soon(Ready::empty());
        }
    }

    fn shown(&self) -> Shown {
        lock(&self.state).shown.clone()
    }
}

impl State {
    /// Has the back end take `fd` as its peer; told when it has, and dropped if it never does, as
    /// for whoever was about to come before.
    fn register(&mut self, fd: OwnedFd, owner: String) -> oneshot::Receiver<()> {
        let (taken, told) = oneshot::channel();
        self.coming = Some(Coming {
            fd: Some(fd),
            owner,
            taken: Some(taken),
        });
        told
    }

    fn send_break(&mut self) {
        self.breaks = (self.breaks + 1).min(BREAKS_LIMIT);
    }
}

/// A wish for the part on the buses of the back end of this chardev, which is about to be replaced.
pub(crate) struct WantSlot(pub(crate) String);

/// The part of a back end that is on the buses.
#[derive(Debug)]
pub(crate) struct Registration {
    slot: Arc<Slot>,
    exports: Arc<Exports>,
    _bus: Option<Arc<Bus>>,
}

impl Registration {
    /// One that is called `name`, on `bus` once it is live, in place of `predecessor`.
    pub(crate) fn new(
        port: &Port,
        buses: &Buses,
        (name, bus): (&str, Option<Arc<Bus>>),
        predecessor: Option<Arc<Slot>>,
    ) -> Self {
        let shown = Shown {
            name: name.to_owned(),
            ..Shown::default()
        };
        let slot = Arc::new(Slot {
            port: port.clone(),
            bus: bus.as_ref().map(|bus| bus.address.clone()),
            state: Mutex::new(State {
                shown,
                ..State::default()
            }),
        });
        if let Some(predecessor) = predecessor {
            lock(&predecessor.state).successor = Arc::downgrade(&slot);
        }
        Registration {
            slot,
            exports: Arc::clone(buses.exports()),
            _bus: bus,
        }
    }

    /// It is in use from here on.
    pub(crate) fn go_live(&self) {
        self.exports.show(&self.slot);
    }

    /// Itself, for who is to replace it.
    pub(crate) fn lend(&self, wanted: &WantSlot) -> Option<Arc<Slot>> {
        (self.slot.port.label() == wanted.0).then(|| Arc::clone(&self.slot))
    }

    /// The predecessor's peer was taken over.
    pub(crate) fn adopted(&self) {
        let mut state = lock(&self.slot.state);
        state.keeps_peer = true;
        state.own_kept_peer();
        drop(state);
        self.exports.changed.send_replace(());
    }

    /// Whether somebody is there to take over.
    pub(crate) fn has_next(&self) -> bool {
        lock(&self.slot.state).coming.is_some()
    }

    /// The next peer, who is the owner from here on.
    pub(crate) fn next(&self) -> Option<OwnedFd> {
        let mut coming = lock(&self.slot.state).coming.take()?;
        let owner = std::mem::take(&mut coming.owner);
        self.change(|shown| shown.owner = owner);
        if let Some(taken) = coming.taken.take() {
            // Who asked may have gone meanwhile.
            let _ = taken.send(());
        }
        coming.fd.take()
    }

    /// There is no peer any more.
    pub(crate) fn peer_left(&self) {
        lock(&self.slot.state).keeps_peer = false;
        self.change(|shown| shown.owner.clear());
    }

    /// What the front end has set up.
    pub(crate) fn tell(&self, fe_opened: bool, echo: bool) {
        self.change(|shown| (shown.fe_opened, shown.echo) = (fe_opened, echo));
    }

    /// How many breaks have come since the last call.
    pub(crate) fn take_breaks(&self) -> u32 {
        std::mem::take(&mut lock(&self.slot.state).breaks)
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut lock(&self.slot.state).shown);
        self.exports.changed.send_replace(());
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.exports.hide(&self.slot);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
