//! The task that keeps what runs as the file says: the start, further attempts, reloads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::commands::{Asked, Config};
use super::item::{Item, Monitor, Wanted};
use super::order::stages;
use super::report::Report;
use super::runner::Runner;
use super::table::{Kept, State, Table};
use crate::fleet::Membership;
use crate::metrics::Configured;
use crate::service;
use crate::tokens::Store;
use crate::web::Page;

/// How long the start of the daemon waits for what takes its time.
const START_LIMIT: Duration = Duration::from_secs(2);

/// What the keeper is asked for.
#[derive(Debug)]
pub(crate) enum Request {
    /// Read the files again and tell what came of it: on a refusal, all that is wrong.
    Reload(oneshot::Sender<Result<Report, String>>),
    /// The same, for nobody who waits for an answer.
    HangUp,
}

/// Keeps what runs as the file says.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(super) file: PathBuf,
    pub(super) runner: Runner,
    pub(super) table: Table,
    /// The objects that the file has, by their ids.
    pub(super) objects: BTreeMap<String, String>,
    pub(super) monitors: Vec<Monitor>,
    pub(super) metrics: Configured,
    pub(super) tokens: Store,
    pub(super) page: Page,
    pub(super) fleet: Membership,
    requests: Asked,
}

impl Keeper {
    /// One that starts what `config` says with `runner`, and is asked by `asked`.
    pub(crate) fn new(config: &Config, asked: Asked, runner: Runner) -> Self {
        Keeper {
            file: config.file().unwrap_or(Path::new("")).to_owned(),
            runner,
            table: config.table.clone(),
            objects: BTreeMap::new(),
            monitors: Vec::new(),
            metrics: config.metrics.clone(),
            tokens: config.tokens.clone(),
            page: config.page.clone(),
            fleet: config.fleet.clone(),
            requests: asked,
        }
    }

    /// Starts all items and keeps them from then on. Waits until they are there or have failed,
    /// but no longer than a moment.
    pub(crate) async fn begin(mut self, wanted: Wanted) {
        self.set_access(&wanted);
        self.objects = wanted.objects;
        self.monitors = wanted.monitors;
        let kept = |item: &Item| Kept {
            item: item.clone(),
            state: State::Starting,
            device: None,
        };
        *self.table.lock() = wanted.items.iter().map(kept).collect();
        let (done, started) = oneshot::channel();
        let worker = self.runner.shop.clone();
        worker.worker().spawn(async move {
            for stage in stages(wanted.items) {
                self.try_all(stage).await;
            }
            // Who waited for it may have gone on.
            let _ = done.send(());
            self.keep().await;
        });
        let waited = async {
            let _ = started.await;
        };
        let _ = tokio::time::timeout(START_LIMIT, waited).await;
    }

    /// Who may what from now on.
    pub(super) fn set_access(&self, wanted: &Wanted) {
        let access = self.runner.shop.server().access();
        access.set_groups(wanted.groups());
        access.set(wanted.access.clone());
    }

    async fn keep(mut self) {
        let stop = self.runner.shop.server().stop().clone();
        loop {
            let next = self.table.next_try();
            let pause = next.map(|next| next.saturating_duration_since(Instant::now()));
            let due = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stop.requested() => return,
                request = self.requests.recv() => match request {
                    Some(Request::Reload(answer)) => {
                        let reloaded = self.reload_as_told().await;
                        self.tell(&reloaded);
                        // Who asked may have left.
                        let _ = answer.send(reloaded);
                    }
                    Some(Request::HangUp) => {
                        let reloaded = self.reload_as_told().await;
                        self.tell(&reloaded);
                    }
                    None => return,
                },
                () = due => {
                    let due = self.table.due(Instant::now());
                    self.try_all(due).await;
                }
            }
        }
    }

    async fn reload_as_told(&mut self) -> Result<Report, String> {
        service::reloading(true);
        let reloaded = self.reload().await;
        service::reloading(false);
        reloaded
    }

    /// Tries to start these, side by side, and notes what came of each.
    async fn try_all(&self, items: Vec<Item>) {
        let mut tasks = JoinSet::new();
        let places = self.table.places(&items);
        for (item, place) in items.into_iter().zip(places) {
            let (runner, table) = (self.runner.clone(), self.table.clone());
            tasks.spawn(async move {
                let started = runner.start(&item).await;
                let tries = table.note(&item, place, &started);
                match started {
                    Ok(_) if tries > 0 => tracing::info!("{} is there now", item.title()),
                    Ok(_) => {}
                    // Once is enough for the log; `x-query-consoles` has the latest.
                    Err(why) if tries == 0 => {
                        let name = item.title();
                        tracing::warn!("{name} ({}) failed: {why}; it is tried again", item.place);
                    }
                    Err(_) => {}
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Tells the log.
    fn tell(&self, reloaded: &Result<Report, String>) {
        let file = self.file.display();
        match reloaded {
            Ok(report) => {
                tracing::info!("{file} reloaded: {}", report.summary());
                for (name, why) in &report.failed {
                    tracing::warn!("{name} failed: {why}; it is tried again");
                }
            }
            Err(why) => {
                tracing::error!("{file} not reloaded; everything is as it was:");
                why.lines().for_each(|line| tracing::error!("{line}"));
            }
        }
    }
}
