//! front → [chardev] → back → host: replacing the back end, as a transaction.
//!
//! ```text
//! begin ── open N beside O ── offer ── front end votes ── commit ─▶ N in the slot, O draining
//!   │            │              │             │             │
//!   └────────────┴── any failure or refusal ──┴─────────────┴─────▶ O as it was, no event seen
//! ```
//!
//! Nothing before the [`commit`] is visible to the front end or to O, and nothing in it can fail
//! after the first thing that is.

use std::sync::Arc;

use crate::backend::{Backend, BackendId, Ready};
use crate::chardev::{Chardev, ChardevRef, Front, Given, LogSink, WeakChardev};
use crate::commit::{Step, commit};
use crate::drain::Drainer;
use crate::error::ChangeError;
use crate::event::Event;
use crate::freeze::Freeze;
use crate::frontend::FrontEndHooks;
use crate::input::CARRY_LIMIT;
use crate::line::Answers;
use crate::policy::PolicyChange;
use crate::ringbuf::RingBuffer;
use crate::spec::Options;

/// A change under way. Dropping it gives up: nothing has happened.
#[derive(Debug)]
pub struct Change {
    chardev: ChardevRef,
    label: String,
    committed: bool,
    cut: Cut,
}

/// Where input that is still on its way from what is replaced belongs in the queue.
#[derive(Clone, Copy, Debug, Default)]
struct Cut {
    old: Option<u64>,
    parked: Option<u64>,
}

/// The same, of a chardev that is removed.
#[derive(Debug, Default)]
pub(crate) struct RemovalCut(Cut);

/// What replaces the back end.
pub struct NewBackend {
    /// Its id, never used before.
    pub id: BackendId,
    /// The back end, open beside the old one.
    pub backend: Box<dyn Backend>,
    /// What its options say about the policy; the chardev keeps the rest of its own.
    pub policy: PolicyChange,
    /// The log, if its options name one; else the chardev keeps its own.
    pub log: Option<Box<dyn LogSink>>,
    /// What it was opened with. The chardev keeps them, and those of its own about its log and its
    /// policy that they do not name.
    pub options: Option<Box<Options>>,
    /// Whether it is to keep the old back end's connected peer (`x-handover`).
    pub handover: bool,
    /// What the old peer is to get at the end: the answer to the command, where the command came
    /// over this very chardev.
    pub final_output: Vec<u8>,
}

impl NewBackend {
    /// `backend` with nothing else about it.
    pub fn new(id: BackendId, backend: Box<dyn Backend>) -> Self {
        NewBackend {
            id,
            backend,
            policy: PolicyChange::default(),
            log: None,
            options: None,
            handover: false,
            final_output: Vec::new(),
        }
    }
}

impl std::fmt::Debug for NewBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewBackend")
            .field("id", &self.id)
            .field("kind", &self.backend.kind())
            .finish()
    }
}

/// What happens to the old back end on commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// It delivers what it accepted and ends.
    Retire,
    /// It is set aside and comes back when the new one's peer leaves.
    Park,
}

impl Change {
    /// Starts a change; at most one at a time for one chardev.
    ///
    /// # Errors
    /// [`ChangeError::NotSwappable`], [`ChangeError::Busy`] or [`ChangeError::Backlog`].
    pub fn begin(chardev: &ChardevRef) -> Result<Self, ChangeError> {
        let (label, hooks) = chardev.with(|chardev| {
            let hooks = chardev.front.as_ref().map(|front| Arc::clone(&front.hooks));
            (chardev.label.to_string(), hooks)
        });
        if hooks.is_some_and(|hooks| !hooks.swappable()) {
            chardev.with(|chardev| chardev.stats.changes_failed += 1);
            return Err(ChangeError::NotSwappable);
        }
        chardev.with(|chardev| {
            if chardev.removed {
                return Err(ChangeError::NotFound(chardev.label.to_string()));
            }
            if chardev.changing {
                return Err(ChangeError::Busy(chardev.label.to_string()));
            }
            check_backlog(chardev)?;
            chardev.changing = true;
            Ok(())
        })?;
        Ok(Change {
            chardev: chardev.clone(),
            label,
            committed: false,
            cut: Cut::default(),
        })
    }

    /// Sets N up with the line and asks the front end, with no lock held while it answers.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] with the front end's reason, or [`ChangeError::NotSwappable`].
    pub fn offer(&self, new: &mut NewBackend) -> Result<Offer, ChangeError> {
        let (line, generation, hooks) = self.chardev.with(|chardev| {
            let hooks = chardev.front.as_ref().map(|front| Arc::clone(&front.hooks));
            (chardev.line.clone(), chardev.line_generation, hooks)
        });
        let answers = new.backend.apply(&line);
        if let Some(hooks) = &hooks {
            // It may have been attached only after the beginning.
            if !hooks.swappable() {
                return Err(ChangeError::NotSwappable);
            }
            hooks
                .backend_change(&answers)
                .map_err(|reason| ChangeError::Refused {
                    id: self.label.clone(),
                    reason,
                })?;
        }
        Ok(Offer {
            answers,
            generation,
            hooks,
        })
    }

    /// Puts N into the slot. From here on the change has happened; each [`Drainer`] is to be
    /// polled until its old back end has delivered everything.
    ///
    /// # Errors
    /// The last step of N failed, or a front end that has attached since the offer refuses; O is as
    /// it was and N is dropped.
    pub fn commit(
        self,
        offer: Offer,
        new: NewBackend,
        old: Old,
    ) -> Result<Vec<Drainer>, ChangeError> {
        let step = Step::Change {
            change: self,
            offer,
            new,
            old,
        };
        commit(vec![step]).map_err(|refused| refused.error)
    }

    pub(crate) fn chardev(&self) -> &ChardevRef {
        &self.chardev
    }

    /// Whether a front end has attached since that was not asked. One that detached leaves nobody
    /// to disagree.
    pub(crate) fn is_unasked(&self, offer: &Offer) -> bool {
        self.chardev.with(|machine| {
            let asked = |front: &Front| match &offer.hooks {
                Some(asked) => Arc::ptr_eq(&front.hooks, asked),
                None => front.hooks.is_idle(),
            };
            machine.front.as_ref().is_some_and(|front| !asked(front))
        })
    }

    /// Whether it can still happen.
    pub(crate) fn check(&self) -> Result<(), ChangeError> {
        self.chardev.with(|machine| match machine.removed {
            true => Err(ChangeError::NotFound(self.label.clone())),
            false => check_backlog(machine),
        })
    }

    /// N takes O's peer over, if there is one.
    pub(crate) fn adopt(&self, new: &mut NewBackend) -> Result<(), ChangeError> {
        self.chardev.with(|machine| {
            new.handover = new.backend.adopt(&mut *machine.backend);
            if new.handover || !machine.backend.is_open() {
                return Ok(());
            }
            let reason = format!(
                "x-handover: a {} cannot keep the peer of {}",
                new.backend.kind(),
                machine.backend.filename()
            );
            Err(ChangeError::Refused {
                id: self.label.clone(),
                reason,
            })
        })
    }

    /// What is replaced hands over its input. From here on nothing fails.
    pub(crate) fn cut(&mut self, new: &NewBackend, old: Old) {
        self.cut = self.chardev.with(|machine| machine.cut(new.handover, old));
    }

    pub(crate) fn install(mut self, offer: Offer, new: NewBackend, old: Old) -> Vec<Drainer> {
        let chardev = self.chardev.clone();
        self.committed = true;
        let cut = self.cut;
        chardev.with(|machine| machine.install(&chardev, offer, new, old, cut))
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        self.chardev.with(|chardev| {
            chardev.changing = false;
            if self.committed {
                chardev.stats.changes += 1;
            } else {
                chardev.stats.changes_failed += 1;
            }
        });
    }
}

/// What N answered, and to which front end and line.
pub struct Offer {
    answers: Answers,
    generation: u64,
    hooks: Option<Arc<dyn FrontEndHooks>>,
}

impl Offer {
    /// What the new back end answered to the line.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offer")
            .field("answers", &self.answers)
            .finish_non_exhaustive()
    }
}

impl Chardev {
    fn install(
        &mut self,
        this: &ChardevRef,
        offer: Offer,
        mut new: NewBackend,
        old: Old,
        cut: Cut,
    ) -> Vec<Drainer> {
        let mut answers = offer.answers;
        if self.line_generation != offer.generation {
            answers = new.backend.apply(&self.line);
        }
        answers.same_peer = new.handover;
        // What is set aside comes back, and is what the chardev is made of meanwhile.
        if old == Old::Retire {
            let former = self.options.take();
            self.options = new.options.map(|options| options.after(former.as_ref()));
        }
        self.keep_ring_content();
        if let Some(mut log) = new.log {
            self.end_hole();
            log.begin_at(self.stats.output_accepted);
            log.activate();
            self.log = Some(log);
        }
        let old_id = std::mem::replace(&mut self.id, new.id);
        let old_backend = std::mem::replace(&mut self.backend, new.backend);
        self.set_policy(new.policy);
        let mut retired = Vec::new();
        match old {
            _ if new.handover => {
                old_backend.hand_over();
                self.add_final_output(&new.final_output);
            }
            Old::Park if self.rare.parked.is_none() => {
                retired.extend(self.park(old_id, old_backend, this, cut.old));
            }
            Old::Park | Old::Retire => {
                let mut drainer = self.drainer(old_backend, this, cut.old);
                drainer.say(RingBuffer::from(new.final_output));
                retired.push(drainer);
                if old == Old::Retire {
                    retired.extend(self.retire_parked(this, cut.parked));
                }
            }
        }
        let live = self.stats.output_accepted;
        let from = live.saturating_sub(self.preface.len() as u64);
        self.given = Given { from, live };
        self.backend.go_live(&this.downgrade(), self.id);
        self.backend.set_attached(self.front.is_some());
        self.go_live(answers);
        retired
    }

    /// A chardev that was prepared beside others goes live with them. One of those may be what it
    /// rests on, whose peer has come or gone by that.
    pub(crate) fn begin_life(&mut self, this: &WeakChardev) {
        self.live = true;
        self.backend.go_live(this, self.id);
        self.collect_events();
        self.show_open(self.backend.is_open());
        if let Some(log) = &mut self.log {
            log.activate();
        }
    }

    /// The peer stays, so what it is to get at the end comes behind what waits for it.
    fn add_final_output(&mut self, final_output: &[u8]) {
        let capacity = self.preface.len() + final_output.len();
        self.preface.reserve_capacity(capacity);
        self.stats.output_injected += final_output.len() as u64;
        self.stats.output_overwritten += self.preface.push_overwriting(final_output) as u64;
    }

    pub(crate) fn drainer(
        &self,
        backend: Box<dyn Backend>,
        this: &ChardevRef,
        marker: Option<u64>,
    ) -> Drainer {
        let mut drainer = Drainer::new(backend.retire(), this.clone(), marker);
        drainer.set_limit(self.policy.drain);
        drainer
    }

    /// All input the old peer has sent so far comes before anything from the new one. What a peer
    /// that stays has under way will come from the new back end.
    fn cut(&mut self, peer_stays: bool, old: Old) -> Cut {
        // A hub may have lost all its members.
        let rests_on_others = !self.backend.members().is_empty() || self.backend.as_hub().is_some();
        if rests_on_others {
            // Breaks keep their places, too.
            self.draw();
        } else {
            self.collect_events();
        }
        let comes_back = old == Old::Park && self.rare.parked.is_none();
        // A peer that stays, or comes back, goes on sending.
        if !peer_stays && !comes_back {
            self.backend.refuse_input();
        }
        let place = match rests_on_others && comes_back {
            true => self.await_under_way(),
            false => {
                let (unread, more) = self.backend.cut_input();
                self.push_cut_breaks();
                self.carry_fds();
                self.place_cut(unread, more && !peer_stays)
            }
        };
        self.marks_come(place);
        let parked = match old {
            Old::Retire if !peer_stays => self.cut_parked(),
            Old::Retire | Old::Park => None,
        };
        self.freeze = Freeze::Cut;
        Cut { old: place, parked }
    }

    /// Input of a back end that is replaced. Its peer may have come only just now, and is shown
    /// before its input is.
    pub(crate) fn push_cut(&mut self, unread: Vec<u8>, more: bool) -> Option<u64> {
        if more {
            self.show_open(true);
        }
        self.push_remaining_input(unread);
        more.then(|| self.input.push_settling())
    }

    fn push_cut_breaks(&mut self) {
        for _ in 0..self.backend.take_cut_breaks() {
            self.push_event(Event::Break);
        }
    }

    /// What a ring buffer holds unread goes to the next back end first.
    fn keep_ring_content(&mut self) {
        let Some(ring) = self.backend.buffer() else {
            return;
        };
        let capacity = ring.capacity();
        let content = ring.split_front(usize::MAX);
        let count = content.len();
        let held = self.preface.take();
        let needed = capacity.max(held.len() + count);
        *self.preface = RingBuffer::new(held.capacity().max(needed));
        // The ring was filled from the preface, so what it holds is the older part.
        let lost = self.preface.absorb(content) + self.preface.absorb(held);
        self.stats.output_overwritten += lost as u64;
        self.stats.output_delivered -= count as u64;
        // Empty or not, it goes on as it was until there is somebody to take output.
        self.rare.ring_goes_on = capacity;
    }

    /// The back end in the slot is new: show what differs, flush what waited, wake everybody.
    pub(crate) fn go_live(&mut self, mut answers: Answers) {
        self.backend.update(Ready::all());
        answers.open = self.backend.is_open();
        if !answers.open {
            self.show_open(false);
        }
        self.push_event(Event::Changed(answers));
        self.tell_changed();
        self.mark_change();
        self.collect_events();
        self.show_open(self.backend.is_open());
        self.flush_preface();
        self.backend.watch(Ready::READ);
        self.wake(Ready::READ | Ready::WRITE);
    }

    /// The chardev is about to be removed. Nobody is left to read it, but who was above until a
    /// while ago may wait for what comes through its back end. Others may rest next on what that
    /// rests on, so nothing else is taken from there.
    pub(crate) fn cut_removed(&mut self) -> RemovalCut {
        let awaited = self.input.has_fence_later() || !self.rare.marks_later.is_empty();
        let (unread, more) = match awaited || (self.rare.parked.is_none() && self.brings_to_tail())
        {
            true => self.backend.cut_input(),
            false => (Vec::new(), false),
        };
        self.push_cut_breaks();
        let old = self.place_cut(unread, more);
        self.marks_come(old);
        let parked = self.cut_parked_removed();
        RemovalCut(Cut { old, parked })
    }

    /// Takes the chardev out of service, for removal: the back end delivers what it accepted.
    pub(crate) fn retire(&mut self, this: &ChardevRef, cut: RemovalCut) -> Vec<Drainer> {
        let RemovalCut(Cut {
            old: marker,
            parked,
        }) = cut;
        self.removed = true;
        self.tell_disconnected();
        self.tap.end(&mut self.wakes);
        self.id = BackendId(u64::MAX);
        // What was sent and never read stays where it is: in a FIFO for the next process.
        let old = std::mem::replace(&mut self.backend, Box::new(crate::registry::Gone));
        let waiting = self.preface.take();
        let has_peer = old.is_open();
        let mut drainer = self.drainer(old, this, marker);
        if has_peer {
            self.stats.output_delivered += waiting.len() as u64;
            drainer.say(waiting);
        } else {
            self.stats.output_undrained += waiting.len() as u64;
        }
        let mut drainers = vec![drainer];
        drainers.extend(self.retire_parked(this, parked));
        self.show_open(false);
        drainers
    }
}

fn check_backlog(chardev: &Chardev) -> Result<(), ChangeError> {
    let unread = chardev.input.bytes();
    if unread >= CARRY_LIMIT {
        return Err(ChangeError::Backlog {
            id: chardev.label.to_string(),
            unread,
            limit: CARRY_LIMIT,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
