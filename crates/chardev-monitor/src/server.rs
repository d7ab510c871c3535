//! The server: what a program makes, and adds monitors to.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chardev::Chardevs;
use chardev_qapi::Object;
use chardev_qapi::schema::{Member, ObjectType};
use chardev_qmp::{Own, OwnEvent, Version, command_names};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::attached::Attached;
use crate::caller::Caller;
use crate::devices::Devices;
use crate::events::{Events, Subscription};
use crate::fds::{FdSets, NamedFds};
use crate::monitors::{Client, Monitors, Who};
use crate::options::CommandLineOption;
use crate::own::{Answer, OwnCommand};
use crate::run::RunState;
use crate::serve::{Clients, ServeError};
use crate::service::Service;
use crate::stop::Stop;
use crate::thread::Thread;
use crate::watchman;

/// The version of QEMU whose chardev commands we answer to.
const QEMU: (u32, u32, u32) = (10, 0, 0);

/// Serves QMP, and the monitor for people, over chardevs. Clones share everything; when the last one
/// is dropped, its monitors are no more.
#[derive(Clone, Debug)]
pub struct Server {
    pub(crate) service: Service,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
    /// Its own, unless the monitors run on the I/O thread.
    _thread: Option<Arc<Thread>>,
}

/// A server that is being made.
#[derive(Debug)]
pub struct Builder {
    chardevs: Chardevs,
    name: Option<String>,
    package: String,
    commands: Vec<OwnCommand>,
    own_events: Vec<OwnEvent>,
    options: &'static [CommandLineOption],
    events: Events,
    attached: Attached,
    stop: Stop,
    devices: Arc<dyn Devices>,
    on_io_thread: bool,
}

impl Server {
    /// A server for the chardevs of a program.
    pub fn builder(chardevs: &Chardevs) -> Builder {
        let attached = Attached::default();
        Builder {
            chardevs: chardevs.clone(),
            name: None,
            package: concat!("chardev-monitor ", env!("CARGO_PKG_VERSION")).to_owned(),
            commands: Vec::new(),
            own_events: Vec::new(),
            options: &[],
            events: Events::new(attached.clone()),
            attached,
            stop: Stop::default(),
            devices: Arc::new(()),
            on_io_thread: false,
        }
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

    /// The program itself as one who asks for commands, with descriptors of its own.
    pub fn caller(&self) -> Caller {
        Caller {
            client: Arc::new(Client::new(Who::default())),
            fds: Arc::new(NamedFds::new(self.service.fdsets.clone())),
            service: self.service.clone(),
        }
    }

    /// Waits until the end was asked for, and every client has been told or has had a second to
    /// listen. Only one caller can wait for it.
    pub async fn finished(&self) {
        let tasks = std::mem::take(&mut *self.lock());
        for task in tasks {
            let _ = task.await;
        }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.service.monitors.runtime().spawn(task);
        self.lock().push(task);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Builder {
    /// The name of the virtual machine, for `query-name`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What the greeting calls the program, for example `my-vmm 1.2`; the version before it is that
    /// of the QEMU whose commands these are.
    #[must_use]
    pub fn package(mut self, package: impl Into<String>) -> Self {
        self.package = package.into();
        self
    }

    /// Adds a command of the program's own, without types: it is in `query-commands` and not in the
    /// schema. `work` runs on the thread of the monitors and must not wait for anything; see
    /// [`OwnCommand`] for one that waits, or that has types.
    #[must_use]
    pub fn command(
        self,
        name: &'static str,
        work: impl Fn(&Object, &Caller) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.own_command(OwnCommand::new(name, work))
    }

    /// Adds a command of the program's own.
    #[must_use]
    pub fn own_command(mut self, command: OwnCommand) -> Self {
        self.commands.push(command);
        self
    }

    /// Adds an event of the program's own to the schema; [`Events::emit`] tells it, with or without
    /// this.
    #[must_use]
    pub fn own_event(mut self, name: &'static str, data: impl Into<Vec<Member>>) -> Self {
        let data = ObjectType::new(data);
        self.own_events.push(OwnEvent { name, data });
        self
    }

    /// What `query-command-line-options` tells beside `chardev`.
    #[must_use]
    pub fn command_line(mut self, options: &'static [CommandLineOption]) -> Self {
        self.options = options;
        self
    }

    /// The program's wish to end, if it has one already.
    #[must_use]
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// What `x-query-devices` and `x-device-restart` deal with.
    #[must_use]
    pub fn devices(mut self, devices: Arc<dyn Devices>) -> Self {
        self.devices = devices;
        self
    }

    /// Where the events of the server will be told, for devices that tell some.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Runs the monitors on the I/O thread of the chardevs, which saves a thread; but then what they
    /// compute holds up the chardevs, and the other way round.
    #[must_use]
    pub fn on_io_thread(mut self) -> Self {
        self.on_io_thread = true;
        self
    }

    /// Starts the server, which has no monitors yet.
    ///
    /// # Errors
    /// Two commands have one name, or the process is out of threads or descriptors.
    pub fn start(self) -> Result<Server, ServeError> {
        for (at, command) in self.commands.iter().enumerate() {
            let before = self.commands[..at].iter().map(OwnCommand::name);
            if command_names()
                .chain(before)
                .any(|name| name == command.name())
            {
                return Err(ServeError::Duplicate(command.name()));
            }
        }
        let thread = match self.on_io_thread {
            true => None,
            false => Some(Arc::new(Thread::start()?)),
        };
        let io_thread = self.chardevs.runtime().clone();
        let runtime = thread
            .as_ref()
            .map_or(io_thread, |own| own.runtime().clone());
        let server = Server {
            service: self.into_service(runtime),
            tasks: Arc::default(),
            _thread: thread,
        };
        server.watch();
        Ok(server)
    }

    /// Starts the server, and listens for clients at `path`; see [`Server::serve_unix`].
    ///
    /// # Errors
    /// As there, and as for [`start`](Builder::start).
    pub fn serve_unix(
        self,
        path: impl AsRef<Path>,
        clients: Clients,
    ) -> Result<Server, ServeError> {
        let server = self.start()?;
        server.serve_unix(path, clients)?;
        Ok(server)
    }

    fn into_service(self, runtime: Handle) -> Service {
        Service {
            chardevs: self.chardevs,
            name: self.name,
            version: Version {
                major: QEMU.0,
                minor: QEMU.1,
                micro: QEMU.2,
                package: self.package,
            },
            own: Arc::new(Own::new(
                self.commands.iter().map(|own| own.spec.clone()),
                self.own_events,
            )),
            own_commands: self.commands.into(),
            options: self.options,
            events: self.events,
            attached: self.attached,
            stop: self.stop,
            run: RunState::default(),
            fdsets: FdSets::default(),
            monitors: Monitors::new(runtime),
            devices: self.devices,
        }
    }
}

impl Server {
    /// Begins to tell what happens. It does so on the monitors' thread, so that what a command caused
    /// is told before what comes after it.
    fn watch(&self) {
        let Service {
            chardevs,
            events,
            attached,
            monitors,
            stop,
            ..
        } = &self.service;
        let runtime = monitors.runtime();
        runtime.spawn(events.release());
        runtime.spawn(watchman::watch(
            chardevs.observe(),
            chardevs.clone(),
            events.clone(),
            attached.clone(),
        ));
        self.spawn(monitors.clone().passed_are_served(stop.clone()));
    }
}
