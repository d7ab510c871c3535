//! guest → [front: handle] → chardev → back → host: a chardev as `io::Write` and `io::Read`, for a
//! device that a VMM has already.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::task::{Wake, Waker};

use chardev_core::{FrontEnd, Input, Ready};

use crate::wait::ReadyFd;

/// How much output waits for a peer at most, if the VMM names nothing else: 1 MiB.
pub const DEFAULT_LIMIT: usize = 1 << 20;

/// Splits a front end into a reader and a writer for a device that knows `io::Read` and
/// `io::Write`. Up to `limit` bytes of output wait for a peer that takes nothing; see [`Writer`].
///
/// # Errors
/// The process is out of descriptors.
pub fn split(front: FrontEnd, limit: usize) -> io::Result<(Reader, Writer)> {
    let front = Arc::new(front);
    front.set_open(true);
    let reader = Reader {
        ready: ReadyFd::new(&front, Ready::READ)?,
        front: Arc::clone(&front),
    };
    let queue = Arc::new(Queue {
        front,
        state: Mutex::default(),
        again: AtomicBool::new(false),
        limit,
    });
    let waker = Waker::from(Arc::clone(&queue));
    queue.front.set_waker(Ready::WRITE, &waker);
    Ok((reader, Writer { queue }))
}

/// The output half: `io::Write + Send`, to be put wherever a device wants its writer.
///
/// A write never blocks and never fails, whatever becomes of the peer and whatever changes. What
/// the chardev does not take now is kept, in order, and goes out by itself when it does, on the
/// thread that noticed; what does not fit is dropped and counted in [`Writer::dropped`]. A device
/// that can wait uses [`Writer::try_write`] instead and loses nothing. Clones are the same output.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    front: Arc<FrontEnd>,
    state: Mutex<Backlog>,
    /// Somebody was woken while another thread had the state; that one looks again.
    again: AtomicBool,
    limit: usize,
}

#[derive(Debug, Default)]
struct Backlog {
    waiting: VecDeque<u8>,
    dropped: u64,
    /// Whom to wake when [`Writer::try_write`] may succeed.
    waker: Option<Waker>,
}

impl Writer {
    /// Takes what the chardev takes now, behind everything that waits, and returns how many bytes
    /// that was. 0 means not now: the waker of [`Writer::set_waker`] is woken when it may succeed.
    pub fn try_write(&self, bytes: &[u8]) -> usize {
        self.queue.with(|state, queue| {
            queue.send_waiting(state);
            if state.waiting.is_empty() {
                queue.front.write(bytes)
            } else {
                0
            }
        })
    }

    /// Sets the waker for when [`Writer::try_write`] may succeed; stays set. With a
    /// [`ReadyFd::alone`] it is a descriptor for an event loop.
    pub fn set_waker(&self, waker: &Waker) {
        self.queue
            .with(|state, _| state.waker = Some(waker.clone()));
        waker.wake_by_ref();
    }

    /// Bytes that wait for the peer.
    pub fn waiting(&self) -> usize {
        self.queue.with(|state, _| state.waiting.len())
    }

    /// Bytes dropped because more than the limit waited.
    pub fn dropped(&self) -> u64 {
        self.queue.with(|state, _| state.dropped)
    }

    /// The front end, for its line: break, parameters, modem lines.
    pub fn front_end(&self) -> &FrontEnd {
        &self.queue.front
    }

    fn push(&self, bytes: &[u8]) {
        self.queue.with(|state, queue| {
            queue.send_waiting(state);
            let taken = if state.waiting.is_empty() {
                queue.front.write(bytes)
            } else {
                0
            };
            let rest = &bytes[taken..];
            let room = queue.limit.saturating_sub(state.waiting.len());
            let kept = rest.len().min(room);
            state.waiting.extend(&rest[..kept]);
            state.dropped += (rest.len() - kept) as u64;
        });
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    /// Every look at the state goes through here, because a waker that comes meanwhile relies on
    /// it.
    fn with<R>(&self, action: impl FnOnce(&mut Backlog, &Queue) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = action(&mut state, self);
        drop(state);
        self.catch_up();
        result
    }

    fn send_waiting(&self, state: &mut Backlog) {
        while !state.waiting.is_empty() {
            let (first, second) = state.waiting.as_slices();
            let bufs = [io::IoSlice::new(first), io::IoSlice::new(second)];
            let count = self.front.write_vectored(&bufs);
            if count == 0 {
                return;
            }
            state.waiting.drain(..count);
        }
        // An idle console holds no memory.
        state.waiting = VecDeque::new();
    }

    /// Does what a waker asked for. If another thread has the state, that one comes here next: the
    /// wish is made before the state is tried, and looked for after it was let go.
    fn catch_up(&self) {
        loop {
            fence(Ordering::SeqCst);
            if !self.again.load(Ordering::SeqCst) {
                return;
            }
            let mut state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            self.again.store(false, Ordering::SeqCst);
            self.send_waiting(&mut state);
            let waker = state.waiting.is_empty().then(|| state.waker.clone());
            drop(state);
            if let Some(waker) = waker.flatten() {
                waker.wake();
            }
        }
    }
}

/// The chardev may call this from inside a write of ours, so it never waits for the state.
impl Wake for Queue {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.again.store(true, Ordering::SeqCst);
        self.catch_up();
    }
}

/// The input half: `io::Read` that says `WouldBlock`, with a descriptor that is readable while
/// there may be something. Not reading holds the peer back.
#[derive(Debug)]
pub struct Reader {
    front: Arc<FrontEnd>,
    ready: ReadyFd,
}

impl Reader {
    /// The next input or event, in their order; `None` when there is nothing now, after which the
    /// descriptor is readable only once there is something again.
    pub fn next_input(&mut self, buf: &mut [u8]) -> Option<Input> {
        // Cleared before the last look, so that no report is lost between.
        for last in [false, true] {
            if last {
                self.ready.clear();
            }
            let found = match self.front.read(buf) {
                0 => self.front.next_event().map(Input::Event),
                count => Some(Input::Data(count)),
            };
            if found.is_some() {
                if last {
                    self.ready.waker().wake_by_ref();
                }
                return found;
            }
        }
        None
    }

    /// Makes the descriptor unreadable although there may be input, for a device that is full; it
    /// becomes readable again by [`Reader::resume`].
    pub fn pause(&self) {
        self.ready.clear();
    }

    /// Makes the descriptor readable, because the device has room again.
    pub fn resume(&self) {
        self.ready.waker().wake_by_ref();
    }

    /// What [`Reader::resume`] does, for a callback of the device.
    pub fn resume_waker(&self) -> Waker {
        self.ready.waker()
    }

    /// The front end, for its line.
    pub fn front_end(&self) -> &FrontEnd {
        &self.front
    }
}

/// Events in the input are passed over; [`Reader::next_input`] has them.
impl io::Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            match self.next_input(buf) {
                Some(Input::Data(count)) => return Ok(count),
                Some(Input::Event(_)) => {}
                // With its number, because there are devices that look at nothing else.
                None => return Err(rustix::io::Errno::AGAIN.into()),
            }
        }
    }
}

impl AsRawFd for Reader {
    fn as_raw_fd(&self) -> RawFd {
        self.ready.as_fd().as_raw_fd()
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}
