//! front → chardev → back → [host]: input from files, which cannot be polled, read by a thread.
//!
//! A read from a file may wait for a disk or a network, and the machine reads under a lock. The
//! thread reads one piece ahead, only when asked, so a file of any size costs one piece of memory.

use std::collections::VecDeque;
use std::io::{IoSliceMut, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chardev_core::Ready;
use rustix::io::Errno;

use crate::port::Port;
use crate::slow_fd::SlowFd;
use crate::threads::new_thread;

/// The most that is read ahead.
const PIECE: usize = 64 << 10;
/// An idle thread ends after this long.
const IDLE: Duration = Duration::from_secs(2);
/// How long to wait before trying again to start a thread.
const RETRY: Duration = Duration::from_secs(1);

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::back) enum Found {
    /// This many bytes.
    Data(usize),
    /// Nothing now.
    Nothing,
    /// Nothing now or later.
    End,
}

/// Input from a descriptor that may block. Dropping it ends the thread.
pub(in crate::back) struct FileReader {
    shared: Arc<ReaderParts>,
}

struct ReaderParts {
    fd: SlowFd,
    port: Port,
    state: Mutex<Fetched>,
    work: Condvar,
}

#[derive(Default)]
struct Fetched {
    bytes: VecDeque<u8>,
    wanted: bool,
    ended: bool,
    running: bool,
    stopped: bool,
}

impl FileReader {
    /// A reader of `fd` that reports to `port`.
    pub(super) fn new(fd: SlowFd, port: &Port) -> Self {
        let shared = ReaderParts {
            fd,
            port: port.clone(),
            state: Mutex::default(),
            work: Condvar::new(),
        };
        FileReader {
            shared: Arc::new(shared),
        }
    }

    /// Fills `bufs` with what has been read ahead.
    pub(super) fn read(&self, bufs: &mut [IoSliceMut<'_>]) -> Found {
        let mut state = self.shared.lock();
        if state.bytes.is_empty() {
            return if state.ended {
                Found::End
            } else {
                Found::Nothing
            };
        }
        // Reading from a `VecDeque` cannot fail.
        let count = state.bytes.read_vectored(bufs).unwrap_or(0);
        Found::Data(count)
    }

    /// Whether the end was found.
    pub(super) fn has_ended(&self) -> bool {
        self.shared.lock().ended
    }

    /// What has been read ahead and not been handed out.
    pub(super) fn take_all(&self) -> Vec<u8> {
        std::mem::take(&mut self.shared.lock().bytes).into()
    }

    /// Asks for one report once there is something, or the end.
    pub(super) fn watch(&self) {
        let mut state = self.shared.lock();
        state.wanted = true;
        self.shared.rouse(&mut state);
    }
}

impl Drop for FileReader {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.work.notify_all();
    }
}

impl ReaderParts {
    fn lock(&self) -> MutexGuard<'_, Fetched> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread, starting it if there is none.
    fn rouse(self: &Arc<Self>, state: &mut Fetched) {
        if state.running {
            self.work.notify_all();
            return;
        }
        let shared = Arc::clone(self);
        let thread = new_thread("chardev-read");
        match thread.and_then(|thread| thread.spawn(move || shared.run())) {
            Ok(_) => state.running = true,
            Err(error) => {
                tracing::warn!("cannot start a thread to read a file: {error}");
                let shared = Arc::clone(self);
                self.port.spawn(async move {
                    tokio::time::sleep(RETRY).await;
                    shared.rouse(&mut shared.lock());
                });
            }
        }
    }

    fn run(&self) {
        let mut piece = Vec::new();
        while self.wait_until_wanted() {
            piece.resize(PIECE, 0);
            let result = rustix::io::read(&self.fd, &mut piece);
            let mut state = self.lock();
            match result {
                Ok(count) if count > 0 => state.bytes.extend(&piece[..count]),
                Err(Errno::INTR) => state.wanted = true,
                result => {
                    if let Err(error) = result {
                        tracing::warn!("cannot read a file: {error}");
                    }
                    state.ended = true;
                }
            }
            drop(state);
            self.port.kick(Ready::READ);
        }
    }

    /// Waits for a wish; `false` ends the thread.
    fn wait_until_wanted(&self) -> bool {
        let mut state = self.lock();
        loop {
            if state.stopped {
                state.running = false;
                return false;
            }
            if std::mem::take(&mut state.wanted) {
                if state.bytes.is_empty() && !state.ended {
                    return true;
                }
                drop(state);
                self.port.kick(Ready::READ);
                state = self.lock();
                continue;
            }
            let waited = self.work.wait_timeout(state, IDLE);
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = next;
            if timeout.timed_out() && !state.wanted {
                state.running = false;
                return false;
            }
        }
    }
}
