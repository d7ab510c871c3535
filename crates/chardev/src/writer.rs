//! front → chardev → back → [host]: files, which cannot be polled, are written by a few threads.
//!
//! A write to a regular file may wait for the disk, and epoll refuses such descriptors. A
//! [`FileWriter`] therefore takes output into a bounded queue and is a job of the [`crew`], which
//! writes for all, so that a slow disk stops neither the I/O thread nor a front end holding its
//! chardev's lock. Of its queue each [step](steps) takes all there is. When the disk takes nothing
//! (it is full, or failing) the bytes stay queued and are tried again. For a back end the queue
//! fills up and the front end waits, as it would for any slow peer; nothing is dropped. For a log
//! see `hole`.
//!
//! Two writers of one file, such as the old and the new back end of a change, take turns: the later
//! one neither truncates nor writes before the earlier one's queue is in the file.

mod crew;
mod hole;
mod index;
mod index_file;
mod landmarks;
mod leftover;
mod live;
mod log;
mod reopen;
mod rotation;
mod shift;
mod steps;
mod target;
mod trouble;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use chardev_core::Drain;
use chardev_core::text::{from_os, shown};
use rustix::io::Errno;
use tokio::sync::Notify;

use crate::io_threads::IoThreads;
use crate::offload::at_the_end;
use crate::port::Port;

use crew::{Haste, Ticket};
use hole::{Hole, Missing};
use landmarks::Awaited;
pub(crate) use log::open_log;
use reopen::{Reopened, Reopening};
pub(crate) use rotation::since_epoch;
use rotation::{LogFile, Times};
use steps::Work;
pub(crate) use target::{Created, Target, could_not, open_target};

/// The most bytes that wait for the disk.
const CAPACITY: usize = 1 << 20;
/// Room is reported once there is this much, so that a front end does not creep along.
const ROOM_WORTH_REPORTING: usize = CAPACITY / 4;
/// What waits for a pass of the crew is less than this; more is written at once.
const MUCH: u64 = 1 << 16;

/// How soon an index is looked at again that writes its last lines.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Told whenever a writer has nothing left to write.
static WRITTEN: Notify = Notify::const_new();

/// A bounded queue in front of a descriptor that may block. What is queued is written also after
/// this is dropped, for as long as the disk takes it.
#[derive(Debug)]
pub(crate) struct FileWriter {
    shared: Arc<Writing>,
}

#[derive(Debug)]
struct Writing {
    id: u64,
    /// Where the bytes go now.
    target: Mutex<Arc<Target>>,
    name: String,
    log: Option<LogFile>,
    port: Port,
    state: Mutex<WriterState>,
    ticket: Ticket,
    /// Only its steps use it.
    work: Mutex<Work>,
}

#[derive(Debug, Default)]
struct WriterState {
    /// Accepted and not yet picked up by a step.
    queue: VecDeque<u8>,
    accepted: u64,
    written: u64,
    /// The crew knows of everything there is to do.
    scheduled: bool,
    watched: bool,
    /// What the last write failed with, until one succeeds.
    failing: Option<Errno>,
    /// The file takes nothing now, and says so: a FIFO that nobody reads.
    blocked: bool,
    /// A task waits until it takes something.
    awaited: bool,
    /// A log that can never be written again, as far as was seen then.
    dead: Option<Instant>,
    /// Output has waited long enough for a log, until everything is written.
    late: bool,
    /// Somebody watches how long output waits.
    timing: bool,
    /// What is missing in a log, in order.
    holes: VecDeque<Hole>,
    /// Landmarks for the index, in order.
    landmarks: VecDeque<Awaited>,
    /// The last hole goes on.
    inside_hole: bool,
    missing: Option<Missing>,
    /// The handle is gone: finish, and give up at the first failure.
    closed: bool,
    /// Writers whose bytes, up to a count, come before ours.
    after: Vec<(Arc<Writing>, u64)>,
    /// Writers that wait for ours.
    followers: Vec<Weak<Writing>>,
    truncate: bool,
    /// It is to be emptied and waits for nobody else to be done with it.
    empties_first: bool,
    /// Files for what was accepted after a certain byte, in order.
    reopened: VecDeque<Reopened>,
    reopening: Reopening,
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
        let shared = Writing {
            id: live::next_id(),
            target: Mutex::new(Arc::new(target)),
            name: shown(name).to_string(),
            log,
            port: port.clone(),
            state: Mutex::default(),
            ticket: Ticket::new(),
            work: Mutex::default(),
        };
        FileWriter {
            shared: Arc::new(shared),
        }
    }

    /// Goes live: queues up behind earlier writers of the same file, and has it emptied if
    /// `truncate` says so. Emptying a large file takes long, so a step does it, at once if whoever
    /// changes the chardev is on a thread that may wait.
    pub(crate) fn go_live(&self, truncate: bool) {
        let truncate = truncate && self.shared.file().is_some();
        let (before, shared) = self.register();
        let mut state = self.shared.lock();
        state.truncate = truncate;
        state.empties_first = truncate && before.is_empty();
        state.follow = self.shared.log.is_some() && shared;
        state.after = before;
        let first = Arc::clone(&self.shared);
        if state.empties_first && at_the_end(move || first.step_here()).is_ok() {
            state.scheduled = true;
        } else if state.truncate {
            self.shared.rouse(&mut state, Haste::Now);
        }
    }

    /// Whether the file may only grow (`chattr +a`, `+i`).
    pub(crate) fn is_append_only(&self) -> bool {
        self.shared.target().is_append_only()
    }

    /// Takes as much of `bufs` as there is room for and returns how much that was.
    pub(crate) fn push(&self, bufs: &[IoSlice<'_>]) -> usize {
        let mut state = self.shared.lock();
        let mut room = match state.dead {
            None => state.room(),
            Some(_) => 0,
        };
        let mut taken = 0;
        for buf in bufs {
            let part = &buf[..buf.len().min(room)];
            state.queue.extend(part);
            taken += part.len();
            room -= part.len();
        }
        if taken == 0 {
            return 0;
        }
        let had_much = state.pending() >= MUCH;
        state.accepted += taken as u64;
        if self.shared.indexes() {
            let accepted = state.accepted;
            state.times.note(accepted);
        }
        match state.pending() >= MUCH {
            true if !had_much => self.shared.rouse(&mut state, Haste::Now),
            _ if !state.scheduled => self.shared.rouse(&mut state, self.shared.pace()),
            _ => {}
        }
        taken
    }

    /// Bytes accepted that are not in the file yet.
    pub(crate) fn pending(&self) -> u64 {
        self.shared.lock().pending()
    }

    /// Asks for one report of write readiness once there is room.
    pub(crate) fn watch(&self) {
        let mut state = self.shared.lock();
        state.watched = true;
        if state.dead.is_some() {
            return;
        }
        if self.shared.log.is_some() {
            self.shared.begin_patience(&mut state);
        }
        self.shared.rouse(&mut state, Haste::Now);
    }

    /// Registers among the live writers; returns those of the same file with bytes on their way,
    /// and whether there are any at all.
    fn register(&self) -> (Vec<(Arc<Writing>, u64)>, bool) {
        let same = live::add(&self.shared);
        let shared = !same.is_empty();
        let before = same.into_iter().filter_map(|other| {
            let accepted = other.lock().pending_target()?;
            Some((other, accepted))
        });
        (before.collect(), shared)
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        // With nothing to do there is nothing to come to an end.
        if state.scheduled {
            self.shared.rouse(&mut state, Haste::Now);
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        live::remove(self);
    }
}

impl Drain for FileWriter {
    fn send(&mut self, bytes: &[u8]) -> usize {
        self.push(&[IoSlice::new(bytes)])
    }

    fn pending(&mut self) -> u64 {
        FileWriter::pending(self)
    }

    /// Nothing is added to it any more but what its drainer may still have to say.
    fn is_nothing(&self) -> bool {
        FileWriter::pending(self) == 0
    }
}

/// Waits until all writers of the process have written what they accepted, logs included; for a
/// process that wants to end. A log that cannot be written is not waited for.
pub(crate) async fn all_written() {
    for writer in live::all() {
        let mut state = writer.lock();
        if state.scheduled {
            writer.rouse(&mut state, Haste::Now);
        }
    }
    loop {
        let mut written = std::pin::pin!(WRITTEN.notified());
        // Before the look, so that a writer that is done right after it is heard.
        written.as_mut().enable();
        if !is_any_pending() {
            break;
        }
        written.await;
    }
    // An index that takes its lines has few left, and one that does not is busy for a moment only.
    let is_busy = |writer: &Arc<Writing>| {
        let index = writer.log.as_ref().and_then(|log| log.index.as_ref());
        index.is_some_and(|index| index.hurry())
    };
    while live::all().iter().any(is_busy) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Waits until the files that the chardev `label` of those that `threads` serve goes to now, its
/// log included, have been emptied, so that whoever is told of it finds nothing old in them. What
/// earlier writers still have to write is not waited for.
pub(crate) async fn emptied(threads: &Arc<IoThreads>, label: &str) {
    loop {
        let mut written = std::pin::pin!(WRITTEN.notified());
        written.as_mut().enable();
        let writers = live::of_chardev(threads, label);
        if !writers.iter().any(|writer| writer.lock().empties_first) {
            return;
        }
        drop(writers);
        written.await;
    }
}

fn is_any_pending() -> bool {
    live::all().iter().any(|writer| {
        let state = writer.lock();
        let stuck = writer.log.is_some() && (state.failing.is_some() || state.blocked);
        (state.pending() > 0 || state.landmark_is_due()) && !stuck
    })
}

/// Whether a live writer has the file with this device and inode open.
fn in_use(file: (u64, u64)) -> bool {
    !live::of_file(file).is_empty()
}

impl WriterState {
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
        let waits = !self.queue.is_empty() || !self.reopened.is_empty();
        waits || self.truncate || self.hole_is_due() || self.landmark_is_due()
    }

    fn owes_report(&self) -> bool {
        self.watched && self.room() >= ROOM_WORTH_REPORTING
    }
}
