//! What sessions have typed, so that what is sent again after a lost connection is typed once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev::Chardevs;

/// How many keys a session may have in use; the one that was used longest ago is forgotten.
const KEYS: usize = 64;

/// The input of one session, by console and key.
#[derive(Debug, Default)]
pub(crate) struct Inputs(Mutex<VecDeque<(Name, Input)>>);

/// A console, and a key that a page has chosen for what it types there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) id: String,
    pub(crate) key: String,
}

/// What is typed under one key, over one connection after the other. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Input(Arc<Mutex<Option<u64>>>);

/// What became of a piece of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// All before this offset is typed; less than what was sent if the front end has no room.
    Upto(u64),
    /// Something before it is missing: it should begin here.
    Missing(u64),
    /// There is no console any more.
    Gone,
}

impl Inputs {
    /// That of `name`.
    pub(crate) fn of(&self, name: Name) -> Input {
        let mut all = lock(&self.0);
        let at = all.iter().position(|(known, _)| *known == name);
        let found = at.and_then(|at| all.remove(at));
        let (name, input) = found.unwrap_or_else(|| (name, Input::default()));
        if all.len() >= KEYS {
            all.pop_front();
        }
        all.push_back((name, input.clone()));
        input
    }
}

impl Input {
    /// How many bytes were typed; none if nothing is known of the key.
    pub(crate) fn typed(&self) -> Option<u64> {
        *lock(&self.0)
    }

    /// Types what of `bytes`, which begin at `offset`, has not been typed yet. What comes first
    /// under a key says where it begins.
    pub(crate) fn take(&self, chardevs: &Chardevs, id: &str, offset: u64, bytes: &[u8]) -> Typed {
        // Over two connections at a time nothing is typed twice.
        let mut typed = lock(&self.0);
        let next = *typed.get_or_insert(offset);
        let Some(known) = next.checked_sub(offset) else {
            return Typed::Missing(next);
        };
        let known = usize::try_from(known)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let rest = &bytes[known..];
        if rest.is_empty() {
            return Typed::Upto(next);
        }
        let Some(taken) = chardevs.type_in(id, rest) else {
            return Typed::Gone;
        };
        *typed = Some(next + taken as u64);
        Typed::Upto(next + taken as u64)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
