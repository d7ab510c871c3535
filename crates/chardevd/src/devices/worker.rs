//! [front] → chardev → back → host: threads beside the I/O threads, for devices.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::DaemonError;

/// The stack of a device's thread, which only waits and hands on.
const STACK: usize = 256 << 10;

/// A thread beside the I/O threads of the chardevs, and more of them for programs. A terminal is
/// read in small pieces, and a program that prints without end would make every step of a monitor's
/// command wait for a turn of that, and for what the host's scheduler thinks of threads that never
/// rest. Clones share everything; the threads end with the last one.
#[derive(Clone, Debug)]
pub struct Worker {
    name: Arc<str>,
    first: Handle,
    threads: Arc<Mutex<Vec<Thread>>>,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    /// Each program that is on it has a copy.
    programs: Arc<()>,
    /// Dropped with this, which ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Worker {
    /// Starts the first thread, which is called `name`.
    ///
    /// # Errors
    /// The process is out of threads or descriptors.
    pub fn new(name: &str) -> io::Result<Self> {
        let first = Thread::start(name)?;
        Ok(Worker {
            name: name.into(),
            first: first.runtime.clone(),
            threads: Arc::new(Mutex::new(vec![first])),
        })
    }

    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.first.spawn(task)
    }

    /// As [`Worker::spawn`], for a task that moves bytes all the time, on the thread with the
    /// fewest of those. There may be `most` threads; a further one is started when it is needed.
    pub(crate) fn spawn_program(
        &self,
        most: usize,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let mut threads = self.lock();
        let is_free = |thread: &Thread| Arc::strong_count(&thread.programs) == 1;
        if threads.len() < most && !threads.iter().any(is_free) {
            match Thread::start(&format!("{}-{}", self.name, threads.len() + 1)) {
                Ok(thread) => threads.push(thread),
                Err(error) => tracing::debug!("no further thread for programs: {error}"),
            }
        }
        let may_have_it = &threads[..most.clamp(1, threads.len())];
        let best = may_have_it
            .iter()
            .min_by_key(|thread| Arc::strong_count(&thread.programs));
        let (runtime, place) = match best {
            Some(best) => (&best.runtime, Some(Arc::clone(&best.programs))),
            None => (&self.first, None),
        };
        runtime.spawn(async move {
            let _place = place;
            task.await;
        })
    }

    /// Runs a task that `make` makes on each thread that there is.
    pub(crate) fn spawn_on_each<F>(&self, mut make: impl FnMut() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        for thread in &*self.lock() {
            thread.runtime.spawn(make());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thread {
    fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(1)
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        chardev::new_thread(name)?.spawn(move || {
            // An error says that the sender is gone, which is the sign to end.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Thread {
            runtime: handle,
            programs: Arc::new(()),
            _stop: stop,
        })
    }
}

/// Runs `serve`, which takes as long as a device lives, on a thread of its own called `name`: a
/// pool of threads would be empty some day.
///
/// # Errors
/// The process is out of threads, or `serve` panicked.
pub(crate) async fn on_own_thread<T: Send + 'static>(
    name: &str,
    serve: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DaemonError> {
    let (done, result) = oneshot::channel();
    let serve = move || {
        let _ = done.send(serve());
    };
    chardev::new_thread(name)
        .and_then(|thread| thread.stack_size(STACK).spawn(serve))
        .map_err(|error| DaemonError::of("no thread", error))?;
    result.await.map_err(|_| "its thread panicked".into())
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::mpsc::channel;

    use super::*;

    /// Where programs are put, one after the other, where there may be `most` threads.
    fn places(worker: &Worker, most: usize, programs: usize) -> Vec<String> {
        let each = (0..programs).map(|_| {
            let (tell, told) = channel();
            worker.spawn_program(most, async move {
                let thread = std::thread::current();
                let _ = tell.send(thread.name().unwrap_or_default().to_owned());
                pending().await
            });
            told.recv().unwrap()
        });
        each.collect()
    }

    #[test]
    fn programs_are_spread_over_as_many_threads_as_there_may_be() {
        let worker = Worker::new("p").unwrap();
        assert_eq!(worker.lock().len(), 1);
        assert_eq!(places(&worker, 1, 2), ["p", "p"]);
        assert_eq!(worker.lock().len(), 1);
        assert_eq!(places(&worker, 3, 4), ["p-2", "p-3", "p-2", "p-3"]);
        assert_eq!(worker.lock().len(), 3);
        assert_eq!(places(&worker, 1, 1), ["p"]);
    }
}
