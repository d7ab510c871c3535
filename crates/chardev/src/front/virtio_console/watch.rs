//! guest → [front: virtio-console]: which ports the guest opens and closes, for monitors.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::MAX_PORTS;

/// Two for each port: what it became first, and what it is now.
const MAX_WAITING: usize = 2 * MAX_PORTS as usize;

/// Somebody in the guest opened a port that has an id, or closed it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(alias = "VSERPORT_CHANGE")]
pub struct PortChange {
    /// The port's [`PortConfig::id`](super::PortConfig::id).
    pub id: String,
    /// Whether it is open now.
    pub open: bool,
}

/// The changes of a device's ports, in order, read from any thread. A reader that falls behind gets
/// of each port the oldest change it has not read, and the latest.
#[derive(Clone, Debug)]
pub struct PortWatch {
    shared: Arc<Mutex<Changes>>,
}

#[derive(Debug, Default)]
struct Changes {
    waiting: VecDeque<PortChange>,
    waker: Option<Waker>,
}

impl PortWatch {
    pub(super) fn new() -> Self {
        PortWatch {
            shared: Arc::default(),
        }
    }

    /// The next change, for a task; the last one that asked is woken.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<PortChange> {
        let mut shared = self.lock();
        match shared.waiting.pop_front() {
            Some(change) => Poll::Ready(change),
            None => {
                shared.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn push(&self, id: &str, open: bool) {
        let mut shared = self.lock();
        let mut same = shared.waiting.iter_mut().filter(|change| change.id == id);
        if let (Some(_), Some(latest)) = (same.next(), same.next()) {
            latest.open = open;
            return;
        }
        if shared.waiting.len() == MAX_WAITING {
            // Only ports that come and go under new ids get here.
            shared.waiting.pop_front();
        }
        let id = id.to_owned();
        shared.waiting.push_back(PortChange { id, open });
        let waker = shared.waker.take();
        drop(shared);
        waker.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_falls_behind_finds_the_first_and_the_latest_of_each_port() {
        let watch = PortWatch::new();
        for open in [true, false, true, false] {
            watch.push("a", open);
            watch.push("b", true);
        }
        let mut cx = Context::from_waker(Waker::noop());
        let mut read = Vec::new();
        while let Poll::Ready(change) = watch.poll_next(&mut cx) {
            read.push((change.id, change.open));
        }
        let expected = [("a", true), ("b", true), ("a", false), ("b", true)];
        assert_eq!(read, expected.map(|(id, open)| (id.to_owned(), open)));
        for number in 0..1000 {
            watch.push(&number.to_string(), true);
        }
        assert_eq!(watch.lock().waiting.len(), MAX_WAITING);
    }
}
