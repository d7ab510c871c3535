//! A thread with a runtime of its own, which is asked to end and waited for.

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::ledger::FAREWELL;

/// The thread. It is asked to end at once when this is dropped.
#[derive(Debug)]
pub(crate) struct Thread {
    stop: Option<oneshot::Sender<Duration>>,
    /// Fails once the thread has ended.
    ended: Mutex<Receiver<()>>,
}

impl Thread {
    /// Begins one that does this, and is told how long it may take to end.
    ///
    /// # Errors
    /// The process is out of threads.
    pub(crate) fn start<F: Future>(
        name: &str,
        work: impl FnOnce(oneshot::Receiver<Duration>) -> F + Send + 'static,
    ) -> io::Result<Thread> {
        let (alive, ended) = channel::<()>();
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(work(stopped));
                // The search for a name may take much longer.
                runtime.shutdown_background();
            }
            drop(alive);
        };
        chardev::new_thread(name)?.spawn(run)?;
        Ok(Thread {
            stop: Some(stop),
            ended: Mutex::new(ended),
        })
    }

    /// Asks it to end within `limit` and what farewells take, and waits for that, and no longer.
    pub(crate) fn finish(mut self, limit: Duration) {
        let stop = self.stop.take();
        // It fails where the thread has ended.
        if stop.is_some_and(|stop| stop.send(limit).is_ok()) {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            // It fails when the thread has ended, and that it takes longer stops nobody.
            let _ = ended.recv_timeout(limit + 2 * FAREWELL);
        }
    }
}
