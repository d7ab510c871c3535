//! The seeded simulator: one console, and everything that can happen to it in any order.
//!
//! A script is made from its seed alone. After each step the books must balance (`book.rs`): no
//! byte lost, doubled or out of order in either direction, counters that add up, events that
//! pair, nobody left asleep, and no trace of a change that did not happen. A failure prints its
//! seed and the last steps; `SIM_SEED=0x… cargo test -p chardev-core sim` runs that script
//! alone, and `SIM_STEPS=…` sets how many steps each test takes.
//!
//! A new kind of step is a function and a line in [`ACTIONS`].

mod actions;
mod backend;
mod book;
mod change;
mod checks;
mod found;
mod front;
mod handover;
mod log;
mod peer;

use std::fmt::Write as _;
use std::sync::MutexGuard;
use std::time::Duration;

use chardev_core::{BackendId, ChardevRef, Closed, Drainer};

use book::Book;
use change::Pending;
use front::Front;
use log::SimLog;
use peer::{Kind, Peer, SharedBook};

use crate::rig::number;

use actions::*;
use change::{abandon_change, begin_change, change_at_once, commit_change, offer_change};

/// Steps of one test, unless `SIM_STEPS` says otherwise.
const STEPS: u64 = 1_000_000;
/// Steps of one script: one chardev from its creation to its removal.
const SCRIPT: u64 = 500;

/// A kind of step, and how often it is taken under each of the four loads.
type Action = (&'static str, fn(&mut Sim), [u32; 4]);

/// The loads: even, many changes, rings and logs, peers that come and go.
const ACTIONS: &[Action] = &[
    ("write", write, [20, 12, 20, 12]),
    ("read", read, [14, 8, 6, 10]),
    ("read all", read_all, [3, 2, 1, 2]),
    ("peer sends", peer_sends, [12, 8, 3, 10]),
    ("peer receives", peer_receives, [12, 8, 6, 6]),
    ("peer comes", peer_comes, [4, 6, 3, 12]),
    ("peer ends", peer_ends, [1, 2, 1, 6]),
    ("peer vanishes", peer_vanishes, [1, 2, 1, 6]),
    ("peer stalls", peer_stalls, [3, 3, 1, 4]),
    ("readiness", readiness, [14, 10, 8, 12]),
    ("wrong readiness", wrong_readiness, [1, 1, 1, 1]),
    ("time passes", time_passes, [6, 8, 3, 6]),
    ("a long time passes", long_time_passes, [1, 1, 2, 1]),
    ("rest", rest, [2, 2, 2, 2]),
    ("begin change", begin_change, [1, 4, 1, 1]),
    ("offer change", offer_change, [1, 4, 1, 1]),
    ("commit change", commit_change, [1, 4, 1, 1]),
    ("abandon change", abandon_change, [1, 1, 1, 1]),
    ("change", change_at_once, [2, 12, 3, 2]),
    ("ring is read", ring_is_read, [2, 3, 8, 1]),
    ("ring is written", ring_is_written, [1, 1, 4, 1]),
    ("log drains", log_drains, [3, 3, 10, 2]),
    ("line", line, [2, 3, 1, 1]),
    ("break", send_break, [1, 1, 1, 1]),
    ("resize", resize, [1, 1, 1, 1]),
    ("disconnect", disconnect, [1, 1, 1, 2]),
    ("front attaches or detaches", attach_or_detach, [1, 2, 1, 1]),
    ("front changes its mind", change_mind, [1, 2, 1, 1]),
];

#[test]
fn even_load() {
    run(0);
}

#[test]
fn many_changes() {
    run(1);
}

#[test]
fn rings_and_logs() {
    run(2);
}

#[test]
fn peers_that_come_and_go() {
    run(3);
}

fn run(load: usize) {
    if let Some(seed) = number("SIM_SEED") {
        if seed as usize % 4 == load {
            Sim::new(seed, load).run();
        }
        return;
    }
    let scripts = number("SIM_STEPS").unwrap_or(STEPS).div_ceil(SCRIPT);
    let mut reached = Sim::new(load as u64, load).run();
    for script in 1..scripts {
        let more = Sim::new(script * 4 + load as u64, load).run();
        for (sum, (_, more)) in reached.iter_mut().zip(more) {
            sum.1 += more;
        }
    }
    let missed: Vec<_> = reached.iter().filter(|(_, count)| *count == 0).collect();
    assert!(
        missed.is_empty() || scripts < 100,
        "never reached: {missed:?}"
    );
}

/// What happened, and how often.
type Reached = [(&'static str, u64); 16];

/// A small generator (splitmix64): the whole script follows from the seed.
#[derive(Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Mostly small, at times more than any queue holds.
    fn size(&mut self) -> usize {
        let bound = [3, 12, 12, 60, 200][self.below(5) as usize];
        1 + self.below(bound) as usize
    }
}

/// One console with everything around it.
struct Sim {
    seed: u64,
    load: usize,
    rng: Rng,
    steps: u64,
    trace: Vec<&'static str>,
    chardev: ChardevRef,
    book: SharedBook,
    now: Duration,
    next_id: u64,
    /// The back end in the slot, as the machine says after each step.
    slot: Peer,
    parked: Option<Peer>,
    drains: Vec<(Drainer, Duration, Peer)>,
    front: Option<Front>,
    /// Counts front ends, so that a change knows whom it asked.
    fronts: u64,
    pending: Option<Pending>,
    log: Option<SimLog>,
    closed: Closed,
    line: chardev_core::Line,
    changes: u64,
    failures: u64,
    /// How often a parked back end came back.
    returned: u64,
    /// How often a peer was kept, and how often that failed.
    handovers: u64,
    failed_handovers: u64,
}

impl Sim {
    fn new(seed: u64, load: usize) -> Self {
        let mut rng = Rng(seed);
        let book = SharedBook::default();
        let slot = new_peer(&mut rng, 1, &book, load);
        let closed = policy(&mut rng);
        let log = rng
            .one_in(3)
            .then(|| SimLog::new(rng.size(), rng.one_in(2)));
        slot.world().live = true;
        let sink = log.clone().map(|log| Box::new(log) as _);
        let backend = slot.backend(closed == Closed::Hold);
        let chardev = ChardevRef::new("con0", BackendId(1), backend, closed, sink);
        Sim {
            seed,
            load,
            rng,
            steps: 0,
            trace: Vec::new(),
            chardev,
            book,
            now: Duration::ZERO,
            next_id: 2,
            slot,
            parked: None,
            drains: Vec::new(),
            front: None,
            fronts: 0,
            pending: None,
            log,
            closed,
            line: chardev_core::Line::default(),
            changes: 0,
            failures: 0,
            returned: 0,
            handovers: 0,
            failed_handovers: 0,
        }
    }

    /// Returns what happened at all, to see that the loads reach everything.
    fn run(mut self) -> Reached {
        let total: u64 = ACTIONS
            .iter()
            .map(|action| u64::from(action.2[self.load]))
            .sum();
        for _ in 0..SCRIPT {
            let mut pick = self.rng.below(total);
            let (name, action, _) = ACTIONS
                .iter()
                .find(|action| {
                    let weight = u64::from(action.2[self.load]);
                    let found = pick < weight;
                    pick = pick.wrapping_sub(weight);
                    found
                })
                .unwrap();
            self.step(name, *action);
        }
        self.step("end of the script", checks::end);
        let stats = self.chardev.with(|chardev| chardev.stats());
        let aside = u64::from(self.parked.is_some());
        self.trace.push("removal");
        checks::remove(&mut self);
        let poured = self.book().poured;
        let filled = self.book().filled;
        assert_eq!(
            (stats.output_spliced, stats.input_spliced),
            (poured, filled)
        );
        [
            ("bytes poured", poured),
            ("bytes filled in", filled),
            ("changes", stats.changes),
            ("failed changes", stats.changes_failed),
            ("returns of a parked back end", self.returned),
            ("kept peers", self.handovers),
            ("peers that could not be kept", self.failed_handovers),
            ("bytes from elsewhere", stats.output_injected),
            ("removals with a back end set aside", aside),
            ("bytes delivered", stats.output_delivered),
            ("bytes discarded", stats.output_discarded),
            ("bytes overwritten", stats.output_overwritten),
            ("bytes given up by a drain", stats.output_undrained),
            ("bytes missing in a log", stats.log_lost),
            ("bytes of input", stats.input_delivered),
            ("bytes of late input", stats.input_late),
        ]
    }

    fn step(&mut self, name: &'static str, action: fn(&mut Sim)) {
        self.steps += 1;
        self.trace.push(name);
        action(self);
        self.check_step();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// Ends the script with all that is needed to run it again.
    fn fail(&self, what: &str) -> ! {
        let mut last = String::new();
        for name in self.trace.iter().rev().take(25).rev() {
            let _ = write!(last, "\n    {name}");
        }
        panic!(
            "{what}\n  at step {} of seed {seed:#x}; the last steps:{last}\n  stats {:?}\n  \
             run it again: SIM_SEED={seed:#x} cargo test -p chardev-core sim",
            self.steps,
            self.chardev.with(|chardev| chardev.stats()),
            seed = self.seed,
        )
    }

    fn expect(&self, holds: bool, what: &str) {
        if !holds {
            self.fail(what);
        }
    }
}

fn policy(rng: &mut Rng) -> Closed {
    if rng.one_in(2) {
        Closed::Hold
    } else {
        Closed::Discard
    }
}

/// A back end of some kind, with or without somebody behind it.
fn new_peer(rng: &mut Rng, number: u64, book: &SharedBook, load: usize) -> Peer {
    let rings = if load == 2 { 5 } else { 2 };
    let kind = match rng.below(10) {
        n if n < rings => Kind::Ring {
            capacity: 1 << rng.below(8),
        },
        9 => Kind::Null,
        n => Kind::Stream {
            latency: n % 2 == 0,
        },
    };
    let peer = Peer::new(number, kind, book);
    if rng.one_in(2) {
        peer.come(rng.size());
    }
    peer
}
