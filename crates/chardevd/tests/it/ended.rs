//! A process that does not outlive its test, even if the test fails.

use std::ops::{Deref, DerefMut};
use std::process::Child;

/// See the [module](self).
pub(crate) struct Ended(pub(crate) Child);

impl Deref for Ended {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Ended {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // Either call fails only if it has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
