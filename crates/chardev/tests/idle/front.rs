//! [front] → chardev → back → host: front ends that do one thing as long as they can, and then
//! wait.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use chardev::{Chardevs, FrontEnd, Input, Ready};

/// How often front ends were polled.
pub(crate) static POLLS: AtomicU64 = AtomicU64::new(0);

/// The most a writer writes where nothing holds it.
const OUTPUT: usize = 2 << 20;

/// What is attached to a chardev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// Nothing.
    Absent,
    /// It waits for both directions and takes nothing.
    Deaf,
    /// It reads everything.
    Reads,
    /// It reads everything, and always has more to write, up to a limit.
    Writes,
}

/// A front end at work, on a thread of its own for as long as the process lives.
pub(crate) struct Driver(Arc<AtomicU64>);

impl Front {
    pub(crate) fn attach(self, chardevs: &Chardevs, id: &str) -> Option<Driver> {
        if self == Front::Absent {
            return None;
        }
        let front = chardevs.front_end(id, Arc::new(())).unwrap();
        front.set_open(true);
        let polls = Arc::new(AtomicU64::new(0));
        let (own, mut written) = (Arc::clone(&polls), 0);
        let waiting = poll_fn(move |cx| {
            POLLS.fetch_add(1, Ordering::SeqCst);
            own.fetch_add(1, Ordering::SeqCst);
            self.work(cx, &front, &mut written)
        });
        std::thread::Builder::new()
            .name(format!("front {id}"))
            .spawn(move || run(waiting))
            .unwrap();
        Some(Driver(polls))
    }

    fn work(self, cx: &mut Context<'_>, front: &FrontEnd, written: &mut usize) -> Poll<()> {
        if self == Front::Deaf {
            // As a device whose guest takes nothing: it is told, and lets it be.
            if *written == 0 {
                *written = 1;
                front.set_waker(Ready::READ | Ready::WRITE, cx.waker());
            }
            return Poll::Pending;
        }
        let mut buffer = [0; 4096];
        while let Poll::Ready(Input::Data(_) | Input::Event(_)) = front.poll_read(cx, &mut buffer) {
        }
        while self == Front::Writes && *written < OUTPUT {
            match front.poll_write(cx, &buffer) {
                Poll::Ready(count) => *written += count,
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }
}

impl Driver {
    /// Waits until it was polled, and then was not for a moment.
    pub(crate) fn wait_until_idle(&self) {
        let polls = || self.0.load(Ordering::SeqCst);
        crate::common::wait_for("the front end", || (polls() > 0).then_some(()));
        let quiet = crate::settle(Duration::from_millis(40), polls);
        assert!(quiet.is_some(), "a front end is never idle");
    }
}

/// Runs a future that never ends with this thread's own waker.
fn run(future: impl Future<Output = ()>) {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    while future.as_mut().poll(&mut context).is_pending() {
        std::thread::park();
    }
}
