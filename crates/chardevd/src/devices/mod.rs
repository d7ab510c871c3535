//! \[front\] → chardev → back → host: the devices of the daemon, from the argument to the task.

pub mod exec;
pub mod null_modem;
mod pump;
mod roll;
mod socket;
pub mod vfio;
pub mod virtio;
mod worker;

use std::path::Path;
use std::sync::Arc;

use chardev::front::virtio_console::Role;
use chardev::text::to_path;
use chardev::{Event, FrontEnd};
use chardev_monitor::Server;
use chardev_qapi::opts::{Opts, parse_bool, parse_opts};
use tokio::task::JoinHandle;

pub use roll::Roll;
pub use worker::Worker;

/// What devices are started with.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The server of the monitors, with the chardevs.
    pub server: Server,
    /// The devices so far.
    pub roll: Roll,
    /// The directory that the daemon was started in, where relative paths start.
    pub directory: Arc<Path>,
}

/// A device as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A program on a terminal.
    Exec(exec::Exec),
    /// Two chardevs coupled with each other.
    NullModem(null_modem::NullModem),
    /// A virtio console that a VMM connects to.
    VhostUserConsole(virtio::Console),
    /// A further port of one.
    VirtioPort(virtio::BusPort),
    /// A serial card that a VMM connects to.
    VfioUserSerial(vfio::Serial),
}

/// A kind of device, for the help list.
#[derive(Debug)]
pub struct DeviceKind {
    /// The word after `--device`.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// The options, each with one line.
    pub options: &'static [(&'static str, &'static str)],
}

/// Every kind of device.
pub static DEVICES: &[DeviceKind] = &[
    DeviceKind {
        name: "exec",
        summary: "a program on a terminal of its own, run by sh -c",
        options: &[
            ("chardev", "the chardev that is its console"),
            ("command", "what to run; a comma is written twice"),
            ("restart", "start it again when it ends (default off)"),
            ("cwd", "the directory to run it in (default: the daemon's)"),
            (
                "tell-end",
                "write a line into the console when it ends (default off)",
            ),
        ],
    },
    DeviceKind {
        name: "null-modem",
        summary: "couples two chardevs: data, break and modem lines",
        options: &[("chardev", "one of them"), ("peer", "the other one")],
    },
    DeviceKind {
        name: "vhost-user-console",
        summary: "a virtio console for a VMM with a vhost-user slot; port 0 is a terminal",
        options: &[
            (
                "socket",
                "the path of the Unix socket between the VMM and us",
            ),
            (
                "server",
                "we listen there (default on), or the VMM does (off)",
            ),
            (
                "max-ports",
                "how many ports there can be, up to 31 (default: those that are configured)",
            ),
            virtio::PORT_OPTIONS[0],
            virtio::PORT_OPTIONS[1],
            virtio::PORT_OPTIONS[2],
            virtio::PORT_OPTIONS[3],
        ],
    },
    DeviceKind {
        name: "vfio-user-serial",
        summary: "a PCI serial card with a 16550A for a VMM with a vfio-user slot",
        options: &[
            ("chardev", "the chardev behind the port"),
            (
                "socket",
                "the path of the Unix socket that the VMM connects to",
            ),
        ],
    },
    DeviceKind {
        name: "virtconsole",
        summary: "a further terminal of a vhost-user-console",
        options: VIRTIO_PORT,
    },
    DeviceKind {
        name: "virtserialport",
        summary: "a channel of a vhost-user-console that a program in the guest opens",
        options: VIRTIO_PORT,
    },
];

const VIRTIO_PORT: &[(&str, &str)] = &[
    ("bus", "the id of the vhost-user-console"),
    ("nr", "its number (default: the first that is free)"),
    virtio::PORT_OPTIONS[0],
    virtio::PORT_OPTIONS[1],
    virtio::PORT_OPTIONS[2],
    virtio::PORT_OPTIONS[3],
];

impl Device {
    /// Reads the argument of `--device`.
    ///
    /// # Errors
    /// QEMU's texts, for example `'nosuch' is not a valid device model name`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let opts = parse_opts(text, "driver");
        let driver = opts.get("driver").ok_or("Parameter 'driver' is missing")?;
        let kind = DEVICES.iter().find(|kind| kind.name == driver);
        let kind = kind.ok_or_else(|| format!("'{driver}' is not a valid device model name"))?;
        for (key, _) in &opts.pairs {
            let known = kind.options.iter().any(|(name, _)| name == key);
            if !known && !["driver", "id"].contains(&key.as_str()) {
                return Err(format!("Property '{driver}.{key}' not found"));
            }
        }
        let chardev = required(&opts, "chardev")?;
        Ok(match kind.name {
            "exec" => Device::Exec(exec::Exec {
                chardev,
                command: required(&opts, "command")?,
                restart: match opts.get("restart") {
                    Some(value) => parse_bool("restart", value)?,
                    None => false,
                },
                cwd: opts.get("cwd").map(|path| to_path(path, None)),
                tell_end: match opts.get("tell-end") {
                    Some(value) => parse_bool("tell-end", value)?,
                    None => false,
                },
            }),
            "vhost-user-console" => Device::VhostUserConsole(virtio::Console::parse(&opts)?),
            "virtconsole" | "virtserialport" => Device::VirtioPort(virtio::BusPort {
                bus: required(&opts, "bus")?,
                port: match kind.name {
                    "virtconsole" => virtio::Port::parse(&opts, Role::Console)?,
                    _ => virtio::Port::parse(&opts, Role::Generic)?,
                },
            }),
            "vfio-user-serial" => Device::VfioUserSerial(vfio::Serial {
                chardev,
                socket: required(&opts, "socket")?,
            }),
            _ => Device::NullModem(null_modem::NullModem {
                chardev,
                peer: required(&opts, "peer")?,
            }),
        })
    }

    /// The device with room for all that `lines`, the arguments of all `--device`, put on it.
    pub fn with_room_for(mut self, lines: &[String]) -> Self {
        if let Device::VhostUserConsole(console) = &mut self {
            let ports: Vec<_> = lines
                .iter()
                .filter_map(|line| match Device::parse(line) {
                    Ok(Device::VirtioPort(port)) => Some(port),
                    _ => None,
                })
                .collect();
            let needed = console.ports_needed(ports.iter());
            console.max_ports.get_or_insert(needed);
        }
        self
    }

    /// What the argument of `--device` calls it, if it does.
    pub fn id(text: &str) -> Option<String> {
        parse_opts(text, "driver").get("id").map(str::to_owned)
    }

    /// Its kind, and its chardev.
    fn names(&self) -> (&'static str, &str) {
        match self {
            Device::Exec(exec) => ("exec", &exec.chardev),
            Device::NullModem(modem) => ("null-modem", &modem.chardev),
            Device::VhostUserConsole(console) => ("vhost-user-console", &console.port.chardev),
            Device::VirtioPort(port) => match port.port.config.role {
                Role::Console => ("virtconsole", &port.port.chardev),
                Role::Generic => ("virtserialport", &port.port.chardev),
            },
            Device::VfioUserSerial(serial) => ("vfio-user-serial", &serial.chardev),
        }
    }

    /// Attaches the device to its chardevs, starts it and enters it into the list of devices as `id`. Until `is_held` says otherwise it waits
    /// for the first client of a chardev with `wait=on`. `buses` are the consoles so far.
    ///
    /// # Errors
    /// A chardev is missing or in use, in QEMU's words; or the id is.
    pub fn start(
        self,
        id: Option<String>,
        around: &Surroundings,
        worker: &Worker,
        is_held: impl Fn(&str) -> bool,
        buses: &mut virtio::Buses,
    ) -> Result<JoinHandle<()>, String> {
        let (driver, chardev) = self.names();
        let restart = match &self {
            Device::Exec(exec) => Some(exec.restart),
            _ => None,
        };
        let entry = around.roll.enter(id, driver, chardev, restart)?;
        let started = self.start_entered(&entry, around, worker, is_held, buses);
        if started.is_err() {
            around.roll.leave(&entry);
        }
        started
    }

    fn start_entered(
        self,
        entry: &Arc<roll::Entry>,
        around: &Surroundings,
        worker: &Worker,
        is_held: impl Fn(&str) -> bool,
        buses: &mut virtio::Buses,
    ) -> Result<JoinHandle<()>, String> {
        let Surroundings {
            server, directory, ..
        } = around;
        let (chardevs, events) = (server.chardevs(), server.events());
        let (stop, run) = (server.stop(), server.run_state());
        let attach = |driver, property, id: &str| {
            let front = chardevs.front_end(id, Arc::new(()));
            front.map_err(|error| match error {
                chardev::AttachError::NotFound(id) => {
                    format!("Property '{driver}.{property}' can't find value '{id}'")
                }
                error => error.to_string(),
            })
        };
        let (stop, run) = (stop.clone(), run.clone());
        match self {
            Device::Exec(exec) => {
                let front = attach("exec", "chardev", &exec.chardev)?;
                let held = is_held(&exec.chardev);
                let exec = exec.starting_at(directory);
                let entry = Arc::clone(entry);
                Ok(worker.spawn(exec.run(front, held, entry, stop, run)))
            }
            Device::VhostUserConsole(console) => {
                let id = &console.port.chardev;
                let front = attach("vhost-user-console", "chardev", id)?;
                let held = is_held(id);
                let place = to_path(&console.socket, Some(directory));
                console.start(&place, worker, front, held, buses, stop, events.clone())
            }
            Device::VirtioPort(port) => {
                let id = &port.port.chardev;
                let driver = match port.port.config.role {
                    Role::Console => "virtconsole",
                    Role::Generic => "virtserialport",
                };
                let front = attach(driver, "chardev", id)?;
                let held = is_held(id);
                port.start(worker, front, held, buses)
            }
            Device::VfioUserSerial(serial) => {
                let held = is_held(&serial.chardev);
                let place = to_path(&serial.socket, Some(directory));
                serial.start(&place, chardevs, worker, held, stop)
            }
            Device::NullModem(modem) => {
                let front = attach("null-modem", "chardev", &modem.chardev)?;
                let peer = attach("null-modem", "peer", &modem.peer)?;
                let held = [is_held(&modem.chardev), is_held(&modem.peer)];
                // It waits so often that waking another thread each time would cost it a third
                // of its CPU; its turns are short enough for the monitors beside it.
                let relay = null_modem::run([front, peer], held, stop, run);
                Ok(chardevs.runtime().spawn(relay))
            }
        }
    }
}

/// Waits until the chardev has its first client.
pub(crate) async fn first_client(front: &FrontEnd) {
    while std::future::poll_fn(|cx| front.poll_event(cx)).await != Event::Opened {}
}

pub(crate) fn required(opts: &Opts, key: &str) -> Result<String, String> {
    opts.get(key)
        .map(str::to_owned)
        .ok_or_else(|| format!("Parameter '{key}' is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_has_as_many_ports_as_are_configured() {
        for (own, others, ports) in [
            ("", &[][..], 1),
            (",max-ports=3", &[], 3),
            (
                "",
                &[
                    "virtconsole,bus=v0,chardev=d",
                    "virtserialport,bus=v0.0,chardev=e",
                ],
                3,
            ),
            ("", &["virtconsole,bus=other,chardev=d"], 1),
            ("", &["virtconsole,bus=v0,chardev=d,nr=7"], 8),
            ("", &["virtconsole,bus=v0,chardev=d,nr=4000000000"], 31),
        ] {
            let line = format!("vhost-user-console,id=v0,chardev=c,socket=s{own}");
            let others: Vec<_> = others.iter().map(|other| (*other).to_owned()).collect();
            let device = Device::parse(&line).unwrap().with_room_for(&others);
            let Device::VhostUserConsole(console) = device else {
                panic!("{device:?}");
            };
            assert_eq!(console.max_ports, Some(ports), "{own} {others:?}");
        }
    }

    #[test]
    fn devices_are_read_and_refused_by_name() {
        let exec = Device::parse("exec,chardev=c0,command=echo a,,b=c,restart=on").unwrap();
        let expected = exec::Exec {
            chardev: "c0".to_owned(),
            command: "echo a,b=c".to_owned(),
            restart: true,
            cwd: None,
            tell_end: false,
        };
        assert_eq!(exec, Device::Exec(expected));
        for (text, error) in [
            ("", "Parameter 'driver' is missing"),
            ("e1000", "'e1000' is not a valid device model name"),
            ("exec,chardev=c0", "Parameter 'command' is missing"),
            ("exec,command=sh", "Parameter 'chardev' is missing"),
            ("exec,chardev=c0,speed=9", "Property 'exec.speed' not found"),
            (
                "exec,chardev=c0,command=a,restart=2",
                "Parameter 'restart' expects 'on' or 'off'",
            ),
            ("null-modem,chardev=c0", "Parameter 'peer' is missing"),
            (
                "vhost-user-console,chardev=c",
                "Parameter 'socket' is missing",
            ),
            (
                "vhost-user-console,chardev=c,socket=s,x-when-full=maybe",
                "Parameter 'x-when-full' does not accept value 'maybe'",
            ),
            (
                "vhost-user-console,chardev=c,socket=s,x-when-full=wait,x-buffer=9",
                "'x-buffer' and 'x-when-full=wait' are mutually exclusive",
            ),
            (
                "vhost-user-console,chardev=c,socket=s,max-ports=32",
                "Parameter 'max-ports' expects a number up to 31",
            ),
            ("virtserialport,chardev=c", "Parameter 'bus' is missing"),
            (
                "virtserialport,bus=b,chardev=c,nr=x",
                "Parameter 'nr' expects a number",
            ),
            (
                "vfio-user-serial,chardev=c",
                "Parameter 'socket' is missing",
            ),
        ] {
            assert_eq!(Device::parse(text), Err(error.to_owned()), "{text}");
        }
    }
}
