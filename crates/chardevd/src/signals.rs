//! Signals: the first one ends the daemon in good order, the second one at once. A hang-up ends it
//! only if its terminal has gone; otherwise somebody has rotated the logs, or changed the
//! configuration. Before any other ends or stops it, the terminal is put back.

use std::fs;
use std::io;
use std::sync::mpsc::channel;

use chardev::back::stdio::{apply_terminal, restore_terminal};
use chardev::{Chardevs, new_thread};
use chardev_monitor::{Reason, Stop};
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
    SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::iterator::Signals;

use crate::config::Config;
use crate::{edge, messages};

/// What the kernel ends or stops a process for that does not know better.
const OTHERS: [i32; 12] = [
    SIGALRM,
    SIGIO,
    SIGPROF,
    libc::SIGPWR,
    SIGQUIT,
    libc::SIGSTKFLT,
    SIGTSTP,
    SIGUSR1,
    SIGUSR2,
    SIGVTALRM,
    SIGXCPU,
    // A file at the process's limit is one that cannot be written, and no reason to end.
    SIGXFSZ,
];

/// Listens for the signals that end the daemon or reopen its logs, on a thread of its own.
///
/// # Errors
/// The process is out of threads or descriptors.
pub(crate) fn listen(stop: Stop, chardevs: Chardevs, config: Config) -> io::Result<()> {
    let had_terminal = has_terminal();
    edge::restore_terminal_on_faults();
    let wanted = [SIGHUP, SIGINT, SIGTERM].into_iter();
    let wanted = wanted
        .chain(OTHERS)
        .chain(libc::SIGRTMIN()..=libc::SIGRTMAX());
    let ignored = Ignored::now();
    let mut signals = Signals::new(wanted.filter(|signal| !ignored.has(*signal)))?;
    let (hung_up, hang_ups) = channel();
    let ending = stop.clone();
    new_thread("hang-ups")?.spawn(move || {
        for () in hang_ups {
            hang_up(&ending, &chardevs, &config, had_terminal);
        }
    })?;
    new_thread("signals")?.spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGXFSZ => {}
                // The thread ends with the process, so somebody takes it.
                SIGHUP => drop(hung_up.send(())),
                SIGINT | SIGTERM => end(&stop, signal),
                signal => {
                    restore_terminal();
                    edge::default_action(signal);
                    apply_terminal();
                }
            }
        }
    })?;
    Ok(())
}

/// The terminal and the logs may be slow to open, and whoever wants the daemon to end does not wait
/// for them.
fn hang_up(stop: &Stop, chardevs: &Chardevs, config: &Config, had_terminal: bool) {
    let lost_terminal = had_terminal && !has_terminal();
    if lost_terminal || stop.is_requested() {
        end(stop, SIGHUP);
        return;
    }
    let reopened = chardevs.clone();
    chardevs.spawn(async move {
        if let Err(error) = reopened.reopen_logs(None).await {
            tracing::warn!("{error}");
        }
    });
    messages::reopen();
    config.hang_up();
}

/// In good order the first time, at once the second.
fn end(stop: &Stop, signal: i32) {
    if !stop.request(Reason::Signal) {
        leave_at_once(signal);
    }
}

fn leave_at_once(signal: i32) -> ! {
    crate::pidfile::remove();
    restore_terminal();
    std::process::exit(128 + signal)
}

/// Whether there is a controlling terminal, and it has not hung up.
#[expect(clippy::disallowed_methods, reason = "a thread for it may wait")]
fn has_terminal() -> bool {
    fs::File::open("/dev/tty").is_ok()
}

/// The signals that whoever started us wants ignored, as `nohup` does with the hang-up.
pub(crate) struct Ignored {
    mask: u64,
}

impl Ignored {
    /// Asks the kernel, which has more to tell and takes its time: once is enough for all signals.
    #[expect(clippy::disallowed_methods, reason = "this file is on no disk")]
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        Ignored {
            mask: mask.unwrap_or(0),
        }
    }

    pub(crate) fn has(&self, signal: i32) -> bool {
        self.mask & (1 << (signal - 1)) != 0
    }
}
