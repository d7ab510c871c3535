//! The one way for work that may wait (for a disk, a device, a network file system) to leave the
//! thread that asks for it, whoever polls the future.
//!
//! What waits is [`offload`]ed and its result awaited. What only has to be done, such as removing a
//! name or closing a terminal, is left to be done [`elsewhere`] or [`sometime`]: it is asked for under
//! a chardev's lock, or on the I/O thread, where nothing may wait.

mod pool;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::resume_unwind;

use chardev_core::is_locked_here;
use tokio::runtime::Handle;

use crate::port::Port;

/// Something to be done.
type Work = Box<dyn FnOnce() + Send>;

thread_local! {
    /// What is to be done once the work on this thread is.
    static LEFT: RefCell<Option<Vec<Work>>> = const { RefCell::new(None) };
    static IS_IO_THREAD: Cell<bool> = const { Cell::new(false) };
}

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
    #[expect(clippy::disallowed_methods, reason = "everybody else comes here")]
    let running = runtime.spawn_blocking(|| to_the_end(work));
    match running.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // The I/O thread has ended, and everything with it.
        Err(_) => pending().await,
    }
}

/// Runs `work` here, and then, with every lock released, what it left to be done [`elsewhere`].
/// Waits for all of it, so it is for threads that may wait.
pub(crate) fn to_the_end<T>(work: impl FnOnce() -> T) -> T {
    struct Rest;
    impl Drop for Rest {
        fn drop(&mut self) {
            // What is done may leave more to be done.
            while let Some(works) = LEFT.with_borrow_mut(|left| {
                let works = left.as_mut().map(std::mem::take);
                works.filter(|works| !works.is_empty())
            }) {
                works.into_iter().for_each(|work| work());
            }
            LEFT.set(None);
        }
    }
    if LEFT.with_borrow(Option::is_some) {
        return work();
    }
    LEFT.set(Some(Vec::new()));
    let rest = Rest;
    let result = work();
    drop(rest);
    result
}

/// Has `work`, which may wait, done where that holds up nobody: at the end of what is
/// [`offload`]ed, so that whoever awaits that finds it done; at once on a thread that may wait; else
/// soon, on a thread for such things.
pub(crate) fn elsewhere(work: impl FnOnce() + Send + 'static) {
    let mut work: Option<Work> = Some(Box::new(work));
    // A thread that ends has no list any more.
    let _ = LEFT.try_with(|left| {
        if let Some(left) = &mut *left.borrow_mut() {
            left.extend(work.take());
        }
    });
    match work {
        None => {}
        Some(work) if may_wait_here() => work(),
        Some(work) => pool::run(work),
    }
}

/// Has `work`, which may take very long, done soon on a thread for such things; nobody waits for it.
pub(crate) fn sometime(work: impl FnOnce() + Send + 'static) {
    pool::run(Box::new(work));
}

/// The calling thread does the I/O of all chardevs from here on.
pub(crate) fn become_io_thread() {
    IS_IO_THREAD.set(true);
}

/// For everything that may wait: a test that comes by fails if it is done inside a chardev's lock or
/// on the I/O thread.
#[track_caller]
pub(crate) fn assert_may_wait() {
    debug_assert!(!is_locked_here(), "this may wait, under a chardev's lock");
    debug_assert!(!IS_IO_THREAD.get(), "this may wait, on the I/O thread");
}

/// A runtime's thread serves others too.
fn may_wait_here() -> bool {
    !is_locked_here() && Handle::try_current().is_err()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    #[test]
    fn what_is_left_is_done_before_the_result_is_there() {
        let runtime = runtime();
        let (tell, told) = channel();
        let handle = runtime.handle().clone();
        runtime.block_on(offload(&handle, move || {
            let again = tell.clone();
            elsewhere(move || {
                elsewhere(move || again.send("later").unwrap());
            });
            tell.send("now").unwrap();
        }));
        assert_eq!(told.try_iter().collect::<Vec<_>>(), ["now", "later"]);
    }

    #[test]
    fn a_runtimes_thread_does_not_wait() {
        let (go, gone) = channel::<()>();
        let (tell, told) = channel();
        runtime().block_on(async move {
            // Done here, this would wait for ever.
            elsewhere(move || gone.recv().unwrap());
            sometime(move || tell.send(std::thread::current().id()).unwrap());
        });
        assert_ne!(told.recv_timeout(DEADLINE), Ok(std::thread::current().id()));
        go.send(()).unwrap();
    }

    #[test]
    fn a_thread_that_may_wait_does() {
        let (tell, told) = channel();
        elsewhere(move || tell.send(()).unwrap());
        assert_eq!(told.try_recv(), Ok(()));
    }

    #[test]
    #[should_panic(expected = "under a chardev's lock")]
    fn what_waits_under_a_lock_is_found() {
        let chardevs = crate::Chardevs::new().unwrap();
        let null = crate::spec::Options::new("null");
        let added = chardevs.add("c", &null, std::sync::Arc::new(crate::back::NoFds));
        chardevs.block_on(added).unwrap();
        let chardev = chardevs.registry().get("c").unwrap();
        chardev.with(|_| assert_may_wait());
    }
}
