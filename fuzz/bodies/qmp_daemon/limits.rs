//! How long a step may take and how much memory the server may use, measured so that a machine busy
//! with other things proves nothing.
//!
//! A step is timed by the clock on the wall, which costs nothing and sees waiting as well as
//! computing. One that took too long is only a suspicion: the whole input is played again, several
//! times, and then the time that threads of this process were ready to run and had no CPU is taken
//! off. An input hangs if what is left is too much every time.

use std::cell::Cell;
use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long one step may take: bytes given to the session, one turn of a command, one call of a
/// front end, one answer of the I/O thread.
const STEP: Duration = Duration::from_millis(100);
/// How often a suspicion has to come true.
const TIMES: usize = 5;
/// What all of the server may have allocated at once.
const HEAP: usize = 64 << 20;

/// What may be allocated between two inputs beyond what was after the first of them.
const LEFT: usize = 2 << 20;

/// How to ask the allocator for the most that was ever allocated, and for what is; a fuzz target
/// sets it.
pub(crate) static PEAK_HEAP: OnceLock<fn() -> usize> = OnceLock::new();
pub(crate) static HEAP_NOW: OnceLock<fn() -> usize> = OnceLock::new();

/// Watches over the steps of one play of an input.
pub(super) struct Limits {
    /// Whether waiting for a CPU is taken off.
    careful: bool,
    slowest: Cell<Duration>,
}

/// Plays an input as often as it takes to know that none of its steps hangs.
pub(super) fn hold(play: impl Fn(&Limits)) {
    let first = Limits::new(false);
    play(&first);
    check_heap();
    if first.slowest.get() < STEP {
        return;
    }
    let mut fastest = Duration::MAX;
    for _ in 0..TIMES {
        let again = Limits::new(true);
        play(&again);
        fastest = fastest.min(again.slowest.get());
        if fastest < STEP {
            eprintln!(
                "a step took {:?}, but of its own only {fastest:?}",
                first.slowest.get()
            );
            return;
        }
    }
    panic!("a step takes {fastest:?} of its own, {TIMES} times in a row");
}

impl Limits {
    fn new(careful: bool) -> Self {
        Limits {
            careful,
            slowest: Cell::default(),
        }
    }

    /// Runs a step and notes how long it took.
    pub(super) fn step<T>(&self, step: impl FnOnce() -> T) -> T {
        let waited = if self.careful {
            waited()
        } else {
            Duration::ZERO
        };
        let began = Instant::now();
        let result = step();
        let mut spent = began.elapsed();
        if self.careful {
            spent = spent.saturating_sub(self::waited().saturating_sub(waited));
        }
        self.slowest.set(self.slowest.get().max(spent));
        result
    }
}

/// How long the threads of this process, all together, have waited for a CPU.
fn waited() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    let waited = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waited.sum())
}

fn check_heap() {
    if let Some(peak) = PEAK_HEAP.get() {
        let peak = peak();
        assert!(peak < HEAP, "the server had {peak} bytes allocated");
    }
}

/// Sees that nothing piles up from one input to the next; called when all has come to rest.
pub(super) fn check_leftovers() {
    static FIRST: OnceLock<usize> = OnceLock::new();
    if let Some(now) = HEAP_NOW.get() {
        let now = now();
        let first = FIRST.get_or_init(|| now);
        assert!(
            now < first + LEFT,
            "{now} bytes are allocated at rest, {first} were at first"
        );
    }
}
