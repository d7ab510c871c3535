//! The one way for work that may wait (for a disk, a device, a network file system) to leave the
//! thread that asks for it, whoever polls the future.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::runtime::Handle;

use crate::port::Port;

impl Port {
    /// Runs `work`, which may block, on a thread where that holds up nobody. The future may be
    /// polled by any executor; dropping it does not stop `work`, whose result is then dropped on
    /// that thread.
    pub(crate) async fn offload<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        offload(self.runtime(), work).await
    }
}

/// [`Port::offload`] for those who have no port.
pub(crate) async fn offload<T, F>(runtime: &Handle, work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    match runtime.spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // The I/O thread has ended, and everything with it.
        Err(_) => pending().await,
    }
}
