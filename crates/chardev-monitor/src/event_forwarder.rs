//! Tells the monitors what happens to the chardevs.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use chardev::{Chardevs, Notice, Observed, Observer};
use chardev_qapi::Object;
use tokio::time::Sleep;

use crate::attached::Attached;
use crate::events::{Events, events_lost};

/// Tells `events` what `observer` sees of `chardevs`, and those who were `attached` why they are no
/// more, for as long as the runtime runs.
pub(crate) async fn watch(
    mut observer: Observer,
    chardevs: Chardevs,
    events: Events,
    attached: Attached,
) {
    let began = Instant::now();
    loop {
        match next(&mut observer, began).await {
            Observed::Notice(id, notice) => {
                if notice == Notice::OutOfMemory {
                    tracing::warn!(
                        console = id,
                        event = "memory-short",
                        "chardev '{id}': not enough memory for all of its ring buffer or history; \
                         it keeps less than requested"
                    );
                }
                attached.look(&chardevs, &id);
                let (name, data) = describe(Object::new().with("id", id), notice);
                events.emit(name, Some(data.into()));
            }
            Observed::Lost(count) => {
                let lost = events_lost(count);
                events.emit(lost.name, lost.data);
            }
            Observed::Nothing(_) => {}
        }
    }
}

async fn next(observer: &mut Observer, began: Instant) -> Observed {
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(move |cx| {
        loop {
            let due = match observer.poll(cx.waker(), began.elapsed()) {
                Observed::Nothing(None) => return Poll::Pending,
                Observed::Nothing(Some(due)) => due,
                observed => return Poll::Ready(observed),
            };
            let pause = due.saturating_sub(began.elapsed());
            let timer = timer.insert(Box::pin(tokio::time::sleep(pause)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
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
