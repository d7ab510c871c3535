//! Changes, step by step: at each step the console goes on, and none that fails leaves a trace.

use std::sync::atomic::Ordering::Relaxed;

use chardev_core::{BackendId, Change, ChangeError, Closed, NewBackend, Offer, Old, Stats, Step};

use super::handover::{Beside, Keeps, commit_beside};
use super::log::SimLog;
use super::peer::{Peer, Touched};
use super::{Sim, new_peer, policy};

/// A change under way.
pub(super) struct Pending {
    change: Change,
    offer: Option<Offered>,
}

struct Offered {
    offer: Offer,
    new: NewBackend,
    peer: Peer,
    log: Option<SimLog>,
    closed: Option<Closed>,
    /// Which front end was asked.
    asked: Option<u64>,
}

impl Pending {
    pub(super) fn peer(&self) -> Option<&Peer> {
        self.offer.as_ref().map(|offered| &offered.peer)
    }
}

/// What a change that does not happen must leave as it was.
#[derive(Debug, PartialEq)]
struct Visible {
    stats: Stats,
    slot: u64,
    touched: Touched,
    open: bool,
    frontend_open: bool,
    woken: [usize; 2],
}

pub(super) fn begin_change(sim: &mut Sim) {
    let before = sim.visible();
    let fixed = sim
        .front
        .as_ref()
        .is_some_and(|front| front.hooks.fixed.load(Relaxed));
    match Change::begin(&sim.chardev) {
        Ok(change) => {
            sim.expect(
                sim.pending.is_none() && !fixed,
                "this change must not begin",
            );
            sim.pending = Some(Pending {
                change,
                offer: None,
            });
        }
        Err(error) => {
            let expected = match fixed {
                true => {
                    sim.failures += 1;
                    ChangeError::NotSwappable
                }
                false => ChangeError::Busy("con0".to_owned()),
            };
            sim.expect(sim.pending.is_some() || fixed, "this change must begin");
            sim.expect(error == expected, "the error says why");
        }
    }
    sim.check_invisible(&before);
}

pub(super) fn offer_change(sim: &mut Sim) {
    let Some(mut pending) = sim.pending.take() else {
        return;
    };
    let before = sim.visible();
    sim.next_id += 1;
    let handover = sim.rng.one_in(3);
    let peer = match handover {
        true => sim.taker_over(),
        false => new_peer(&mut sim.rng, sim.next_id, &sim.book, sim.load),
    };
    peer.world().fail_activate = sim.rng.one_in(6);
    let closed = sim.rng.one_in(3).then(|| policy(&mut sim.rng));
    let log = sim
        .rng
        .one_in(6)
        .then(|| SimLog::new(sim.rng.size(), sim.rng.one_in(2)));
    let backend = peer.backend(closed == Some(Closed::Hold));
    let mut new = NewBackend::new(BackendId(sim.next_id), backend);
    new.policy.closed = closed;
    new.handover = handover;
    new.log = log.clone().map(|log| Box::new(log) as _);
    let refused = sim.refusal();
    let outcome = pending.change.offer(&mut new);
    sim.check_invisible(&before);
    match outcome {
        Ok(offer) => {
            sim.expect(refused.is_none(), "the front end was not heard");
            sim.expect(
                peer.world().line == sim.line,
                "the new back end has the line",
            );
            pending.offer = Some(Offered {
                offer,
                new,
                peer,
                log,
                closed,
                asked: sim.front.as_ref().map(|_| sim.fronts),
            });
            sim.pending = Some(pending);
        }
        Err(error) => {
            sim.expect(Some(error) == refused, "the error says why");
            drop(new);
            drop(pending);
            sim.failures += 1;
            sim.check_invisible(&before);
        }
    }
}

pub(super) fn commit_change(sim: &mut Sim) {
    let Some(Pending { change, offer }) = sim.pending.take() else {
        return;
    };
    let Some(mut offered) = offer else {
        sim.pending = Some(Pending {
            change,
            offer: None,
        });
        return;
    };
    let before = sim.visible();
    let old = match sim.rng.one_in(3) {
        true => Old::Park,
        false => Old::Retire,
    };
    let present = sim.front.as_ref().map(|_| sim.fronts);
    let unasked = present.is_some() && present != offered.asked;
    let refused = sim.refusal().filter(|_| unasked);
    let fails = offered.peer.world().fail_activate;
    let keeps = match offered.new.handover {
        true => sim.keeps_peer(&offered.peer),
        false => Keeps::Nobody,
    };
    let words = match keeps {
        Keeps::Peer => sim.rng.below(5) as usize,
        Keeps::Nobody | Keeps::Impossible => 0,
    };
    offered.new.final_output = sim.book().numbers(words);
    let step = Step::Change {
        change,
        offer: offered.offer,
        new: offered.new,
        old,
    };
    let beside = sim.rng.one_in(6).then(Beside::new);
    let outcome = commit_beside(step, beside.as_ref(), sim.rng.one_in(2));
    let error = match outcome {
        Ok(drainers) => {
            let must_fail =
                refused.is_some() || fails || beside.is_some() || keeps == Keeps::Impossible;
            sim.expect(!must_fail, "this change must fail");
            sim.changes += 1;
            sim.book().accepted += words as u64;
            let kept = keeps == Keeps::Peer;
            sim.handovers += u64::from(kept);
            let retired = match kept {
                true => sim.hand_over(offered.peer, offered.closed, offered.log),
                false => sim.adopt(offered.peer, old, offered.closed, offered.log),
            };
            sim.expect(
                retired.len() == drainers.len(),
                "one drainer for each that goes",
            );
            let now = sim.now;
            let drains = drainers.into_iter().zip(retired);
            sim.drains
                .extend(drains.map(|(drainer, peer)| (drainer, now, peer)));
            sim.see_slot();
            return;
        }
        Err(error) => error,
    };
    sim.failures += 1;
    let told = match (fails, refused) {
        (true, _) => error == ChangeError::Open("no".into()),
        (false, Some(refused)) => error == refused,
        (false, None) => {
            sim.failed_handovers += 1;
            let slot = sim.slot.number;
            sim.is_refused_handover(&error, keeps, slot, beside.is_some())
        }
    };
    sim.expect(told, "the error says why");
    if let Some(beside) = beside {
        sim.expect(beside.is_untouched(), "another part of it happened");
    }
    let activated = offered.log.is_some_and(|log| log.state().activated > 0);
    sim.expect(!activated, "the log of a failed change went live");
    sim.check_invisible(&before);
}

pub(super) fn abandon_change(sim: &mut Sim) {
    let before = sim.visible();
    if sim.pending.take().is_some() {
        sim.failures += 1;
    }
    sim.check_invisible(&before);
}

/// Most changes have nothing between their steps.
pub(super) fn change_at_once(sim: &mut Sim) {
    begin_change(sim);
    offer_change(sim);
    commit_change(sim);
}

impl Sim {
    /// What the present front end answers if it is asked, where it does not agree.
    fn refusal(&self) -> Option<ChangeError> {
        let hooks = &self.front.as_ref()?.hooks;
        if hooks.fixed.load(Relaxed) {
            return Some(ChangeError::NotSwappable);
        }
        let refuses = hooks.refuses.load(Relaxed);
        refuses.then(|| ChangeError::Refused {
            id: "con0".to_owned(),
            reason: "not now".to_owned(),
        })
    }

    /// Notes a change that happened; returns who was replaced, in the order of the drainers.
    fn adopt(
        &mut self,
        new: Peer,
        old: Old,
        closed: Option<Closed>,
        log: Option<SimLog>,
    ) -> Vec<Peer> {
        let former = self.go_on_with(new, closed, log);
        self.owe_changed(false);
        // A temporary peer that had left by now was gone before the change.
        let retired = |peer: &Peer| peer.world().retired;
        match old {
            Old::Park if self.parked.is_none() => {
                self.parked = Some(former);
                Vec::new()
            }
            Old::Park => Some(former).into_iter().filter(retired).collect(),
            Old::Retire => {
                let gone = [Some(former), self.parked.take()].into_iter().flatten();
                gone.filter(retired).collect()
            }
        }
    }

    /// Notes what a change that happened brought; returns what was in the slot.
    pub(super) fn go_on_with(
        &mut self,
        new: Peer,
        closed: Option<Closed>,
        log: Option<SimLog>,
    ) -> Peer {
        let former = std::mem::replace(&mut self.slot, new);
        self.expect(
            self.slot.world().touched.activated == 1,
            "a back end goes live once",
        );
        self.closed = closed.unwrap_or(self.closed);
        if let Some(log) = log {
            self.expect(log.state().activated == 1, "a log goes live once");
            self.log = Some(log);
        }
        former
    }

    fn visible(&self) -> Visible {
        let touched = self.slot.world().touched;
        let woken = match &self.front {
            Some(front) => [front.can_read.0.count(), front.can_write.0.count()],
            None => [0; 2],
        };
        self.chardev.with(|chardev| Visible {
            stats: Stats {
                changes_failed: 0,
                ..chardev.stats()
            },
            slot: chardev.filename().parse().unwrap_or_default(),
            touched,
            open: chardev.is_open(),
            frontend_open: chardev.frontend_open(),
            woken,
        })
    }

    fn check_invisible(&self, before: &Visible) {
        let after = self.visible();
        if after != *before {
            self.fail(&format!(
                "a change that has not happened shows: {before:?} became {after:?}"
            ));
        }
    }
}
