//! The server: what a program makes, and adds monitors to.

use std::sync::{Arc, Mutex, PoisonError};

use chardev::{Chardevs, ServiceThread};
use chardev_qapi::Json;
use chardev_qmp::{Own, Version};
use tokio::task::JoinHandle;

use crate::access::{Access, Identity};
use crate::builder::Builder;
use crate::caller::Caller;
use crate::client::Client;
use crate::events::{Events, Subscription};
use crate::fds::{FdSets, NamedFds};
use crate::monitors::Reserved;
use crate::run::RunState;
use crate::service::{Parts, Service};
use crate::stop::Stop;

/// Serves QMP, and the monitor for people, over chardevs. Clones share everything; when the last
/// one is dropped, its monitors are no more.
#[derive(Clone, Debug)]
pub struct Server {
    pub(crate) service: Service,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
    /// Its own, unless the monitors run on the I/O thread.
    _thread: Option<Arc<ServiceThread>>,
}

impl Server {
    pub(crate) fn new(service: Service, thread: Option<Arc<ServiceThread>>) -> Self {
        let server = Server {
            service,
            tasks: Arc::default(),
            _thread: thread,
        };
        server.watch();
        server
    }

    /// A server for the chardevs of a program.
    pub fn builder(chardevs: &Chardevs) -> Builder {
        Builder::new(chardevs)
    }

    /// The chardevs.
    pub fn chardevs(&self) -> &Chardevs {
        &self.service.chardevs
    }

    /// What the greeting says.
    pub fn version(&self) -> &Version {
        &self.service.version
    }

    /// Where events are told, and heard of.
    pub fn events(&self) -> &Events {
        &self.service.events
    }

    /// Hears of everything that happens from now on, as a monitor does.
    pub fn subscribe(&self) -> Subscription {
        self.service.events.subscribe()
    }

    /// Who may what.
    pub fn access(&self) -> &Access {
        &self.service.access
    }

    /// The wish to end: `quit` asks for it, and so may the program.
    pub fn stop(&self) -> &Stop {
        &self.service.stop
    }

    /// Whether devices run, which is for `stop` and `cont` to say.
    pub fn run_state(&self) -> &RunState {
        &self.service.run
    }

    /// The descriptors that paths of the form `/dev/fdset/SET` name.
    pub fn fd_sets(&self) -> &FdSets {
        &self.service.fdsets
    }

    /// The chardevs that monitors are on, or that are [kept for one](Server::reserve_monitor),
    /// which are nobody's console. An id may be there twice.
    pub fn monitors(&self) -> Vec<String> {
        self.service.monitors.labels()
    }

    /// Keeps chardev `id` for a monitor while what this returns is there: [`Server::monitors`] has
    /// it. Whoever adds a chardev to put a monitor on it does so first, and whoever ends a monitor
    /// to remove its chardev until it is gone, so that nobody ever takes it for a console.
    pub fn reserve_monitor(&self, id: &str) -> Reserved {
        self.service.monitors.reserve(id)
    }

    /// The devices there are: what `x-query-devices` answers.
    pub fn devices(&self) -> Json {
        self.service.devices.query()
    }

    /// The program itself as one who asks for commands, with descriptors of its own.
    pub fn caller(&self) -> Caller {
        self.caller_as(Identity::Program, None)
    }

    /// Somebody at `peer` (an address, for people) whom the program answers for, as one who asks
    /// for commands: a user of its web page, for example. What they may do is held against
    /// [`Access`] as it is at every single command.
    pub fn caller_as(&self, identity: Identity, peer: Option<String>) -> Caller {
        Caller {
            client: Arc::new(Client::known(identity, peer)),
            fds: Arc::new(NamedFds::new(self.service.fdsets.clone())),
            service: self.service.clone(),
        }
    }

    /// The commands and events that the server adds to a session's, for a session that the program
    /// runs itself: [`Session::with_own`](chardev_qmp::Session::with_own).
    pub fn own(&self) -> Arc<Own> {
        Arc::clone(&self.service.own)
    }

    /// Waits until the end was asked for, and every client has been told or has had a second to
    /// listen. Only one caller can wait for it.
    pub async fn finished(&self) {
        let tasks = std::mem::take(&mut *self.lock());
        for task in tasks {
            let _ = task.await;
        }
    }

    /// Waits until the connections that carry a descriptor's bytes for clients (`x-tunnel-join`)
    /// have carried the last of them, which come when the chardevs are shut down. A client that
    /// does not listen holds it up.
    pub async fn tunnels_finished(&self) {
        self.service.tunnels.ended().await;
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.service.monitors.runtime().spawn(task);
        let mut tasks = self.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Begins to tell what happens. It does so on the monitors' thread, so that what a command
    /// caused is told before what comes after it.
    fn watch(&self) {
        let Parts {
            chardevs,
            events,
            attached,
            access,
            monitors,
            stop,
            forwarder,
            ..
        } = &*self.service;
        let runtime = monitors.runtime();
        runtime.spawn(events.release());
        runtime.spawn(Arc::clone(forwarder).watch());
        let keeping = attached.clone().keep_to(access.clone(), chardevs.clone());
        runtime.spawn(keeping);
        self.spawn(monitors.clone().passed_are_served(stop.clone()));
    }
}
