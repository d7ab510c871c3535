//! Bearer tokens: whoever presents one may do what it says, until it expires or is removed.
//!
//! Only their hashes are kept. This file knows no disk: whoever makes tokens keeps them.

#[cfg(feature = "tokens")]
mod clock;
mod guesses;
#[cfg(feature = "tokens")]
mod secret;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::access::Role;

#[cfg(feature = "tokens")]
pub(crate) use self::clock::Clock;
use self::guesses::Guesses;
pub use self::guesses::Origin;
#[cfg(feature = "tokens")]
pub use self::secret::{Refused, Secret};

/// The longest name of a token.
const LONGEST_NAME: usize = 64;

/// What is known of a token. Without its secret, which only its owner has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is called, for people and logs.
    pub name: String,
    /// What its secret hashes to.
    pub digest: Digest,
    /// What it is good for.
    pub role: Role,
    /// For which consoles, by their names or those of their groups; `None` is all, and what
    /// concerns no console.
    pub consoles: Option<BTreeSet<String>>,
    /// When it was made, in seconds since the Unix epoch.
    pub created: u64,
    /// When it expires, likewise.
    pub expires: Option<u64>,
}

/// A SHA-256 hash. One round is enough: a secret of 256 random bits cannot be found by trying,
/// however fast each try is, and a slow hash would be a burden that strangers could put on us.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

/// All tokens there are, and who has guessed. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    all: Arc<Mutex<Vec<Arc<Token>>>>,
    // Without the feature nobody can check one.
    #[cfg_attr(not(feature = "tokens"), allow(dead_code))]
    guesses: Arc<Mutex<Guesses>>,
    /// Somebody may have fewer rights than before.
    pub(crate) changed: Arc<watch::Sender<()>>,
}

impl Token {
    /// Whether a token may be called so: letters, digits, `.`, `_` and `-`, up to 64 of them.
    pub fn is_name(name: &str) -> bool {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(fits)
    }

    /// Whether its time is over at `now`, in seconds since the Unix epoch.
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }
}

/// A hash is no secret, but nobody has to see it either.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

impl Tokens {
    /// From now on there are these, and whoever came with another one has no rights any more.
    pub fn set(&self, all: Vec<Token>) {
        *self.lock() = all.into_iter().map(Arc::new).collect();
        self.changed.send_replace(());
    }

    /// All of them, in the order in which they were set.
    pub fn list(&self) -> Vec<Arc<Token>> {
        self.lock().clone()
    }

    /// Whether `token` is there and has not expired.
    pub fn is_good(&self, token: &Token) -> bool {
        let there = self.lock().iter().any(|one| one.digest == token.digest);
        there && !token.is_expired(seconds())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Token>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time, in seconds since the Unix epoch.
pub(crate) fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}
