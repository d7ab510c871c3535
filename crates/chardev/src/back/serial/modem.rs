//! front ← chardev ← back ← [host]: a thread that notices when modem lines change.
//!
//! The kernel tells of that only to whoever sits in `TIOCMIWAIT`, which nothing but a signal ends
//! while the device lives, and which holds it open. So the lines are looked at, as QEMU does, but
//! by their counters, which miss no pulse; off the I/O thread, since an adapter may take its time
//! to answer; and only while a front end wants to know. The thread ends with the device.

use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chardev_core::{ModemChange, ModemLines, Ready};

use crate::port::Port;
use crate::slow_fd::SlowFd;
use crate::sys;
use crate::threads::new_thread;

/// How often the lines are looked at.
const INTERVAL: Duration = Duration::from_millis(20);
/// The lines in the order of their counters.
const COUNTED: [ModemLines; 4] = [
    ModemLines::CTS,
    ModemLines::DSR,
    ModemLines::RI,
    ModemLines::CAR,
];

/// The thread; dropping this ends it.
pub(super) struct ModemWatch(Arc<Watched>);

#[derive(Default)]
struct Watched {
    state: Mutex<Seen>,
    stop: Condvar,
}

#[derive(Default)]
struct Seen {
    change: Option<ModemChange>,
    stopped: bool,
}

/// What one look at the lines showed.
#[derive(Clone, Copy)]
struct Look {
    inputs: ModemLines,
    /// Some drivers do not count.
    counts: Option<[i32; 4]>,
}

impl ModemWatch {
    /// Watches `device`, whose inputs were `known` last, and kicks `port` when something changed.
    pub(super) fn start(device: &Arc<SlowFd>, known: ModemLines, port: &Port) -> Option<Self> {
        let shared = Arc::new(Watched::default());
        let (inside, device, told) = (Arc::clone(&shared), Arc::clone(device), port.clone());
        let first = Look {
            inputs: known,
            counts: None,
        };
        let run = move || inside.run(first, || look(&device), || told.kick(Ready::empty()));
        let thread = new_thread("chardev-modem");
        match thread.and_then(|thread| thread.spawn(run)) {
            Ok(_) => Some(ModemWatch(shared)),
            Err(error) => {
                let label = port.label();
                tracing::warn!("nobody watches the modem lines of chardev '{label}': {error}");
                None
            }
        }
    }

    /// What changed since the last call.
    pub(super) fn take_change(&self) -> Option<ModemChange> {
        self.0.lock().change.take()
    }
}

impl Drop for ModemWatch {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.stop.notify_all();
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks until it is stopped or the device is gone.
    fn run(&self, mut last: Look, look: impl Fn() -> Option<Look>, tell: impl Fn()) {
        let mut stopped = false;
        while !stopped {
            let Some(now) = look() else { return };
            let changed = last.changed_to(now);
            last = now;
            if changed.is_empty() {
                stopped = !self.wait();
                continue;
            }
            let later = ModemChange {
                inputs: now.inputs,
                changed,
            };
            let mut state = self.lock();
            let earlier = state.change.take();
            state.change = Some(earlier.map_or(later, |earlier| earlier.and(later)));
            drop(state);
            tell();
            stopped = !self.wait();
        }
    }

    /// Waits for the next look; `false` once it is stopped.
    fn wait(&self) -> bool {
        let state = self.lock();
        let waited = self
            .stop
            .wait_timeout_while(state, INTERVAL, |state| !state.stopped);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.stopped
    }
}

impl Look {
    /// The lines that are not as they were, or not any more.
    fn changed_to(self, now: Look) -> ModemLines {
        let mut changed = self.inputs ^ now.inputs;
        if let (Some(before), Some(after)) = (self.counts, now.counts) {
            for ((line, before), after) in COUNTED.into_iter().zip(before).zip(after) {
                changed.set(line, changed.contains(line) || before != after);
            }
        }
        changed
    }
}

fn look(device: &SlowFd) -> Option<Look> {
    let lines = sys::modem_lines(device.as_fd()).ok()?;
    Some(Look {
        inputs: super::inputs(lines),
        counts: sys::modem_counts(device.as_fd()).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(inputs: ModemLines, counts: Option<[i32; 4]>) -> Look {
        Look { inputs, counts }
    }

    #[test]
    fn levels_and_pulses_are_changes() {
        let none = ModemLines::empty();
        let cts = ModemLines::CTS;
        for (before, after, changed) in [
            (at(none, None), at(none, None), none),
            (at(none, None), at(cts, None), cts),
            (
                at(cts, Some([1, 0, 0, 0])),
                at(none, Some([2, 0, 0, 0])),
                cts,
            ),
            (
                at(cts, Some([1, 0, 0, 0])),
                at(cts, Some([3, 0, 0, 0])),
                cts,
            ),
            (
                at(none, Some([0; 4])),
                at(none, Some([0, 0, 2, 0])),
                ModemLines::RI,
            ),
            (at(cts, Some([1; 4])), at(cts, Some([1; 4])), none),
        ] {
            assert_eq!(before.changed_to(after), changed);
        }
    }

    #[test]
    fn it_tells_each_change_and_ends_with_the_device() {
        let shared = Arc::new(Watched::default());
        let watch = ModemWatch(Arc::clone(&shared));
        let first = at(ModemLines::empty(), None);
        let script = Mutex::new(vec![
            at(ModemLines::DSR, None),
            at(ModemLines::DSR, None),
            at(ModemLines::DSR | ModemLines::CTS, None),
        ]);
        let next = || {
            let mut script = script.lock().unwrap();
            (!script.is_empty()).then(|| script.remove(0))
        };
        let told = Mutex::new(0);
        shared.run(first, next, || *told.lock().unwrap() += 1);
        assert_eq!(*told.lock().unwrap(), 2);
        let both = ModemLines::DSR | ModemLines::CTS;
        let change = ModemChange {
            inputs: both,
            changed: both,
        };
        assert_eq!(watch.take_change(), Some(change));
        assert_eq!(watch.take_change(), None);
        drop(watch);
        assert!(!shared.wait());
    }
}
