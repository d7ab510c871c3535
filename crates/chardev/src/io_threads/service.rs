//! front → chardev → back → [host]: a thread for front ends that answer what they read.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{Home, IoThread};
use crate::Chardevs;

/// A thread for front ends that answer what they read, such as monitors.
///
/// What runs there is held up by no console, nor the other way round; and what comes for a front
/// end that is served there ([`Chardevs::front_end_on`], [`ServiceThread::take_in`]) is seen there,
/// so no other thread is woken between a question and its answer. Dropping this ends the thread and
/// the tasks on it, without waiting.
#[derive(Debug)]
pub struct ServiceThread {
    thread: Arc<IoThread>,
    home: Arc<Home>,
    /// Dropped with this, which ends the thread.
    _stop: oneshot::Sender<()>,
}

/// As long as this is kept, what comes to a chardev is seen on a [`ServiceThread`].
#[derive(Debug)]
#[must_use = "dropping this ends the stay"]
pub struct Stay(Arc<Home>);

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.come_back();
    }
}

impl ServiceThread {
    /// The thread's runtime, for tasks. They must not block it.
    pub fn runtime(&self) -> &Handle {
        &self.thread.runtime
    }

    /// Has what comes to chardev `id` seen here for as long as the answer is kept, which is to be
    /// dropped by a task on this thread. `None` where that cannot be: there is no such chardev,
    /// others rest on it, it was seen on another such thread before, or all chardevs share one I/O
    /// thread ([`Chardevs::set_io_threads`]). It then works as well, and another thread is woken
    /// for what comes. Does not wait.
    pub fn take_in(&self, chardevs: &Chardevs, id: &str) -> Option<Stay> {
        let chardev = chardevs.registry().get(id)?;
        if chardev.with(|chardev| chardev.mux().is_some()) {
            return None;
        }
        let home = Home::of(&chardev)?;
        home.visit(&self.thread).then(|| Stay(home))
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }
}

impl Chardevs {
    /// Starts a [`ServiceThread`] called `name`.
    ///
    /// # Errors
    /// The process is out of threads or descriptors.
    pub fn service_thread(&self, name: &str) -> io::Result<ServiceThread> {
        let (stop, stopped) = oneshot::channel();
        // Each answer is short, and who has asked next is not to wait for several of them.
        let thread = Arc::new(IoThread::start(name, 1, stopped)?);
        Ok(ServiceThread {
            home: Home::on(&thread, self.shared().io_threads()),
            thread,
            _stop: stop,
        })
    }
}
