//! Memory that is asked for as it is needed and may not be available, and memory that takes long to
//! free.
//!
//! A ring may be as large as half the machine. It takes its memory in segments, so that nothing
//! large is ever copied or cleared at once, and it asks before it takes: a console must go on with
//! a smaller ring where there is no memory, not end the process. Giving a gibibyte back takes the
//! kernel a tenth of a second, which must not be spent under a chardev's lock.

use std::sync::OnceLock;

/// What must still be there after a large piece is taken, for everybody else.
const HEADROOM: usize = 32 << 20;
/// Pieces smaller than this are taken without looking for the headroom.
const LARGE: usize = 256 << 10;
/// Less than this is given back at once.
pub(crate) const SLOW_TO_FREE: usize = 4 << 20;

static DISPOSER: OnceLock<fn(Garbage)> = OnceLock::new();
static PROBE: OnceLock<fn(usize) -> bool> = OnceLock::new();

/// What nobody uses any more. Dropping it may take a tenth of a second, and the locks of chardevs.
pub struct Garbage(#[allow(dead_code, reason = "it is held to be dropped")] Box<dyn Send>);

impl std::fmt::Debug for Garbage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Garbage").finish_non_exhaustive()
    }
}

/// Hands large memory to `disposer` instead of dropping it where it became garbage, which may be
/// under a lock. Only the first call counts. The disposer must not wait.
pub fn set_disposer(disposer: fn(Garbage)) {
    let _ = DISPOSER.set(disposer);
}

/// Asks `probe` whether so many bytes of memory could be had from the system. Only the first call
/// counts. Without it the allocator is asked, which may have some set aside for one thread.
pub fn set_probe(probe: fn(usize) -> bool) {
    let _ = PROBE.set(probe);
}

/// Whether `bytes` bytes could be had now, with some to spare for the rest of the process.
pub fn is_available(bytes: usize) -> bool {
    #[cfg(test)]
    if !scarce::take(bytes) {
        return false;
    }
    // The kernel is asked for address space only, and it is given back untouched.
    let wanted = bytes.saturating_add(HEADROOM);
    if let Some(probe) = PROBE.get() {
        return probe(wanted);
    }
    let mut probe = Vec::<u8>::new();
    let there = probe.try_reserve_exact(wanted).is_ok();
    // Or the compiler may find that nobody needs the allocation.
    drop(std::hint::black_box(probe));
    there
}

/// Whether there is room for another piece of `bytes` bytes; small ones are not asked for.
pub fn allows(bytes: usize) -> bool {
    bytes < LARGE || is_available(bytes)
}

/// Drops `spent`, whose dropping takes a lock, on a thread that may.
pub(crate) fn clean_up(spent: impl Send + 'static) {
    dispose(spent, usize::MAX);
}

/// Drops `spent`, which holds about `bytes` bytes, where that is felt by nobody.
pub(crate) fn dispose(spent: impl Send + 'static, bytes: usize) {
    match DISPOSER.get().filter(|_| bytes >= SLOW_TO_FREE) {
        Some(disposer) => disposer(Garbage(Box::new(spent))),
        None => drop(spent),
    }
}

/// A test's thread may have as little memory as the test wants.
#[cfg(test)]
pub(crate) mod scarce {
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// Lets the pieces that this thread asks for have `bytes` bytes in all.
    pub(crate) fn leave(bytes: usize) {
        LEFT.set(bytes);
    }

    pub(super) fn take(bytes: usize) -> bool {
        let rest = LEFT.get().checked_sub(bytes);
        LEFT.set(rest.unwrap_or(LEFT.get()));
        rest.is_some()
    }
}
