//! A thread that frees large memory, which takes too long under a lock. It also stands in where no
//! further thread can be started.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use chardev_core::memory::{Garbage, set_disposer, set_probe};

use crate::offload::Work;
use crate::sys::could_map;
use crate::threads::new_thread;

/// The way to the thread; `None` before the first [`start`].
static THREAD: Mutex<Option<Sender<Box<dyn Send>>>> = Mutex::new(None);

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
    set_probe(could_map);
    set_disposer(|garbage: Garbage| hand_over(Box::new(garbage)));
    Ok(())
}

/// Has `work` done on this thread, where no other can be had.
pub(crate) fn do_instead(work: Work) {
    hand_over(Box::new(ToDo(Some(work))));
}

/// Drops `what` on the thread, which never ends before the process does.
fn hand_over(what: Box<dyn Send>) {
    let thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    match &*thread {
        Some(sender) => _ = sender.send(what),
        None => {
            drop(thread);
            drop(what);
        }
    }
}

/// Work that is done when this is dropped.
struct ToDo(Option<Work>);

impl Drop for ToDo {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            // Whoever awaits it is told; the thread goes on.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    }
}
