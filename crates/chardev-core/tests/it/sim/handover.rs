//! Changes that keep the connected peer, those that cannot, and those that would have, had another
//! part of the transaction not failed.

use chardev_core::{Change, ChangeError, ChardevRef, Closed, Drainer, Old, Step, commit};

use super::Sim;
use super::log::SimLog;
use super::peer::{Kind, Peer};
use crate::rig;

/// What becomes of the peer of the back end in the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeps {
    Peer,
    /// Nobody is there, or nobody is to be kept.
    Nobody,
    /// Somebody is there who cannot be kept, so nothing may happen.
    Impossible,
}

/// A chardev that is changed beside the console's, where a peer is there that cannot be kept.
pub(super) struct Beside {
    chardev: ChardevRef,
    peer: rig::Peer,
}

impl Beside {
    pub(super) fn new() -> Self {
        let peer = rig::Peer::new(true, 9);
        let chardev = peer.chardev(None);
        Beside { chardev, peer }
    }

    fn step(&self) -> Step {
        let other = rig::Peer::new(false, 0);
        other.world().fail_adopt = true;
        let mut new = other.as_new(2);
        new.handover = true;
        let change = Change::begin(&self.chardev).unwrap();
        let offer = change.offer(&mut new).unwrap();
        let old = Old::Retire;
        Step::Change {
            change,
            offer,
            new,
            old,
        }
    }

    pub(super) fn is_untouched(&self) -> bool {
        let changes = self.chardev.with(|chardev| chardev.stats().changes);
        let world = self.peer.world();
        changes == 0 && !world.retired && !world.refused
    }
}

/// Commits `step`, together with that of `beside` if there is one.
pub(super) fn commit_beside(
    step: Step,
    beside: Option<&Beside>,
    is_last: bool,
) -> Result<Vec<Drainer>, ChangeError> {
    let mut steps: Vec<Step> = beside.map(Beside::step).into_iter().collect();
    let place = if is_last { steps.len() } else { 0 };
    steps.insert(place, step);
    commit(steps).map_err(|refused| refused.error)
}

impl Sim {
    /// A back end for the peer in the slot, mostly; at times one of another kind, and at times
    /// somebody waits behind it already.
    pub(super) fn taker_over(&mut self) -> Peer {
        let kind = match self.rng.below(6) {
            0 => Kind::Stream { latency: false },
            1 => Kind::Null,
            _ => self.slot.kind(),
        };
        Peer::new(self.next_id, kind, &self.book)
    }

    /// What is to become of the peer in the slot if `new` is to take it over.
    pub(super) fn keeps_peer(&self, new: &Peer) -> Keeps {
        let (kind, there) = (self.slot.kind(), self.slot.world().connected);
        match kind {
            Kind::Ring { .. } => Keeps::Impossible,
            Kind::Null => Keeps::Nobody,
            Kind::Stream { .. } if !there => Keeps::Nobody,
            Kind::Stream { .. } if new.kind() == kind && !new.world().connected => Keeps::Peer,
            Kind::Stream { .. } => Keeps::Impossible,
        }
    }

    /// Notes a change that kept the peer. Nobody is replaced, and who is set aside stays there.
    pub(super) fn hand_over(
        &mut self,
        new: Peer,
        closed: Option<Closed>,
        log: Option<SimLog>,
    ) -> Vec<Peer> {
        let former = self.go_on_with(new, closed, log);
        let world = former.world();
        let handed = world.retired && world.touched.retired == 0;
        drop(world);
        self.expect(handed, "what hands its peer over ends without a drain");
        self.owe_changed(true);
        Vec::new()
    }

    /// Whether `error` says that a peer could not be kept: that in the slot, or that `beside`.
    pub(super) fn is_refused_handover(
        &self,
        error: &ChangeError,
        keeps: Keeps,
        slot: u64,
        beside: bool,
    ) -> bool {
        let refused = |name: &str| ChangeError::Refused {
            id: "con0".to_owned(),
            reason: format!("x-handover: a sim cannot keep the peer of {name}"),
        };
        let own = keeps == Keeps::Impossible && *error == refused(&slot.to_string());
        own || (beside && *error == refused("sim"))
    }
}
