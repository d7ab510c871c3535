//! The peers at the other end of the console's back ends: each reads everything its back end gives
//! until the end of file, and sends numbered records as fast as they are taken.

mod backend;
mod kind;
mod prepared;
mod pump;

pub use backend::Backend;
pub use kind::Kind;
pub use prepared::Prepared;
pub(crate) use prepared::{Door, Ends};
pub(crate) use pump::pause;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::LoadError;
use crate::check::Segment;

/// What a peer is to do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The kind of its back end.
    pub kind: Kind,
    /// Whether it reads a little at a time, with pauses, for as long as its back end is current.
    pub slow: bool,
}

/// What a peer and its driver tell each other.
#[derive(Debug, Default)]
pub struct Shared {
    /// Bytes of input that the peer's `write` was told were taken.
    pub accepted: AtomicU64,
    /// Bytes of output that it has read.
    pub received: AtomicU64,
    /// Its back end has been replaced: no more input.
    pub replaced: AtomicBool,
    /// The last peer is to send the record that ends the program.
    pub stop: AtomicBool,
    /// What holds it and the other peers of its console back.
    flow: Arc<Flow>,
}

/// What holds the peers of a console back beside their kernel's buffers, so that a program that
/// reads much slower than kernels buffer does not get further and further behind.
#[derive(Debug, Default)]
pub struct Flow {
    /// How far all peers together may be ahead of the program; `None` for as far as the kernel lets
    /// them.
    pub ahead: Option<u64>,
    /// Bytes that all peers have sent.
    pub sent: AtomicU64,
    /// Bytes of those that were read, by the program or after a change.
    pub taken: AtomicU64,
}

impl Flow {
    /// How much may be sent now.
    fn room(&self) -> usize {
        let Some(ahead) = self.ahead else {
            return usize::MAX;
        };
        // Sent first: what is taken meanwhile only makes room.
        let sent = self.sent.load(Ordering::Acquire);
        let limit = self.taken.load(Ordering::Acquire).saturating_add(ahead);
        usize::try_from(limit.saturating_sub(sent)).unwrap_or(usize::MAX)
    }
}

/// A peer at work.
pub struct Peer {
    /// What it is to do.
    pub load: Load,
    /// Its number among all peers, which its records carry.
    pub number: u64,
    /// Its state.
    pub shared: Arc<Shared>,
    work: Work,
}

enum Work {
    Thread(JoinHandle<Result<Segment, LoadError>>),
    /// A file is read when the daemon has ended, because only then it is known to be complete.
    File(PathBuf),
}

impl Peer {
    /// Bytes of output that have arrived so far.
    pub fn received(&self) -> u64 {
        match &self.work {
            Work::Thread(_) => self.shared.received.load(Ordering::Acquire),
            Work::File(path) => path.metadata().map_or(0, |about| about.len()),
        }
    }

    /// Whether its thread has ended.
    pub fn is_done(&self) -> bool {
        match &self.work {
            Work::Thread(thread) => thread.is_finished(),
            Work::File(_) => true,
        }
    }

    /// Waits for the peer's end of file and hands out what it read.
    ///
    /// # Errors
    /// Something other than the end of the stream ended it.
    pub fn finish(self) -> Result<Segment, LoadError> {
        match self.work {
            Work::Thread(thread) => thread
                .join()
                .unwrap_or_else(|_| Err("a peer panicked".into())),
            Work::File(path) => {
                let failed = |error: std::io::Error| format!("{}: {error}", path.display());
                let mut file = File::open(&path).map_err(failed)?;
                let mut segment = Segment::default();
                let mut buffer = vec![0; 64 << 10];
                loop {
                    match file.read(&mut buffer).map_err(failed)? {
                        0 => break,
                        count => segment.push(&buffer[..count]),
                    }
                }
                let _ = std::fs::remove_file(&path);
                Ok(segment)
            }
        }
    }
}
