//! A program's own tasks on the I/O thread.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::Chardevs;

/// A task that [`Chardevs::spawn`] runs in the background. Dropping this does not stop it.
///
/// It is a future of what comes of the task, on any executor: `None` if the task was given up, has
/// panicked, or has ended with the last [`Chardevs`].
#[derive(Debug)]
pub struct Background<T>(JoinHandle<T>);

impl Chardevs {
    /// Runs `task` on the I/O thread of these chardevs, beside their back ends: for a front end
    /// that moves bytes all the time, a wake-up of another thread for each would cost more than
    /// the bytes. It must not block the thread, or all consoles wait with it. Returns at once.
    ///
    /// # Cancel safety
    /// The task goes on when what this returns is dropped; [`Background::give_up`] drops it at its
    /// next await.
    pub fn spawn<F>(&self, task: F) -> Background<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Background(self.runtime().spawn(task))
    }

    /// Where the monitors of this project run if they are to have no thread of their own.
    #[doc(hidden)]
    pub fn runtime(&self) -> &Handle {
        self.shared().runtime()
    }
}

impl<T> Background<T> {
    /// Drops the task where it waits now or next. Does not wait for that.
    pub fn give_up(&self) {
        self.0.abort();
    }
}

impl<T> Future for Background<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(context).map(Result::ok)
    }
}
