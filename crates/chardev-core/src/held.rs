//! front → [chardev] → back → host: whether the calling thread is inside a chardev's lock.
//!
//! Nothing that may wait for a disk or a device is done there. Who does such things asks here, so
//! that every test which comes by finds what would have held up a console.

#[cfg(not(chardev_model))]
use std::cell::Cell;

#[cfg(not(chardev_model))]
thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

/// Whether the calling thread is inside the lock of a chardev.
#[must_use]
pub fn is_locked_here() -> bool {
    #[cfg(not(chardev_model))]
    return DEPTH.get() > 0;
    // The threads of the model are one thread to the host.
    #[cfg(chardev_model)]
    return false;
}

/// How often the calling thread has taken the lock of a chardev so far, for a test of what
/// something costs.
#[doc(hidden)]
#[must_use]
pub fn locks_taken_here() -> u64 {
    #[cfg(not(chardev_model))]
    return TAKEN.get();
    #[cfg(chardev_model)]
    return 0;
}

/// The calling thread is inside a lock for as long as this lives.
pub(crate) struct Inside(());

impl Inside {
    pub(crate) fn enter() -> Self {
        #[cfg(not(chardev_model))]
        {
            DEPTH.set(DEPTH.get() + 1);
            TAKEN.set(TAKEN.get() + 1);
        }
        Inside(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        #[cfg(not(chardev_model))]
        DEPTH.set(DEPTH.get() - 1);
    }
}
