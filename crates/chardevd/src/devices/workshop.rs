//! Starting and ending devices, for the command line and for monitors.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev::text::to_path;
use chardev::{AttachError, Chardevs, FrontEnd};
use chardev_monitor::{Events, RunState, Server, Stop};

use super::roll::{Entry, Roll, bus_id};
use super::virtio::Buses;
use super::{Asked, Worker};

use crate::DaemonError;

/// What all devices are started with. Clones share everything.
#[derive(Clone, Debug)]
pub struct Workshop {
    server: Server,
    roll: Roll,
    worker: Worker,
    /// The directory that the daemon was started in, where relative paths start.
    directory: Arc<Path>,
    /// The consoles that ports can be plugged into.
    buses: Arc<Mutex<Buses>>,
}

/// What one device is started with.
pub(crate) struct Start<'a> {
    shop: &'a Workshop,
    /// How it is listed, and told what becomes of it.
    pub(crate) entry: &'a Arc<Entry>,
    /// Asked for when it or the daemon is to end.
    pub(crate) stop: Stop,
    driver: &'static str,
    /// How many ports it may have to hold: those that were asked for with it.
    pub(crate) ports: u32,
    /// The chardevs whose first client is waited for.
    held: &'a dyn Fn(&str) -> bool,
}

impl Workshop {
    /// A workshop for devices of `server`'s chardevs, which are listed in `roll`.
    pub fn new(server: Server, roll: Roll, worker: Worker, directory: Arc<Path>) -> Self {
        Workshop {
            server,
            roll,
            worker,
            directory,
            buses: Arc::default(),
        }
    }

    /// The server of the monitors, with the chardevs.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The thread that devices run on.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// The directory that the daemon was started in.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The devices there are.
    pub fn roll(&self) -> &Roll {
        &self.roll
    }

    /// Starts the device that `line`, an argument of `--device`, asks for, with room for what
    /// `others` are going to plug into it. Until `is_held` says otherwise it waits for the first
    /// client of a chardev with `wait=on`. Returns the device's id. May wait for a disk.
    ///
    /// # Errors
    /// A chardev is missing or in use, in QEMU's words; or the id is.
    pub fn start(
        &self,
        line: &str,
        others: &[String],
        is_held: impl Fn(&str) -> bool,
    ) -> Result<String, DaemonError> {
        let Asked { id, driver, device } = super::read(line)?;
        let ports = ports_needed(id.as_deref(), others);
        let entry = self.roll.enter(id, line, driver, &*device)?;
        let start = Start {
            shop: self,
            entry: &entry,
            stop: entry.stop(),
            driver,
            ports,
            held: &is_held,
        };
        match device.start(&start) {
            Ok(task) => {
                self.roll.started(&entry, task, &self.worker, self);
                Ok(entry.id().to_owned())
            }
            Err(error) => {
                self.roll.leave(&entry);
                Err(error)
            }
        }
    }

    pub(super) fn buses_ref(&self) -> Arc<Mutex<Buses>> {
        Arc::clone(&self.buses)
    }

    /// The consoles that ports can be plugged into.
    pub(crate) fn buses(&self) -> MutexGuard<'_, Buses> {
        self.buses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many ports console `id` must have for its own and those of `others`.
fn ports_needed(id: Option<&str>, others: &[String]) -> u32 {
    let (mut count, mut highest) = (1, 0);
    for Asked { device, .. } in others.iter().filter_map(|line| super::read(line).ok()) {
        let Some(bus) = device.bus() else { continue };
        if id == Some(bus_id(bus)) {
            count += 1;
            highest = highest.max(device.number_on_bus().unwrap_or(0));
        }
    }
    count.max(highest.saturating_add(1))
}

impl Start<'_> {
    /// The front end of chardev `id`, which the option `property` names.
    pub(crate) fn attach(&self, property: &str, id: &str) -> Result<FrontEnd, DaemonError> {
        let front = self.chardevs().front_end(id, Arc::new(()));
        front.map_err(|error| self.attach_error(property, error))
    }

    /// Why that cannot be had, in QEMU's words.
    pub(crate) fn attach_error(&self, property: &str, error: AttachError) -> DaemonError {
        match error {
            AttachError::NotFound(ref id) => {
                let driver = self.driver;
                let text = format!("Property '{driver}.{property}' can't find value '{id}'");
                DaemonError::from(error).shown_as(text)
            }
            error => error.into(),
        }
    }

    /// Whether the first client of `id` is waited for.
    pub(crate) fn is_held(&self, id: &str) -> bool {
        (self.held)(id)
    }

    /// What `path` means.
    pub(crate) fn place(&self, path: &str) -> PathBuf {
        to_path(path, Some(&self.shop.directory))
    }

    /// Where relative paths start.
    pub(crate) fn directory(&self) -> &Path {
        &self.shop.directory
    }

    pub(crate) fn chardevs(&self) -> &Chardevs {
        self.shop.server.chardevs()
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.shop.worker
    }

    pub(crate) fn events(&self) -> Events {
        self.shop.server.events().clone()
    }

    pub(crate) fn run_state(&self) -> RunState {
        self.shop.server.run_state().clone()
    }

    pub(crate) fn buses(&self) -> MutexGuard<'_, Buses> {
        self.shop.buses()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_has_as_many_ports_as_are_configured() {
        for (others, ports) in [
            (&[][..], 1),
            (
                &[
                    "virtconsole,bus=v0,chardev=d",
                    "virtserialport,bus=v0.0,chardev=e",
                ],
                3,
            ),
            (&["virtconsole,bus=other,chardev=d"], 1),
            (&["virtconsole,bus=v0,chardev=d,nr=7"], 8),
            (
                &["virtconsole,bus=v0,chardev=d,nr=4000000000"],
                4_000_000_001,
            ),
        ] {
            let others: Vec<_> = others.iter().map(|other| (*other).to_owned()).collect();
            assert_eq!(ports_needed(Some("v0"), &others), ports, "{others:?}");
        }
    }
}
