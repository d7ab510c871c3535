//! The parts a server is made from.

use std::path::Path;
use std::sync::{Arc, Weak};

use chardev::{Chardevs, ServiceThread};
use chardev_qapi::Object;
use chardev_qapi::schema::{Member, ObjectType};
use chardev_qmp::{Own, OwnEvent, Version, command_names};
use tokio::runtime::Handle;

use crate::access::Access;
use crate::attached::Attached;
use crate::caller::Caller;
use crate::commands;
use crate::devices::Devices;
use crate::event_forwarder::Forwarder;
use crate::events::Events;
use crate::fds::FdSets;
use crate::monitors::Monitors;
use crate::options::CommandLineOption;
use crate::own::{Answer, OwnCommand};
use crate::run::RunState;
use crate::serve::{Clients, ServeError};
use crate::server::Server;
use crate::service::{Parts, Service};
use crate::stop::Stop;
#[cfg(feature = "tokens")]
use crate::tokens::Clock;
use crate::tunnels::Tunnels;

/// The version of QEMU whose chardev commands we answer to.
const QEMU: (u32, u32, u32) = (10, 0, 0);

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
    access: Access,
    attached: Attached,
    stop: Stop,
    devices: Arc<dyn Devices>,
    on_io_thread: bool,
}

impl Builder {
    pub(crate) fn new(chardevs: &Chardevs) -> Self {
        let attached = Attached::default();
        Builder {
            chardevs: chardevs.clone(),
            name: None,
            package: concat!("chardev-monitor ", env!("CARGO_PKG_VERSION")).to_owned(),
            commands: commands::ours(),
            own_events: Vec::new(),
            options: &[],
            events: Events::new(attached.clone()),
            access: Access::default(),
            attached,
            stop: Stop::default(),
            devices: Arc::new(()),
            on_io_thread: false,
        }
    }

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

    /// Who may what; without this whoever can connect may do everything.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
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

    /// Runs the monitors on the I/O thread of the chardevs, which saves a thread; but then what
    /// they compute holds up the chardevs, and the other way round.
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
            false => Some(Arc::new(self.chardevs.service_thread("monitors")?)),
        };
        let io_thread = self.chardevs.runtime().clone();
        let runtime = thread
            .as_ref()
            .map_or(io_thread, |own| own.runtime().clone());
        #[cfg(feature = "tokens")]
        runtime.spawn(self.access.tokens().clone().tell_expiry(Clock::new()?));
        let weak = thread.as_ref().map_or_else(Weak::new, Arc::downgrade);
        Ok(Server::new(self.into_service(runtime, weak), thread))
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

    fn into_service(self, runtime: Handle, thread: Weak<ServiceThread>) -> Service {
        let (events, attached) = (self.events, self.attached);
        let forwarder = Forwarder::new(self.chardevs.clone(), events.clone(), attached.clone());
        Service::from(Parts {
            forwarder: Arc::new(forwarder),
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
            events,
            access: self.access,
            attached,
            stop: self.stop,
            run: RunState::default(),
            fdsets: FdSets::default(),
            monitors: Monitors::new(runtime, thread),
            tunnels: Tunnels::default(),
            devices: self.devices,
        })
    }
}
