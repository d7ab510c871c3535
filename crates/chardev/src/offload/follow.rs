//! A future that goes on where the work was done that it waited for.
//!
//! ```text
//!  who asks   poll                                                        the result
//!               │ a thread wakes                               a thread wakes ▲
//!  the pool     └──▶ work ─▶ poll ─▶ next work ─▶ poll ─▶ … ─▶ poll ──────────┘
//! ```
//!
//! To wake a thread takes longer than most of the work does, so one that opens several things one
//! after the other, and then has them put in their places, is not to come back after each. Nothing
//! that may wait is done inside a poll: whoever drops the future has given up all that it holds at
//! once, however long the work hangs.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use super::pool::{self, Pool};
use super::{Work, to_the_end};

thread_local! {
    /// What this thread polls, or polls next.
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// A future that is polled by one thread after the other, and who waits for its result. It may be
/// polled by any executor; dropping it drops `future`.
pub(crate) struct Following<T>(Arc<Walk<T>>);

/// Has `future` go on where the work was done that it has [offloaded](super::offload). It must not
/// need the executor of whoever polls it.
pub(crate) fn following<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Following<T> {
    Following(Arc::new(Walk {
        future: Mutex::new(Some(Box::pin(future))),
        result: Mutex::new(None),
        asker: Mutex::new(None),
        woken: AtomicBool::new(true),
    }))
}

/// Has `work` done by `pool`; its number there, if it has to wait. What follows is done next by
/// this thread, if it is one of a pool that may.
pub(super) fn run(pool: &'static Pool, work: Work) -> Option<u64> {
    let mut work = Some(work);
    let who = HERE.with_borrow_mut(|here| {
        let here = here.as_mut()?;
        if here.next.is_none() && here.pool.is_some_and(|here| may_do(here, pool)) {
            here.next = work.take();
        }
        Some(Arc::clone(&here.who))
    });
    match (work, who) {
        (None, _) => None,
        (Some(work), None) => pool.run(work),
        (Some(work), Some(who)) => pool.run(Box::new(move || walk(who, pool, work))),
    }
}

/// What hangs in a pool keeps nothing in another waiting; but what was opened may be put in its
/// place by those who opened it.
fn may_do(here: &'static Pool, wanted: &'static Pool) -> bool {
    std::ptr::eq(here, wanted) || std::ptr::eq(wanted, &pool::AWAITED)
}

/// Does `work` and what comes of it, as far as that is for this thread.
fn walk(who: Arc<dyn Step>, pool: &'static Pool, work: Work) {
    let mut next = Some(work);
    while let Some(work) = next {
        HERE.set(Some(Here::new(&who, None)));
        // What it panics with is for whoever waits for it.
        let _ = catch_unwind(AssertUnwindSafe(work));
        next = go_on(&who, pool);
    }
    HERE.set(None);
}

/// Polls, until that brings work for this thread or there is nothing to be done here.
fn go_on(who: &Arc<dyn Step>, pool: &'static Pool) -> Option<Work> {
    loop {
        HERE.set(Some(Here::new(who, Some(pool))));
        let is_over = to_the_end(|| Arc::clone(who).step());
        if is_over {
            who.tell();
        }
        let here = HERE.take()?;
        if here.next.is_some() || is_over || !here.woken {
            return here.next;
        }
    }
}

/// A thread with something that it polls, or is about to.
struct Here {
    who: Arc<dyn Step>,
    /// The pool that the thread belongs to, while it polls.
    pool: Option<&'static Pool>,
    /// What this thread does next.
    next: Option<Work>,
    /// It has been woken by this thread.
    woken: bool,
}

impl Here {
    fn new(who: &Arc<dyn Step>, pool: Option<&'static Pool>) -> Self {
        Here {
            who: Arc::clone(who),
            pool,
            next: None,
            woken: false,
        }
    }
}

/// Something that goes on step by step.
trait Step: Send + Sync {
    /// Polls it; whether it is over.
    fn step(self: Arc<Self>) -> bool;

    /// Wakes whoever waits for it.
    fn tell(&self);
}

struct Walk<T> {
    /// Until it is over or given up.
    future: Mutex<Option<Pin<Box<dyn Future<Output = T> + Send>>>>,
    result: Mutex<Option<thread::Result<T>>>,
    asker: Mutex<Option<Waker>>,
    /// Whoever asks is to poll it.
    woken: AtomicBool,
}

impl<T: Send + 'static> Walk<T> {
    /// `None` if it was over before, or was given up.
    fn poll(self: &Arc<Self>) -> Option<Poll<thread::Result<T>>> {
        let waker = Waker::from(Arc::clone(self));
        let mut future = lock(&self.future);
        let polled = {
            let future = future.as_mut()?.as_mut();
            let poll = || future.poll(&mut Context::from_waker(&waker));
            catch_unwind(AssertUnwindSafe(poll))
        };
        let result = match polled {
            Ok(Poll::Pending) => return Some(Poll::Pending),
            Ok(Poll::Ready(result)) => Ok(result),
            Err(panic) => Err(panic),
        };
        let over = future.take();
        drop(future);
        drop(over);
        Some(Poll::Ready(result))
    }

    /// Polls it where it is asked for.
    fn poll_asked(self: &Arc<Self>) -> Option<Poll<thread::Result<T>>> {
        let who: Arc<dyn Step> = Arc::<Self>::clone(self);
        let outside = HERE.replace(Some(Here::new(&who, None)));
        let polled = self.poll();
        let inside = HERE.replace(outside);
        if inside.is_some_and(|inside| inside.woken) {
            Arc::clone(self).wake();
        }
        polled
    }
}

impl<T: Send + 'static> Step for Walk<T> {
    fn step(self: Arc<Self>) -> bool {
        match self.poll() {
            Some(Poll::Pending) => return false,
            Some(Poll::Ready(result)) => *lock(&self.result) = Some(result),
            None => {}
        }
        true
    }

    fn tell(&self) {
        let asker = lock(&self.asker).take();
        if let Some(asker) = asker {
            asker.wake();
        }
    }
}

impl<T: Send + 'static> Wake for Walk<T> {
    fn wake(self: Arc<Self>) {
        let this = Arc::as_ptr(&self).cast::<()>();
        let woken_here = HERE.try_with(|here| {
            let mut here = here.borrow_mut();
            let here = here.as_mut();
            let here = here.filter(|here| Arc::as_ptr(&here.who).cast::<()>() == this);
            here.map(|here| here.woken = true).is_some()
        });
        if !woken_here.unwrap_or(false) {
            self.woken.store(true, Ordering::Release);
            let asker = lock(&self.asker).clone();
            if let Some(asker) = asker {
                asker.wake();
            }
        }
    }
}

impl<T: Send + 'static> Future for Following<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let walk = &self.0;
        *lock(&walk.asker) = Some(cx.waker().clone());
        if lock(&walk.result).is_none() && walk.woken.swap(false, Ordering::AcqRel) {
            if let Some(Poll::Ready(result)) = walk.poll_asked() {
                return Poll::Ready(result.unwrap_or_else(|panic| resume_unwind(panic)));
            }
        }
        match lock(&walk.result).take() {
            Some(result) => Poll::Ready(result.unwrap_or_else(|panic| resume_unwind(panic))),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Following<T> {
    fn drop(&mut self) {
        let given_up = lock(&self.0.future).take();
        drop(given_up);
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may wait")]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::channel;
    use std::thread::ThreadId;
    use std::time::Duration;

    use super::*;
    use crate::offload::{elsewhere, offload, offload_open};

    const DEADLINE: Duration = Duration::from_secs(20);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    }

    fn here() -> (ThreadId, Option<String>) {
        let thread = thread::current();
        (thread.id(), thread.name().map(str::to_owned))
    }

    /// Counts how often it is woken, and wakes this thread.
    struct Counter(AtomicUsize, thread::Thread);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            self.1.unpark();
        }
    }

    #[test]
    fn what_follows_is_done_on_the_same_thread_and_who_asks_is_woken_once() {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let counter = Arc::new(Counter(AtomicUsize::new(0), thread::current()));
        // The first work takes longer than the first poll.
        let (go, gone) = channel::<()>();
        let mut steps = Box::pin(following(async move {
            let wait = move || gone.recv().unwrap();
            offload_open(&handle, wait).await.unwrap();
            let mut places = Vec::new();
            for _ in 0..100 {
                places.push(offload_open(&handle, here).await.unwrap());
                places.push(here());
            }
            places.push(offload(&handle, here).await);
            places
        }));
        let waker = Waker::from(Arc::clone(&counter));
        let first = steps.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(first.is_pending());
        go.send(()).unwrap();
        let places = loop {
            match steps.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(places) => break places,
                Poll::Pending => thread::park_timeout(DEADLINE),
            }
        };
        assert_eq!(places[0].1.as_deref(), Some("chardev-open"));
        assert!(places.iter().all(|place| *place == places[0]));
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_a_user_named_is_never_opened_by_a_thread_for_other_things() {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let names = runtime.block_on(following(async move {
            let first = offload(&handle, here).await;
            let then = offload_open(&handle, here).await.unwrap();
            [first.1, then.1].map(Option::unwrap)
        }));
        assert_eq!(names, ["chardev-offload", "chardev-open"]);
    }

    #[test]
    fn what_is_given_up_lets_go_at_once_however_long_the_work_hangs() {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let (begin, begun) = channel();
        let (go, gone) = channel::<()>();
        let held = Arc::new(());
        let holds = Arc::clone(&held);
        let mut steps = Box::pin(following(async move {
            let _held = holds;
            offload_open(&handle, || ()).await.unwrap();
            // By now it is polled by a thread of the pool.
            let hang = move || {
                begin.send(()).unwrap();
                gone.recv().unwrap();
            };
            offload_open(&handle, hang).await.unwrap();
        }));
        let waker = &mut Context::from_waker(Waker::noop());
        assert!(steps.as_mut().poll(waker).is_pending());
        begun.recv_timeout(DEADLINE).unwrap();
        assert_eq!(Arc::strong_count(&held), 2);
        drop(steps);
        assert_eq!(Arc::strong_count(&held), 1);
        go.send(()).unwrap();
    }

    #[test]
    fn whoever_is_told_finds_what_was_left_to_be_done_done() {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let (tell, told) = channel();
        runtime.block_on(following(async move {
            offload_open(&handle, || ()).await.unwrap();
            elsewhere(move || tell.send(()).unwrap());
        }));
        assert_eq!(told.try_recv(), Ok(()));
    }

    #[test]
    fn what_wakes_it_from_outside_has_it_polled_where_it_is_asked_for() {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let (go, gone) = channel::<()>();
        let mut steps = Box::pin(following(async move {
            let wait = move || gone.recv().unwrap();
            offload_open(&handle, wait).await.unwrap();
            let mut is_first = true;
            std::future::poll_fn(move |cx| {
                if !std::mem::take(&mut is_first) {
                    return Poll::Ready(());
                }
                let waker = cx.waker().clone();
                thread::spawn(move || waker.wake());
                Poll::Pending
            })
            .await;
            thread::current().id()
        }));
        let waker = &mut Context::from_waker(Waker::noop());
        assert!(steps.as_mut().poll(waker).is_pending());
        go.send(()).unwrap();
        let polled = runtime.block_on(steps);
        assert_eq!(polled, thread::current().id());
    }

    #[test]
    #[should_panic(expected = "as it was")]
    fn a_panic_comes_back() {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        runtime.block_on(following(async move {
            offload_open(&handle, || ()).await.unwrap();
            panic!("as it was");
        }));
    }
}
