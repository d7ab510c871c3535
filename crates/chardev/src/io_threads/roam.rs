//! front → chardev → back → [host]: tasks that go along when their chardevs move to another I/O
//! thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use super::Home;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Polls `task` on the thread of `home`, wherever that moves.
pub(crate) async fn roam<T: Send + 'static>(home: Arc<Home>, mut task: Boxed<T>) -> T {
    loop {
        let leg = Leg {
            at: home.thread_number(),
            home: Arc::clone(&home),
            task: Some(task),
        };
        let mut leg = OwnedLeg(home.thread().runtime.spawn(leg));
        match (&mut leg.0).await {
            Ok(Stop::Done(result)) => return result,
            Ok(Stop::Moved(rest)) => task = rest,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The threads have come to their end.
                Err(_) => return std::future::pending().await,
            },
        }
    }
}

/// A task for as long as it stays on one thread.
struct Leg<T> {
    home: Arc<Home>,
    at: usize,
    task: Option<Boxed<T>>,
}

/// Why it does not go on there.
enum Stop<T> {
    Done(T),
    Moved(Boxed<T>),
}

/// Whoever gives up the whole gives up the part.
struct OwnedLeg<T>(JoinHandle<Stop<T>>);

impl<T> Drop for OwnedLeg<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for Leg<T> {
    type Output = Stop<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Stop<T>> {
        let has_moved = self.home.thread_number() != self.at;
        if let Some(task) = self.task.take_if(|_| has_moved) {
            return Poll::Ready(Stop::Moved(task));
        }
        match &mut self.task {
            Some(task) => task.as_mut().poll(context).map(Stop::Done),
            // Nobody polls it again once it has stopped.
            None => Poll::Pending,
        }
    }
}
