//! How every thread of a process with chardevs is started.

use std::io;
use std::thread::Builder;

use crate::sys;

/// The stack that the standard library gives a thread, and something for what it begins with: less
/// than rings leave for everybody else.
const NEEDED: usize = (2 << 20) + (4 << 20);

/// The makings of a thread called `name`, if there is memory for it and for what else the process
/// does.
///
/// A thread that is made where only its stack can be had ends the whole process: the standard
/// library gives it a second one for signals before anybody could be told that there is none.
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
