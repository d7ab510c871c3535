//! A daemon that may be in a fleet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chardev::Chardevs;
use chardev_fleet::{Desk, Fleet, Progress, Settings, StreamSettings, Which};
use chardev_monitor::{Answer, Caller, Object, OwnCommand, Server};

use super::Gauges;
use super::desk::{Attendant, ROLES};
use crate::config::Table;

/// How long the end waits for the last output to come to the stream.
const END_LIMIT: Duration = Duration::from_secs(2);
/// How long those who are served may take to hear of the end.
const DESK_LIMIT: Duration = Duration::from_secs(1);

/// The daemon's part in a fleet, if it has one. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Membership(Arc<Mutex<Place>>);

#[derive(Debug, Default)]
struct Place {
    /// While the daemon runs.
    within: Option<(Server, Table)>,
    fleet: Option<Fleet>,
    /// Where those are served who come over the fleet.
    desk: Option<Desk>,
}

impl Membership {
    /// From here on there may be one.
    pub(crate) fn open(&self, server: &Server, table: &Table) {
        self.lock().within = Some((server.clone(), table.clone()));
    }

    /// What the configuration wants from now on. Where the host and the stream stay the same, it
    /// goes on where it was.
    pub(crate) fn set(&self, wanted: Option<Settings>) {
        let mut place = self.lock();
        place.set_desk(wanted.as_ref());
        if place.fleet.as_ref().map(Fleet::settings) == wanted.as_ref() {
            return;
        }
        let old = place.fleet.take().map(|old| {
            let settings = old.settings().clone();
            (settings, old.stop())
        });
        let (Some(wanted), Some((server, table))) = (wanted, place.within.clone()) else {
            return;
        };
        let goes_where =
            |it: &Settings| (it.cluster.clone(), it.host.clone(), it.stream.name.clone());
        let progress = old
            .filter(|(old, _)| goes_where(old) == goes_where(&wanted))
            .map_or_else(Progress::default, |(_, progress)| progress);
        let chardevs = server.chardevs().clone();
        match Fleet::start(&chardevs, wanted, which(server, table), progress) {
            Ok(fleet) => place.fleet = Some(fleet),
            Err(error) => tracing::error!(event = "fleet-failed", "fleet: no thread: {error}"),
        }
    }

    /// The daemon ends, and its chardevs have been shut down.
    pub(crate) fn finish(&self) {
        let place = std::mem::take(&mut *self.lock());
        if let Some(desk) = place.desk {
            desk.finish(DESK_LIMIT);
        }
        if let Some(fleet) = place.fleet {
            fleet.finish(END_LIMIT);
        }
    }

    /// What is measured, while the daemon is in one.
    pub(crate) fn gauges(&self, chardevs: &Chardevs) -> Option<Gauges> {
        let status = self.lock().fleet.as_ref()?.status(chardevs);
        Some([
            (
                "chardevd_fleet_connected",
                "Whether there is a connection to a server of the fleet",
                u64::from(status.is_connected),
            ),
            (
                "chardevd_fleet_consoles",
                "Consoles whose output goes to the fleet's stream",
                status.consoles as u64,
            ),
            (
                "chardevd_fleet_behind_bytes",
                "Output that is not in the fleet's stream yet",
                status.behind,
            ),
        ])
    }

    pub(crate) fn commands(&self) -> [OwnCommand; 1] {
        let membership = self.clone();
        [super::command(move |caller| membership.describe(caller))]
    }

    fn describe(&self, caller: &Caller) -> Answer {
        let place = self.lock();
        let Some(fleet) = &place.fleet else {
            return Err("the daemon is in no fleet; its configuration has no [fleet]".into());
        };
        let (settings, status) = (fleet.settings(), fleet.status(caller.chardevs()));
        Ok(Object::new()
            .with("cluster", settings.cluster.as_str())
            .with("host", settings.host.as_str())
            .with("stream", settings.stream.name.as_str())
            .with("connected", status.is_connected)
            .with("consoles", status.consoles as u64)
            .with("behind", status.behind)
            .into())
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whoever is served goes on being served, unless what that goes by is another.
    fn set_desk(&mut self, wanted: Option<&Settings>) {
        let wanted = wanted.and_then(|wanted| {
            let role = wanted.qmp.as_ref()?.parse().ok()?;
            // The stream is no matter here.
            let stream = StreamSettings::default();
            let settings = Settings {
                stream,
                ..wanted.clone()
            };
            Some((settings, role))
        });
        if self.desk.as_ref().map(Desk::settings) == wanted.as_ref().map(|(it, _)| it) {
            return;
        }
        self.desk = None;
        let (Some((settings, most)), Some((server, _))) = (wanted, &self.within) else {
            return;
        };
        let attendant = Attendant {
            server: server.clone(),
            host: settings.host.clone(),
            most,
        };
        match Desk::start(settings, ROLES, Arc::new(attendant)) {
            Ok(desk) => self.desk = Some(desk),
            Err(error) => tracing::error!(event = "fleet-failed", "fleet: no thread: {error}"),
        }
    }
}

/// Consoles take part; monitors, and what consoles are made of, do not.
fn which(server: Server, table: Table) -> Which {
    Arc::new(move |ids| {
        let mut others = table.parts();
        others.extend(server.monitors());
        ids.retain(|id| !others.contains(id));
    })
}
