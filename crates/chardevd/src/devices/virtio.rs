//! guest → [front: vhost-user-console] → chardev → back → host: consoles of other programs' guests.

use std::collections::HashMap;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chardev::FrontEnd;
use chardev::front::virtio_console::{
    CONSOLE_BUFFER, MAX_PORTS, PortConfig, PortWatch, Role, VirtioConsole, WhenFull,
};
use chardev_monitor::{Events, Stop};
use chardev_qapi::Object;
use chardev_qapi::opts::{Opts, parse_bool};
use chardev_vhost_user::Server;
use tokio::task::JoinHandle;

use crate::devices::socket::Bound;
use crate::devices::worker::on_own_thread;
use crate::devices::{Worker, first_client, required};

/// The options of a port, wherever it is.
pub(crate) const PORT_OPTIONS: [(&str, &str); 4] = [
    ("chardev", "the chardev behind the port"),
    ("name", "its name in the guest (default: none)"),
    (
        "x-when-full",
        "drop: never stall the guest, count what is lost (default of a console); wait: lose nothing",
    ),
    (
        "x-buffer",
        "with drop: how many bytes to keep while the back end takes none (default 1 MiB)",
    ),
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
    pub(crate) fn parse(opts: &Opts, role: Role) -> Result<Self, String> {
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
                return Err("'x-buffer' and 'x-when-full=wait' are mutually exclusive".to_owned());
            }
            (None, None) => config.when_full,
            (Some("drop") | None, buffer) => WhenFull::Drop {
                buffer: buffer.map_or(CONSOLE_BUFFER, |buffer| buffer as usize),
            },
            (Some(other), _) => {
                return Err(format!(
                    "Parameter 'x-when-full' does not accept value '{other}'"
                ));
            }
        };
        Ok(Port {
            chardev: required(opts, "chardev")?,
            number: number(opts, "nr", u64::from(u32::MAX))?.map(|number| number as u32),
            config,
        })
    }

    fn add(self, console: &Mutex<VirtioConsole>, front: FrontEnd) -> Result<(), String> {
        let mut console = console.lock().unwrap_or_else(PoisonError::into_inner);
        let added = console.add_port(self.number, front, self.config);
        added.map(drop).map_err(|error| error.to_string())
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
    /// Adds the port, a held one with its chardev's first client.
    pub(crate) fn start(
        self,
        worker: &Worker,
        front: FrontEnd,
        held: bool,
        buses: &Buses,
    ) -> Result<JoinHandle<()>, String> {
        let BusPort { bus, port } = self;
        let console = buses.get(bus.strip_suffix(".0").unwrap_or(&bus));
        let console = console.ok_or_else(|| format!("Bus '{bus}' not found"))?;
        if !held {
            port.add(console, front)?;
            return Ok(worker.spawn(async {}));
        }
        let console = Arc::clone(console);
        Ok(worker.spawn(async move {
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
    pub(crate) fn parse(opts: &Opts) -> Result<Self, String> {
        let max_ports = number(opts, "max-ports", MAX_PORTS.into())?;
        let mut port = Port::parse(opts, Role::Console)?;
        port.number = Some(0);
        Ok(Console {
            id: opts.get("id").map(str::to_owned),
            socket: required(opts, "socket")?,
            server: match opts.get("server") {
                Some(value) => parse_bool("server", value)?,
                None => true,
            },
            max_ports: max_ports.map(|ports| ports.max(1) as u16),
            port,
        })
    }

    /// How many ports it needs for itself and for those of `ports` that name it as their bus.
    pub(crate) fn ports_needed<'a>(&self, ports: impl Iterator<Item = &'a BusPort>) -> u16 {
        let own = |port: &&BusPort| {
            let bus = port.bus.strip_suffix(".0").unwrap_or(&port.bus);
            self.id.as_deref() == Some(bus)
        };
        let (mut count, mut highest) = (1, 0);
        for BusPort { port, .. } in ports.filter(own) {
            count += 1;
            highest = highest.max(port.number.unwrap_or(0));
        }
        count.max(highest.saturating_add(1)).min(MAX_PORTS.into()) as u16
    }

    /// Listens at `place`, and serves one VMM after the other until the daemon ends; first waits
    /// for a client if `held`.
    #[expect(clippy::too_many_arguments, reason = "each is a thing of its own")]
    pub(crate) fn start(
        self,
        place: &Path,
        worker: &Worker,
        front: FrontEnd,
        held: bool,
        buses: &mut Buses,
        stop: Stop,
        events: Events,
    ) -> Result<JoinHandle<()>, String> {
        let max_ports = self.max_ports.unwrap_or(1);
        let console = VirtioConsole::new(max_ports).map_err(|error| error.to_string())?;
        worker.spawn(watch_ports(console.watch(), events));
        let console = Arc::new(Mutex::new(console));
        let server = Arc::new(Server::new(Arc::clone(&console)).map_err(|e| e.to_string())?);
        let socket = match self.server {
            true => Some(Bound::new(&self.socket, place)?),
            false => None,
        };
        if let Some(id) = self.id {
            if buses.insert(id.clone(), Arc::clone(&console)).is_some() {
                return Err(format!("Duplicate device ID '{id}'"));
            }
        }
        let port = self.port;
        let held = if held {
            Some((port, front))
        } else {
            port.add(&console, front)?;
            None
        };
        let (path, place) = (self.socket, place.to_owned());
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
        Ok(Err(error)) => tracing::error!("vhost-user-console on '{path}' stops: {error}"),
        Err(error) => tracing::error!("vhost-user-console on '{path}' stops: {error}"),
    }
}

/// A number of an option, at most `max`.
pub(crate) fn number(opts: &Opts, key: &str, max: u64) -> Result<Option<u64>, String> {
    let Some(text) = opts.get(key) else {
        return Ok(None);
    };
    match text.parse::<u64>() {
        Ok(number) if number <= max => Ok(Some(number)),
        Ok(_) => Err(format!("Parameter '{key}' expects a number up to {max}")),
        Err(_) => Err(format!("Parameter '{key}' expects a number")),
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
