//! front → chardev → [link] → chardev → host: a chardev that another one rests on.
//!
//! A multiplexer or a hub is the front end of the chardevs under it. A [`Link`] is that front end;
//! the back ends of a change that both rest on one chardev share it, so the one below notices
//! nothing until the change is decided. What is still on its way from below when a multiplexer or
//! hub is replaced comes over a [`Tail`], and no chardev is in use because of one.
//!
//! Wake-ups go upwards through a waker of the host's, which calls [`Users::kick`] later and with
//! no lock held; calls go downwards under the locks of the chardevs above, never the other way.

use std::io::IoSliceMut;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::backend::{BackendId, Ready};
use crate::chardev::{ChardevRef, WeakChardev};
use crate::event::Event;
use crate::frontend::{FrontEnd, FrontEndHooks};
use crate::input::TailRead;
use crate::line::Answers;

/// The front end of a chardev that a multiplexer or a hub rests on. Clones share it.
#[derive(Clone, Debug)]
pub struct Link(Arc<Joint>);

#[derive(Debug)]
struct Joint {
    label: String,
    front: FrontEnd,
    hooks: Arc<LinkHooks>,
}

/// A wish for the [`Link`] to the chardev of this name; see
/// [`Sharing::lend`](crate::Sharing::lend).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantLink(pub String);

/// The hooks of a [`Link`]: whether the chardev below may change is for those above to say.
#[derive(Debug, Default)]
pub struct LinkHooks(Mutex<Users>);

/// The chardevs above a link. Clones share the list.
#[derive(Clone, Debug, Default)]
pub struct Users(Arc<Mutex<Vec<(BackendId, WeakChardev)>>>);

/// What comes next from below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Below {
    /// This many bytes.
    Data(usize),
    Event(Event),
    /// A place that was [marked](Link::mark).
    Mark(u64),
    /// Nothing now.
    Nothing,
}

impl Link {
    /// A link over `front`, which was attached with `hooks`.
    pub fn new(front: FrontEnd, hooks: Arc<LinkHooks>) -> Self {
        Link(Arc::new(Joint {
            label: front.label(),
            front,
            hooks,
        }))
    }

    /// The name of the chardev below.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    pub(crate) fn front(&self) -> &FrontEnd {
        &self.0.front
    }

    /// Reads as a front end does, also while a transaction cuts off what is to be read.
    pub(crate) fn next(&self, bufs: &mut [IoSliceMut<'_>]) -> Below {
        let chardev = self.0.front.chardev();
        chardev.with(|chardev| chardev.read_below(bufs))
    }

    /// Whether the last opening or closing that was taken here was an opening.
    pub(crate) fn seen_open(&self) -> bool {
        let chardev = self.0.front.chardev();
        chardev.with(|chardev| chardev.seen_open())
    }

    /// Whether something that was sent before a change further down has not come yet.
    pub(crate) fn is_under_way(&self) -> bool {
        let chardev = self.0.front.chardev();
        chardev.with(|chardev| chardev.is_under_way())
    }

    /// A mark behind everything that is under way.
    pub(crate) fn mark(&self) -> u64 {
        let chardev = self.0.front.chardev();
        chardev.with(|chardev| chardev.mark_input())
    }

    /// What is below by now, and all that is under way, for somebody who is about to be replaced.
    pub(crate) fn tail(&self, waker: Option<Waker>) -> Tail {
        let chardev = self.0.front.chardev().clone();
        let number = chardev.with(|chardev| chardev.begin_tail(waker));
        Tail { chardev, number }
    }

    /// From here on it serves `users`, and `notify` is woken when they should look.
    pub(crate) fn serve(&self, users: &Users, notify: &Waker) {
        *lock(&self.0.hooks.0) = users.clone();
        self.0.front.set_waker(Ready::READ | Ready::WRITE, notify);
    }
}

/// Reads what belongs to a replaced multiplexer or hub. Dropping it leaves the rest to whoever is
/// next.
#[derive(Debug)]
pub(crate) struct Tail {
    chardev: ChardevRef,
    number: u64,
}

impl Tail {
    pub(crate) fn read(&self, buf: &mut [u8]) -> TailRead {
        self.chardev
            .with(|chardev| chardev.read_tail(self.number, buf))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.chardev.with(|chardev| chardev.end_tail(self.number));
    }
}
impl LinkHooks {
    fn fronts(&self) -> Vec<Arc<dyn FrontEndHooks>> {
        let users = lock(&self.0).clone();
        let hooks = |chardev: ChardevRef| {
            chardev.with(|chardev| chardev.front.as_ref().map(|front| front.hooks.clone()))
        };
        users.all().into_iter().filter_map(hooks).collect()
    }
}

impl FrontEndHooks for LinkHooks {
    fn swappable(&self) -> bool {
        self.fronts().iter().all(|hooks| hooks.swappable())
    }

    fn above(&self) -> Vec<ChardevRef> {
        lock(&self.0).all()
    }

    /// A link that is made for a back end which is not live yet.
    fn is_idle(&self) -> bool {
        lock(&self.0).all().is_empty()
    }

    fn backend_change(&self, answers: &Answers) -> Result<(), String> {
        self.fronts()
            .iter()
            .try_for_each(|hooks| hooks.backend_change(answers))
    }
}

impl Users {
    /// Lets every chardev above look at its back end. Takes their locks, so it must not be called
    /// from a waker, nor from inside a back end.
    pub fn kick(&self) {
        let users = lock(&self.0).clone();
        for (id, chardev) in users {
            if let Some(chardev) = chardev.upgrade() {
                chardev.with(|chardev| chardev.handle_ready(id, Ready::READ | Ready::WRITE));
            }
        }
    }

    /// The chardevs above.
    pub fn all(&self) -> Vec<ChardevRef> {
        let users = lock(&self.0);
        users
            .iter()
            .filter_map(|(_, weak)| weak.upgrade())
            .collect()
    }

    pub(crate) fn add(&self, id: BackendId, chardev: &WeakChardev) {
        lock(&self.0).push((id, chardev.clone()));
    }

    pub(crate) fn remove(&self, id: BackendId) {
        lock(&self.0).retain(|(user, _)| *user != id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
