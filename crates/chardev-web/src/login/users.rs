//! Users of this host by their names, which a name service may take its time to know.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::unistd::User;

use crate::blocking::Blocking;
use crate::error::Failure;

/// How long an answer counts.
const LIFE: Duration = Duration::from_secs(30);
/// How many are remembered.
const MOST: usize = 256;
/// How long a name may be.
const LONGEST: usize = 64;

/// The answers that count.
#[derive(Debug, Default)]
pub(crate) struct Users(Mutex<HashMap<String, (Option<u32>, Instant)>>);

impl Users {
    /// The ID of the user called `name`.
    ///
    /// # Errors
    /// Too many are being looked up.
    pub(crate) async fn find(
        &self,
        name: &str,
        blocking: &Blocking,
    ) -> Result<Option<u32>, Failure> {
        if name.is_empty() || name.len() > LONGEST {
            return Ok(None);
        }
        if let Some((found, _)) = self.lock().get(name) {
            return Ok(*found);
        }
        let asked = name.to_owned();
        let look = move || User::from_name(&asked).ok()?.map(|user| user.uid.as_raw());
        let found = blocking.run(look).await?;
        let mut all = self.lock();
        if all.len() < MOST {
            all.insert(name.to_owned(), (found, Instant::now()));
        }
        Ok(found)
    }

    /// Without those that are too old.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Option<u32>, Instant)>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, at)| at.elapsed() < LIFE);
        all
    }
}
