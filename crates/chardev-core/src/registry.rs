//! Every chardev by its id, in the order of creation.

use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::{Backend, Ready, Sent};
use crate::chardev::ChardevRef;
use crate::commit::{Step, commit};
use crate::drain::{Drain, Drainer, NothingToDrain};
use crate::error::{AddError, RemoveError};
use crate::notice::Notices;

/// All chardevs of a process. Clones share their content.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    entries: Arc<Mutex<Vec<Entry>>>,
    pub(crate) notices: Notices,
}

#[derive(Debug)]
struct Entry {
    id: String,
    /// `None` while the back end is being opened.
    chardev: Option<ChardevRef>,
}

/// An id that is taken while its back end is being opened; dropping it gives the id back.
#[derive(Debug)]
pub struct Reservation {
    registry: Registry,
    id: String,
    done: bool,
}

impl Registry {
    /// Takes `id` for a chardev that is about to be opened.
    ///
    /// # Errors
    /// [`AddError::Exists`].
    pub fn reserve(&self, id: &str) -> Result<Reservation, AddError> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.iter().any(|entry| entry.id == id) {
            return Err(AddError::Exists(id.to_owned()));
        }
        entries.push(Entry {
            id: id.to_owned(),
            chardev: None,
        });
        Ok(Reservation {
            registry: self.clone(),
            id: id.to_owned(),
            done: false,
        })
    }

    /// The chardev called `id`.
    pub fn get(&self, id: &str) -> Option<ChardevRef> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().find(|entry| entry.id == id)?.chardev.clone()
    }

    /// All chardevs, in the order they were created.
    pub fn all(&self) -> Vec<ChardevRef> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .iter()
            .filter_map(|entry| entry.chardev.clone())
            .collect()
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
        })
    }

    /// Takes every chardev out of service, front end or not, for the end of the process.
    pub fn retire_all(&self) -> Vec<Drainer> {
        let chardevs = self.all();
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        chardevs
            .iter()
            .flat_map(|chardev| chardev.with(|machine| machine.retire(chardev)))
            .collect()
    }

    fn forget(&self, id: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.id != id);
    }
}

/// A chardev about to be removed.
#[derive(Debug)]
pub struct Removal {
    registry: Registry,
    id: String,
    chardev: ChardevRef,
}

impl Removal {
    pub(crate) fn chardev(&self) -> &ChardevRef {
        &self.chardev
    }

    /// Whether nobody has begun to use it since.
    pub(crate) fn check(&self) -> Result<(), String> {
        let busy = self
            .chardev
            .with(|machine| machine.is_used() || machine.removed);
        match busy {
            true => Err(RemoveError::Busy(self.id.clone()).to_string()),
            false => Ok(()),
        }
    }

    pub(crate) fn carry_out(self) -> Vec<Drainer> {
        self.registry.forget(&self.id);
        self.chardev.with(|machine| machine.retire(&self.chardev))
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.chardev.with(|machine| machine.changing = false);
    }
}

impl Reservation {
    /// Puts the opened chardev in its place.
    pub fn fill(mut self, chardev: ChardevRef) {
        chardev.with(|chardev| chardev.join(&self.registry.notices));
        let mut entries = self
            .registry
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.iter_mut().find(|entry| entry.id == self.id) {
            entry.chardev = Some(chardev);
        }
        self.done = true;
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
