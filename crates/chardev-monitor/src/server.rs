//! The server: what a program makes, and adds monitors to.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use chardev::{AttachError, Chardevs};
use chardev_qmp::Version;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::attached::Attached;
use crate::caller::Caller;
use crate::devices::Devices;
use crate::events::{Events, Subscription};
use crate::fds::{FdSets, NamedFds};
use crate::monitor::{Answering, Mode, Monitor};
use crate::monitors::{Client, Monitors, Who};
use crate::options::CommandLineOption;
use crate::run::RunState;
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
    service: Service,
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
            options: &[],
            events: Events::new(attached.clone()),
            attached,
            stop: Stop::default(),
            devices: Arc::new(()),
            on_io_thread: false,
        }
    }

    /// Puts a monitor on chardev `id`, as `-mon` does.
    ///
    /// # Errors
    /// There is no such chardev, or it has a front end already.
    pub fn serve(&self, id: &str, mode: Mode) -> Result<(), AttachError> {
        let front = self.service.chardevs.front_end(id, Arc::new(Answering))?;
        let monitor = Monitor::new(front, mode, self.service.clone());
        self.spawn(monitor.run());
        Ok(())
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

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
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
    /// The process is out of threads or descriptors.
    pub fn start(self) -> io::Result<Server> {
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
