//! The thread that monitors run on.

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A thread beside the I/O thread of the chardevs: nothing that a monitor computes holds up a
/// console, nor the other way round.
#[derive(Debug)]
pub(crate) struct Thread {
    runtime: Handle,
    /// Dropped with this, which ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Thread {
    /// Starts it.
    ///
    /// # Errors
    /// The process is out of threads or descriptors.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(1)
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            // An error says that the sender is gone, which is the sign to end.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        };
        chardev::new_thread("monitors")?.spawn(serve)?;
        Ok(Thread {
            runtime: handle,
            _stop: stop,
        })
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}
