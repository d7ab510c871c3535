//! What a reload does beside chardevs and devices: objects and monitors.

use std::collections::BTreeMap;

use chardev::spec::Options;

use super::item::Monitor;
use super::keeper::Keeper;
use super::report::Report;
use crate::metrics::{Address, Endpoint, Source};

/// What was in the place of objects that a reload has put there.
pub(super) type Replaced = BTreeMap<String, Option<String>>;

impl Keeper {
    /// Adds the objects that are new or say something else. What names them finds the new ones.
    ///
    /// # Errors
    /// Why one of them cannot be made; all are as they were then.
    pub(super) async fn put_objects(
        &self,
        wanted: &BTreeMap<String, String>,
    ) -> Result<Replaced, String> {
        let mut replaced = Replaced::new();
        for (id, line) in wanted {
            let before = self.objects.get(id);
            if before == Some(line) {
                continue;
            }
            if before.is_some() {
                // Somebody may have removed it.
                let _ = self.runner.chardevs().objects().remove(id);
            }
            replaced.insert(id.clone(), before.cloned());
            if let Err(why) = self.add_object(line).await {
                self.put_back(replaced).await;
                return Err(format!("object '{id}': {why}"));
            }
        }
        Ok(replaced)
    }

    /// Undoes [`Keeper::put_objects`].
    pub(super) async fn put_back(&self, replaced: Replaced) {
        for (id, before) in replaced {
            // The last one may not have come to be.
            let _ = self.runner.chardevs().objects().remove(&id);
            if let Some(line) = before {
                if let Err(why) = self.add_object(&line).await {
                    tracing::error!("object '{id}' is gone: {why}");
                }
            }
        }
    }

    /// Removes the objects that are wanted no more.
    pub(super) fn drop_objects(&mut self, wanted: BTreeMap<String, String>) {
        for id in self.objects.keys().filter(|id| !wanted.contains_key(*id)) {
            // Somebody may have removed it.
            let _ = self.runner.chardevs().objects().remove(id);
        }
        self.objects = wanted;
    }

    async fn add_object(&self, line: &str) -> Result<(), String> {
        let shop = &self.runner.shop;
        let added = shop.server().add_object(line, shop.directory()).await;
        added.map_err(|error| error.to_string())
    }

    /// Starts the monitors that are new, once the transaction has moved those that were there, and
    /// ends those that are wanted no more.
    pub(super) async fn settle_monitors(&mut self, placed: Placed, report: &mut Report) {
        let mut all = Vec::with_capacity(placed.wanted.len());
        for monitor in placed.leaving {
            self.end_monitor(monitor.chardev);
        }
        for monitor in placed.wanted {
            let same = |old: &&Monitor| old.chardev == monitor.chardev;
            if let Some(before) = self.monitors.iter().find(same) {
                let server = self.runner.shop.server();
                server.limit(&monitor.chardev, monitor.terms);
                if before.mode != monitor.mode {
                    self.begin_anew(monitor.clone());
                }
                all.push(monitor);
                continue;
            }
            match self.start_monitor(&monitor).await {
                Ok(()) => all.push(monitor),
                // It is new at the next reload, too.
                Err(why) => report
                    .failed
                    .push((format!("monitor ({})", monitor.place), why)),
            }
        }
        self.monitors = all;
    }

    /// The endpoint of metrics that is wanted from now on, if that is not the one there is; what
    /// this one is replaced by may be none.
    pub(super) async fn open_metrics(
        &self,
        wanted: Option<Address>,
    ) -> Result<Option<Option<Endpoint>>, String> {
        if wanted == self.metrics.address() {
            return Ok(None);
        }
        let Some(address) = wanted else {
            return Ok(Some(None));
        };
        let source = Source::new(self.runner.chardevs(), &self.table, &self.fleet);
        Endpoint::start(address, source).await.map(Some).map(Some)
    }

    /// Takes a monitor away, with its chardev unless that is somebody else's. Nobody waits for it,
    /// for the reload may be a command of a client who is at it.
    fn end_monitor(&self, id: String) {
        let (runner, table) = (self.runner.clone(), self.table.clone());
        let end = async move {
            let _reserved = runner.shop.server().reserve_monitor(&id);
            runner.shop.server().end(&id).await;
            let is_wanted = table
                .lock()
                .iter()
                .any(|kept| kept.item.part(&id).is_some());
            if !is_wanted {
                runner.remove(&[id]).await;
            }
        };
        self.runner.shop.worker().spawn(end);
    }

    /// The same chardev speaks another language from here on.
    fn begin_anew(&self, monitor: Monitor) {
        let server = self.runner.shop.server().clone();
        let begin = async move {
            let _reserved = server.reserve_monitor(&monitor.chardev);
            server.end(&monitor.chardev).await;
            let begun = server.serve_as(&monitor.chardev, monitor.mode, monitor.terms);
            if let Err(error) = begun {
                tracing::warn!("{}: monitor: {error}", monitor.place);
            }
        };
        self.runner.shop.worker().spawn(begin);
    }

    async fn start_monitor(&self, monitor: &Monitor) -> Result<(), String> {
        let (id, fds) = (&monitor.chardev, self.runner.source());
        let server = self.runner.shop.server();
        let _reserved = server.reserve_monitor(id);
        if let Some(options) = &monitor.options {
            let adding = self.runner.chardevs().add_with(id, options, fds);
            adding.await.map_err(|error| error.to_string())?;
        }
        let served = server.serve_as(id, monitor.mode, monitor.terms);
        served.map_err(|error| error.to_string())
    }
}

/// What becomes of monitors in a reload.
pub(super) struct Placed {
    /// Those that are wanted, each on its chardev.
    pub(super) wanted: Vec<Monitor>,
    /// Those that are wanted no more.
    pub(super) leaving: Vec<Monitor>,
}

impl Placed {
    /// All monitors as the transaction makes them: those that are wanted no more go where nobody
    /// comes, since they can end only once it is known that they will.
    pub(super) fn in_transaction(&self) -> Vec<Monitor> {
        let nowhere = |old: &Monitor| Monitor {
            options: old.options.as_ref().map(|_| Options::new("null")),
            ..old.clone()
        };
        let leaving = self.leaving.iter().map(nowhere);
        self.wanted.iter().cloned().chain(leaving).collect()
    }
}

/// The monitors that are wanted, each on the chardev of one that is there and says the same or, if
/// there is none, of one that is wanted no more, or on one that is not `taken`.
pub(super) fn placed(
    old: &[Monitor],
    wanted: Vec<Monitor>,
    taken: impl Fn(&str) -> bool,
) -> Placed {
    let mut free: Vec<&Monitor> = old.iter().collect();
    let mut take = |fits: &dyn Fn(&Monitor) -> bool| {
        let at = free.iter().position(|old| fits(old))?;
        Some(free.remove(at).chardev.clone())
    };
    let same: Vec<_> = wanted
        .iter()
        .map(|new| take(&|old| old.mode == new.mode && old.options == new.options))
        .collect();
    let mut all = Vec::with_capacity(wanted.len());
    let mut number = 0;
    for (mut monitor, same) in wanted.into_iter().zip(same) {
        // One on a chardev of somebody else's has nothing that could be another's.
        let own = monitor.options.is_some();
        let other = || take(&|old| own && old.options.is_some() && old.mode == monitor.mode);
        if let Some(place) = same.or_else(other) {
            monitor.chardev = place;
        } else if own {
            while taken(&format!("monitor{number}")) {
                number += 1;
            }
            monitor.chardev = format!("monitor{number}");
            number += 1;
        }
        all.push(monitor);
    }
    let stays = |old: &Monitor| all.iter().any(|new| new.chardev == old.chardev);
    let leaving = free.into_iter().filter(|old| !stays(old));
    Placed {
        leaving: leaving.cloned().collect(),
        wanted: all,
    }
}
