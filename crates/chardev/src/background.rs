//! A program's own tasks on the I/O threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use chardev_core::ChardevRef;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::Chardevs;
use crate::io_threads::{Home, roam};

/// A task that [`Chardevs::spawn`] runs in the background. Dropping this does not stop it.
///
/// It is a future of what comes of the task, on any executor: `None` if the task was given up, has
/// panicked, or has ended with the last [`Chardevs`].
#[derive(Debug)]
pub struct Background<T>(JoinHandle<T>);

impl Chardevs {
    /// Runs `task` on the first I/O thread of these chardevs. It must not block the thread, or all
    /// consoles wait with it. Returns at once.
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

    /// As [`Chardevs::spawn`], beside the back ends of the chardevs `ids`: for a front end that
    /// moves bytes all the time, a wake-up of another thread for each would cost more than the
    /// bytes. The chardevs, and those that they rest on, come to be served by one I/O thread, the
    /// one that has the fewest others.
    ///
    /// # Cancel safety
    /// As for [`Chardevs::spawn`].
    pub fn spawn_beside<F>(&self, ids: &[&str], task: F) -> Background<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let homes = self.homes(ids);
        Home::join(&homes);
        match homes.into_iter().next().filter(|home| home.may_move()) {
            Some(home) => self.spawn(roam(home, Box::pin(task))),
            None => self.spawn(task),
        }
    }

    /// Tells that much goes through the chardevs `ids`, which are relayed to each other by tasks
    /// beside them: all of it goes on on another I/O thread if the one they are on serves more of
    /// that kind than the other. May take as long as starting a thread does.
    pub fn spread_out(&self, ids: &[&str]) {
        Home::spread_out(&self.homes(ids));
    }

    /// The homes of the chardevs `ids` and of all that they rest on.
    fn homes(&self, ids: &[&str]) -> Vec<Arc<Home>> {
        let mut homes = Vec::new();
        for chardev in ids.iter().filter_map(|id| self.registry().get(id)) {
            self.homes_from(&chardev, &mut homes);
        }
        homes
    }

    /// Runs a task that `make` makes on each I/O thread that there is.
    #[doc(hidden)]
    pub fn spawn_on_each<F>(&self, mut make: impl FnMut() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        for thread in self.shared().io_threads().all() {
            thread.runtime.spawn(make());
        }
    }

    /// The homes of `chardev` and of all that it rests on.
    fn homes_from(&self, chardev: &ChardevRef, homes: &mut Vec<Arc<Home>>) {
        let home = self.shared().home_of(chardev);
        if !homes.iter().any(|other| Arc::ptr_eq(other, &home)) {
            homes.push(home);
        }
        for member in chardev.with(|chardev| chardev.members()) {
            self.homes_from(&member, homes);
        }
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
