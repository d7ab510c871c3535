//! A reload: the files are read again, and only the difference is carried out.

use std::collections::HashMap;
use std::time::Duration;

use chardev::{Action, ActionError, TransactionError};

use super::beside::placed;
use super::diff::{Before, Fate, compare, policies};
use super::item::{Monitor, Wanted};
use super::keeper::Keeper;
use super::report::Report;
use super::runner::in_words;
use super::table::{Kept, State};

/// How long a transaction may take; then it goes on without what is new.
const LIMIT: Duration = Duration::from_secs(20);
/// How many new items may fail in the transaction before all of them are started by themselves.
const FAILURES: usize = 8;

/// Why items that are wanted are not there, by their numbers.
type Failed = HashMap<usize, String>;

impl Keeper {
    /// Reads the files and makes what runs what they say.
    ///
    /// # Errors
    /// All that is wrong with them, or what refuses a change; everything is as it was then.
    pub(super) async fn reload(&mut self) -> Result<Report, String> {
        let wanted = self.load().await?;
        let tokens = self.tokens.open(wanted.tokens.clone()).await?;
        let metrics = self.open_metrics(wanted.metrics.clone()).await?;
        let page = self.page.prepare(wanted.web.clone()).await?;
        let objects = self.put_objects(&wanted.objects).await?;
        let old = self.table.lock().clone();
        let fates = compare(old, wanted.items.clone());
        // A clone, since what follows borrows all of this keeper.
        let table = self.table.clone();
        let _coming = table.expect(wanted.items.clone());
        let taken = |id: &str| self.runner.chardevs().info(id).is_some();
        self.fleet.expect(wanted.fleet.as_ref());
        let monitors = placed(&self.monitors, wanted.monitors.clone(), taken);
        let failed = match self.commit(&fates, &monitors.in_transaction()).await {
            Ok(failed) => failed,
            Err(why) => {
                self.fleet.expect(None);
                self.put_back(objects).await;
                return Err(why);
            }
        };
        self.runner.set_io_threads(wanted.io_threads);
        self.set_access(&wanted);
        tokens.commit(self.runner.shop.server().access().tokens());
        self.drop_objects(wanted.objects);
        let mut report = Report::default();
        self.settle(fates, failed, &mut report).await;
        self.settle_monitors(monitors, &mut report).await;
        if let Some(metrics) = metrics {
            self.metrics.set(metrics);
        }
        self.page.set(page);
        self.fleet.set(wanted.fleet);
        Ok(report)
    }

    async fn load(&self) -> Result<Wanted, String> {
        let (file, kinds) = (self.file.clone(), self.runner.chardevs().kinds());
        let (done, loaded) = tokio::sync::oneshot::channel();
        let directory = self.runner.shop.directory().to_owned();
        let load = move || {
            // Who waited for it may have gone with the daemon.
            let _ = done.send(super::load(&file, &directory, &kinds));
        };
        let spawned = chardev::new_thread("config").and_then(|thread| thread.spawn(load));
        spawned.map_err(|error| format!("no thread: {error}"))?;
        let loaded = loaded.await.map_err(|_| "its thread panicked".to_owned())?;
        loaded.map_err(|mistakes| mistakes.to_string())
    }

    /// Carries out one transaction, and says which new items failed.
    async fn commit(&self, fates: &[Fate], monitors: &[Monitor]) -> Result<Failed, String> {
        let mut failed = Failed::new();
        let mut apart = false;
        loop {
            let in_it = |at: &usize, fate: &Fate| {
                let is_apart = apart && matches!(fate, Fate::Started(..));
                !is_apart && !failed.contains_key(at)
            };
            let (actions, owners) = self.actions(fates, in_it, monitors);
            if actions.is_empty() {
                break;
            }
            let fds = self.runner.source();
            let transaction = self.runner.chardevs().transaction_with(&actions, fds);
            let (at, why) = match tokio::time::timeout(LIMIT, transaction).await {
                Ok(Ok(_)) => break,
                Ok(Err(error)) => (
                    owners.get(error.action).copied().flatten(),
                    blame(&actions, &error),
                ),
                Err(_) => (None, format!("it took more than {} s", LIMIT.as_secs())),
            };
            match at.map(|at| (at, &fates[at])) {
                Some((at, Fate::Started(..))) => _ = failed.insert(at, why),
                None if !apart && fates.iter().any(|fate| matches!(fate, Fate::Started(..))) => {
                    apart = true;
                }
                Some((_, Fate::Changed(_, item))) => {
                    return Err(format!("{}: {}: {why}", item.place, item.title()));
                }
                Some((_, Fate::Gone(kept))) => {
                    return Err(format!("{}: {why}", kept.item.title()));
                }
                _ => return Err(why),
            }
            apart |= failed.len() >= FAILURES;
        }
        if apart {
            self.open_apart(fates, &mut failed).await;
        }
        Ok(failed)
    }

    /// Opens new items by themselves, for some of them fail or take long.
    async fn open_apart(&self, fates: &[Fate], failed: &mut Failed) {
        let mut tasks = tokio::task::JoinSet::new();
        for (at, fate) in fates.iter().enumerate() {
            if let (Fate::Started(item, _), None) = (fate, failed.get(&at)) {
                let (runner, item) = (self.runner.clone(), item.clone());
                tasks.spawn(async move { (at, runner.open_all(&item).await) });
            }
        }
        while let Some(done) = tasks.join_next().await {
            if let Ok((at, Err(why))) = done {
                failed.insert(at, why);
            }
        }
    }

    /// All that the transaction does, and whose doing each is; nobody's is a monitor's.
    fn actions(
        &self,
        fates: &[Fate],
        in_it: impl Fn(&usize, &Fate) -> bool,
        monitors: &[Monitor],
    ) -> (Vec<Action>, Vec<Option<usize>>) {
        let exists = |id: &str| self.runner.chardevs().info(id).is_some();
        let history = self.runner.chardevs().default_history();
        let (mut actions, mut owners) = (Vec::new(), Vec::new());
        for (at, fate) in fates
            .iter()
            .enumerate()
            .filter(|(at, fate)| in_it(at, fate))
        {
            actions.extend(fate.actions(&exists, history));
            owners.resize(actions.len(), Some(at));
        }
        for monitor in monitors {
            let same = |old: &Monitor| old.chardev == monitor.chardev;
            let before = self.monitors.iter().find(|old| same(old));
            let differs = before.filter(|old| old.options != monitor.options);
            if let (Some(_), Some(options)) = (differs, &monitor.options) {
                let (id, options) = (monitor.chardev.clone(), options.clone());
                actions.push(Action::Change { id, options });
                owners.push(None);
            }
        }
        (actions, owners)
    }

    /// What follows the transaction: devices end and start, chardevs go, and the table is new.
    async fn settle(&self, fates: Vec<Fate>, mut failed: Failed, report: &mut Report) {
        let mut ending = Vec::new();
        let mut leaving = Vec::new();
        let history = self.runner.chardevs().default_history();
        for fate in &fates {
            leaving.extend(fate.leaving());
            match fate {
                Fate::Gone(kept) => ending.extend(kept.device.clone()),
                Fate::Changed(kept, item) => {
                    for (id, policy) in policies(&kept.item, item, history) {
                        let set = policy
                            .policy()
                            .map(|set| self.runner.chardevs().set_policy(&id, set));
                        if !matches!(set, Ok(Ok(()))) {
                            tracing::warn!("the policy of '{id}' is what it was");
                        }
                    }
                    if kept.item.device != item.device {
                        ending.extend(kept.device.clone());
                    }
                }
                Fate::Same(_) | Fate::Started(..) => {}
            }
        }
        self.runner.end_devices(&ending).await;
        self.runner.remove(&leaving).await;
        let mut table = Vec::with_capacity(fates.len());
        for (at, fate) in fates.into_iter().enumerate() {
            table.extend(self.finish(fate, failed.remove(&at), report).await);
        }
        *self.table.lock() = table;
    }

    /// Starts the device that a console has now, and reports what became of it.
    async fn finish(
        &self,
        fate: Fate,
        failed: Option<String>,
        report: &mut Report,
    ) -> Option<Kept> {
        let (item, running, names) = match fate {
            Fate::Same(kept) => {
                report.unchanged.push(kept.item.title());
                return Some(kept);
            }
            Fate::Gone(kept) => {
                report.removed.push(kept.item.title());
                return None;
            }
            Fate::Started(item, Before::Other) => (item, None, &mut report.changed),
            Fate::Started(item, _) => (item, None, &mut report.added),
            Fate::Changed(kept, item) => {
                // Somebody may have taken the device away.
                let is_there = |id: &String| self.runner.shop.roll().has(id);
                let runs =
                    kept.item.device == item.device && kept.device.as_ref().is_none_or(is_there);
                (
                    item,
                    Some(kept.device).filter(|_| runs),
                    &mut report.changed,
                )
            }
        };
        let started = match (failed, running) {
            (Some(why), _) => Err(why),
            (None, Some(device)) => Ok(device),
            (None, None) => self.runner.start_device(&item).await,
        };
        let title = item.title();
        let (state, device) = match started {
            Ok(device) => {
                names.push(title);
                (State::Running, device)
            }
            Err(why) => {
                let ids = item.chardevs.iter().rev().map(|part| part.id.clone());
                self.runner.remove(&ids.collect::<Vec<_>>()).await;
                report.failed.push((title, why.clone()));
                (State::Starting.failed(&why), None)
            }
        };
        Some(Kept {
            item,
            state,
            device,
        })
    }
}

/// Why a transaction failed; of a change with the chardev, for its console may have several.
fn blame(actions: &[Action], error: &TransactionError) -> String {
    let id = actions.get(error.action).map_or("?", Action::id);
    match &error.cause {
        ActionError::Add(error) => in_words(error),
        cause => format!("chardev '{id}': {cause}"),
    }
}
