//! How every thread of a process with chardevs is started.

use std::io;
use std::thread::Builder;

use crate::sys;

/// The stack that the standard library gives a thread, and something for what it begins with: less
/// than rings leave for everybody else.
const NEEDED: usize = (2 << 20) + (4 << 20);

/// A [`thread::Builder`](Builder) named `name`, after checking that memory suffices.
///
/// `std` aborts if a new thread's signal stack cannot be allocated.
///
/// # Errors
/// There is no memory (`ulimit -v`).
pub fn new_thread(name: &str) -> io::Result<Builder> {
    if !sys::could_map(NEEDED) {
        return Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            "no memory for another thread",
        ));
    }
    #[expect(clippy::disallowed_methods, reason = "there is memory for it")]
    let thread = Builder::new();
    Ok(thread.name(name.to_owned()))
}
