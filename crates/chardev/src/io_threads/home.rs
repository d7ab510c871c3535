//! front → chardev → back → [host]: which I/O thread does what belongs to a chardev.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use chardev_core::{ChardevRef, Few};

use super::{IoThread, IoThreads, Places};
use crate::reactor::Watched;

/// No thread has been chosen yet.
const NOWHERE: u8 = u8::MAX;

/// Where a chardev lives. Its ports share it, and what keeps it counts as a chardev of its thread.
#[derive(Debug)]
pub(crate) struct Home {
    threads: Arc<IoThreads>,
    at: AtomicU8,
    /// Its chardev is to be spread out.
    is_bulk: AtomicBool,
    /// What goes along when it moves.
    watches: Mutex<Few<Weak<Watched>>>,
    /// It is that of all who have none of their own, so it neither moves nor counts.
    is_shared: bool,
    /// A thread apart from those that consoles are spread over, on which it may be for a time.
    apart: OnceLock<Arc<IoThread>>,
    /// It is there now.
    is_apart: AtomicBool,
}

impl Home {
    /// One that is chosen later; where there is one thread only, `shared` for all.
    pub(crate) fn new(threads: &Arc<IoThreads>, shared: &Arc<Home>) -> Arc<Self> {
        match threads.most() {
            1 => Arc::clone(shared),
            _ => Arc::new(Home::at_first(threads, NOWHERE, false)),
        }
    }

    /// That of all who have none of their own, on the first thread.
    pub(crate) fn shared(threads: &Arc<IoThreads>) -> Arc<Self> {
        Arc::new(Home::at_first(threads, 0, true))
    }

    /// That of all who are on `thread` for good, apart from the consoles.
    pub(super) fn on(thread: &Arc<IoThread>, threads: &Arc<IoThreads>) -> Arc<Self> {
        let home = Home::at_first(threads, 0, true);
        let _ = home.apart.set(Arc::clone(thread));
        home.is_apart.store(true, Ordering::Relaxed);
        Arc::new(home)
    }

    /// Goes to `thread`, apart from the consoles, until [`Home::come_back`]; `false` if it can go
    /// nowhere, or was once on another such thread.
    pub(super) fn visit(&self, thread: &Arc<IoThread>) -> bool {
        if self.is_shared {
            return false;
        }
        let there = self.apart.get_or_init(|| Arc::clone(thread));
        let may = Arc::ptr_eq(there, thread);
        if may {
            self.is_apart.store(true, Ordering::Release);
            self.fetch();
        }
        may
    }

    /// Goes back to where it would have been.
    pub(super) fn come_back(&self) {
        self.is_apart.store(false, Ordering::Release);
        self.fetch();
    }

    fn at_first(threads: &Arc<IoThreads>, at: u8, is_shared: bool) -> Self {
        Home {
            threads: Arc::clone(threads),
            at: AtomicU8::new(at),
            is_bulk: AtomicBool::new(false),
            watches: Mutex::default(),
            is_shared,
            apart: OnceLock::new(),
            is_apart: AtomicBool::new(false),
        }
    }

    /// The home of `chardev`, where it has one of its own.
    pub(crate) fn of(chardev: &ChardevRef) -> Option<Arc<Home>> {
        let kept = chardev.with(|chardev| chardev.kept_for_host())?;
        kept.downcast().ok()
    }

    /// It is the home of `chardev` from here on.
    pub(crate) fn keep_with(self: &Arc<Self>, chardev: &ChardevRef) {
        if !self.is_shared {
            let kept = Arc::clone(self) as Arc<dyn Any + Send + Sync>;
            chardev.with(|chardev| chardev.keep_for_host(kept));
        }
    }

    /// Brings `homes` together, unless they are, on the thread with the fewest others. Their
    /// descriptors move there at once, so what comes to them is seen in its order, and tasks beside
    /// them when they are polled next; others stay.
    pub(crate) fn join(homes: &[Arc<Home>]) {
        let Some((one, rest)) = homes.split_first() else {
            return;
        };
        one.thread();
        let mut places = one.threads.lock();
        if rest.iter().all(|home| home.at() == one.at()) {
            return;
        }
        let at = match homes.iter().any(|home| home.is_shared) {
            true => 0,
            false => one.threads.least_loaded(&mut places, homes),
        };
        for home in homes {
            home.move_to(at, &mut places);
        }
        drop(places);
        homes.iter().for_each(|home| home.fetch());
    }

    /// Brings `homes`, which are together, to the thread with the fewest others that are spread
    /// out, if that has fewer than theirs.
    pub(crate) fn spread_out(homes: &[Arc<Home>]) {
        let Some(threads) = homes.first().map(|home| &home.threads) else {
            return;
        };
        if homes.iter().any(|home| home.is_shared) {
            return;
        }
        let mut places = threads.lock();
        let mut others = places.bulk;
        for home in homes {
            let Some(at) = home.at() else { return };
            match home.is_bulk.swap(true, Ordering::Relaxed) {
                true => others[at] -= 1,
                false => places.bulk[at] += 1,
            }
        }
        let Some(now) = homes[0].at() else { return };
        let best = (0..threads.most()).min_by_key(|at| (others[*at], *at != now));
        let best = best.filter(|at| *at != now && threads.start_one(*at, &mut places).is_ok());
        for home in homes {
            home.move_to(best.unwrap_or(now), &mut places);
        }
        drop(places);
        homes.iter().for_each(|home| home.fetch());
    }

    /// Goes where `other` is, if it is nowhere yet: it costs least to be with what one rests on.
    pub(crate) fn follow(&self, other: &Home) {
        let mut places = self.threads.lock();
        if let (None, Some(at)) = (self.at(), other.at()) {
            self.move_to(at, &mut places);
        }
    }

    /// The thread, chosen by now.
    pub(crate) fn thread(&self) -> &IoThread {
        if self.is_apart.load(Ordering::Acquire) {
            if let Some(apart) = self.apart.get() {
                return apart;
            }
        }
        let at = self.at().unwrap_or_else(|| self.settle());
        self.threads.thread(at)
    }

    /// A descriptor of its chardev's is watched.
    pub(crate) fn has_watch(&self, watched: &Arc<Watched>) {
        if !self.is_shared {
            self.watches().push(Arc::downgrade(watched));
        }
    }

    /// And is not any more.
    pub(crate) fn has_no_watch(&self, watched: &Arc<Watched>) {
        if !self.is_shared {
            let watched = Arc::as_ptr(watched);
            self.watches().retain(|other| other.as_ptr() != watched);
        }
    }

    /// Has all watches where it is now.
    fn fetch(&self) {
        let watches: Vec<_> = self.watches().iter().filter_map(Weak::upgrade).collect();
        watches.iter().for_each(Watched::go_home);
    }

    fn watches(&self) -> MutexGuard<'_, Few<Weak<Watched>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may come to be another one.
    pub(crate) fn may_move(&self) -> bool {
        !self.is_shared
    }

    /// Which of the threads that is.
    pub(crate) fn thread_number(&self) -> usize {
        self.at().unwrap_or(0)
    }

    /// All threads, of which it is on one.
    pub(crate) fn threads(&self) -> &Arc<IoThreads> {
        &self.threads
    }

    pub(super) fn at(&self) -> Option<usize> {
        let at = self.at.load(Ordering::Acquire);
        (at != NOWHERE).then_some(usize::from(at))
    }

    #[cold]
    fn settle(&self) -> usize {
        let mut places = self.threads.lock();
        // Another one may have been faster.
        self.at().unwrap_or_else(|| {
            let at = self.threads.least_loaded(&mut places, &[]);
            self.move_to(at, &mut places);
            at
        })
    }

    fn move_to(&self, at: usize, places: &mut Places) {
        if self.is_shared {
            return;
        }
        self.leave(places);
        places.loads[at] += 1;
        places.bulk[at] += usize::from(self.is_bulk.load(Ordering::Relaxed));
        self.at.store(at as u8, Ordering::Release);
    }

    fn leave(&self, places: &mut Places) {
        if let Some(at) = self.at() {
            places.loads[at] -= 1;
            places.bulk[at] -= usize::from(self.is_bulk.load(Ordering::Relaxed));
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.is_shared && self.at().is_some() {
            self.leave(&mut self.threads.lock());
        }
    }
}
