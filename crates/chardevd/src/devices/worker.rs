//! [front] → chardev → back → host: threads beside the I/O thread, for devices.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::DaemonError;

/// The stack of a device's thread, which only waits and hands on.
const STACK: usize = 256 << 10;

/// A thread beside the I/O thread of the chardevs. A terminal is read in small pieces, and a
/// program that prints without end would make every step of a monitor's command wait for a turn of
/// that, and for what the host's scheduler thinks of threads that never rest.
#[derive(Debug)]
pub struct Worker {
    runtime: Handle,
    /// Dropped with the worker, which ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Worker {
    /// Starts the thread, which is called `name`.
    ///
    /// # Errors
    /// The process is out of threads or descriptors.
    pub fn new(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(1)
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        chardev::new_thread(name)?.spawn(move || {
            // An error says that the sender is gone, which is the sign to end.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Worker {
            runtime: handle,
            _stop: stop,
        })
    }

    /// Where tasks of the thread are spawned from.
    pub(crate) fn handle(&self) -> Handle {
        self.runtime.clone()
    }

    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.runtime.spawn(task)
    }
}

/// Runs `serve`, which takes as long as a device lives, on a thread of its own called `name`: a
/// pool of threads would be empty some day.
///
/// # Errors
/// The process is out of threads, or `serve` panicked.
pub(crate) async fn on_own_thread<T: Send + 'static>(
    name: &str,
    serve: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DaemonError> {
    let (done, result) = oneshot::channel();
    let serve = move || {
        let _ = done.send(serve());
    };
    chardev::new_thread(name)
        .and_then(|thread| thread.stack_size(STACK).spawn(serve))
        .map_err(|error| DaemonError::of("no thread", error))?;
    result.await.map_err(|_| "its thread panicked".into())
}
