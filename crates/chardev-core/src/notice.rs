//! What happens to chardevs, for whoever watches over all of them: a monitor, metrics.
//!
//! Nobody stores a callback: an [`Observer`] has a queue and reads it. The queue is bounded. What
//! has not been read yet is merged with what follows of its kind; one chardev can fill an eighth
//! of the queue; and what had to be left out is counted. Drops are told once in an interval for
//! each chardev and reason, with their sum.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use crate::chardev::Chardev;
use crate::epoch::Epoch;
use crate::line::TerminalSize;
use crate::registry::Registry;
use crate::seldom::Seldom;
use crate::stats::{DropReason, Stats};

/// The most notices that wait for one observer.
const LIMIT: usize = 256;
/// The most of them that are about one chardev.
const LIMIT_EACH: usize = LIMIT / 8;
/// How much time lies between two notices of drops of one chardev for one reason.
const DROP_INTERVAL: Duration = Duration::from_secs(1);

/// Something that happened to a chardev.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A peer is there.
    Connected {
        /// Who it is, where the kind can tell.
        peer: Option<String>,
    },
    /// The peer is gone, or belongs to a back end that is being replaced.
    Disconnected {
        /// Who it was, where the kind could tell.
        peer: Option<String>,
    },
    /// The back end was replaced; of several that were not read in time this is the last.
    Changed {
        /// The kind of the new back end.
        kind: &'static str,
        /// The new back end as `query-chardev` shows it.
        filename: String,
        /// The absolute output offset at which the new one took over.
        offset: u64,
        /// How many changes this notice stands for.
        count: u64,
    },
    /// A replaced back end has delivered what it had accepted, or has given up.
    Drained {
        /// Bytes that its peer never took.
        undelivered: u64,
    },
    /// There was no memory for what its ring buffer or history would have had room for: the
    /// oldest bytes went early, counted as overwritten.
    OutOfMemory,
    /// The terminal at its other end has another size; of several that were not read in time this
    /// is the last.
    Resized {
        /// The size.
        size: TerminalSize,
        /// Where in the output that was.
        offset: u64,
    },
    /// Output is missing in the log from `offset` on.
    LogHole {
        /// The absolute offset of the first byte that is missing.
        offset: u64,
        /// How many bytes are missing; `None` while that goes on.
        bytes: Option<u64>,
        /// Why the log is not written, where that is known.
        cause: Option<String>,
    },
    /// Bytes were dropped.
    Dropped {
        /// Why.
        reason: DropReason,
        /// How many since the last notice.
        bytes: u64,
        /// How many altogether since the chardev was created.
        total: u64,
    },
}

impl Notice {
    fn changes(&self) -> u64 {
        match self {
            Notice::Changed { count, .. } => *count,
            _ => 0,
        }
    }
}

/// What [`Observer::poll`] brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// This happened to the chardev with this id, in this life.
    Notice(String, Epoch, Notice),
    /// Notices were left out because they were not read in time: this many since the last report.
    Lost(u64),
    /// Nothing now. The waker is woken when there is; with a time, on the clock of `now`, look
    /// again at that time too.
    Nothing(Option<Duration>),
}

/// All observers of a registry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notices(Arc<Observers>);

#[derive(Debug, Default)]
struct Observers {
    count: AtomicUsize,
    queues: Mutex<Vec<Weak<Mutex<Queue>>>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(String, Epoch, Notice)>,
    lost: u64,
    /// When drops were told last.
    told: Vec<(String, DropReason, Duration)>,
    waker: Option<Waker>,
}

/// Reads what happens to all chardevs of a `Chardevs`.
///
/// It has a queue of 256 notices, an eighth of which one chardev can fill. What is not read in time
/// is merged with what follows of its kind, or left out and counted ([`Observed::Lost`]).
#[derive(Debug)]
pub struct Observer {
    queue: Arc<Mutex<Queue>>,
    notices: Notices,
}

/// What of a chardev has been told already.
#[derive(Debug, Default)]
pub(crate) struct Told {
    joined: Option<Joined>,
    /// The peer that was told to be there, and its name.
    peer: Option<Option<String>>,
    dropped: Seldom<[u64; DropReason::ALL.len()]>,
}

/// What makes it one of a registry's.
#[derive(Debug)]
struct Joined {
    notices: Notices,
    epoch: Epoch,
}

impl Notices {
    fn push(&self, label: &str, epoch: Epoch, notice: &Notice) -> Vec<Waker> {
        let mut queues = lock(&self.0.queues);
        queues.retain(|queue| queue.strong_count() > 0);
        let queues = queues.iter().filter_map(Weak::upgrade);
        queues
            .filter_map(|queue| lock(&queue).push(label, epoch, notice.clone()))
            .collect()
    }

    fn is_observed(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) > 0
    }
}

impl Queue {
    /// Takes a notice in; returns whom to wake.
    fn push(&mut self, label: &str, epoch: Epoch, notice: Notice) -> Option<Waker> {
        if self.merge(label, epoch, &notice) {
            return None;
        }
        let same = |(other, ..): &&(String, Epoch, Notice)| other == label;
        let crowded = self.waiting.iter().filter(same).count() >= LIMIT_EACH;
        if crowded || self.waiting.len() >= LIMIT {
            // A drop that was not told would be a silent one.
            let spare = |(other, _, notice): &(String, Epoch, Notice)| {
                (!crowded || other == label) && !matches!(notice, Notice::Dropped { .. })
            };
            let oldest = self.waiting.iter().position(spare);
            self.waiting.remove(oldest.unwrap_or(0));
            self.lost += 1;
        }
        self.waiting.push_back((label.to_owned(), epoch, notice));
        self.waker.take()
    }

    /// Whether something that waits can stand for `notice` too.
    fn merge(&mut self, label: &str, epoch: Epoch, notice: &Notice) -> bool {
        let own = self.waiting.iter_mut().rev();
        for (.., waiting) in own.filter(|(other, life, _)| other == label && *life == epoch) {
            match (waiting, notice) {
                (
                    Notice::Dropped {
                        reason: same,
                        bytes: sum,
                        total: all,
                    },
                    Notice::Dropped {
                        reason,
                        bytes,
                        total,
                    },
                ) if same == reason => {
                    *sum += bytes;
                    *all = *total;
                    return true;
                }
                // A hole that has ended before anybody heard of it is told once.
                (
                    Notice::LogHole {
                        offset: same,
                        bytes: open @ None,
                        ..
                    },
                    Notice::LogHole {
                        offset,
                        bytes: Some(bytes),
                        ..
                    },
                ) if same == offset => {
                    *open = Some(*bytes);
                    return true;
                }
                (Notice::Drained { undelivered }, Notice::Drained { undelivered: more }) => {
                    *undelivered += more;
                    return true;
                }
                (waiting @ Notice::Changed { .. }, Notice::Changed { .. }) => {
                    let earlier = waiting.changes();
                    *waiting = notice.clone();
                    if let Notice::Changed { count, .. } = waiting {
                        *count += earlier;
                    }
                    return true;
                }
                (Notice::OutOfMemory, Notice::OutOfMemory) => return true,
                (waiting @ Notice::Resized { .. }, Notice::Resized { .. }) => {
                    *waiting = notice.clone();
                    return true;
                }
                // The changes before and after a peer came are two.
                (
                    Notice::Connected { .. } | Notice::Disconnected { .. },
                    Notice::Changed { .. },
                ) => return false,
                _ => {}
            }
        }
        false
    }

    fn take(&mut self, now: Duration) -> Observed {
        if self.lost > 0 {
            return Observed::Lost(std::mem::take(&mut self.lost));
        }
        self.told.retain(|(_, _, at)| now < *at + DROP_INTERVAL);
        let mut due: Option<Duration> = None;
        for index in 0..self.waiting.len() {
            let (label, _, notice) = &self.waiting[index];
            if let Notice::Dropped { reason, .. } = notice {
                let same = |(told, why, _): &&(String, DropReason, Duration)| {
                    told == label && why == reason
                };
                if let Some((_, _, at)) = self.told.iter().find(same) {
                    let at = *at + DROP_INTERVAL;
                    due = Some(due.map_or(at, |due| due.min(at)));
                    continue;
                }
                // More chardevs than this drop at once only where nobody reads the notices anyway.
                if self.told.len() < LIMIT {
                    self.told.push((label.clone(), *reason, now));
                }
            }
            if let Some((label, epoch, notice)) = self.waiting.remove(index) {
                return Observed::Notice(label, epoch, notice);
            }
        }
        Observed::Nothing(due)
    }
}

impl Observer {
    pub(crate) fn new(notices: &Notices) -> Self {
        let queue = Arc::<Mutex<Queue>>::default();
        lock(&notices.0.queues).push(Arc::downgrade(&queue));
        notices.0.count.fetch_add(1, Ordering::Relaxed);
        Observer {
            queue,
            notices: notices.clone(),
        }
    }

    /// What happened next; returns at once. Call it until it returns [`Observed::Nothing`].
    ///
    /// `now` is the time since any fixed moment, the same for every call, such as
    /// `start.elapsed()`: drops of one chardev for one reason are told once a second.
    pub fn poll(&mut self, waker: &Waker, now: Duration) -> Observed {
        let mut queue = lock(&self.queue);
        let observed = queue.take(now);
        if matches!(observed, Observed::Nothing(_)) {
            queue.waker = Some(waker.clone());
        }
        observed
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.notices.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Registry {
    /// Reports what happens to all chardevs.
    pub fn observe(&self) -> Observer {
        Observer::new(&self.notices)
    }
}

impl Chardev {
    /// It has become one of a registry's chardevs.
    pub(crate) fn join(&mut self, notices: &Notices, epoch: Epoch) {
        self.told.joined = Some(Joined {
            notices: notices.clone(),
            epoch,
        });
        self.tell_dropped_from_here();
        self.tell_peer();
    }

    /// Which life of the name this is; `None` for one that is in no registry.
    pub fn epoch(&self) -> Option<Epoch> {
        self.told.joined.as_ref().map(|joined| joined.epoch)
    }

    /// What was dropped before is not told.
    fn tell_dropped_from_here(&mut self) {
        let now = dropped(&self.stats);
        if now != *self.told.dropped {
            *self.told.dropped = now;
        }
    }

    /// A peer has come. One that was not told to have gone has been replaced.
    pub(crate) fn tell_connected(&mut self) {
        let peer = self.backend.peer();
        if self.told.peer.as_ref() == Some(&peer) && peer.is_some() {
            return;
        }
        self.tell_disconnected();
        self.told.peer = Some(peer.clone());
        self.tell(Notice::Connected { peer });
    }

    /// The peer is gone.
    pub(crate) fn tell_disconnected(&mut self) {
        if let Some(peer) = self.told.peer.take() {
            self.tell(Notice::Disconnected { peer });
        }
    }

    /// The peer has left by itself. One without a name that was there when the back end came was
    /// not told to be there.
    pub(crate) fn tell_gone(&mut self) {
        let peer = self.told.peer.take().flatten();
        self.tell(Notice::Disconnected { peer });
    }

    /// Another back end is in the slot.
    pub(crate) fn tell_changed(&mut self) {
        self.told_out_of_memory = false;
        let present = self.present_peer();
        if self.told.peer.is_some() && self.told.peer != present {
            self.tell_disconnected();
        }
        self.tell(Notice::Changed {
            kind: self.backend.kind(),
            filename: self.backend.filename(),
            offset: self.stats.output_accepted,
            count: 1,
        });
        self.tell_peer();
    }

    /// A replaced back end has come to its end.
    pub(crate) fn tell_drained(&mut self, undelivered: u64) {
        self.tell(Notice::Drained { undelivered });
    }

    /// There was no memory for output that was to be kept.
    pub(crate) fn tell_out_of_memory(&mut self) {
        if !std::mem::replace(&mut self.told_out_of_memory, true) {
            self.tell(Notice::OutOfMemory);
        }
    }

    /// Looks whether anything was dropped since the last look.
    pub(crate) fn tell_dropped(&mut self) {
        if self.tap.take_shortage() {
            self.tell_out_of_memory();
        }
        let joined = self.told.joined.as_ref();
        let observed = joined.is_some_and(|joined| joined.notices.is_observed());
        if !observed {
            return;
        }
        let now = dropped(&self.stats);
        if now == *self.told.dropped {
            return;
        }
        let before = std::mem::replace(&mut *self.told.dropped, now);
        for ((reason, before), total) in DropReason::ALL.into_iter().zip(before).zip(now) {
            if total > before {
                self.tell(Notice::Dropped {
                    reason,
                    bytes: total - before,
                    total,
                });
            }
        }
    }

    /// The name of the peer that is there, where the kind can tell that one is.
    pub fn peer(&mut self) -> Option<String> {
        self.present_peer().flatten()
    }

    fn present_peer(&mut self) -> Option<Option<String>> {
        let open = self.backend.is_open();
        let peer = self.backend.peer().filter(|_| open);
        peer.map(Some)
    }

    fn tell_peer(&mut self) {
        if self.present_peer().is_some() {
            self.tell_connected();
        }
    }

    pub(crate) fn tell(&mut self, notice: Notice) {
        let joined = self.told.joined.as_ref();
        if let Some(Joined { notices, epoch }) = joined.filter(|it| it.notices.is_observed()) {
            let woken = notices.push(&self.label, *epoch, &notice);
            self.wakes.extend(woken);
        }
    }
}

fn dropped(stats: &Stats) -> [u64; DropReason::ALL.len()] {
    DropReason::ALL.map(|reason| stats.dropped(reason))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
