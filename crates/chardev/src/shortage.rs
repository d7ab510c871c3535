//! front → chardev → back → [host]: listeners that wait because the process is out of descriptors.
//!
//! Their clients stay in the kernel's queue, where nothing that they send is lost, and are served
//! in turn as soon as something is closed. One task looks for that, for all of them, ten times a
//! second; each finding serves one listener.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chardev_core::Ready;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::port::Port;
use crate::sys::strerror;

/// How often somebody looks whether there is a descriptor.
const PAUSE: Duration = Duration::from_millis(100);

/// Who waits for a descriptor.
#[derive(Debug, Default)]
pub(crate) struct Shortage(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Weak<Port>>,
    looking: bool,
}

/// A place among those who wait; dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Turn(#[allow(dead_code, reason = "held, so that it lives")] Arc<Port>);

/// Whether `error` says that there are no descriptors, of the process or of the host.
pub(crate) fn is_shortage(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE)
}

/// Asks that `port` be told of a client again once there is a descriptor.
pub(crate) fn wait(port: &Port, error: Errno) -> Turn {
    let turn = Arc::new(port.clone());
    let mut state = port.io_threads().shortage.lock();
    state.waiting.push_back(Arc::downgrade(&turn));
    if !std::mem::replace(&mut state.looking, true) {
        drop(state);
        tracing::warn!(
            "no file descriptors left, clients wait until some are closed: {}",
            strerror(error)
        );
        let looking = port.clone();
        port.spawn(async move { look(looking).await });
    }
    Turn(turn)
}

async fn look(port: Port) {
    let shortage = &port.io_threads().shortage;
    let mut pause = PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        pause = PAUSE;
        if !is_descriptor_left() {
            continue;
        }
        let Some(next) = shortage.next() else {
            tracing::info!("descriptors are available again");
            return;
        };
        let before = shortage.lock().waiting.len();
        next.kick(Ready::READ);
        if shortage.lock().waiting.len() <= before {
            // It was served; perhaps the next one can be as well.
            pause = Duration::ZERO;
        }
    }
}

fn is_descriptor_left() -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    #[expect(clippy::disallowed_methods, reason = "this file is on no disk")]
    rustix::fs::open("/dev/null", flags, Mode::empty()).is_ok()
}

impl Shortage {
    /// The first who still waits; with none, nobody looks any more.
    fn next(&self) -> Option<Arc<Port>> {
        let mut state = self.lock();
        while let Some(turn) = state.waiting.pop_front() {
            if let Some(port) = turn.upgrade() {
                return Some(port);
            }
        }
        state.looking = false;
        None
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
