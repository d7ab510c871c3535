//! Events, told to every monitor.
//!
//! [`Events::emit`] may be called from any thread and never waits. Each monitor has a queue of its
//! own with a bound; how often an event is told is decided once, for all of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chardev_qapi::{Json, Object};
use chardev_qmp::{EVENTS, Event, Throttle};
use tokio::sync::Notify;

use crate::attached::Attached;

/// How many events wait for a monitor that is busy; then the oldest are dropped.
pub(crate) const MAX_WAITING: usize = 1024;

/// Where events are told, and heard of. Clones share everything.
#[derive(Clone, Debug)]
pub struct Events {
    shared: Arc<Board>,
    attached: Attached,
}

#[derive(Debug)]
struct Board {
    state: Mutex<Listeners>,
    began: Instant,
    /// An event was held back, so there is a time to wait for.
    held_back: Notify,
}

#[derive(Debug, Default)]
struct Listeners {
    throttle: Throttle,
    queues: Vec<Weak<Mutex<Queue>>>,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    /// How many were dropped before these.
    lost: u64,
    waker: Option<Waker>,
}

/// What one listener has yet to hear.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Mutex<Queue>>,
}

impl Events {
    /// Nobody hears of them yet.
    pub(crate) fn new(attached: Attached) -> Self {
        let shared = Arc::new(Board {
            state: Mutex::default(),
            began: Instant::now(),
            held_back: Notify::new(),
        });
        Events { shared, attached }
    }

    /// Tells of events whose interval had to pass first, for as long as it is polled.
    pub(crate) fn release(&self) -> impl Future<Output = ()> + Send + use<> {
        release(Arc::clone(&self.shared))
    }

    /// Tells of an event that happens now: one of [`EVENTS`](chardev_qmp::EVENTS), or of the
    /// program's own. Those whose names begin with `X_` are for clients that asked for them with
    /// `x-chardev-events`.
    pub fn emit(&self, name: &'static str, data: Option<Json>) {
        let event = event(name, data);
        let wakers = {
            let mut state = lock(&self.shared.state);
            match state.throttle.offer(event, self.shared.began.elapsed()) {
                Some(event) => state.tell(&event),
                None => Vec::new(),
            }
        };
        self.shared.held_back.notify_one();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The same for an event about chardev `id`, which whoever is attached to it over a monitor
    /// hears of without having asked.
    pub fn emit_about(&self, id: &str, name: &'static str, data: Option<Json>) {
        let event = event(name, data.clone());
        self.attached.tell(id, &event);
        self.emit(name, data);
    }

    /// Hears of everything that happens from now on.
    pub fn subscribe(&self) -> Subscription {
        let queue = Arc::<Mutex<Queue>>::default();
        let mut state = lock(&self.shared.state);
        state.queues.retain(|queue| queue.strong_count() > 0);
        state.queues.push(Arc::downgrade(&queue));
        Subscription { queue }
    }
}

impl Subscription {
    /// The next event, for a task; where some were dropped, how many.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Event> {
        let mut queue = lock(&self.queue);
        if queue.lost > 0 {
            return Poll::Ready(events_lost(std::mem::take(&mut queue.lost)));
        }
        match queue.events.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Listeners {
    fn tell(&mut self, event: &Event) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for queue in self.queues.iter().filter_map(Weak::upgrade) {
            let mut queue = lock(&queue);
            if queue.events.len() == MAX_WAITING {
                queue.events.pop_front();
                queue.lost += 1;
            }
            queue.events.push_back(event.clone());
            wakers.extend(queue.waker.take());
        }
        wakers
    }
}

/// An event that happens now.
fn event(name: &'static str, data: Option<Json>) -> Event {
    match EVENTS.iter().any(|spec| spec.name == name) {
        true => Event::new(name, data, now()),
        false => Event {
            name,
            data,
            timestamp: now(),
        },
    }
}

/// Tells that `count` events were dropped here.
pub(crate) fn events_lost(count: u64) -> Event {
    let data = Object::new().with("count", count);
    Event::new("X_CHARDEV_EVENTS_LOST", Some(data.into()), now())
}

/// The time since the Unix epoch.
pub(crate) fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

/// Tells of events that were held back once their interval is over. Ends with the runtime.
async fn release(shared: Arc<Board>) {
    loop {
        let due = lock(&shared.state).throttle.next_due();
        let over = async {
            match due {
                None => std::future::pending().await,
                Some(due) => tokio::time::sleep(due.saturating_sub(shared.began.elapsed())).await,
            }
        };
        tokio::select! {
            () = shared.held_back.notified() => {}
            () = over => {}
        }
        let wakers: Vec<Waker> = {
            let mut state = lock(&shared.state);
            let ready = state.throttle.poll(shared.began.elapsed());
            ready.iter().flat_map(|event| state.tell(event)).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn told_here() -> Events {
        let events = Events::new(Attached::default());
        tokio::spawn(events.release());
        events
    }

    fn change(events: &Events, open: bool) {
        let data = Object::new().with("id", "vp").with("open", open);
        events.emit("VSERPORT_CHANGE", Some(data.into()));
    }

    async fn next(subscription: &Subscription) -> Event {
        let next = poll_fn(|cx| subscription.poll_next(cx));
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, next).await.expect("an event")
    }

    #[tokio::test]
    async fn every_monitor_hears_and_what_was_held_back_comes_later() {
        let events = told_here();
        let (one, other) = (events.subscribe(), events.subscribe());
        for open in [true, false, true, false] {
            change(&events, open);
        }
        let open = |event: &Event| event.data.as_ref()?.get("open")?.as_bool();
        for subscription in [&one, &other] {
            let first = next(subscription).await;
            let second = next(subscription).await;
            assert_eq!((open(&first), open(&second)), (Some(true), Some(false)));
            assert!(second.timestamp - first.timestamp < Duration::from_secs(1));
        }
    }

    #[tokio::test]
    async fn a_monitor_that_does_not_listen_costs_little_and_is_told_what_it_missed() {
        let events = told_here();
        let deaf = events.subscribe();
        for _ in 0..MAX_WAITING + 7 {
            events.emit("STOP", None);
        }
        assert_eq!(lock(&deaf.queue).events.len(), MAX_WAITING);
        let first = next(&deaf).await;
        assert_eq!(first.name, "X_CHARDEV_EVENTS_LOST");
        let count = first.data.as_ref().and_then(|data| data.get("count"));
        assert_eq!(count.and_then(Json::as_u64), Some(7));
        assert_eq!(next(&deaf).await.name, "STOP");
    }
}
