//! The one way for work that may wait (for a disk, a device, a network file system) to leave the
//! thread that asks for it, whoever polls the future.
//!
//! What waits is [`offload`]ed and its result awaited; what a user named is opened by
//! [`offload_open`], apart from the rest, since that may hang for ever. What only has to be done,
//! such as removing a name or closing a terminal, is left to be done [`elsewhere`] or [`sometime`]:
//! it is asked for under a chardev's lock, or on the I/O thread, where nothing may wait.

mod follow;
mod pool;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use chardev_core::{OpenError, is_locked_here};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub(crate) use self::follow::following;
use self::pool::{Pool, Waiting};
use crate::first::{First, first};
use crate::port::Port;

/// Something to be done.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

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

    /// [`Port::offload`] for opening what a user named.
    ///
    /// # Errors
    /// Too much else hangs that is being opened, and `work` has not begun.
    pub(crate) async fn offload_open<T, F>(&self, work: F) -> Result<T, TooMany>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        offload_open(self.runtime(), work).await
    }
}

/// So many others are being opened, and none of them comes to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany(usize);

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "too many opens are stuck; waiting for {} others", self.0)
    }
}

impl From<TooMany> for OpenError {
    fn from(why: TooMany) -> Self {
        OpenError::new(why.to_string())
    }
}

/// [`Port::offload`] for those who have no port.
pub(crate) async fn offload<T, F>(runtime: &Handle, work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (work, done, result) = prepare(runtime, work);
    follow::run(&pool::AWAITED, work);
    finished(done).await;
    result.take().await
}

/// [`Port::offload_open`] for those who have no port.
///
/// # Errors
/// As for that.
pub(crate) async fn offload_open<T, F>(runtime: &Handle, work: F) -> Result<T, TooMany>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (work, done, result) = prepare(runtime, work);
    opened(runtime, work, done).await?;
    Ok(result.take().await)
}

async fn opened(runtime: &Handle, work: Work, mut done: Done) -> Result<(), TooMany> {
    let pool = opens();
    if let Some(number) = follow::run(pool, work) {
        let waiting = Waiting { pool, number };
        // Whoever polls this may have no clock.
        let patience = {
            let _inside = runtime.enter();
            tokio::time::sleep(pool.patience)
        };
        match first(&mut done, patience).await {
            First::One(_) => return Ok(()),
            First::Other(()) if waiting.give_up() => return Err(TooMany(pool.most)),
            First::Other(()) => {}
        }
    }
    finished(done).await;
    Ok(())
}

/// Completes when the work has ended.
type Done = oneshot::Receiver<()>;

/// Where the result of some work comes. All the waiting is done apart from it, since it would be
/// compiled for each type of result.
struct Slot<T>(Arc<Mutex<Option<std::thread::Result<T>>>>);

impl<T> Slot<T> {
    /// The result, of work that has ended.
    async fn take(self) -> T {
        let result = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match result {
            Some(Ok(result)) => result,
            Some(Err(panic)) => resume_unwind(panic),
            // The process is at its end, and everything with it.
            None => pending().await,
        }
    }
}

/// Work for a pool, and where its result comes.
fn prepare<T, F>(runtime: &Handle, work: F) -> (Work, Done, Slot<T>)
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (tell, done) = oneshot::channel();
    let slot = Arc::new(Mutex::new(None));
    let (runtime, result) = (runtime.clone(), Slot(Arc::clone(&slot)));
    let work = move || {
        let inside = runtime.enter();
        let result = catch_unwind(AssertUnwindSafe(|| to_the_end(work)));
        drop(inside);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        // What nobody wants any more is dropped here.
        drop(slot);
        let _ = tell.send(());
    };
    (Box::new(work), done, result)
}

async fn finished(done: Done) {
    // Without a word the process is at its end, and everything with it.
    if done.await.is_err() {
        pending().await
    }
}

fn opens() -> &'static Pool {
    #[cfg(test)]
    if let Some(pool) = tests::OPENS.get() {
        return pool;
    }
    &pool::OPENS
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
/// [`offload`]ed, so that whoever awaits that finds it done; at once on a thread that may wait;
/// else soon, on a thread for such things.
pub(crate) fn elsewhere(work: impl FnOnce() + Send + 'static) {
    match at_the_end(work) {
        Ok(()) => {}
        Err(work) if may_wait_here() => work(),
        Err(work) => sometime(work),
    }
}

/// As [`elsewhere`], but only at the end of what is [`offload`]ed.
///
/// # Errors
/// The work, where nothing is.
pub(crate) fn at_the_end<F: FnOnce() + Send + 'static>(work: F) -> Result<(), F> {
    let mut work = Some(work);
    let _ = LEFT.try_with(|left| {
        if let Some(left) = &mut *left.borrow_mut() {
            let work = work.take().map(|work| Box::new(work) as Work);
            left.extend(work);
        }
    });
    work.map_or(Ok(()), Err)
}

/// Has `work`, which may take very long, done soon on a thread for such things; nobody waits for
/// it.
pub(crate) fn sometime(work: impl FnOnce() + Send + 'static) {
    pool::LEFT.run(Box::new(|| to_the_end(work)));
}

/// The calling thread does the I/O of all chardevs from here on.
pub(crate) fn become_io_thread() {
    IS_IO_THREAD.set(true);
}

/// Whether the calling thread does.
pub(crate) fn is_io_thread() -> bool {
    IS_IO_THREAD.get()
}

/// For everything that may wait: a test that comes by fails if it is done inside a chardev's lock
/// or on the I/O thread.
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

    thread_local! {
        /// What this thread has opened goes there.
        pub(super) static OPENS: Cell<Option<&'static Pool>> = const { Cell::new(None) };
    }

    /// A file system that does not answer any more.
    #[test]
    fn opens_that_hang_keep_only_other_opens_waiting_and_not_for_ever() {
        static FEW: Pool = Pool::new("few", 2, Duration::from_millis(10));
        OPENS.set(Some(&FEW));
        let chardevs = crate::Chardevs::new().unwrap();
        let handle = chardevs.shared().runtime().clone();
        let mut hung = Vec::new();
        for _ in 0..FEW.most {
            let (begin, begun) = channel();
            let (go, gone) = channel::<()>();
            let open = offload_open(&handle, move || {
                begin.send(()).unwrap();
                gone.recv()
            });
            let mut open = Box::pin(open);
            let waker = &mut std::task::Context::from_waker(std::task::Waker::noop());
            assert!(open.as_mut().poll(waker).is_pending());
            begun.recv_timeout(DEADLINE).unwrap();
            hung.push((open, go));
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let name = path.to_str().unwrap();
        let out = crate::spec::OptionValue::Str(name.to_owned());
        let file = crate::spec::Options::new("file").with("out", out);
        let no_fds = || std::sync::Arc::new(crate::back::NoFds);
        let add = |id, options| chardevs.block_on(chardevs.add_with(id, options, no_fds()));
        let error = add("c", &file).unwrap_err().to_string();
        let cause = "too many opens are stuck; waiting for 2 others";
        assert_eq!(
            error,
            format!("Failed to add chardev 'c': Could not open '{name}': {cause}")
        );
        assert!(crate::disk::stat(&path).is_err(), "it was opened after all");

        // What opens nothing does not wait for them.
        let null = crate::spec::Options::new("null");
        add("c", &null).unwrap();
        let ring = crate::spec::Options::new("ringbuf");
        chardevs
            .block_on(chardevs.change_with("c", &ring, no_fds()))
            .unwrap();
        chardevs.blocking_remove("c").unwrap();

        let (open, go) = hung.remove(0);
        go.send(()).unwrap();
        assert_eq!(chardevs.block_on(open), Ok(Ok(())));
        add("c", &file).unwrap();
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_opened() {
        static ONE: Pool = Pool::new("one", 1, Duration::from_secs(60));
        OPENS.set(Some(&ONE));
        let chardevs = crate::Chardevs::new().unwrap();
        let (go, gone) = channel::<()>();
        ONE.run(Box::new(move || gone.recv().unwrap()));
        let (tell, told) = channel::<()>();
        let mut open = Box::pin(offload_open(chardevs.shared().runtime(), move || {
            tell.send(())
        }));
        let waker = &mut std::task::Context::from_waker(std::task::Waker::noop());
        assert!(open.as_mut().poll(waker).is_pending());
        drop(open);
        // Only what it would have told with is gone.
        assert!(told.recv_timeout(DEADLINE).is_err());
        go.send(()).unwrap();
    }

    #[test]
    #[should_panic(expected = "as it was")]
    fn a_panic_comes_back() {
        let runtime = runtime();
        runtime.block_on(offload(runtime.handle(), || panic!("as it was")));
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
        let added = chardevs.add("c", &null);
        chardevs.block_on(added).unwrap();
        let chardev = chardevs.registry().get("c").unwrap();
        chardev.with(|_| assert_may_wait());
    }
}
