//! Signals: the first one ends the daemon in good order, the second one at once.

use std::fs;
use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::stop::{Reason, Stop};

/// Listens for the signals that end the daemon, on a thread of its own.
///
/// # Errors
/// The process is out of threads or descriptors.
pub fn listen(stop: Stop) -> io::Result<()> {
    let wanted = [SIGHUP, SIGINT, SIGTERM]
        .into_iter()
        .filter(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(wanted)?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if !stop.request(Reason::Signal) {
                    chardev::back::stdio::restore_terminal();
                    std::process::exit(128 + signal);
                }
            }
        })?;
    Ok(())
}

/// Whether whoever started us wants a signal ignored, as `nohup` does with the hang-up.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}
