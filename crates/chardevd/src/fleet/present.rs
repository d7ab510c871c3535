//! A daemon that may be in a fleet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chardev::Chardevs;
use chardev_fleet::events::{Feed, Told};
use chardev_fleet::{Desk, Fleet, Fronts, Program, Settings, StreamSettings, Which};
use chardev_monitor::{
    Answer, Caller, Event, Json, Object, OwnCommand, QmpError, Reason, Role, Server,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Gauges;
use super::desk::{Attendant, ROLES};
use super::others::{self, Others};
use super::peers::EXCHANGE;
use crate::config::Table;

/// How long the end waits for the last output to come to the stream.
const END_LIMIT: Duration = Duration::from_secs(2);
/// How long those who are served may take to hear of the end.
const DESK_LIMIT: Duration = Duration::from_secs(1);
/// How long peers of consoles may take to hear of it.
const PEERS_LIMIT: Duration = Duration::from_secs(1);

/// What is said where there is none.
const NONE: &str = "the daemon is in no fleet; its configuration has no [fleet]";

/// The daemon's part in a fleet, if it has one. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Membership(Arc<Mutex<Place>>);

#[derive(Debug, Default)]
struct Place {
    /// While the daemon runs, and since when it does.
    within: Option<(Server, Table, SystemTime)>,
    fleet: Option<Fleet>,
    /// What is told besides what monitors hear.
    last: Option<UnboundedSender<Told>>,
    /// Where those are served who come over the fleet.
    desk: Option<Desk>,
    /// The way to the other hosts, once somebody has wanted to know of them.
    others: Option<Arc<Others>>,
}

impl Membership {
    /// From here on there may be one.
    pub(crate) fn open(&self, server: &Server, table: &Table) {
        let now = SystemTime::now();
        self.lock().within = Some((server.clone(), table.clone(), now));
    }

    /// What the configuration is about to want: consoles that are begun before it does may find
    /// their peers there, unless the daemon is in a fleet by now.
    pub(crate) fn expect(&self, wanted: Option<&Settings>) {
        if self.lock().fleet.is_none() {
            EXCHANGE.set(wanted.cloned());
        }
    }

    /// What the configuration wants from now on. Where the host and the stream stay the same, it
    /// goes on where it was.
    pub(crate) fn set(&self, wanted: Option<Settings>) {
        EXCHANGE.set(wanted.clone());
        let mut place = self.lock();
        place.set_desk(wanted.as_ref());
        if place.fleet.as_ref().map(Fleet::settings) == wanted.as_ref() {
            return;
        }
        place.others = None;
        let goes_where =
            |it: &Settings| (it.cluster.clone(), it.host.clone(), it.stream.name.clone());
        let progress = place.fleet.take().and_then(|old| {
            let stays = wanted.as_ref().map(goes_where) == Some(goes_where(old.settings()));
            if !stays {
                old.leave();
                return None;
            }
            Some(old.stop())
        });
        let (Some(wanted), Some((server, table, started))) = (wanted, place.within.clone()) else {
            return;
        };
        let which = which(server.clone(), table);
        let (last, more) = unbounded_channel();
        place.last = Some(last);
        let program = Program {
            events: Some(events(&server, Arc::clone(&which), more)),
            which,
            version: concat!("chardevd ", env!("CARGO_PKG_VERSION")).to_owned(),
            started,
            fronts: fronts(server.clone()),
        };
        let progress = progress.unwrap_or_default();
        match Fleet::start(server.chardevs(), wanted, program, progress) {
            Ok(fleet) => place.fleet = Some(fleet),
            Err(error) => tracing::error!(event = "fleet-failed", "fleet: no thread: {error}"),
        }
    }

    /// The daemon ends, and its chardevs have been shut down.
    pub(crate) fn finish(&self) {
        let place = std::mem::take(&mut *self.lock());
        EXCHANGE.finish(PEERS_LIMIT);
        if let Some(desk) = place.desk {
            desk.finish(DESK_LIMIT);
        }
        let Some(fleet) = place.fleet else { return };
        let server = place.within.map(|(server, ..)| server);
        let reason = server.and_then(|it| it.stop().reason());
        if let (Some(last), Some(reason)) = (place.last, reason) {
            // Nobody hears it where the fleet has failed.
            let _ = last.send(shutdown(reason));
        }
        fleet.finish(END_LIMIT);
    }

    /// What is measured, while the daemon is in one.
    pub(crate) fn gauges(&self, chardevs: &Chardevs) -> Option<Gauges> {
        let place = self.lock();
        let status = place.fleet.as_ref()?.status(chardevs);
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
            (
                "chardevd_fleet_present",
                "Whether the fleet knows that the host is up",
                u64::from(status.is_present),
            ),
            (
                "chardevd_fleet_name_taken",
                "Whether another host of the fleet has the same name",
                u64::from(status.is_name_taken),
            ),
            (
                "chardevd_fleet_sessions",
                "Sessions over the fleet: those who are attached, and other clients",
                place.sessions(),
            ),
        ])
    }

    pub(crate) fn commands(&self) -> [OwnCommand; 3] {
        let [how, list, page] = [self, self, self].map(Clone::clone);
        super::commands(
            move |caller| how.describe(caller),
            move |arguments| {
                let list = list.clone();
                async move { list.consoles(&arguments).await }
            },
            move |arguments, caller| {
                let page = page.clone();
                async move { page.link(&arguments, &caller).await }
            },
        )
    }

    /// Consoles of the hosts that are up.
    async fn consoles(&self, arguments: &Object) -> Answer {
        let (others, own) = self.others()?;
        let filter = arguments.get("filter").and_then(Json::as_str);
        let limit = arguments.get("limit").and_then(Json::as_u64);
        let limit = limit.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX));
        let roster = others.hosts().await?;
        Ok(others::described(&roster, &own, filter.unwrap_or_default(), limit).into())
    }

    /// A link to another host's page, for who may do as much there as here at most.
    async fn link(&self, arguments: &Object, caller: &Caller) -> Answer {
        let (others, _) = self.others()?;
        let host = arguments.get("host").and_then(Json::as_str);
        let mut roles = Role::ALL.into_iter().rev();
        let most = roles.find(|role| caller.may(*role, None));
        let most = most.ok_or("this needs the role 'view' for all chardevs")?;
        let url = others.link(host.unwrap_or_default(), most).await?;
        Ok(Object::new().with("url", url).into())
    }

    /// The way to the other hosts, and what this one is called.
    fn others(&self) -> Result<(Arc<Others>, String), QmpError> {
        let mut place = self.lock();
        let settings = place.fleet.as_ref().map(Fleet::settings).ok_or(NONE)?;
        let (settings, own) = (settings.clone(), settings.host.clone());
        let others = match &place.others {
            Some(others) => Arc::clone(others),
            None => {
                let others = Others::new(&settings);
                Arc::new(others.map_err(|error| format!("no thread for it: {error}"))?)
            }
        };
        place.others = Some(Arc::clone(&others));
        Ok((others, own))
    }

    fn describe(&self, caller: &Caller) -> Answer {
        let place = self.lock();
        let fleet = place.fleet.as_ref().ok_or(NONE)?;
        let (settings, status) = (fleet.settings(), fleet.status(caller.chardevs()));
        Ok(Object::new()
            .with("cluster", settings.cluster.as_str())
            .with("host", settings.host.as_str())
            .with("stream", settings.stream.name.as_str())
            .with("connected", status.is_connected)
            .with("consoles", status.consoles as u64)
            .with("behind", status.behind)
            .with("present", status.is_present)
            .with("name-taken", status.is_name_taken)
            .with("sessions", place.sessions())
            .into())
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn sessions(&self) -> u64 {
        self.desk.as_ref().map_or(0, Desk::sessions) as u64
    }

    /// Whoever is served goes on being served, unless what that goes by is another.
    fn set_desk(&mut self, wanted: Option<&Settings>) {
        let wanted = wanted.and_then(|wanted| {
            let role = wanted.qmp.as_ref()?.parse().ok()?;
            // The stream and presence are no matter here.
            let settings = Settings {
                stream: StreamSettings::default(),
                presence: Duration::ZERO,
                ..wanted.clone()
            };
            Some((settings, role))
        });
        if self.desk.as_ref().map(Desk::settings) == wanted.as_ref().map(|(it, _)| it) {
            return;
        }
        self.desk = None;
        let (Some((settings, most)), Some((server, ..))) = (wanted, &self.within) else {
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

/// The drivers of devices, by the chardevs that they use.
fn fronts(server: Server) -> Fronts {
    Arc::new(move || {
        let devices = server.devices();
        let devices = devices.as_array().unwrap_or_default().iter();
        let text = |device: &Json, name| Some(device.get(name)?.as_str()?.to_owned());
        devices
            .filter_map(|it| Some((text(it, "chardev")?, text(it, "driver")?)))
            .collect::<HashMap<_, _>>()
    })
}

/// What monitors hear, apart from what is about chardevs that take no part; and what there is more.
fn events(server: &Server, which: Which, mut more: UnboundedReceiver<Told>) -> Feed {
    let subscription = server.subscribe();
    Box::new(move |cx: &mut Context<'_>| {
        loop {
            let Poll::Ready(event) = subscription.poll_next(cx) else {
                return match more.poll_recv(cx) {
                    Poll::Ready(Some(told)) => Poll::Ready(told),
                    Poll::Ready(None) | Poll::Pending => Poll::Pending,
                };
            };
            let told = told(&event);
            let mut parts: Vec<String> = told.console.iter().cloned().collect();
            which(&mut parts);
            if parts.len() == usize::from(told.console.is_some()) {
                return Poll::Ready(told);
            }
        }
    })
}

/// What monitors are told by themselves when the daemon ends.
fn shutdown(reason: Reason) -> Told {
    let data = Object::new()
        .with("guest", reason == Reason::Guest)
        .with("reason", reason.as_str());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    told(&Event::new(
        "SHUTDOWN",
        Some(data.into()),
        now.unwrap_or_default(),
    ))
}

fn told(event: &Event) -> Told {
    Told {
        console: about(event),
        text: Json::Object(event.to_object()).to_string(),
    }
}

/// The chardev that an event is about. Of a device's it is the one that it uses.
fn about(event: &Event) -> Option<String> {
    let data = event.data.as_ref()?;
    let id = match event.name.starts_with("X_CHARDEV_") {
        true => data.get("id"),
        false => data.get("chardev"),
    };
    Some(id?.as_str()?.to_owned())
}
