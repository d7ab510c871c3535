//! Every chardev by its id, in the order of creation.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::backend::{Backend, Ready, Sent};
use crate::change::RemovalCut;
use crate::chardev::ChardevRef;
use crate::commit::{Step, commit};
use crate::drain::{Drain, Drainer, NothingToDrain};
use crate::epoch::Epoch;
use crate::error::{AddError, RemoveError};
use crate::notice::Notices;

/// All chardevs of a process. Clones share their content.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    entries: Arc<Mutex<Entries>>,
    pub(crate) notices: Notices,
    epochs: Option<fn() -> Epoch>,
}

#[derive(Debug, Default)]
struct Entries {
    /// By the number of its creation; `None` while the back end is being opened.
    chardevs: BTreeMap<u64, Option<ChardevRef>>,
    numbers: HashMap<Arc<str>, u64>,
    next: u64,
    /// How many have been put in their place.
    added: u64,
    /// Who waits for the next one.
    waiting: Vec<Waker>,
}

/// An id that is taken while its back end is being opened; dropping it gives the id back.
#[derive(Debug)]
pub struct Reservation {
    registry: Registry,
    id: Arc<str>,
    epoch: Epoch,
    done: bool,
}

impl Registry {
    /// One whose chardevs get their epochs from there, which should be random numbers. Those of a
    /// [default](Default) one are numbered.
    pub fn with_epochs(epochs: fn() -> Epoch) -> Self {
        Registry {
            epochs: Some(epochs),
            ..Registry::default()
        }
    }

    /// Takes `id` for a chardev that is about to be opened.
    ///
    /// # Errors
    /// [`AddError::Exists`].
    pub fn reserve(&self, id: &str) -> Result<Reservation, AddError> {
        let mut entries = self.lock();
        if entries.numbers.contains_key(id) {
            return Err(AddError::Exists(id.to_owned()));
        }
        let number = entries.next;
        entries.next += 1;
        let id: Arc<str> = id.into();
        entries.numbers.insert(Arc::clone(&id), number);
        entries.chardevs.insert(number, None);
        drop(entries);
        Ok(Reservation {
            registry: self.clone(),
            id,
            epoch: self.epochs.map_or(Epoch::new(number + 1), |fresh| fresh()),
            done: false,
        })
    }

    /// The chardev called `id`.
    pub fn get(&self, id: &str) -> Option<ChardevRef> {
        let entries = self.lock();
        entries.chardevs.get(entries.numbers.get(id)?)?.clone()
    }

    /// All chardevs, in the order they were created.
    pub fn all(&self) -> Vec<ChardevRef> {
        self.lock().chardevs.values().flatten().cloned().collect()
    }

    /// Waits until more chardevs have been added than `seen`, which it brings up to date; at first
    /// 0. Whoever follows all chardevs lists them after each.
    pub fn poll_added(&self, cx: &mut Context<'_>, seen: &mut u64) -> Poll<()> {
        let mut entries = self.lock();
        if entries.added != *seen {
            *seen = entries.added;
            return Poll::Ready(());
        }
        if !entries.waiting.iter().any(|it| it.will_wake(cx.waker())) {
            entries.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Removes the chardev called `id`; the drainers deliver what its back end accepted.
    ///
    /// # Errors
    /// As [`Registry::begin_removal`].
    pub fn remove(&self, id: &str) -> Result<Vec<Drainer>, RemoveError> {
        let removal = self.begin_removal(id)?;
        commit(vec![Step::Remove(removal)]).map_err(|_| RemoveError::Busy(id.to_owned()))
    }

    /// Prepares the removal of the chardev called `id`. Dropping it gives up.
    ///
    /// # Errors
    /// [`RemoveError::NotFound`], or [`RemoveError::Busy`] while a front end is attached or a
    /// change is under way.
    pub fn begin_removal(&self, id: &str) -> Result<Removal, RemoveError> {
        let chardev = self
            .get(id)
            .ok_or_else(|| RemoveError::NotFound(id.to_owned()))?;
        chardev.with(|machine| {
            if machine.is_used() || machine.changing || machine.removed {
                return Err(RemoveError::Busy(id.to_owned()));
            }
            machine.changing = true;
            Ok(())
        })?;
        Ok(Removal {
            registry: self.clone(),
            id: id.to_owned(),
            chardev,
            cut: RemovalCut::default(),
        })
    }

    /// Takes every chardev out of service, front end or not, for the end of the process.
    pub fn retire_all(&self) -> Vec<Drainer> {
        let chardevs = self.all();
        let mut entries = self.lock();
        entries.chardevs.clear();
        entries.numbers.clear();
        drop(entries);
        chardevs
            .iter()
            .flat_map(|chardev| {
                chardev.with(|machine| {
                    let cut = machine.cut_removed();
                    machine.retire(chardev, cut)
                })
            })
            .collect()
    }

    fn forget(&self, id: &str) {
        let mut entries = self.lock();
        let number = entries.numbers.remove(id);
        let _forgotten = number.and_then(|number| entries.chardevs.remove(&number));
        drop(entries);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A chardev about to be removed.
#[derive(Debug)]
pub struct Removal {
    registry: Registry,
    id: String,
    chardev: ChardevRef,
    cut: RemovalCut,
}

impl Removal {
    pub(crate) fn chardev(&self) -> &ChardevRef {
        &self.chardev
    }

    /// Whether nobody has begun to use it since.
    pub(crate) fn check(&self) -> Result<(), RemoveError> {
        let busy = self
            .chardev
            .with(|machine| machine.is_used() || machine.removed);
        match busy {
            true => Err(RemoveError::Busy(self.id.clone())),
            false => Ok(()),
        }
    }

    /// It hands over what others wait for, before they are changed.
    pub(crate) fn cut(&mut self) {
        self.cut = self.chardev.with(|machine| machine.cut_removed());
    }

    pub(crate) fn carry_out(mut self) -> Vec<Drainer> {
        self.registry.forget(&self.id);
        let cut = std::mem::take(&mut self.cut);
        self.chardev
            .with(|machine| machine.retire(&self.chardev, cut))
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.chardev.with(|machine| machine.changing = false);
    }
}

impl Reservation {
    /// The id, for all who need it, since there may be many of them.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Puts the opened chardev in its place.
    pub fn fill(mut self, chardev: ChardevRef) {
        chardev.with(|chardev| chardev.join(&self.registry.notices, self.epoch));
        let mut entries = self.registry.lock();
        if let Some(number) = entries.numbers.get(&self.id).copied() {
            entries.chardevs.insert(number, Some(chardev));
        }
        entries.added += 1;
        let waiting = std::mem::take(&mut entries.waiting);
        drop(entries);
        self.done = true;
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.done {
            self.registry.forget(&self.id);
        }
    }
}

/// What is in the slot of a chardev that was removed.
pub(crate) struct Gone;

impl Backend for Gone {
    fn kind(&self) -> &'static str {
        "null"
    }

    fn filename(&self) -> String {
        "removed".to_owned()
    }

    fn is_open(&self) -> bool {
        false
    }

    fn write(&mut self, _: &[std::io::IoSlice<'_>], _: &mut Vec<std::os::fd::OwnedFd>) -> Sent {
        Sent::NoPeer
    }

    fn read(&mut self, _: &mut [std::io::IoSliceMut<'_>]) -> usize {
        0
    }

    fn watch(&mut self, _: Ready) {}

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        Box::new(NothingToDrain)
    }
}
