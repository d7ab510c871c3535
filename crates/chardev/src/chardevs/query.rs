//! front → [chardev] → back → host: what can be asked about chardevs.

use std::collections::HashSet;

use chardev_core::spec::{OptionValue, Options};
use chardev_core::{Backend, ChangeTimes, Chardev, Epoch, Given, Stats, TerminalSize};

use super::Chardevs;
use crate::tasks::Task;

/// What `query-chardev` tells of a chardev, and a little more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The id.
    pub label: String,
    /// The back end as QEMU writes it.
    pub filename: String,
    /// Whether a front end has it open.
    pub frontend_open: bool,
    /// The kind of the back end.
    pub kind: &'static str,
    /// The slave's path, for the kind `pty`.
    pub pty: Option<String>,
    /// Whether the back end is [open](crate::FrontEnd::is_open).
    pub open: bool,
}

/// What is counted and measured about one chardev.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// Which life of the id this is: what the offsets count from.
    pub epoch: Option<Epoch>,
    /// Counters and offsets.
    pub stats: Stats,
    /// Who the present peer is, where the kind can tell.
    pub peer: Option<String>,
    /// How many viewers there are.
    pub viewers: usize,
    /// The offset of the oldest byte of output that is kept for viewers.
    pub oldest_kept: u64,
    /// Output bytes that wait for a peer: a history, or what a replaced ring buffer held.
    pub output_pending: u64,
    /// Output bytes in the ring buffer that nobody has read, if it is one.
    pub ring_unread: Option<u64>,
    /// Input bytes that outlived their source and wait for the front end.
    pub input_pending: u64,
    /// Bytes that wait for the disk on their way to the log.
    pub log_pending: u64,
    /// Why the log is not written, where that is known.
    pub log_trouble: Option<String>,
    /// The size of the terminal at its other end, if that is known.
    pub size: Option<TerminalSize>,
    /// Which output the present back end is given.
    pub given: Given,
    /// How long the last changes took; `None` before the first.
    pub change_times: Option<ChangeTimes>,
}

impl Chardevs {
    /// All chardevs in the order they were created (`query-chardev`).
    pub fn list(&self) -> Vec<Info> {
        self.registry
            .all()
            .iter()
            .map(|chardev| chardev.with(Info::of))
            .collect()
    }

    /// What goes on in the background, the oldest first: drains of what was replaced, timers,
    /// connects. Does not wait.
    pub fn tasks(&self) -> Vec<Task> {
        self.shared.tasks().all()
    }

    /// Whether there is a chardev `id`.
    pub fn contains(&self, id: &str) -> bool {
        self.registry.get(id).is_some()
    }

    /// The chardevs that have a connection to break, in the order they were created
    /// (`query-yank`).
    pub fn yankable(&self) -> Vec<String> {
        let mut labels = Vec::new();
        for chardev in self.registry.all() {
            chardev.with(|chardev| {
                if chardev.is_yankable() {
                    labels.push(chardev.label().to_owned());
                }
            });
        }
        labels
    }

    /// Whether there is a chardev `id` with a connection to break.
    pub fn is_yankable(&self, id: &str) -> bool {
        let chardev = self.registry.get(id);
        chardev.is_some_and(|chardev| chardev.with(|chardev| chardev.is_yankable()))
    }

    /// The counters of chardev `id`.
    pub fn stats(&self, id: &str) -> Option<Stats> {
        Some(self.registry.get(id)?.with(|chardev| chardev.stats()))
    }

    /// How many viewers chardev `id` has.
    pub fn viewers(&self, id: &str) -> Option<usize> {
        Some(self.registry.get(id)?.with(|chardev| chardev.viewers()))
    }

    /// Everything that is counted and measured about chardev `id`.
    pub fn details(&self, id: &str) -> Option<Details> {
        Some(self.registry.get(id)?.with(Details::of))
    }

    /// What is known of all chardevs, in the order they were created, or of chardev `id` alone.
    pub fn accounts(&self, id: Option<&str>) -> Vec<(Info, Details)> {
        let wanted = match id {
            Some(id) => self.registry.get(id).into_iter().collect(),
            None => self.registry.all(),
        };
        let account = |chardev: &mut Chardev| (Info::of(chardev), Details::of(chardev));
        wanted.iter().map(|chardev| chardev.with(account)).collect()
    }

    /// What is to be known of chardev `id`, if there is one.
    pub fn info(&self, id: &str) -> Option<Info> {
        Some(self.registry.get(id)?.with(Info::of))
    }
}

impl Chardevs {
    /// The options that make every chardev what it is now, those that others rest on first.
    pub fn options(&self) -> Vec<(String, Options)> {
        let mut left: Vec<(String, Options)> = Vec::new();
        for chardev in self.registry.all() {
            let kept = chardev.with(|chardev| {
                let mut options = chardev.options()?.clone();
                if let Some(hub) = chardev.hub() {
                    options.set("chardevs", OptionValue::List(hub.labels()));
                }
                Some((chardev.label().to_owned(), options))
            });
            left.extend(kept);
        }
        let mut sorted = Vec::with_capacity(left.len());
        // Each turn takes those that rest on nothing that is left; nothing rests on itself.
        while !left.is_empty() {
            let names: HashSet<String> = left.iter().map(|(id, _)| id.clone()).collect();
            let (free, resting): (Vec<_>, Vec<_>) = left
                .into_iter()
                .partition(|(_, options)| !bases(options).any(|base| names.contains(base)));
            if free.is_empty() {
                sorted.extend(resting);
                break;
            }
            sorted.extend(free);
            left = resting;
        }
        sorted
    }
}

/// The chardevs that one with these options rests on.
fn bases(options: &Options) -> impl Iterator<Item = &str> {
    let one = options.str("chardev").into_iter();
    one.chain(options.list("chardevs").iter().map(String::as_str))
}

impl Details {
    fn of(chardev: &mut Chardev) -> Self {
        let (oldest, _) = chardev.scrollback();
        Details {
            epoch: chardev.epoch(),
            stats: chardev.stats(),
            peer: chardev.peer(),
            viewers: chardev.viewers(),
            oldest_kept: oldest,
            output_pending: chardev.output_pending() as u64,
            ring_unread: chardev.ring_len().map(|len| len as u64),
            input_pending: chardev.input_pending() as u64,
            log_pending: chardev.log_pending(),
            log_trouble: chardev.log_trouble(),
            size: chardev.terminal_size(),
            given: chardev.given(),
            change_times: chardev.change_times(),
        }
    }
}

impl Info {
    fn of(chardev: &mut Chardev) -> Self {
        Info {
            label: chardev.label().to_owned(),
            filename: chardev.filename(),
            frontend_open: chardev.frontend_open(),
            kind: chardev.kind(),
            pty: chardev.pty(),
            open: chardev.is_open(),
        }
    }

    /// What will be true once a change to `backend` has happened.
    pub(crate) fn ahead(label: &str, backend: &mut dyn Backend, frontend_open: bool) -> Self {
        Info {
            label: label.to_owned(),
            filename: backend.filename(),
            frontend_open,
            kind: backend.kind(),
            pty: backend.peers().and_then(|peers| peers.pty()),
            open: backend.is_open(),
        }
    }
}
