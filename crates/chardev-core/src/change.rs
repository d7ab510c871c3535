//! front → [chardev] → back → host: replacing the back end, as a transaction.
//!
//! ```text
//! begin ── open N beside O ── offer ── front end votes ── commit ─▶ N in the slot, O draining
//!   │            │              │             │             │
//!   └────────────┴── any failure or refusal ──┴─────────────┴─────▶ O as it was, no event seen
//! ```
//!
//! Nothing before [`Change::commit`] is visible to the front end or to O. The commit is one
//! straight run under the chardev's lock whose only fallible step comes first.

use std::sync::Arc;

use crate::backend::{Backend, BackendEvent, BackendId, Ready};
use crate::chardev::{Chardev, ChardevRef, Closed, LogSink};
use crate::drain::Drainer;
use crate::error::ChangeError;
use crate::event::Event;
use crate::frontend::FrontEndHooks;
use crate::input::CARRY_LIMIT;
use crate::line::Answers;

/// A change under way. Dropping it gives up: nothing has happened.
#[derive(Debug)]
pub struct Change {
    chardev: ChardevRef,
    label: String,
    committed: bool,
}

/// What replaces the back end.
pub struct NewBackend {
    /// Its id, never used before.
    pub id: BackendId,
    /// The back end, open beside the old one.
    pub backend: Box<dyn Backend>,
    /// The policy, if its options name one; else the chardev keeps its own.
    pub closed: Option<Closed>,
    /// The log, if its options name one; else the chardev keeps its own.
    pub log: Option<Box<dyn LogSink>>,
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
            (chardev.label.clone(), hooks)
        });
        if hooks.is_some_and(|hooks| !hooks.swappable()) {
            chardev.with(|chardev| chardev.stats.changes_failed += 1);
            return Err(ChangeError::NotSwappable);
        }
        chardev.with(|chardev| {
            if chardev.removed {
                return Err(ChangeError::NotFound(chardev.label.clone()));
            }
            if chardev.changing {
                return Err(ChangeError::Busy(chardev.label.clone()));
            }
            check_backlog(chardev)?;
            chardev.changing = true;
            Ok(())
        })?;
        Ok(Change {
            chardev: chardev.clone(),
            label,
            committed: false,
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
    /// The last step of N failed, or the front end was replaced since it was asked; O is as it
    /// was and N is dropped.
    pub fn commit(
        mut self,
        offer: Offer,
        new: NewBackend,
        old: Old,
    ) -> Result<Vec<Drainer>, ChangeError> {
        let chardev = self.chardev.clone();
        let drainers = chardev.with(|machine| {
            if machine.removed {
                return Err(ChangeError::NotFound(self.label.clone()));
            }
            let same_front = match (&machine.front, &offer.hooks) {
                (None, None) => true,
                (Some(front), Some(asked)) => Arc::ptr_eq(&front.hooks, asked),
                // A front end that detached since leaves nobody to disagree.
                (None, Some(_)) => true,
                (Some(_), None) => false,
            };
            if !same_front {
                return Err(ChangeError::Busy(self.label.clone()));
            }
            check_backlog(machine)?;
            machine.install(&chardev, offer, new, old)
        })?;
        self.committed = true;
        Ok(drainers)
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
    ) -> Result<Vec<Drainer>, ChangeError> {
        let mut answers = offer.answers;
        if self.line_generation != offer.generation {
            answers = new.backend.apply(&self.line);
        }
        new.backend.activate().map_err(ChangeError::Open)?;

        self.collect_events();
        let marker = self.cut_input();
        self.keep_ring_content();
        if let Some(closed) = new.closed {
            self.closed = closed;
        }
        if let Some(mut log) = new.log {
            log.activate();
            self.log = Some(log);
        }
        let old_id = std::mem::replace(&mut self.id, new.id);
        let old_backend = std::mem::replace(&mut self.backend, new.backend);
        self.backend.set_hold(self.closed == Closed::Hold);
        let mut retired = Vec::new();
        match old {
            Old::Park if self.parked.is_none() => {
                // It goes on being read when it comes back.
                if let Some(marker) = marker {
                    self.input.settled(marker);
                }
                self.parked = Some((old_id, old_backend));
            }
            Old::Park => retired.push(Drainer::new(old_backend.retire(), this.clone(), marker)),
            Old::Retire => {
                retired.push(Drainer::new(old_backend.retire(), this.clone(), marker));
                retired.extend(self.retire_parked(this));
            }
        }
        self.go_live(answers);
        Ok(retired)
    }

    /// All input the old peer has sent so far comes before anything from the new one.
    fn cut_input(&mut self) -> Option<u64> {
        let (unread, more) = self.backend.cut_input();
        self.push_cut(unread, more)
    }

    /// Input of a back end that is replaced. Its peer may have come only just now, and is shown
    /// before its input is.
    fn push_cut(&mut self, unread: Vec<u8>, more: bool) -> Option<u64> {
        if more {
            self.show_open(true);
        }
        self.push_last_words(unread);
        more.then(|| self.input.push_settling())
    }

    /// What a ring buffer holds unread goes to the next back end first.
    fn keep_ring_content(&mut self) {
        let Some(ring) = self.backend.ring() else {
            return;
        };
        let capacity = ring.capacity();
        let content = ring.take(usize::MAX);
        let held = self.preface.take(usize::MAX);
        self.preface
            .reserve_capacity(capacity.max(held.len() + content.len()));
        // The ring was filled from the preface, so what it holds is the older part.
        self.preface.push(&content);
        self.preface.push(&held);
        self.stats.output_delivered -= content.len() as u64;
    }

    /// The parked back end will not come back: what its peer has sent is still input.
    fn retire_parked(&mut self, this: &ChardevRef) -> Option<Drainer> {
        let (_, mut parked) = self.parked.take()?;
        parked.update(Ready::all());
        while let Some(event) = parked.poll_event() {
            if let BackendEvent::Closed { unread } = event {
                self.push_last_words(unread);
            }
        }
        let (unread, more) = parked.cut_input();
        let marker = self.push_cut(unread, more);
        Some(Drainer::new(parked.retire(), this.clone(), marker))
    }

    /// The back end in the slot is new: show what differs, flush what waited, wake everybody.
    fn go_live(&mut self, mut answers: Answers) {
        self.backend.update(Ready::all());
        answers.open = self.backend.is_open();
        if !answers.open {
            self.show_open(false);
        }
        self.push_event(Event::Changed(answers));
        self.collect_events();
        self.show_open(self.backend.is_open());
        self.flush_preface();
        self.backend.watch(Ready::READ);
        self.wake(Ready::READ | Ready::WRITE);
    }

    /// The temporary back end's peer has left: the parked one takes the slot again.
    pub(crate) fn unpark(&mut self) {
        let Some((id, backend)) = self.parked.take() else {
            return;
        };
        self.id = id;
        let temporary = std::mem::replace(&mut self.backend, backend);
        drop(temporary);
        let answers = self.backend.apply(&self.line);
        self.backend.set_hold(self.closed == Closed::Hold);
        self.go_live(answers);
    }

    /// Takes the chardev out of service, for removal: the back end delivers what it accepted.
    pub(crate) fn retire(&mut self, this: &ChardevRef) -> Vec<Drainer> {
        self.removed = true;
        self.tap.end(&mut self.wakes);
        self.id = BackendId(u64::MAX);
        let old = std::mem::replace(&mut self.backend, Box::new(crate::registry::Gone));
        let mut drainers = vec![Drainer::new(old.retire(), this.clone(), None)];
        drainers.extend(self.retire_parked(this));
        self.stats.output_undrained += self.preface.take(usize::MAX).len() as u64;
        self.show_open(false);
        drainers
    }
}

fn check_backlog(chardev: &Chardev) -> Result<(), ChangeError> {
    let unread = chardev.input.bytes();
    if unread >= CARRY_LIMIT {
        return Err(ChangeError::Backlog {
            id: chardev.label.clone(),
            unread,
            limit: CARRY_LIMIT,
        });
    }
    Ok(())
}
