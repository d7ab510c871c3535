//! The items there are, and how each is: what `x-query-consoles` tells.

use std::collections::HashMap;
#[cfg(feature = "fleet")]
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::item::Item;

/// The first pause before a failed item is tried again, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// An item that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) item: Item,
    pub(crate) state: State,
    /// Its device, by the name in the list of devices.
    pub(crate) device: Option<String>,
}

/// How an item is.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// It is being opened.
    Starting,
    /// All of it is there.
    Running,
    /// Nothing of it is there.
    Failed {
        why: String,
        /// How often it was tried.
        tries: u32,
        /// When it is tried again.
        next: Instant,
    },
}

/// All items. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    items: Arc<Mutex<Vec<Kept>>>,
    coming: Arc<Mutex<Vec<Item>>>,
}

/// Items that a reload is about to start, while this is here.
#[derive(Debug)]
pub(super) struct Coming<'a>(&'a Table);

impl Table {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is about to take the place of the items there are.
    pub(super) fn expect(&self, items: Vec<Item>) -> Coming<'_> {
        *self.coming() = items;
        Coming(self)
    }

    /// The chardevs that consoles consist of beside their own, those among them that are only
    /// about to be added.
    #[cfg(feature = "fleet")]
    pub(crate) fn parts(&self) -> HashSet<String> {
        let coming = self.coming().clone();
        let kept = self.lock();
        let items = kept.iter().map(|kept| &kept.item).chain(&coming);
        let parts = items.flat_map(|item| item.chardevs.iter().map(move |part| (item, part)));
        let beside = parts.filter(|(item, part)| part.id != item.name);
        beside.map(|(_, part)| part.id.clone()).collect()
    }

    fn coming(&self) -> MutexGuard<'_, Vec<Item>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where each of the items is for now, which [`Table::note`] looks at first: they may be many.
    pub(super) fn places(&self, items: &[Item]) -> Vec<usize> {
        let all = self.lock();
        let numbered = all.iter().enumerate();
        let key = |item: &'_ Item| (item.sort, item.name.clone());
        let places: HashMap<_, _> = numbered.map(|(at, kept)| (key(&kept.item), at)).collect();
        let place = |item| places.get(&key(item)).copied().unwrap_or(0);
        items.iter().map(place).collect()
    }

    /// What an attempt to start `item`, which may be at `place`, came to; returns how many have
    /// failed before.
    pub(super) fn note(
        &self,
        item: &Item,
        place: usize,
        started: &Result<Option<String>, String>,
    ) -> u32 {
        let mut all = self.lock();
        let is_it = |kept: &Kept| kept.item.is_successor(item);
        let at = match all.get(place).is_some_and(is_it) {
            true => Some(place),
            false => all.iter().position(is_it),
        };
        let Some(kept) = at.and_then(|at| all.get_mut(at)) else {
            return 0;
        };
        let before = kept.state.tries();
        match started {
            Ok(device) => {
                kept.state = State::Running;
                kept.device.clone_from(device);
            }
            Err(why) => kept.state = kept.state.failed(why),
        }
        before
    }

    /// When the first failed item is tried again.
    pub(super) fn next_try(&self) -> Option<Instant> {
        let all = self.lock();
        let next = |kept: &Kept| match kept.state {
            State::Failed { next, .. } => Some(next),
            _ => None,
        };
        all.iter().filter_map(next).min()
    }

    /// The failed items whose pause is over.
    pub(super) fn due(&self, now: Instant) -> Vec<Item> {
        let all = self.lock();
        let due = all.iter().filter(|kept| match kept.state {
            State::Failed { next, .. } => next <= now,
            _ => false,
        });
        due.map(|kept| kept.item.clone()).collect()
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.0.coming().clear();
    }
}

impl State {
    fn tries(&self) -> u32 {
        match self {
            State::Failed { tries, .. } => *tries,
            _ => 0,
        }
    }

    /// The state after one more attempt that failed.
    pub(super) fn failed(&self, why: &str) -> State {
        let before = self.tries();
        let pause = PAUSES[0].saturating_mul(1 << before.min(6)).min(PAUSES[1]);
        State::Failed {
            why: why.to_owned(),
            tries: before.saturating_add(1),
            next: Instant::now() + pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_between_attempts_grow_up_to_a_minute() {
        let mut state = State::Starting;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let before = Instant::now();
            state = state.failed("no such file");
            let State::Failed { next, .. } = &state else {
                panic!("{state:?}")
            };
            let [least, most] =
                [before, Instant::now()].map(|from| from + Duration::from_secs(seconds));
            assert!((least..=most).contains(next), "{seconds} s");
        }
        assert_eq!(state.tries(), 9);
    }
}
