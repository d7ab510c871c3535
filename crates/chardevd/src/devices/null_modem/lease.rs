//! [front: null-modem] → chardev → back → host: the pipes that all directions use in turn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chardev::{Channel, Pipe};

/// How many there may be in the process: each is four descriptors, which consoles need more.
const MOST: usize = 16;
/// How many are kept that nobody uses.
const SPARE: usize = 2;

static PIPES: AtomicUsize = AtomicUsize::new(0);
static UNUSED: Mutex<Vec<Pipe>> = Mutex::new(Vec::new());

/// The use of a pipe, until it is dropped.
pub(super) struct Lease {
    /// There until the end.
    pipe: Option<Pipe>,
}

impl Lease {
    /// An empty one; `None` while all are in use, or there are no descriptors.
    pub(super) fn new() -> Option<Self> {
        if let Some(pipe) = unused().pop() {
            return Some(Lease { pipe: Some(pipe) });
        }
        let count = PIPES.fetch_add(1, Ordering::Relaxed);
        let pipe = if count < MOST { Pipe::new() } else { None };
        if pipe.is_none() {
            PIPES.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Lease { pipe })
    }

    pub(super) fn pipe(&mut self) -> &mut Pipe {
        match &mut self.pipe {
            Some(pipe) => pipe,
            None => unreachable!("it is given back only at the end"),
        }
    }

    /// How many bytes are in the pipe.
    pub(super) fn len(&self) -> usize {
        self.pipe.as_ref().map_or(0, Channel::len)
    }
}

impl Drop for Lease {
    /// One with bytes in it is of no use to anybody else.
    fn drop(&mut self) {
        let Some(pipe) = self.pipe.take() else { return };
        let mut unused = unused();
        if pipe.is_empty() && unused.len() < SPARE {
            unused.push(pipe);
        } else {
            PIPES.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn unused() -> MutexGuard<'static, Vec<Pipe>> {
    UNUSED.lock().unwrap_or_else(PoisonError::into_inner)
}
