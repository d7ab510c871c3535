//! Signals: the first one ends the daemon in good order, the second one at once. A hang-up ends it
//! only if its terminal has gone; otherwise somebody has rotated the logs.

use std::fs;
use std::io;
use std::thread;

use chardev::Chardevs;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::stop::{Reason, Stop};

/// Listens for the signals that end the daemon or reopen its logs, on a thread of its own.
///
/// # Errors
/// The process is out of threads or descriptors.
pub fn listen(stop: Stop, chardevs: Chardevs) -> io::Result<()> {
    let had_terminal = has_terminal();
    let wanted = [SIGHUP, SIGINT, SIGTERM]
        .into_iter()
        .filter(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(wanted)?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                let lost_terminal = had_terminal && !has_terminal();
                if signal == SIGHUP && !lost_terminal && !stop.is_requested() {
                    if let Err(error) = chardevs.block_on(chardevs.reopen_logs(None)) {
                        tracing::warn!("{error}");
                    }
                    continue;
                }
                if !stop.request(Reason::Signal) {
                    chardev::back::stdio::restore_terminal();
                    std::process::exit(128 + signal);
                }
            }
        })?;
    Ok(())
}

/// Whether there is a controlling terminal, and it has not hung up.
fn has_terminal() -> bool {
    fs::File::open("/dev/tty").is_ok()
}

/// Whether whoever started us wants a signal ignored, as `nohup` does with the hang-up.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}
