//! front → [chardev] → back → host: the moment at which prepared steps take effect, all or none.
//!
//! ```text
//! check all ── activate all ── freeze all ── check all ── cut all ── install all ── thaw all
//!     │              │                            │ thaw
//!     └──────────────┴────────────────────────────┴─▶ undo in reverse: as it was
//! ```
//!
//! Activating may wait for a disk, so nobody is held still meanwhile and no lock is held. While a
//! chardev is frozen its front end can write and read nothing, which is what a full peer looks
//! like, so nobody sees one step without the others; one that writes looks for a moment whether
//! that is over (`freeze.rs`). Only one chardev is locked at a time, whatever rests on what.
//! Nothing after the second check can fail. All input is cut off before anything is
//! installed, and from below upwards: what a base chardev hands over is still input of what rests
//! on it until then.

use crate::change::{Change, NewBackend, Offer, Old};
use crate::chardev::{Chardev, ChardevRef};
use crate::drain::Drainer;
use crate::error::{AttachError, ChangeError, OpenError};
use crate::freeze::{Deciding, Freeze};
use crate::graph::{self, Planned};
use crate::mux::Mux;
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
/// ends had accepted. Waits for the disk where a back end has a path, so call it from a thread
/// that may.
///
/// # Errors
/// A step could not be taken; then none was, and nobody has seen anything.
pub fn commit(mut steps: Vec<Step>) -> Result<Vec<Drainer>, Refused> {
    let planned: Vec<Planned> = steps.iter().map(Step::planned).collect();
    check_all(&steps, &planned)?;
    for step in 0..steps.len() {
        if let Err(error) = steps[step].activate() {
            deactivate_all(&mut steps[..step]);
            return Err(Refused { step, error });
        }
    }
    // Most changes are of back ends that rest on nothing, and concern nobody else.
    let concerns_others = |(chardev, members): &Planned| {
        !members.is_empty() || chardev.with(|chardev| chardev.backend.as_mux().is_some())
    };
    let alone = !planned.iter().any(concerns_others);
    let held = loop {
        if let Err(refused) = ask_who_came(&mut steps) {
            deactivate_all(&mut steps);
            return Err(refused);
        }
        let graph = (!alone).then(graph::hold);
        let frozen = Frozen::freeze(&steps);
        // While all are frozen nobody attaches.
        if !steps.iter().any(Step::is_unasked) {
            break (frozen, graph);
        }
    };
    let checked = check_all(&steps, &planned).and_then(|()| adopt_all(&mut steps));
    if let Err(refused) = checked {
        drop(held);
        deactivate_all(&mut steps);
        return Err(refused);
    }
    for step in graph::now_from_below(&planned) {
        steps[step].cut();
    }
    // From below upwards: at no moment do an old and a new place of a chardev close a circle.
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let order = graph::from_below(&planned).into_iter();
    let installed = order.filter_map(|step| Some(steps[step].take()?.install()));
    let drainers = installed.flatten().collect();
    drop(held);
    Ok(drainers)
}

/// A front end that has attached since the others were asked is asked, too.
fn ask_who_came(steps: &mut [Step]) -> Result<(), Refused> {
    let unasked = |(_, step): &(usize, &mut Step)| step.is_unasked();
    for (step, part) in steps.iter_mut().enumerate().filter(unasked) {
        part.ask().map_err(|error| Refused { step, error })?;
    }
    Ok(())
}

/// Whether all that was looked at when the steps were prepared still stands.
fn check_all(steps: &[Step], planned: &[Planned]) -> Result<(), Refused> {
    let label = |step: usize| planned[step].0.with(|chardev| chardev.label.to_string());
    let leaves = |step: usize| !matches!(steps[step], Step::Change { old: Old::Park, .. });
    if let Some(step) = graph::first_left_behind(planned).filter(|step| leaves(*step)) {
        let error = ChangeError::Busy(label(step));
        return Err(Refused { step, error });
    }
    if let Some(step) = graph::first_cycle(planned) {
        let (id, reason) = (label(step), "it would create a cycle".to_owned());
        let error = ChangeError::Refused { id, reason };
        return Err(Refused { step, error });
    }
    if let Some(step) = graph::first_too_deep(planned) {
        let (id, limit) = (label(step), graph::DEPTH_LIMIT);
        let cause =
            format!("chardev '{id}': more than {limit} chardevs would be stacked on each other");
        let error = ChangeError::Open(cause.into());
        return Err(Refused { step, error });
    }
    if let Some((step, shared)) = first_sharing(steps, planned) {
        let reason =
            AttachError::InUse(shared.with(|chardev| chardev.label.to_string())).to_string();
        let error = ChangeError::Refused {
            id: label(step),
            reason,
        };
        return Err(Refused { step, error });
    }
    for (step, part) in steps.iter().enumerate() {
        part.check().map_err(|error| Refused { step, error })?;
    }
    Ok(())
}

fn adopt_all(steps: &mut [Step]) -> Result<(), Refused> {
    for (step, part) in steps.iter_mut().enumerate() {
        part.adopt().map_err(|error| Refused { step, error })?;
    }
    Ok(())
}

fn deactivate_all(steps: &mut [Step]) {
    steps.iter_mut().rev().for_each(Step::deactivate);
}

/// The first step whose chardev would rest on what that of an earlier one rests on, and on what.
/// Front ends of one multiplexer may.
fn first_sharing(steps: &[Step], planned: &[Planned]) -> Option<(usize, ChardevRef)> {
    let sharing = |step: usize, earlier: usize| {
        let same_mux = match (steps[step].mux(), steps[earlier].mux()) {
            (Some(mux), Some(other)) => mux.is(&other),
            _ => false,
        };
        let (mine, theirs) = (&planned[step].1, &planned[earlier].1);
        let shared = mine
            .iter()
            .find(|one| theirs.iter().any(|other| one.is(other)));
        shared.filter(|_| !same_mux).cloned()
    };
    // What rests on nothing shares nothing.
    let resting = (0..steps.len()).filter(|step| !planned[*step].1.is_empty());
    let resting: Vec<usize> = resting.collect();
    resting.iter().enumerate().find_map(|(at, &step)| {
        let mut before = resting[..at].iter();
        let shared = before.find_map(|&earlier| sharing(step, earlier));
        shared.map(|shared| (step, shared))
    })
}

impl Step {
    fn mux(&self) -> Option<Mux> {
        match self {
            Step::Change { new, .. } => new.backend.as_mux().cloned(),
            Step::Add { chardev, .. } => chardev.with(|chardev| chardev.backend.as_mux().cloned()),
            Step::Remove(_) => None,
        }
    }

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

    fn is_unasked(&self) -> bool {
        matches!(self, Step::Change { change, offer, .. } if change.is_unasked(offer))
    }

    fn ask(&mut self) -> Result<(), ChangeError> {
        if let Step::Change {
            change, offer, new, ..
        } = self
        {
            *offer = change.offer(new)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ChangeError> {
        match self {
            Step::Change { change, .. } => change.check(),
            Step::Add { .. } => Ok(()),
            Step::Remove(removal) => removal.check().map_err(|busy| {
                let cause = OpenError::new(busy.to_string()).because(busy);
                ChangeError::Open(cause)
            }),
        }
    }

    fn activate(&mut self) -> Result<(), ChangeError> {
        match self {
            Step::Change { new, .. } => new.backend.activate().map_err(ChangeError::Open),
            Step::Add { chardev, .. } => chardev
                .with_prepared(|backend| backend.activate())
                .map_err(ChangeError::Open),
            Step::Remove(_) => Ok(()),
        }
    }

    /// The back end takes its predecessor's peer over, if that is wanted.
    fn adopt(&mut self) -> Result<(), ChangeError> {
        match self {
            Step::Change { change, new, .. } if new.handover => change.adopt(new),
            _ => Ok(()),
        }
    }

    fn deactivate(&mut self) {
        match self {
            Step::Change { new, .. } => new.backend.deactivate(),
            Step::Add { chardev, .. } => chardev.with_prepared(|backend| backend.deactivate()),
            Step::Remove(_) => {}
        }
    }

    /// Whether [`commit`] may wait for a disk or a device because of it.
    pub fn may_wait(&self) -> bool {
        let Step::Change {
            change,
            new,
            old: Old::Retire,
            ..
        } = self
        else {
            return true;
        };
        let leaves = |chardev: &mut Chardev| {
            chardev.backend.may_wait() || chardev.rare.parked.is_some() || chardev.log.is_some()
        };
        new.log.is_some() || new.backend.may_wait() || change.chardev().with(leaves)
    }

    fn cut(&mut self) {
        match self {
            Step::Change {
                change, new, old, ..
            } => change.cut(new, *old),
            Step::Add { .. } => {}
            Step::Remove(removal) => removal.cut(),
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
struct Frozen {
    chardevs: Vec<ChardevRef>,
    _deciding: Deciding,
}

impl Frozen {
    fn freeze(steps: &[Step]) -> Self {
        let chardevs: Vec<_> = steps.iter().map(|step| step.chardev().clone()).collect();
        let deciding = Deciding::begin();
        for chardev in &chardevs {
            chardev.with(|chardev| {
                chardev.freeze = Freeze::Frozen;
                chardev.freeze_begins();
            });
        }
        Frozen {
            chardevs,
            _deciding: deciding,
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for chardev in &self.chardevs {
            chardev.with(|chardev| chardev.thaw());
        }
    }
}
