//! guest → [front: vhost-user-console] → chardev → back → host: consoles of other programs' guests.

use std::collections::HashMap;
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use chardev::FrontEnd;
use chardev::front::virtio_console::{
    CONSOLE_BUFFER, MAX_PORTS, PortConfig, PortWatch, Role, VirtioConsole, WhenFull,
};
use chardev::spec::{Expected, ParameterError, Problem};
use chardev_monitor::{Events, Stop};
use chardev_qapi::Object;
use chardev_qapi::opts::Opts;
use chardev_vhost_user::Server;
use tokio::task::JoinHandle;

use crate::DaemonError;
use crate::devices::roll::bus_id;
use crate::devices::socket::Bound;
use crate::devices::worker::on_own_thread;
use crate::devices::{Device, DeviceKind, Start, first_client, required, switch};

/// The options of a port, wherever it is.
const PORT_OPTIONS: [(&str, &str); 4] = [
    ("chardev", "the chardev behind the port"),
    ("name", "its name in the guest (default: none)"),
    (
        "x-when-full",
        "drop: never stall the guest, count what is lost (the default for a console); wait: lose nothing",
    ),
    (
        "x-buffer",
        "with drop: how many bytes to keep while the back end accepts none (default 1 MiB)",
    ),
];

/// The kind `vhost-user-console`.
pub(super) static CONSOLE: DeviceKind = DeviceKind {
    name: "vhost-user-console",
    summary: "a virtio console for a VMM with a vhost-user slot; port 0 is a terminal",
    options: &[
        (
            "socket",
            "the path of the Unix socket between the VMM and chardevd",
        ),
        (
            "server",
            "whether chardevd listens there (on, the default) or the VMM does (off)",
        ),
        (
            "max-ports",
            "the largest number of ports, up to 31 (default: as many as are configured)",
        ),
        PORT_OPTIONS[0],
        PORT_OPTIONS[1],
        PORT_OPTIONS[2],
        PORT_OPTIONS[3],
    ],
    read: Console::read,
};

/// The kind `virtconsole`.
pub(super) static VIRTCONSOLE: DeviceKind = DeviceKind {
    name: "virtconsole",
    summary: "another terminal on a vhost-user-console",
    options: BUS_PORT_OPTIONS,
    read: |opts| BusPort::read(opts, Role::Console),
};

/// The kind `virtserialport`.
pub(super) static VIRTSERIALPORT: DeviceKind = DeviceKind {
    name: "virtserialport",
    summary: "a channel on a vhost-user-console, to be opened by a program in the guest",
    options: BUS_PORT_OPTIONS,
    read: |opts| BusPort::read(opts, Role::Generic),
};

const BUS_PORT_OPTIONS: &[(&str, &str)] = &[
    ("bus", "the id of the vhost-user-console"),
    ("nr", "its number (default: the first free one)"),
    PORT_OPTIONS[0],
    PORT_OPTIONS[1],
    PORT_OPTIONS[2],
    PORT_OPTIONS[3],
];

/// The consoles that ports can be added to, by their ids.
pub(crate) type Buses = HashMap<String, Arc<Mutex<VirtioConsole>>>;

/// A port as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The chardev behind it.
    pub chardev: String,
    /// Its number, or the first that is free.
    pub number: Option<u32>,
    /// What it is.
    pub config: PortConfig,
}

impl Port {
    pub(crate) fn parse(opts: &Opts, role: Role) -> Result<Self, ParameterError> {
        let mut config = match role {
            Role::Console => PortConfig::console(),
            Role::Generic => PortConfig::generic(""),
        };
        config.name = opts.get("name").unwrap_or_default().to_owned();
        config.id = opts.get("id").map(str::to_owned);
        let buffer = number(opts, "x-buffer", 1 << 30)?;
        config.when_full = match (opts.get("x-when-full"), buffer) {
            (Some("wait"), None) => WhenFull::Wait,
            (Some("wait"), Some(_)) => {
                let words = "'x-buffer' and 'x-when-full=wait' are mutually exclusive";
                return Err(ParameterError::new("x-buffer", Problem::Conflict).shown_as(words));
            }
            (None, None) => config.when_full,
            (Some("drop") | None, buffer) => WhenFull::Drop {
                buffer: buffer.map_or(CONSOLE_BUFFER, |buffer| buffer as usize),
            },
            (Some(other), _) => {
                return Err(ParameterError::not_accepted("x-when-full", other));
            }
        };
        Ok(Port {
            chardev: required(opts, "chardev")?,
            number: number(opts, "nr", u64::from(u32::MAX))?.map(|number| number as u32),
            config,
        })
    }

    fn add(self, console: &Mutex<VirtioConsole>, front: FrontEnd) -> Result<(), DaemonError> {
        let mut console = console.lock().unwrap_or_else(PoisonError::into_inner);
        let added = console.add_port(self.number, front, self.config);
        added.map(drop).map_err(DaemonError::from)
    }
}

/// A port of a console that was defined before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusPort {
    /// The console's id.
    pub bus: String,
    /// The port.
    pub port: Port,
}

impl BusPort {
    fn read(opts: &Opts, role: Role) -> Result<Box<dyn Device>, ParameterError> {
        Ok(Box::new(BusPort {
            bus: required(opts, "bus")?,
            port: Port::parse(opts, role)?,
        }))
    }
}

impl Device for BusPort {
    fn chardev(&self) -> &str {
        &self.port.chardev
    }

    fn bus(&self) -> Option<&str> {
        Some(&self.bus)
    }

    fn number_on_bus(&self) -> Option<u32> {
        self.port.number
    }

    /// Adds the port, a held one with its chardev's first client.
    fn start(self: Box<Self>, start: &Start<'_>) -> Result<JoinHandle<()>, DaemonError> {
        let BusPort { bus, port } = *self;
        let front = start.attach("chardev", &port.chardev)?;
        let held = start.is_held(&port.chardev);
        let console = start.buses().get(bus_id(&bus)).cloned();
        let console = console.ok_or_else(|| format!("Bus '{bus}' not found"))?;
        if !held {
            port.add(&console, front)?;
            return Ok(start.worker().spawn(async {}));
        }
        Ok(start.worker().spawn(async move {
            first_client(&front).await;
            if let Err(error) = port.add(&console, front) {
                tracing::error!("a port of '{bus}': {error}");
            }
        }))
    }
}

/// A console that VMMs connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// What further ports name as their bus.
    pub id: Option<String>,
    /// The path of the Unix socket.
    pub socket: String,
    /// Whether we listen there, or the VMM does.
    pub server: bool,
    /// How many ports there can be; `None` for as many as are configured.
    pub max_ports: Option<u16>,
    /// Port 0.
    pub port: Port,
}

impl Console {
    fn read(opts: &Opts) -> Result<Box<dyn Device>, ParameterError> {
        let max_ports = number(opts, "max-ports", MAX_PORTS.into())?;
        let mut port = Port::parse(opts, Role::Console)?;
        port.number = Some(0);
        Ok(Box::new(Console {
            id: opts.get("id").map(str::to_owned),
            socket: required(opts, "socket")?,
            server: switch(opts, "server", true)?,
            max_ports: max_ports.map(|ports| ports.max(1) as u16),
            port,
        }))
    }
}

impl Device for Console {
    fn chardev(&self) -> &str {
        &self.port.chardev
    }

    /// Listens, or connects, and serves one VMM after the other until it is to end.
    fn start(self: Box<Self>, start: &Start<'_>) -> Result<JoinHandle<()>, DaemonError> {
        let (port, worker) = (self.port, start.worker());
        let front = start.attach("chardev", &port.chardev)?;
        let configured = start.ports.min(MAX_PORTS.into()) as u16;
        let max_ports = self.max_ports.unwrap_or(configured);
        let console = VirtioConsole::new(max_ports);
        let console =
            console.map_err(|error| DaemonError::new(error.to_string()).because(error))?;
        worker.spawn(watch_ports(console.watch(), start.events()));
        let console = Arc::new(Mutex::new(console));
        let server = Server::new(Arc::clone(&console));
        let server = server.map_err(|error| DaemonError::new(error.to_string()).because(error))?;
        let server = Arc::new(server);
        let place = start.place(&self.socket);
        let socket = match self.server {
            true => Some(Bound::new(&self.socket, &place)?),
            false => None,
        };
        let held = if start.is_held(&port.chardev) {
            Some((port, front))
        } else {
            port.add(&console, front)?;
            None
        };
        if let Some(id) = self.id {
            start.buses().insert(id, Arc::clone(&console));
        }
        let (path, stop) = (self.socket, start.stop.clone());
        Ok(worker.spawn(async move {
            if let Some((port, front)) = held {
                tokio::select! {
                    () = first_client(&front) => {}
                    _ = stop.requested() => return,
                }
                if let Err(error) = port.add(&console, front) {
                    tracing::error!("vhost-user-console on '{path}': {error}");
                }
            }
            serve(server, socket, (&path, place), stop).await;
        }))
    }
}

async fn serve(
    server: Arc<Server>,
    socket: Option<Bound>,
    (path, place): (&str, PathBuf),
    stop: Stop,
) {
    let serving = Arc::clone(&server);
    let listener = socket.as_ref().map(Bound::listener);
    let running = on_own_thread("vhost-user", move || match listener {
        Some(listener) => serving.run(listener?),
        None => serving.run_client(&place),
    });
    let mut running = std::pin::pin!(running);
    let ended = tokio::select! {
        ended = &mut running => ended,
        _ = stop.requested() => {
            server.stop();
            running.await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!("vhost-user-console on '{path}' has stopped: {error}"),
        Err(error) => tracing::error!("vhost-user-console on '{path}' has stopped: {error}"),
    }
    if let Some(socket) = socket {
        socket.remove().await;
    }
}

/// A number of an option, at most `max`.
pub(crate) fn number(opts: &Opts, key: &str, max: u64) -> Result<Option<u64>, ParameterError> {
    let Some(text) = opts.get(key) else {
        return Ok(None);
    };
    match text.parse::<u64>() {
        Ok(number) if number <= max => Ok(Some(number)),
        Ok(_) => Err(ParameterError::expects(key, Expected::UpTo(max))),
        Err(_) => Err(ParameterError::expects(key, Expected::Number)),
    }
}

/// Tells `events` which ports the guest opens and closes, for as long as the runtime runs.
pub(crate) async fn watch_ports(watch: PortWatch, events: Events) {
    loop {
        let change = poll_fn(|cx| watch.poll_next(cx)).await;
        let data = Object::new().with("id", change.id);
        let data = data.with("open", change.open);
        events.emit("VSERPORT_CHANGE", Some(data.into()));
    }
}
