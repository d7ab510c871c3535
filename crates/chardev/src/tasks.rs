//! Background work for chardevs, all in one list: drains, timers, connects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something that goes on for a chardev in the background, and ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The chardev's label; one that was removed may still be drained.
    pub label: String,
    /// What it is.
    pub kind: TaskKind,
    /// How long it has been going on.
    pub age: Duration,
    /// Of a drain: the bytes that were accepted and that the old peer has not taken, as far as this
    /// is known.
    pub undelivered: Option<u64>,
}

/// What may go on for a chardev in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// A peer is looked for: a server is connected to, a first client waited for, a device that
    /// has gone opened again.
    Connect,
    /// A replaced back end, or a peer that was let go, is given what it is owed.
    Drain,
    /// Something is done when a time is over.
    Timer,
}

impl TaskKind {
    /// Its name in the answer of `x-query-chardev-tasks`.
    pub const fn name(self) -> &'static str {
        match self {
            TaskKind::Connect => "connect",
            TaskKind::Drain => "drain",
            TaskKind::Timer => "timer",
        }
    }
}

/// The list of a process's chardevs.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    next: u64,
    /// By their numbers, which only rise.
    entries: Vec<(u64, Entry)>,
}

#[derive(Debug)]
struct Entry {
    label: String,
    kind: TaskKind,
    began: Instant,
    undelivered: Arc<AtomicU64>,
}

/// A task's place in the list, until it is dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    tasks: Arc<Tasks>,
    number: u64,
    undelivered: Arc<AtomicU64>,
}

/// Nothing is known of what is undelivered.
const UNKNOWN: u64 = u64::MAX;

impl Tasks {
    /// Lists a task that begins now.
    pub(crate) fn begin(self: &Arc<Self>, label: &str, kind: TaskKind) -> Listed {
        let undelivered = Arc::new(AtomicU64::new(UNKNOWN));
        let mut list = self.lock();
        let number = list.next;
        list.next += 1;
        let entry = Entry {
            label: label.to_owned(),
            kind,
            began: Instant::now(),
            undelivered: Arc::clone(&undelivered),
        };
        list.entries.push((number, entry));
        Listed {
            tasks: Arc::clone(self),
            number,
            undelivered,
        }
    }

    /// All of them, the oldest first.
    pub(crate) fn all(&self) -> Vec<Task> {
        let list = self.lock();
        let tasks = list.entries.iter().map(|(_, entry)| {
            let undelivered = entry.undelivered.load(Ordering::Relaxed);
            Task {
                label: entry.label.clone(),
                kind: entry.kind,
                age: entry.began.elapsed(),
                undelivered: (undelivered != UNKNOWN).then_some(undelivered),
            }
        });
        tasks.collect()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listed {
    /// Says how much is still to be delivered.
    pub(crate) fn set_undelivered(&self, bytes: u64) {
        self.undelivered.store(bytes, Ordering::Relaxed);
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut list = self.tasks.lock();
        let at = list
            .entries
            .binary_search_by_key(&self.number, |(number, _)| *number);
        if let Ok(at) = at {
            list.entries.remove(at);
        }
    }
}
