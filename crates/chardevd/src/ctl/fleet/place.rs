//! A host of a fleet, whose monitor is spoken to by way of the servers.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chardev::text::shown;
use chardev_fleet::{Blind, Driver, Gate, Opened, Settings};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::Options;
use super::way::{LIMIT, failure, settings};
use crate::ctl::failure::Failure;
use crate::ctl::tls::Plain;

/// The roles, the highest first.
const ROLES: [&str; 4] = ["admin", "change", "attach", "view"];
/// How long the last bytes may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// A host of a fleet. Clones share the connection to the servers.
#[derive(Clone)]
pub struct Place(Arc<Destination>);

struct Destination {
    settings: Settings,
    host: String,
    limit: Duration,
    way: Mutex<Way>,
}

#[derive(Default)]
struct Way {
    gate: Option<Gate>,
    /// The role to come with: what was asked for, or what was found to be the highest.
    role: Option<String>,
}

impl Place {
    pub(super) fn new(
        options: &Options,
        host: &str,
        timeout: Option<Duration>,
    ) -> Result<Place, Failure> {
        let way = Way {
            gate: None,
            role: options.fleet_role.clone(),
        };
        Ok(Place(Arc::new(Destination {
            settings: settings(options)?,
            host: host.to_owned(),
            limit: timeout.unwrap_or(LIMIT),
            way: Mutex::new(way),
        })))
    }

    /// Opens a session with the host's monitor. Blocks.
    ///
    /// # Errors
    /// That of [`Place::failure`].
    pub(in crate::ctl) fn connect(&self) -> io::Result<Plain> {
        let opened = self.open().map_err(io::Error::other)?;
        Ok(Plain {
            stream: opened.stream,
            failure: opened.ended,
        })
    }

    /// What was offered at the host's monitor under this key. Blocks.
    ///
    /// # Errors
    /// The host does not know it any more, or is not there any more.
    pub(in crate::ctl) fn join(&self, key: &str, half_close: bool) -> Result<UnixStream, Failure> {
        let Destination { host, limit, .. } = &*self.0;
        let way = self.lock();
        let (Some(gate), Some(role)) = (&way.gate, &way.role) else {
            return Err("there is no session with the host".into());
        };
        let joined = gate.tunnel((host, role), (key, half_close), *limit);
        Ok(joined.map_err(|blind| failure(&blind))?.stream)
    }

    /// What such an error is, for people.
    pub(in crate::ctl) fn failure(&self, error: &io::Error) -> Option<Failure> {
        let blind = error.get_ref()?.downcast_ref::<Blind>()?;
        Some(failure(blind))
    }

    /// The arguments that name it, for another chardevctl.
    pub(in crate::ctl) fn arguments(&self) -> Vec<OsString> {
        let Destination { settings, host, .. } = &*self.0;
        let mut arguments: Vec<OsString> = vec![
            "--fleet".into(),
            settings.servers.join(",").into(),
            "--cluster".into(),
            settings.cluster.clone().into(),
            "--on".into(),
            host.into(),
        ];
        let files = [
            ("--credentials", &settings.credentials),
            ("--nkey", &settings.nkey),
            ("--ca", &settings.ca),
        ];
        for (option, path) in files {
            if let Some(path) = path {
                arguments.extend([option.into(), path.into()]);
            }
        }
        if let Some(role) = &self.lock().role {
            arguments.extend(["--fleet-role".into(), role.into()]);
        }
        arguments
    }

    /// What carries the sessions from now on while somebody waits by it, and nobody until then;
    /// `None` where a thread goes on to do that.
    pub(in crate::ctl) fn drive(&self) -> Option<Driver> {
        self.lock().gate.as_ref()?.drive().ok()
    }

    /// Waits a moment, before the process ends, until the host has what it was sent.
    pub(in crate::ctl) fn finish(&self) {
        if let Some(gate) = &self.lock().gate {
            gate.finish(FAREWELL);
        }
    }

    /// Has the host told when a signal ends the process: it would not notice for half a minute.
    pub(in crate::ctl) fn leave_on_signals(&self) {
        let Ok(mut signals) = Signals::new([SIGHUP, SIGINT, SIGTERM]) else {
            return;
        };
        let place = self.clone();
        let wait = move || {
            for signal in signals.forever() {
                // While it is being opened there is nothing to be told.
                if let Ok(way) = place.0.way.try_lock()
                    && let Some(gate) = &way.gate
                {
                    gate.leave(FAREWELL);
                }
                let _ = emulate_default_handler(signal);
            }
        };
        // Without a thread the signal does what it does.
        let _ = std::thread::Builder::new().spawn(wait);
    }

    fn open(&self) -> Result<Opened, Blind> {
        let Destination {
            settings,
            host,
            limit,
            ..
        } = &*self.0;
        let mut way = self.lock();
        let Way { gate, role } = &mut *way;
        let gate = match gate {
            Some(gate) => gate,
            None => gate.insert(Gate::open(settings, *limit)?),
        };
        if let Some(role) = role {
            return gate.session(host, role, *limit);
        }
        let mut failed = None;
        for tried in ROLES {
            match gate.session(host, tried, *limit) {
                Ok(opened) => {
                    *role = Some(tried.to_owned());
                    return Ok(opened);
                }
                // The servers, or the host, may let us come with less.
                Err(
                    blind @ (Blind::Refused { .. }
                    | Blind::HostRefused { .. }
                    | Blind::NoHost { .. }),
                ) => failed = Some(blind),
                Err(blind) => return Err(blind),
            }
        }
        let nothing = || Blind::Failed(io::Error::other("there are no roles"));
        Err(failed.unwrap_or_else(nothing))
    }

    fn lock(&self) -> MutexGuard<'_, Way> {
        self.0.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Place) -> bool {
        let of = |it: &Place| (it.0.settings.clone(), it.0.host.clone());
        of(self) == of(other)
    }
}

impl Eq for Place {}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.0.host).finish()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (over the fleet)", shown(&self.0.host))
    }
}
