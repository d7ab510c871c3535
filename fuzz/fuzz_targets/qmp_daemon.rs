//! Any bytes to a whole monitor with real chardevs behind it; see the body for what must hold.
//!
//! Built without a sanitizer (`cargo fuzz run -s none`): the memory it watches over is the
//! server's.
#![no_main]

#[path = "../bodies/qmp_daemon/mod.rs"]
mod body;

use std::sync::atomic::Ordering;

use peak_alloc::PeakAlloc;
use rustix::fs::{Mode, OFlags};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

libfuzzer_sys::fuzz_target!(
    init: {
        let _ = body::limits::PEAK_HEAP.set(|| HEAP.peak_usage());
        let _ = body::limits::HEAP_NOW.set(|| HEAP.current_usage());
        own_stdio();
    },
    |data: &[u8]| body::run(data)
);

/// Puts a terminal of our own in the place of standard input and output; libFuzzer speaks on
/// standard error.
fn own_stdio() {
    let (master, slave) = body::world::terminal();
    let slave =
        rustix::fs::open(slave, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("a terminal");
    rustix::stdio::dup2_stdin(&slave).expect("a descriptor");
    rustix::stdio::dup2_stdout(&slave).expect("a descriptor");
    // Nobody reads it, so it is full at some time: a stalled peer.
    std::mem::forget(master);
    body::world::OWNS_STDIO.store(true, Ordering::Relaxed);
}
