//! front → chardev → back → [host]: files, which cannot be polled, are written by a thread.
//!
//! A write to a regular file may wait for the disk, and epoll refuses such descriptors. A
//! [`FileWriter`] therefore takes output into a bounded queue and one thread writes it, so that a
//! slow disk stops neither the I/O thread nor a front end holding its chardev's lock. When the
//! disk takes nothing (it is full, or failing) the bytes stay queued and are tried again; the
//! queue fills up and the front end waits, as it would for any slow peer. Nothing is dropped.
//!
//! Two writers of one file, such as the old and the new back end of a change, take turns: the
//! later one neither truncates nor writes before the earlier one's queue is in the file.

mod log;
mod rotation;
mod target;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use chardev_core::text::from_os;
use chardev_core::{Drain, Ready};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::sync::Notify;

use crate::port::Port;
use crate::reactor::Reactor;
use crate::sys::strerror;

pub(crate) use log::open_log;
use rotation::{LogFile, Reopened, Times};
pub(crate) use target::{Created, Target, could_not, open_target};

/// The most bytes that wait for the disk.
const CAPACITY: usize = 1 << 20;
/// Room is reported once there is this much, so that a front end does not creep along.
const ROOM_WORTH_REPORTING: usize = CAPACITY / 4;
/// An idle thread ends after this long, so an idle chardev has none.
const IDLE: Duration = Duration::from_secs(2);
/// How long to wait before trying again what the disk refused.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The writers that are live, for taking turns and for knowing what is still on its way.
static LIVE: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());
/// Told whenever a writer has nothing left to write.
static WRITTEN: Notify = Notify::const_new();

/// A bounded queue in front of a descriptor that may block. Dropping it lets the thread write
/// what is queued, for as long as the disk takes it.
#[derive(Debug)]
pub(crate) struct FileWriter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Where the bytes go now.
    target: Mutex<Arc<Target>>,
    name: String,
    log: Option<LogFile>,
    port: Port,
    state: Mutex<State>,
    /// Work, or the end, for the thread.
    work: Condvar,
    /// Bytes reached the file, for a writer whose turn comes after.
    progress: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Accepted and not yet picked up by the thread.
    queue: VecDeque<u8>,
    accepted: u64,
    written: u64,
    running: bool,
    watched: bool,
    failing: bool,
    /// The handle is gone: finish, and give up at the first failure.
    closed: bool,
    /// Writers whose bytes, up to a count, come before ours.
    after: Vec<(Arc<Shared>, u64)>,
    truncate: bool,
    /// It is to be emptied and waits for nobody else to be done with it.
    empties_first: bool,
    /// Files for what was accepted after a certain byte, in order.
    reopened: VecDeque<Reopened>,
    /// An earlier log of the same path may have rotated it.
    follow: bool,
    times: Times,
}

impl FileWriter {
    /// A writer to `target`, called `name` in warnings, which reports room to `port`.
    pub(crate) fn new(target: Target, name: &str, port: &Port) -> Self {
        Self::with(target, name, None, port)
    }

    /// A writer of a log, which reports room to `port`.
    fn of_log(target: Target, log: LogFile, port: &Port) -> Self {
        let name = from_os(log.path.as_os_str());
        Self::with(target, &name, Some(log), port)
    }

    fn with(target: Target, name: &str, log: Option<LogFile>, port: &Port) -> Self {
        let shared = Shared {
            target: Mutex::new(Arc::new(target)),
            name: name.to_owned(),
            log,
            port: port.clone(),
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
        };
        FileWriter {
            shared: Arc::new(shared),
        }
    }

    /// Goes live: queues up behind earlier writers of the same file, and has it emptied if
    /// `truncate` says so. Emptying a large file takes long, so the thread does it.
    pub(crate) fn go_live(&self, truncate: bool) {
        let truncate = truncate && self.shared.file().is_some();
        let before = self.register();
        let mut state = self.shared.lock();
        state.truncate = truncate;
        state.empties_first = truncate && before.is_empty();
        state.follow = self.shared.log.is_some() && !before.is_empty();
        state.after = before;
        if state.truncate {
            self.shared.rouse(&mut state);
        }
    }

    /// Whether the file may only grow (`chattr +a`, `+i`).
    pub(crate) fn is_append_only(&self) -> bool {
        self.shared.target().is_append_only()
    }

    /// Takes as much of `bufs` as there is room for and returns how much that was.
    pub(crate) fn push(&self, bufs: &[IoSlice<'_>]) -> usize {
        let mut state = self.shared.lock();
        let mut room = state.room();
        let mut taken = 0;
        for buf in bufs {
            let part = &buf[..buf.len().min(room)];
            state.queue.extend(part);
            taken += part.len();
            room -= part.len();
        }
        state.accepted += taken as u64;
        if taken > 0 {
            if self.shared.indexes() {
                let accepted = state.accepted;
                state.times.note(accepted);
            }
            self.shared.rouse(&mut state);
        }
        taken
    }

    /// Bytes that fit now.
    pub(crate) fn room(&self) -> usize {
        self.shared.lock().room()
    }

    /// Bytes accepted that are not in the file yet.
    pub(crate) fn pending(&self) -> u64 {
        self.shared.lock().pending()
    }

    /// Asks for one report of write readiness once there is room.
    pub(crate) fn watch(&self) {
        let mut state = self.shared.lock();
        state.watched = true;
        self.shared.rouse(&mut state);
    }

    /// Registers among the live writers; returns those of the same file with bytes on their way.
    fn register(&self) -> Vec<(Arc<Shared>, u64)> {
        let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|writer| writer.strong_count() > 0);
        let mut before = Vec::new();
        if self.shared.file().is_some() {
            for other in live.iter().filter_map(Weak::upgrade) {
                if !Arc::ptr_eq(&other, &self.shared) && other.is_same_file(&self.shared) {
                    let accepted = other.lock().pending_target();
                    before.extend(accepted.map(|accepted| (Arc::clone(&other), accepted)));
                }
            }
        }
        live.push(Arc::downgrade(&self.shared));
        before
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl Drain for FileWriter {
    fn send(&mut self, bytes: &[u8]) -> usize {
        self.push(&[IoSlice::new(bytes)])
    }

    fn pending(&mut self) -> u64 {
        FileWriter::pending(self)
    }
}

/// Waits until all writers of the process have written what they accepted, logs included; for a
/// process that wants to end.
pub(crate) async fn all_written() {
    loop {
        let mut written = std::pin::pin!(WRITTEN.notified());
        // Before the look, so that a writer that is done right after it is heard.
        written.as_mut().enable();
        if !is_any_pending() {
            return;
        }
        written.await;
    }
}

/// Waits until the files that the chardev `label` of `reactor` goes to now, its log included, have
/// been emptied, so that whoever is told of it finds nothing old in them. What earlier writers still
/// have to write is not waited for.
pub(crate) async fn emptied(reactor: &Arc<Reactor>, label: &str) {
    loop {
        let mut written = std::pin::pin!(WRITTEN.notified());
        written.as_mut().enable();
        if !is_any(|writer| writer.port.serves(reactor, label) && writer.lock().empties_first) {
            return;
        }
        written.await;
    }
}

fn is_any_pending() -> bool {
    is_any(|writer| writer.lock().pending() > 0)
}

fn is_any(wanted: impl Fn(&Shared) -> bool) -> bool {
    let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    live.iter()
        .filter_map(Weak::upgrade)
        .any(|writer| wanted(&writer))
}

/// Whether a live writer has the file with this device and inode open.
fn in_use(file: (u64, u64)) -> bool {
    let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    live.iter()
        .filter_map(Weak::upgrade)
        .any(|writer| writer.file() == Some(file))
}

impl State {
    fn pending(&self) -> u64 {
        self.accepted - self.written
    }

    fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.pending() as usize)
    }

    /// The count at which everything accepted so far is written, if it is not yet.
    fn pending_target(&self) -> Option<u64> {
        // A truncation that still has to happen is work as well.
        (self.pending() > 0 || self.truncate).then_some(self.accepted)
    }

    fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.truncate || !self.reopened.is_empty()
    }

    fn owes_report(&self) -> bool {
        self.watched && self.room() >= ROOM_WORTH_REPORTING
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn target(&self) -> Arc<Target> {
        Arc::clone(&self.target.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Device and inode, for files where the order of two writers can be seen.
    fn file(&self) -> Option<(u64, u64)> {
        self.target().ordered_file()
    }

    /// Whether two writers write one file, or one log that may have been rotated meanwhile.
    fn is_same_file(&self, other: &Shared) -> bool {
        let path = |shared: &Shared| shared.log.as_ref().map(|log| log.path.clone());
        self.file() == other.file() || (self.log.is_some() && path(self) == path(other))
    }

    /// Wakes the thread, starting it if there is none.
    fn rouse(self: &Arc<Self>, state: &mut State) {
        if state.running {
            self.work.notify_all();
            return;
        }
        let shared = Arc::clone(self);
        let thread = std::thread::Builder::new().name("chardev-disk".to_owned());
        match thread.spawn(move || shared.run()) {
            Ok(_) => state.running = true,
            Err(error) => {
                tracing::warn!("no thread to write '{}': {error}", self.name);
                let shared = Arc::clone(self);
                self.port.spawn(async move {
                    tokio::time::sleep(RETRY_MAX).await;
                    shared.rouse(&mut shared.lock());
                });
            }
        }
    }

    fn run(self: Arc<Self>) {
        let mut chunk = VecDeque::new();
        while self.next_chunk(&mut chunk) {
            let written = self.wait_for_turn() && self.write_chunk(&mut chunk);
            if !written {
                self.give_up(chunk.len());
                return;
            }
        }
    }

    /// Waits for bytes and moves all there are into the empty `chunk`; `false` ends the thread.
    fn next_chunk(&self, chunk: &mut VecDeque<u8>) -> bool {
        let mut state = self.lock();
        loop {
            if state.owes_report() {
                state = self.report_room(state);
            } else if state.has_work() {
                std::mem::swap(&mut state.queue, chunk);
                return true;
            } else if state.closed {
                state.running = false;
                return false;
            } else {
                let waited = self.work.wait_timeout(state, IDLE);
                let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                state = next;
                if timeout.timed_out() && !state.has_work() && !state.watched {
                    state.queue = VecDeque::new();
                    state.running = false;
                    return false;
                }
            }
        }
    }

    /// Waits until earlier writers of the same file are done; `false` if one that will not end
    /// stands in the way of a writer that nobody holds any more.
    fn wait_for_turn(&self) -> bool {
        let before = std::mem::take(&mut self.lock().after);
        for (other, target) in before {
            let mut state = other.lock();
            while state.written < target || state.truncate {
                let waited = other.progress.wait_timeout(state, RETRY_MIN);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                if state.failing && self.lock().closed {
                    return false;
                }
            }
        }
        let truncate = self.lock().truncate;
        if truncate {
            self.empty_file();
            let mut state = self.lock();
            (state.truncate, state.empties_first) = (false, false);
            drop(state);
            self.progress.notify_all();
            WRITTEN.notify_waiters();
        }
        true
    }

    /// A file that cannot be emptied after all is written at its end.
    fn empty_file(&self) {
        let target = self.target();
        let emptied = retry_interrupted(|| rustix::fs::ftruncate(&target.fd, 0));
        if let Err(error) = emptied {
            tracing::warn!("cannot truncate '{}': {}", self.name, strerror(error));
            let _ = rustix::fs::seek(&target.fd, rustix::fs::SeekFrom::End(0));
        }
    }

    fn write_chunk(&self, chunk: &mut VecDeque<u8>) -> bool {
        loop {
            let Some(most) = self.prepare(chunk) else {
                return false;
            };
            if chunk.is_empty() {
                return true;
            }
            let (first, second) = chunk.as_slices();
            let first = &first[..first.len().min(most)];
            let second = &second[..second.len().min(most - first.len())];
            let bufs = [IoSlice::new(first), IoSlice::new(second)];
            let (target, place) = (self.target(), self.place());
            let Some(count) = self.persist(|| rustix::io::writev(&target.fd, &bufs)) else {
                return false;
            };
            let from = self.lock().written;
            let lines = self.index_lines(chunk, count, from, place);
            chunk.drain(..count);
            let mut state = self.lock();
            state.written += count as u64;
            self.report_progress(&state);
            if state.owes_report() {
                state = self.report_room(state);
            }
            drop(state);
            if !self.write_index(&lines) {
                return false;
            }
        }
    }

    /// Does `attempt` until it succeeds; `None` once it failed with nobody holding the writer.
    fn persist(&self, mut attempt: impl FnMut() -> Result<usize, Errno>) -> Option<usize> {
        let mut pause = RETRY_MIN;
        loop {
            let error = match attempt() {
                Ok(0) => Errno::IO,
                Ok(count) => {
                    self.lock().failing = false;
                    return Some(count);
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    self.wait_writable();
                    if self.lock().closed && !is_writable(&self.target().fd, Duration::ZERO) {
                        return None;
                    }
                    continue;
                }
                Err(error) => error,
            };
            self.warn_once(error);
            if !self.pause(pause) {
                return None;
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// A FIFO or a terminal as a log file is full; its reader decides when that changes.
    fn wait_writable(&self) {
        is_writable(&self.target().fd, RETRY_MIN);
        let state = self.lock();
        if state.owes_report() {
            drop(self.report_room(state));
        }
    }

    fn warn_once(&self, error: Errno) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.failing, true) {
            let pending = state.pending();
            drop(state);
            tracing::warn!(
                "writing '{}' fails: {}; {pending} bytes wait and are tried again",
                self.name,
                strerror(error),
            );
        }
    }

    /// Waits before the next attempt; `false` if the writer was let go.
    fn pause(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut state = self.lock();
        loop {
            if state.closed {
                return false;
            }
            if state.owes_report() {
                state = self.report_room(state);
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.work.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Tells the chardev that there is room, with our own lock released meanwhile.
    fn report_room<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.watched = false;
        drop(state);
        self.port.kick(Ready::WRITE);
        self.lock()
    }

    /// Wakes who waits for this writer, and who waits for all.
    fn report_progress(&self, state: &State) {
        self.progress.notify_all();
        if state.pending() == 0 {
            WRITTEN.notify_waiters();
        }
    }

    fn give_up(&self, in_hand: usize) {
        let mut state = self.lock();
        let lost = in_hand + state.queue.len();
        state.queue = VecDeque::new();
        state.written = state.accepted;
        (state.truncate, state.empties_first) = (false, false);
        state.reopened.clear();
        state.running = false;
        self.report_progress(&state);
        drop(state);
        if lost > 0 {
            tracing::warn!("{lost} bytes could not be written to '{}'", self.name);
        }
    }
}

fn is_writable(fd: &OwnedFd, limit: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: limit.subsec_nanos().into(),
    };
    poll(&mut [PollFd::new(fd, PollFlags::OUT)], Some(&timeout)).is_ok_and(|ready| ready > 0)
}

fn retry_interrupted<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
