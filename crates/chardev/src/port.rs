//! front → chardev → [back] → host: the line from a back end's tasks to its chardev.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use chardev_core::{BackendId, ChardevRef, Ready, WeakChardev};
use tokio::task::JoinHandle;

use crate::chardevs::Shared;
use crate::io_threads::{Home, IoThreads};
use crate::reactor::Reactor;
use crate::tasks::{Listed, TaskKind};

/// A back end's line to the chardev it serves. Cheap to clone; holds nothing alive.
#[derive(Clone, Debug)]
pub struct Port {
    id: BackendId,
    inner: Arc<Ends>,
}

#[derive(Debug)]
struct Ends {
    label: Arc<str>,
    chardev: OnceLock<WeakChardev>,
    home: Arc<Home>,
}

impl Port {
    /// A port for the first back end of a chardev `label`, which is about to be opened.
    pub(crate) fn of(shared: &Shared, label: impl Into<Arc<str>>) -> Self {
        Port::at(shared.home(), shared, label.into())
    }

    /// A port for a further back end of `chardev`, or for what belongs to it.
    pub(crate) fn of_chardev(shared: &Shared, chardev: &ChardevRef) -> Self {
        let label = chardev.with(|chardev| Arc::from(chardev.label()));
        Port::at(shared.home_of(chardev), shared, label)
    }

    /// A port of what lives at `home`.
    pub(crate) fn at(home: Arc<Home>, shared: &Shared, label: Arc<str>) -> Self {
        Port {
            id: shared.next_backend(),
            inner: Arc::new(Ends {
                label,
                chardev: OnceLock::new(),
                home,
            }),
        }
    }

    /// The back end's id.
    pub fn id(&self) -> BackendId {
        self.id
    }

    /// The same line for a log, which outlives the back end it came with.
    pub(crate) fn for_log(&self) -> Self {
        Port {
            id: BackendId::LOG,
            inner: Arc::clone(&self.inner),
        }
    }

    /// The label of the chardev.
    pub fn label(&self) -> &str {
        &self.inner.label
    }

    /// Tells the chardev that the back end is `ready` or has news: [`Backend::update`] is called
    /// with it and the events are collected. Takes the chardev's lock, so it must never be
    /// called from inside a [`Backend`] method; call it from a task or the reactor.
    ///
    /// Before the back end is installed and after it was replaced this does nothing; the machine
    /// looks at a back end by itself when it installs it.
    ///
    /// [`Backend`]: chardev_core::Backend
    /// [`Backend::update`]: chardev_core::Backend::update
    pub fn kick(&self, ready: Ready) {
        if let Some(chardev) = self.inner.chardev.get().and_then(WeakChardev::upgrade) {
            chardev.with(|chardev| chardev.handle_ready(self.id, ready));
        }
    }

    /// Tells the chardev that its log, or one that it had, has lost `bytes` from the absolute
    /// offset `from` on.
    pub(crate) fn lost_in_log(&self, from: u64, bytes: u64, replaced: bool) {
        if let Some(chardev) = self.inner.chardev.get().and_then(WeakChardev::upgrade) {
            chardev.with(|chardev| chardev.log_lost(from, bytes, replaced));
        }
    }

    /// Runs `task` on the chardev's I/O thread, until it ends or the last
    /// [`Chardevs`](crate::Chardevs) is dropped. It must not block the thread: everything in it
    /// that waits is a future.
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.spawn(task));
    }

    /// As [`Port::kick`], from where that must not be called: soon, on the chardev's I/O thread.
    pub(crate) fn kick_soon(&self, ready: Ready) {
        let port = self.clone();
        drop(self.spawn(async move { port.kick(ready) }));
    }

    /// Tasks are rare, and boxed, since each kind of future would have a runtime compiled for it.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let task: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(task);
        self.runtime().spawn(task)
    }

    /// As [`Port::spawn`], for what is listed as long as it goes on.
    pub(crate) fn spawn_listed<F>(&self, kind: TaskKind, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let listed = self.listed(kind);
        self.spawn(async move {
            let _listed = listed;
            task.await
        })
    }

    /// A place in the list of what goes on in the background.
    pub(crate) fn listed(&self, kind: TaskKind) -> Listed {
        self.io_threads().tasks.begin(self.label(), kind)
    }

    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.inner.home.thread().runtime
    }

    /// Whether it is a line to the chardev `label` of those that `threads` serve.
    pub(crate) fn serves(&self, threads: &Arc<IoThreads>, label: &str) -> bool {
        Arc::ptr_eq(self.io_threads(), threads) && *self.inner.label == *label
    }

    /// The reactor of the chardev's I/O thread. That may come to be another one.
    pub(crate) fn reactor(&self) -> &Arc<Reactor> {
        &self.inner.home.thread().reactor
    }

    pub(crate) fn home(&self) -> &Home {
        &self.inner.home
    }

    pub(crate) fn io_threads(&self) -> &Arc<IoThreads> {
        self.inner.home.threads()
    }

    /// Lives with `below`, on which its chardev is to rest, if it does not live anywhere yet.
    pub(crate) fn live_with(&self, below: &ChardevRef) {
        if let Some(home) = Home::of(below) {
            self.inner.home.follow(&home);
        }
    }

    /// Connects the port to its chardev; readiness seen before is looked at right after.
    pub(crate) fn connect(&self, chardev: &ChardevRef) {
        let _ = self.inner.chardev.set(chardev.downgrade());
        self.inner.home.keep_with(chardev);
    }
}

/// A task that ends when its owner is dropped.
#[derive(Debug)]
pub(crate) struct OwnedTask(tokio::task::JoinHandle<()>);

impl OwnedTask {
    pub(crate) fn spawn(port: &Port, task: impl Future<Output = ()> + Send + 'static) -> Self {
        OwnedTask(port.spawn(task))
    }

    /// As [`OwnedTask::spawn`], for what is listed as long as it goes on.
    pub(crate) fn spawn_listed(
        port: &Port,
        kind: TaskKind,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        OwnedTask(port.spawn_listed(kind, task))
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
