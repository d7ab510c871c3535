//! Waiting for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// How soon is looked again, where nothing tells when to.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Looks until `look` finds something, but not longer than `limit`.
pub(crate) fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left.min(LOOK_AGAIN));
    }
}
