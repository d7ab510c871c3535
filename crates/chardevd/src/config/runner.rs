//! Makes items, and takes them away again.

use std::sync::Arc;
use std::time::Duration;

use chardev::back::FdSource;
use chardev::{AddError, Chardevs};

use super::item::Item;
use crate::devices::{Workshop, on_own_thread};
use crate::startup_fds::StartupFds;

/// How long the opening of one item may take.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// How long devices may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Where items are made. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    pub(crate) shop: Workshop,
    pub(crate) fds: Arc<StartupFds>,
    /// Whether the daemon has no terminal.
    pub(crate) daemonized: bool,
    /// How many I/O threads the command line wants, which counts more than a file.
    pub(crate) io_threads: Option<usize>,
}

impl Runner {
    pub(super) fn chardevs(&self) -> &Chardevs {
        self.shop.server().chardevs()
    }

    /// How many I/O threads there may be for what is added from here on, as a file has it.
    pub(crate) fn set_io_threads(&self, wanted: Option<usize>) {
        crate::daemon::set_io_threads(self.chardevs(), self.io_threads.or(wanted));
    }

    /// The descriptors that options may name.
    pub(super) fn source(&self) -> Arc<dyn FdSource> {
        Arc::clone(&self.fds) as Arc<dyn FdSource>
    }

    /// Makes all of `item`, and returns its device.
    ///
    /// # Errors
    /// Why not, for people; then nothing of it is there.
    pub(super) async fn start(&self, item: &Item) -> Result<Option<String>, String> {
        self.open_all(item).await?;
        let started = self.start_device(item).await;
        if started.is_err() {
            let ids = item.chardevs.iter().rev().map(|part| part.id.clone());
            self.remove(&ids.collect::<Vec<_>>()).await;
        }
        started
    }

    /// Adds the chardevs of `item`.
    ///
    /// # Errors
    /// Why not, for people; then none of them is there.
    pub(super) async fn open_all(&self, item: &Item) -> Result<(), String> {
        let mut added = Vec::new();
        let opening = tokio::time::timeout(OPEN_LIMIT, self.open(item, &mut added)).await;
        let late = || format!("it did not open within {} s", OPEN_LIMIT.as_secs());
        let opened = opening.unwrap_or_else(|_| Err(late()));
        if opened.is_err() {
            added.reverse();
            self.remove(&added).await;
        }
        opened
    }

    async fn open(&self, item: &Item, added: &mut Vec<String>) -> Result<(), String> {
        for part in &item.chardevs {
            if self.daemonized && part.options.kind() == "stdio" {
                return Err("cannot use stdio with --daemonize".to_owned());
            }
            let fds = self.source();
            let adding = self.chardevs().add_with(&part.id, &part.options, fds).await;
            adding.map_err(|error| in_words(&error))?;
            added.push(part.id.clone());
        }
        Ok(())
    }

    /// Starts the device of `item`, whose chardevs are there.
    pub(super) async fn start_device(&self, item: &Item) -> Result<Option<String>, String> {
        let Some(line) = item.device.clone() else {
            return Ok(None);
        };
        let (shop, held, ports) = (self.shop.clone(), item.held, Arc::clone(&item.ports));
        // Its socket may be on a file system that takes its time.
        let start = move || shop.start(&line, &ports, |_| held);
        let started = on_own_thread("device-add", start).await;
        let started = started.and_then(|started| started);
        started.map(Some).map_err(|error| error.to_string())
    }

    /// Ends devices, and waits until they have let their chardevs go.
    pub(super) async fn end_devices(&self, ids: &[String]) {
        let roll = self.shop.roll();
        let ended = async {
            for id in ids {
                roll.end(id);
            }
            for id in ids {
                roll.gone(id).await;
            }
        };
        if tokio::time::timeout(END_LIMIT, ended).await.is_err() {
            tracing::warn!("a device that is wanted no more does not end");
        }
    }

    /// Removes chardevs that are wanted no more.
    pub(super) async fn remove(&self, ids: &[String]) {
        for id in ids {
            if self.chardevs().info(id).is_none() {
                continue;
            }
            if let Err(error) = self.chardevs().remove(id).await {
                tracing::warn!("'{id}' is wanted no more, and stays: {error}");
            }
        }
    }
}

/// Without the id, which the reader knows.
pub(super) fn in_words(error: &AddError) -> String {
    match error {
        AddError::Exists(id) => {
            format!("there is a chardev '{id}' already that the configuration does not know of")
        }
        AddError::Open { cause, .. } => cause.to_string(),
    }
}
