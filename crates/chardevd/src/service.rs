//! What a service manager (systemd) is told, and what it gave us: readiness, a line of state, signs
//! of life, sockets with names.
//!
//! What is told goes through a thread of its own, since a manager that is stuck must not be felt.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
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

/// How much waits for a manager that takes nothing; what comes then is not told.
const WAITING: usize = 16;
/// How long the last word may take to be said.
const LAST_WORD: Duration = Duration::from_secs(1);

static NOTES: OnceLock<SyncSender<Note>> = OnceLock::new();

#[derive(Debug)]
enum Note {
    Reloading,
    Reloaded,
    /// Dropped once it is told.
    Stopping(Sender<()>),
}

/// Tells the manager, if there is one, that the daemon is ready, and from here on how it is. Where
/// a sign of life is wanted, it is given while all threads that serve consoles still do.
pub(crate) fn begin(chardevs: &Chardevs, worker: &Worker) -> std::io::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(());
    }
    let (sender, notes) = sync_channel(WAITING);
    if NOTES.set(sender).is_err() {
        return Ok(());
    }
    let mut teller = Teller {
        chardevs: chardevs.clone(),
        devices: worker.clone(),
        // Twice as often as it has to be.
        every: sd_notify::watchdog_enabled().map(|limit| limit / 2),
        asked: None,
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
        let _ = notes.try_send(note);
    }
}

struct Teller {
    chardevs: Chardevs,
    devices: Worker,
    every: Option<Duration>,
    /// A question about life without an answer yet; there is no second one meanwhile.
    asked: Option<Receiver<()>>,
}

impl Teller {
    fn run(&mut self, notes: &Receiver<Note>) {
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
    fn is_alive(&mut self) -> bool {
        let answered = self.asked.take().unwrap_or_else(|| self.ask());
        let limit = self.every.unwrap_or(LAST_WORD);
        // The answer is the end of all tasks.
        let is_alive = answered.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected);
        self.asked = (!is_alive).then_some(answered);
        is_alive
    }

    fn ask(&self) -> Receiver<()> {
        let (alive, answered) = channel::<()>();
        let answer = || {
            let alive = alive.clone();
            async move { drop(alive) }
        };
        self.chardevs.spawn_on_each(answer);
        self.devices.spawn_on_each(answer);
        answered
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread that is stuck gives no sign, and is asked once; it is alive again afterwards.
    #[test]
    fn a_sign_of_life_is_that_of_all_threads() {
        let chardevs = Chardevs::new().unwrap();
        let worker = Worker::new("stuck").unwrap();
        let mut teller = Teller {
            chardevs,
            devices: worker.clone(),
            every: Some(Duration::from_millis(50)),
            asked: None,
        };
        assert!(teller.is_alive());
        let (release, released) = channel::<()>();
        worker.spawn(async move { released.recv().is_ok() });
        for _ in 0..3 {
            assert!(!teller.is_alive());
            assert!(teller.asked.is_some());
        }
        drop(release);
        let end = Instant::now() + Duration::from_secs(20);
        while !teller.is_alive() {
            assert!(Instant::now() < end, "it stays dead");
        }
    }
}
