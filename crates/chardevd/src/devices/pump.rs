//! [front] → chardev → back → host: what both devices move bytes with.

use std::cell::RefCell;
use std::future::Future;
use std::task::{Context, Poll, ready};

use chardev::FrontEnd;

/// The most bytes a device moves at a time, and so the most it keeps.
pub(crate) const BUFFER: usize = 256 << 10;

/// How often a device moves bytes before other tasks have their turn.
pub(crate) const TURN: usize = 4;

thread_local! {
    /// One buffer for all devices of a thread: an idle device costs nothing, and the bytes of a
    /// busy one stay in the cache.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into());
}

/// Runs `action` with the buffer of this thread, which nothing keeps between two calls.
pub(crate) fn with_scratch<R>(action: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|buffer| action(buffer))
}

/// The turn of a task is over, which has more to do: it goes on when descriptors were looked at and
/// the others have had theirs.
pub(crate) fn end_turn(cx: &mut Context<'_>) {
    let others = std::pin::pin!(tokio::task::yield_now());
    // Its first poll has the task woken then.
    let _ = others.poll(cx);
}

/// Bytes that were read and that the other side has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Leftover {
    bytes: Vec<u8>,
    written: usize,
}

impl Leftover {
    /// Keeps `bytes`; only with nothing kept from before.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        debug_assert!(self.is_empty());
        self.bytes.extend_from_slice(bytes);
    }

    /// Keeps `bytes` behind those kept from before.
    pub(crate) fn keep_more(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.written);
        self.written = 0;
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// The first `count` bytes of the rest were taken. The storage goes with the last byte.
    pub(crate) fn consume(&mut self, count: usize) {
        self.written += count;
        if self.written >= self.bytes.len() {
            *self = Leftover::default();
        }
    }

    /// Lets go of what is left, and says how much that was.
    pub(crate) fn clear(&mut self) -> usize {
        let count = self.rest().len();
        *self = Leftover::default();
        count
    }

    /// Writes everything to `front`.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, front: &FrontEnd) -> Poll<()> {
        while !self.is_empty() {
            let count = ready!(front.poll_write(cx, self.rest()));
            self.consume(count);
        }
        Poll::Ready(())
    }

    /// Writes `bytes` to `front` and keeps what it does not take now.
    pub(crate) fn send(&mut self, cx: &mut Context<'_>, front: &FrontEnd, bytes: &[u8]) {
        match front.poll_write(cx, bytes) {
            Poll::Ready(count) => self.keep(&bytes[count..]),
            Poll::Pending => self.keep(bytes),
        }
    }
}
