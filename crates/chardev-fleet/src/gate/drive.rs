//! Who does the work of a gate: its own thread, or whoever waits for what comes by its sessions.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chardev::async_fd_for;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// After how many looks that have found something the sessions have their turn all the same.
const TURN: u32 = 8;

/// What the work is done on.
#[derive(Debug)]
pub(super) struct Engine {
    /// There until the engine is dropped.
    runtime: Option<Runtime>,
    driven: Mutex<bool>,
    /// The thread of its own is to do nothing; and it may go on.
    wanted: Notify,
    back: Condvar,
}

impl Engine {
    pub(super) fn new() -> io::Result<Arc<Engine>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Arc::new(Engine {
            runtime: Some(runtime),
            driven: Mutex::new(false),
            wanted: Notify::new(),
            back: Condvar::new(),
        }))
    }

    /// Does `work` on this thread until it is done, and nothing while others do it.
    pub(super) fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Some(runtime) = &self.runtime else { return };
        let mut work: JoinHandle<()> = runtime.spawn(work);
        loop {
            let is_done = runtime.block_on(async {
                tokio::select! {
                    _ = &mut work => true,
                    () = self.wanted.notified() => false,
                }
            });
            if is_done {
                return;
            }
            let driven = self.back.wait_while(self.lock(), |driven| *driven);
            drop(driven);
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The search for a name may take much longer.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Has the work of a [`Gate`](super::Gate) done by the thread that waits by this, so that a key and
/// its echo wake one thread and not two. While this is there its sessions go on only while
/// [`Driver::poll`] waits; whoever else has to wait for them drops it before.
#[derive(Debug)]
pub struct Driver {
    /// It is readable when one of the descriptors that were waited for is ready.
    any: AsyncFd<OwnedFd>,
    waited: BTreeMap<RawFd, EventFlags>,
    engine: Arc<Engine>,
    looks: u32,
}

impl Driver {
    pub(super) fn new(engine: &Arc<Engine>) -> io::Result<Driver> {
        let Some(runtime) = &engine.runtime else {
            return Err(io::Error::other("it has ended"));
        };
        let any = {
            let _on = runtime.enter();
            async_fd_for(epoll::create(CreateFlags::CLOEXEC)?, Interest::READABLE)?
        };
        *engine.lock() = true;
        engine.wanted.notify_one();
        Ok(Driver {
            engine: Arc::clone(engine),
            any,
            waited: BTreeMap::new(),
            looks: 0,
        })
    }

    /// As `poll(2)`: what of `wanted` there is, as soon as there is something, or after `timeout`.
    /// A descriptor that is waited for may be closed once this is dropped. Not for tasks of an
    /// async runtime.
    ///
    /// # Errors
    /// Those of `poll(2)` and `epoll_ctl(2)`.
    pub fn poll(
        &mut self,
        wanted: &[(BorrowedFd<'_>, PollFlags)],
        timeout: Option<Duration>,
    ) -> io::Result<Vec<PollFlags>> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let found = look(wanted)?;
            let is_found = found.iter().any(|it| !it.is_empty());
            let is_late = until.is_some_and(|until| until <= Instant::now());
            self.looks += 1;
            if (is_found || is_late) && self.looks < TURN {
                return Ok(found);
            }
            self.looks = 0;
            if is_found || is_late {
                self.block_on(tokio::task::yield_now());
                return Ok(found);
            }
            self.wait_for(wanted)?;
            self.block_on(async {
                let late = async {
                    match until {
                        Some(until) => tokio::time::sleep_until(until.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    ready = self.any.readable() => ready.map(|mut ready| ready.clear_ready()),
                    () = late => Ok(()),
                }
            })
            .transpose()?;
        }
    }

    /// Has [`Driver::any`] tell of what is wanted. What is not any more it may tell of, too.
    fn wait_for(&mut self, wanted: &[(BorrowedFd<'_>, PollFlags)]) -> io::Result<()> {
        let mut flags = BTreeMap::new();
        for (fd, wanted) in wanted {
            // What hangs up is told of in any case.
            let both = [
                (PollFlags::IN, EventFlags::IN),
                (PollFlags::OUT, EventFlags::OUT),
            ];
            let both = both.into_iter().filter(|(flag, _)| wanted.contains(*flag));
            let all = both.map(|(_, flag)| flag).collect();
            let (_, known) = flags
                .entry(fd.as_raw_fd())
                .or_insert((*fd, EventFlags::empty()));
            *known |= all;
        }
        for (number, (fd, flags)) in &flags {
            let data = EventData::new_u64(0);
            match self.waited.insert(*number, *flags) {
                None => match epoll::add(&self.any, fd, data, *flags) {
                    // A file is always ready, so it is never waited for.
                    Ok(()) | Err(Errno::PERM) => {}
                    Err(error) => return Err(error.into()),
                },
                Some(before) if before == *flags => {}
                Some(_) => match epoll::modify(&self.any, fd, data, *flags) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                },
            }
        }
        Ok(())
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let runtime = self.engine.runtime.as_ref()?;
        Some(runtime.block_on(future))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        *self.engine.lock() = false;
        self.engine.back.notify_all();
    }
}

/// What there is now.
fn look(wanted: &[(BorrowedFd<'_>, PollFlags)]) -> io::Result<Vec<PollFlags>> {
    let fds = wanted.iter();
    let fds = fds.map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags));
    let mut fds: Vec<_> = fds.collect();
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut fds, Some(&now)) {
        Ok(_) => Ok(fds.iter().map(PollFd::revents).collect()),
        Err(Errno::INTR) => Ok(vec![PollFlags::empty(); wanted.len()]),
        Err(error) => Err(error.into()),
    }
}
