//! What may wait for a disk or a name server, on a few threads of its own.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::error::Failure;

/// How many waits there are at a time.
pub(crate) const THREADS: usize = 4;
/// How many more queue behind them.
const QUEUE: usize = 32;

/// Where waiting is done. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Blocking {
    running: Arc<Semaphore>,
    queued: Arc<Semaphore>,
}

impl Blocking {
    pub(crate) fn new() -> Self {
        Blocking {
            running: Arc::new(Semaphore::new(THREADS)),
            queued: Arc::new(Semaphore::new(THREADS + QUEUE)),
        }
    }

    /// Does `work` elsewhere and waits for it. What has begun ends, also when nobody waits any
    /// more.
    ///
    /// # Errors
    /// Too much is waiting, or the work panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let busy = || Failure::too_many("too much is waiting for the disk; try again");
        let queued = self.queued.clone().try_acquire_owned();
        let queued = queued.map_err(|_| busy())?;
        let running = self.running.clone().acquire_owned().await;
        let running = running.map_err(|_| busy())?;
        #[expect(
            clippy::disallowed_methods,
            reason = "at most so many, as counted here"
        )]
        let done = tokio::task::spawn_blocking(move || {
            let _places = (queued, running);
            work()
        });
        done.await.map_err(|_| {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Failure::new(status, "failed", "the work did not end well")
        })
    }
}
