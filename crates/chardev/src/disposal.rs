//! A thread that gives large memory back to the system, which takes too long to do under a lock.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use chardev_core::memory::{Garbage, set_disposer};

use crate::threads::new_thread;

/// The way to the thread; `None` before the first [`start`].
static THREAD: Mutex<Option<Sender<Garbage>>> = Mutex::new(None);

/// Starts the one thread of the process, unless it runs.
///
/// It is started by whoever makes the first set of chardevs, so that it has that thread's priority
/// and not a viewer's.
///
/// # Errors
/// The process is out of threads.
pub(crate) fn start() -> std::io::Result<()> {
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    if thread.is_some() {
        return Ok(());
    }
    let (sender, garbage) = channel();
    new_thread("chardev-free")?.spawn(move || garbage.into_iter().for_each(drop))?;
    *thread = Some(sender);
    drop(thread);
    set_disposer(hand_over);
    Ok(())
}

fn hand_over(garbage: Garbage) {
    let thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(sender) = &*thread {
        // The thread never ends before the process does.
        let _ = sender.send(garbage);
    }
}
