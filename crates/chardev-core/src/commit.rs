//! front → [chardev] → back → host: the moment at which prepared steps take effect, all or none.
//!
//! ```text
//! freeze all ── check all ── activate all ── install all ── thaw all
//!                  │              │ undo in reverse
//!                  └──────────────┴──────────────────────▶ thaw: as it was
//! ```
//!
//! While a chardev is frozen its front end can write and read nothing, which is what a full peer
//! looks like, so nobody sees one step without the others. Only one chardev is locked at a time,
//! whatever rests on what. Nothing after the last activation can fail.

use crate::change::{Change, NewBackend, Offer, Old};
use crate::chardev::ChardevRef;
use crate::drain::Drainer;
use crate::error::ChangeError;
use crate::graph::{self, Planned};
use crate::registry::{Removal, Reservation};

/// One prepared part of a transaction.
#[derive(Debug)]
pub enum Step {
    /// A back end is replaced.
    Change {
        /// The change, as far as it has come.
        change: Change,
        /// What the front end agreed to.
        offer: Offer,
        /// What replaces the back end.
        new: NewBackend,
        /// What becomes of the old one.
        old: Old,
    },
    /// A chardev comes into being.
    Add {
        /// Its place.
        reservation: Reservation,
        /// The chardev, [prepared](ChardevRef::prepare) and not live.
        chardev: ChardevRef,
    },
    /// A chardev goes.
    Remove(Removal),
}

/// Why a transaction did not happen, and which of its steps was to blame.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// The place of the step in the list, counted from 0.
    pub step: usize,
    /// The cause.
    pub error: ChangeError,
}

/// Carries out all of `steps` at one moment. The drainers deliver what replaced and removed back
/// ends had accepted.
///
/// # Errors
/// A step could not be taken; then none was, and nobody has seen anything.
pub fn commit(mut steps: Vec<Step>) -> Result<Vec<Drainer>, Refused> {
    let planned: Vec<Planned> = steps.iter().map(Step::planned).collect();
    // Most changes are of back ends that rest on nothing, and concern nobody else.
    let concerns_others = |(chardev, members): &Planned| {
        !members.is_empty() || chardev.with(|chardev| chardev.backend.as_mux().is_some())
    };
    let _graph = planned.iter().any(concerns_others).then(graph::hold);
    let leaves = |step: usize| !matches!(steps[step], Step::Change { old: Old::Park, .. });
    if let Some(step) = graph::first_left_behind(&planned).filter(|step| leaves(*step)) {
        let id = planned[step].0.with(|chardev| chardev.label.clone());
        let error = ChangeError::Busy(id);
        return Err(Refused { step, error });
    }
    if let Some(step) = graph::first_cycle(&planned) {
        let id = planned[step].0.with(|chardev| chardev.label.clone());
        let reason = "it would rest on itself".to_owned();
        let error = ChangeError::Refused { id, reason };
        return Err(Refused { step, error });
    }
    let frozen = Frozen::freeze(&steps);
    for (step, part) in steps.iter_mut().enumerate() {
        part.check().map_err(|error| Refused { step, error })?;
    }
    for step in 0..steps.len() {
        if let Err(error) = steps[step].activate() {
            for part in steps[..step].iter_mut().rev() {
                part.deactivate();
            }
            return Err(Refused { step, error });
        }
    }
    let drainers = steps.into_iter().flat_map(Step::install).collect();
    drop(frozen);
    Ok(drainers)
}

impl Step {
    fn chardev(&self) -> &ChardevRef {
        match self {
            Step::Change { change, .. } => change.chardev(),
            Step::Add { chardev, .. } => chardev,
            Step::Remove(removal) => removal.chardev(),
        }
    }

    /// What its chardev is to rest on.
    fn planned(&self) -> Planned {
        let members = match self {
            Step::Change { new, .. } => new.backend.members(),
            Step::Add { chardev, .. } => chardev.with(|chardev| chardev.backend.members()),
            Step::Remove(_) => Vec::new(),
        };
        (self.chardev().clone(), members)
    }

    fn check(&self) -> Result<(), ChangeError> {
        match self {
            Step::Change { change, offer, .. } => change.check(offer),
            Step::Add { .. } => Ok(()),
            Step::Remove(removal) => removal.check().map_err(ChangeError::Open),
        }
    }

    fn activate(&mut self) -> Result<(), ChangeError> {
        match self {
            Step::Change { change, new, .. } => {
                if new.handover {
                    change.adopt(new)?;
                }
                new.backend.activate().map_err(ChangeError::Open)
            }
            Step::Add { chardev, .. } => chardev
                .with(|chardev| chardev.backend.activate())
                .map_err(ChangeError::Open),
            Step::Remove(_) => Ok(()),
        }
    }

    fn deactivate(&mut self) {
        match self {
            Step::Change { new, .. } => new.backend.deactivate(),
            Step::Add { chardev, .. } => chardev.with(|chardev| chardev.backend.deactivate()),
            Step::Remove(_) => {}
        }
    }

    fn install(self) -> Vec<Drainer> {
        match self {
            Step::Change {
                change,
                offer,
                new,
                old,
            } => change.install(offer, new, old),
            Step::Add {
                reservation,
                chardev,
            } => {
                let weak = chardev.downgrade();
                chardev.with(|chardev| {
                    chardev.begin_life(&weak);
                    chardev.look_again();
                });
                reservation.fill(chardev);
                Vec::new()
            }
            Step::Remove(removal) => removal.carry_out(),
        }
    }
}

/// Chardevs that are held still; dropping it lets them go on and look around.
struct Frozen(Vec<ChardevRef>);

impl Frozen {
    fn freeze(steps: &[Step]) -> Self {
        let chardevs: Vec<_> = steps.iter().map(|step| step.chardev().clone()).collect();
        for chardev in &chardevs {
            chardev.with(|chardev| {
                chardev.frozen = true;
                chardev.holds.begin();
            });
        }
        Frozen(chardevs)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for chardev in &self.0 {
            chardev.with(|chardev| chardev.thaw());
        }
    }
}
