//! One-time links: whoever follows one is who asked for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chardev_monitor::Caller;

use super::secret::{Hash, fresh, hash};

/// How long a link is good for.
const LIFE: Duration = Duration::from_secs(60);
/// How many there are at a time; the oldest goes.
const MOST: usize = 64;

/// The links that nobody has followed yet.
#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<Vec<Link>>);

#[derive(Debug)]
struct Link {
    code: Hash,
    caller: Caller,
    until: Instant,
}

impl Links {
    /// A further one for `caller`; returns its code.
    pub(crate) fn add(&self, caller: Caller) -> String {
        let code = fresh();
        let mut links = self.lock(Instant::now());
        if links.len() >= MOST {
            links.remove(0);
        }
        links.push(Link {
            code: hash(&code),
            caller,
            until: Instant::now() + LIFE,
        });
        code
    }

    /// Whose link it is; nobody's from here on.
    pub(crate) fn take(&self, code: &str) -> Option<Caller> {
        self.take_at(code, Instant::now())
    }

    pub(super) fn take_at(&self, code: &str, now: Instant) -> Option<Caller> {
        let code = hash(code);
        let mut links = self.lock(now);
        let at = links.iter().position(|link| link.code == code)?;
        Some(links.remove(at).caller)
    }

    /// Without those that are too old.
    fn lock(&self, now: Instant) -> MutexGuard<'_, Vec<Link>> {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.until > now);
        links
    }
}
