//! Clients that have yet to prove who they are: few at a time, and not for long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use crate::tokens::Origin;

/// How long one may take to prove it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How much one may send until then.
pub(crate) const MOST_INPUT: usize = 16 << 10;
/// How many there are at a time. Another one has the place of the oldest from where most of them
/// come from, so that a crowd from one place keeps nobody out who comes from elsewhere.
const MOST: usize = 64;

/// All of a server. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers {
    /// The oldest first.
    all: Arc<Mutex<Vec<Arc<Entry>>>>,
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    displaced: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// The place of one of them, which is free when it is dropped.
#[derive(Debug)]
pub(crate) struct Stranger {
    all: Strangers,
    entry: Arc<Entry>,
}

impl Strangers {
    /// Somebody has come from `origin`.
    pub(crate) fn enter(&self, origin: Origin) -> Stranger {
        let entry = Arc::new(Entry {
            origin,
            displaced: AtomicBool::new(false),
            waker: Mutex::default(),
        });
        let displaced = {
            let mut all = lock(&self.all);
            all.push(Arc::clone(&entry));
            let oldest = oldest_of_most(&all);
            (all.len() > MOST).then(|| all.remove(oldest))
        };
        if let Some(displaced) = displaced {
            displaced.displaced.store(true, Ordering::Relaxed);
            let waker = lock(&displaced.waker).take();
            waker.into_iter().for_each(Waker::wake);
        }
        Stranger {
            all: self.clone(),
            entry,
        }
    }
}

fn oldest_of_most(all: &[Arc<Entry>]) -> usize {
    let of = |origin: &Origin| all.iter().filter(|one| one.origin == *origin).count();
    let most = all.iter().map(|one| of(&one.origin)).max();
    let oldest = all.iter().position(|one| Some(of(&one.origin)) == most);
    oldest.unwrap_or(0)
}

impl Stranger {
    /// Whether another one has its place; if not the task of `cx` is woken when that is so.
    pub(crate) fn is_displaced(&self, cx: &Context<'_>) -> bool {
        *lock(&self.entry.waker) = Some(cx.waker().clone());
        self.entry.displaced.load(Ordering::Relaxed)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        lock(&self.all.all).retain(|one| !Arc::ptr_eq(one, &self.entry));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_from_one_place_displaces_only_itself() {
        let all = Strangers::default();
        let cx = Context::from_waker(Waker::noop());
        let from = |text: &str| Origin::of_address(text.parse().expect("an address"));
        let early = all.enter(from("192.0.2.1"));
        let crowd: Vec<Stranger> = (0..1000).map(|_| all.enter(from("192.0.2.66"))).collect();
        let late = all.enter(from("192.0.2.2"));
        assert!(!early.is_displaced(&cx) && !late.is_displaced(&cx));
        let left = crowd.iter().filter(|one| !one.is_displaced(&cx)).count();
        assert_eq!(left, MOST - 2);
        assert!(crowd[0].is_displaced(&cx) && !crowd[999].is_displaced(&cx));
        drop((early, crowd, late));
        assert!(lock(&all.all).is_empty());
    }
}
