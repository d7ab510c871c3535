//! What a service manager (systemd) is told, and what it gave us: readiness, a line of state, signs
//! of life, sockets with names.
//!
//! What is told goes through a thread of its own, since a manager that is stuck must not be felt.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use chardev::Chardevs;
use sd_notify::NotifyState;

use crate::devices::Worker;

/// What only concerns us, and no program that we start.
pub(crate) const VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// What the socket of the default monitor is called (`FileDescriptorName=`).
pub(crate) const MONITOR: &str = "qmp";

/// How long the last word may take to be said.
const LAST_WORD: Duration = Duration::from_secs(1);

static NOTES: OnceLock<Sender<Note>> = OnceLock::new();

#[derive(Debug)]
enum Note {
    Reloading,
    Reloaded,
    /// Dropped once it is told.
    Stopping(Sender<()>),
}

/// Tells the manager, if there is one, that the daemon is ready, and from here on how it is. Where
/// a sign of life is wanted, it is given while both threads that serve consoles still do.
pub(crate) fn begin(chardevs: &Chardevs, worker: &Worker) -> std::io::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(());
    }
    let (sender, notes) = channel();
    if NOTES.set(sender).is_err() {
        return Ok(());
    }
    let teller = Teller {
        chardevs: chardevs.clone(),
        devices: worker.handle(),
        // Twice as often as it has to be.
        every: sd_notify::watchdog_enabled().map(|limit| limit / 2),
    };
    chardev::new_thread("service")?.spawn(move || teller.run(&notes))?;
    Ok(())
}

/// A reload has begun, or has come to its end.
pub(crate) fn reloading(begins: bool) {
    tell(match begins {
        true => Note::Reloading,
        false => Note::Reloaded,
    });
}

/// The end has begun.
pub(crate) fn stopping() {
    let (told, wait) = channel();
    tell(Note::Stopping(told));
    let _ = wait.recv_timeout(LAST_WORD);
}

/// The sockets that the manager has opened for us: numbers of descriptors by name, of which the
/// first counts.
pub(crate) fn sockets() -> HashMap<String, String> {
    // Without a manager, or with one that talks nonsense, there are none.
    let mut sockets = HashMap::new();
    for (fd, name) in sd_notify::listen_fds_with_names().into_iter().flatten() {
        sockets.entry(name).or_insert_with(|| fd.to_string());
    }
    sockets
}

fn tell(note: Note) {
    if let Some(notes) = NOTES.get() {
        // The thread ends with the process, so somebody takes it.
        let _ = notes.send(note);
    }
}

struct Teller {
    chardevs: Chardevs,
    devices: tokio::runtime::Handle,
    every: Option<Duration>,
}

impl Teller {
    fn run(&self, notes: &Receiver<Note>) {
        notify(&[NotifyState::Ready, NotifyState::Status(&self.state())]);
        let mut due = self.every.map(|every| Instant::now() + every);
        loop {
            let note = match due {
                None => notes.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => notes.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match note {
                Ok(Note::Reloading) => {
                    let now = NotifyState::monotonic_usec_now();
                    let now = now.unwrap_or(NotifyState::MonotonicUsec(0));
                    notify(&[NotifyState::Reloading, now]);
                }
                Ok(Note::Reloaded) => {
                    notify(&[NotifyState::Ready, NotifyState::Status(&self.state())]);
                }
                Ok(Note::Stopping(_told)) => notify(&[NotifyState::Stopping]),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    due = self.every.map(|every| Instant::now() + every);
                    if self.is_alive() {
                        let state = self.state();
                        notify(&[NotifyState::Watchdog, NotifyState::Status(&state)]);
                    }
                }
            }
        }
    }

    /// Whether whoever serves consoles comes to what is new.
    fn is_alive(&self) -> bool {
        let (alive, signs) = channel();
        let (first, second) = (alive.clone(), alive);
        self.chardevs.spawn(async move { first.send(()).ok() });
        self.devices.spawn(async move { second.send(()).ok() });
        let limit = self.every.unwrap_or(LAST_WORD);
        (0..2).all(|_| signs.recv_timeout(limit).is_ok())
    }

    fn state(&self) -> String {
        let all = self.chardevs.list();
        let connected = all.iter().filter(|info| info.open).count();
        let word = if all.len() == 1 {
            "chardev"
        } else {
            "chardevs"
        };
        format!("{} {word}, {connected} connected", all.len())
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // A manager that has gone is told nothing.
    let _ = sd_notify::notify(states);
}
