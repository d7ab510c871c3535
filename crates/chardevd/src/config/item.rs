//! What a configuration comes to, in QEMU's terms.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use chardev::spec::Options;
use chardev_monitor::{Grant, Mode, Terms};
use chardev_qapi::opts::parse_opts;

use super::errors::Place;
use crate::devices::bus_id;
use crate::fleet;
use crate::metrics::Address;
use crate::web::Settings;

/// Everything that is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Those that others rest on come first.
    pub(crate) items: Vec<Item>,
    /// The objects by their ids: arguments of `-object`.
    pub(crate) objects: BTreeMap<String, String>,
    pub(crate) monitors: Vec<Monitor>,
    pub(crate) metrics: Option<Address>,
    pub(crate) web: Option<Settings>,
    pub(crate) fleet: Option<fleet::Settings>,
    /// Who may what, if that is said.
    pub(crate) access: Option<Vec<Grant>>,
    /// Where tokens are kept, if they are.
    pub(crate) tokens: Option<PathBuf>,
    /// How many I/O threads there may be, where that is said.
    pub(crate) io_threads: Option<usize>,
}

/// What one section of the file is made into.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) sort: Sort,
    pub(crate) name: String,
    pub(crate) place: Place,
    /// In the order in which they are added.
    pub(crate) chardevs: Vec<Part>,
    /// An argument of `-device`, for what is on the near side.
    pub(crate) device: Option<String>,
    /// Whether the device waits for the first client.
    pub(crate) held: bool,
    /// The devices of the configuration that may be plugged into it.
    pub(crate) ports: Arc<[String]>,
    pub(crate) about: About,
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sort {
    /// `[chardev.ID]`
    Chardev,
    /// `[console.NAME]`, or one of `[[lines]]`
    Console,
    /// `[[device]]`
    Device,
}

/// A chardev of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) id: String,
    pub(crate) options: Options,
}

/// What is said about a console, and does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// Where it comes from, for people.
    pub(crate) from: String,
    pub(crate) groups: Vec<String>,
    pub(crate) description: Option<String>,
}

/// A monitor.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    pub(crate) place: Place,
    /// The chardev that it is on.
    pub(crate) chardev: String,
    /// The back end of that, if it is the monitor's own.
    pub(crate) options: Option<Options>,
    pub(crate) mode: Mode,
    /// On which terms it serves.
    pub(crate) terms: Terms,
}

impl Wanted {
    /// The groups of consoles, and who is in each.
    pub(crate) fn groups(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for item in &self.items {
            for group in &item.about.groups {
                groups
                    .entry(group.clone())
                    .or_default()
                    .insert(item.name.clone());
            }
        }
        groups
    }
}

impl Item {
    /// Whether nothing is to be done to make the one of the other.
    pub(crate) fn is_same(&self, other: &Item) -> bool {
        self.chardevs == other.chardevs
            && self.device == other.device
            && self.held == other.held
            && self.about == other.about
    }

    /// Whether they stand for the same thing, before and after a reload.
    pub(crate) fn is_successor(&self, other: &Item) -> bool {
        self.sort == other.sort && self.name == other.name
    }

    /// How people and programs are told of it.
    pub(crate) fn title(&self) -> String {
        match self.sort {
            Sort::Console => self.name.clone(),
            Sort::Chardev => format!("chardev.{}", self.name),
            Sort::Device => format!("device {}", self.name),
        }
    }

    /// The chardevs and devices of others that it rests on.
    pub(crate) fn bases(&self) -> Vec<String> {
        let mut bases = Vec::new();
        for part in &self.chardevs {
            bases.extend(part.options.str("chardev").map(str::to_owned));
            bases.extend(part.options.list("chardevs").iter().cloned());
        }
        if let Some(line) = &self.device {
            let opts = parse_opts(line, "driver");
            let named = ["chardev", "peer", "bus"].map(|key| opts.get(key));
            bases.extend(named.into_iter().flatten().map(|id| bus_id(id).to_owned()));
        }
        bases.retain(|id| self.part(id).is_none());
        bases
    }

    /// Its chardev called `id`.
    pub(crate) fn part(&self, id: &str) -> Option<&Part> {
        self.chardevs.iter().find(|part| part.id == id)
    }
}
