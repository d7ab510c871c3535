//! Tells the monitors what happens to the chardevs.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

use chardev::{Chardevs, Notice, Observed, Observer};
use chardev_qapi::Object;
use tokio::time::Sleep;

use crate::attached::Attached;
use crate::events::{Events, events_lost};

/// Tells events of what an observer sees of the chardevs.
#[derive(Debug)]
pub(crate) struct Forwarder {
    observer: Mutex<Observing>,
    began: Instant,
    chardevs: Chardevs,
    events: Events,
    attached: Attached,
}

#[derive(Debug)]
struct Observing {
    observer: Observer,
    /// Who watches all the time.
    watch: Option<Waker>,
}

impl Forwarder {
    /// Tells `events`, and those who were `attached` why they are no more.
    pub(crate) fn new(chardevs: Chardevs, events: Events, attached: Attached) -> Self {
        Forwarder {
            observer: Mutex::new(Observing {
                observer: chardevs.observe(),
                watch: None,
            }),
            began: Instant::now(),
            chardevs,
            events,
            attached,
        }
    }

    /// Tells of everything for as long as the runtime runs.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            let observed = self.next().await;
            self.tell(observed);
        }
    }

    /// Tells of what has happened by now, for who is about to answer the command that caused it. On
    /// the thread of [`Forwarder::watch`], so that neither tells before the other what came after.
    pub(crate) fn tell_now(&self) {
        while let Some(observed) = self.take() {
            self.tell(observed);
        }
    }

    fn take(&self) -> Option<Observed> {
        let mut observing = self.lock();
        let watch = observing.watch.clone()?;
        match observing.observer.poll(&watch, self.began.elapsed()) {
            Observed::Nothing(_) => None,
            observed => Some(observed),
        }
    }

    fn tell(&self, observed: Observed) {
        match observed {
            Observed::Notice(id, epoch, notice) => {
                if notice == Notice::OutOfMemory {
                    tracing::warn!(
                        console = id,
                        event = "memory-short",
                        "chardev '{id}': not enough memory for all of its ring buffer or history; \
                         it keeps less than requested"
                    );
                }
                self.attached.look(&self.chardevs, &id);
                let (name, data) = describe(Object::new().with("id", id), notice);
                let data = data.with("epoch", epoch.to_string());
                self.events.emit(name, Some(data.into()));
            }
            Observed::Lost(count) => {
                let lost = events_lost(count);
                self.events.emit(lost.name, lost.data);
            }
            Observed::Nothing(_) => {}
        }
    }

    async fn next(&self) -> Observed {
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        poll_fn(move |cx| {
            loop {
                let mut observing = self.lock();
                observing.watch = Some(cx.waker().clone());
                let observed = observing.observer.poll(cx.waker(), self.began.elapsed());
                drop(observing);
                let due = match observed {
                    Observed::Nothing(None) => return Poll::Pending,
                    Observed::Nothing(Some(due)) => due,
                    observed => return Poll::Ready(observed),
                };
                let pause = due.saturating_sub(self.began.elapsed());
                let timer = timer.insert(Box::pin(tokio::time::sleep(pause)));
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Observing> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The event's name, and `data` with what it says.
fn describe(data: Object, notice: Notice) -> (&'static str, Object) {
    let with_peer = |data: Object, peer: Option<String>| match peer {
        Some(peer) => data.with("peer", peer),
        None => data,
    };
    match notice {
        Notice::Connected { peer } => ("X_CHARDEV_CONNECTED", with_peer(data, peer)),
        Notice::Disconnected { peer } => ("X_CHARDEV_DISCONNECTED", with_peer(data, peer)),
        Notice::Changed {
            kind,
            filename,
            offset,
            count,
        } => {
            let data = data.with("kind", kind).with("filename", filename);
            let data = data.with("offset", offset).with("count", count);
            ("X_CHARDEV_CHANGED", data)
        }
        Notice::Drained { undelivered } => {
            ("X_CHARDEV_DRAINED", data.with("undelivered", undelivered))
        }
        Notice::Resized { size, offset } => {
            let data = data.with("cols", u64::from(size.cols));
            let data = data
                .with("rows", u64::from(size.rows))
                .with("offset", offset);
            ("X_CHARDEV_RESIZED", data)
        }
        Notice::OutOfMemory => ("X_CHARDEV_OUT_OF_MEMORY", data),
        Notice::LogHole {
            offset,
            bytes,
            cause,
        } => {
            let mut data = data.with("offset", offset);
            if let Some(bytes) = bytes {
                data.insert("bytes", bytes);
            }
            if let Some(cause) = cause {
                data.insert("cause", cause);
            }
            ("X_CHARDEV_LOG_HOLE", data)
        }
        Notice::Dropped {
            reason,
            bytes,
            total,
        } => {
            let data = data.with("reason", reason.as_str());
            (
                "X_CHARDEV_DROPPED",
                data.with("bytes", bytes).with("total", total),
            )
        }
    }
}
