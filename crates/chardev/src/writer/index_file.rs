//! front → chardev → back → [host]: the file of an index, a job of its own in the [`crew`].
//!
//! A write may never come back (a pipe that nobody reads, a server that is gone), and that must not
//! be felt by the log. While the index takes lines, the log's step waits for room as it would if
//! it wrote them itself; one that fails, or has not taken anything for a moment, is waited for no
//! more.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chardev_core::text::shown_path;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::crew::{CREW, Haste, Job, Next, Ticket, aside};
use super::index::Waiting;
use super::open_target;
use crate::disk;
use crate::slow_fd::SlowFd;
use crate::sys::strerror;

/// How long an index that cannot be written is left alone.
const AGAIN: Duration = Duration::from_secs(2);
/// How long a write may take before nobody waits for it. Output waits 50 ms for a log, so a log
/// that waited as long for its index would have a hole.
const PATIENCE: Duration = Duration::from_millis(20);
/// The most files that wait for their turn.
const MAX_LATER: usize = 16;

#[derive(Debug)]
pub(super) struct IndexFile {
    pub(super) path: PathBuf,
    /// It can be opened anew.
    named: bool,
    state: Mutex<Parts>,
    /// There is room, or an end.
    changed: Condvar,
    ticket: Ticket,
    /// Its device, or one that it shares with no other index.
    device: u64,
}

#[derive(Debug)]
struct Parts {
    now: Part,
    /// Files that are written once the one before has all its lines.
    later: VecDeque<Part>,
    /// A write has begun then and not come back.
    since: Option<Instant>,
    running: bool,
    /// Nobody writes to it any more.
    closed: bool,
    warned: bool,
}

/// A file, and the lines that belong in it.
#[derive(Debug)]
struct Part {
    fd: Arc<SlowFd>,
    truncate: bool,
    waiting: Waiting,
    failed: Option<Instant>,
}

impl Part {
    fn new(fd: Arc<SlowFd>, truncate: bool) -> Self {
        Part {
            fd,
            truncate,
            waiting: Waiting::default(),
            failed: None,
        }
    }

    /// Whether there is something to be done with it, before others have their turn if `others`
    /// wait.
    fn owes(&self, others: bool) -> bool {
        !self.waiting.is_empty() || (self.truncate && others)
    }
}

impl Parts {
    fn last(&mut self) -> &mut Part {
        self.later.back_mut().unwrap_or(&mut self.now)
    }

    fn has_lines(&self) -> bool {
        !self.now.waiting.is_empty() || !self.later.is_empty()
    }

    /// How long it is worth waiting for.
    fn patience(&self) -> Option<Duration> {
        let elapsed = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        let left = PATIENCE.checked_sub(elapsed)?;
        (self.running && self.now.failed.is_none() && !left.is_zero()).then_some(left)
    }

    /// Turns to the next file, if there is one. What the old one does not take is told in it.
    fn turn(&mut self) -> bool {
        let Some(mut next) = self.later.pop_front() else {
            return false;
        };
        next.waiting.follow(&mut self.now.waiting);
        self.now = next;
        true
    }
}

impl Job for IndexFile {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn device(&self) -> u64 {
        self.device
    }

    fn step(self: Arc<Self>) -> Next {
        self.advance()
    }
}

impl IndexFile {
    pub(super) fn new(path: PathBuf, fd: SlowFd, named: bool, truncate: bool) -> Arc<Self> {
        let ticket = Ticket::new();
        let stat = disk::fstat(&fd).ok();
        let device = stat.filter(is_regular).map(|stat| stat.st_dev);
        Arc::new(IndexFile {
            path,
            named,
            device: device.unwrap_or_else(|| ticket.own_device()),
            ticket,
            state: Mutex::new(Parts {
                now: Part::new(Arc::new(fd), truncate),
                later: VecDeque::new(),
                since: None,
                running: false,
                closed: false,
                warned: false,
            }),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, Parts>, limit: Duration) -> MutexGuard<'a, Parts> {
        let waited = self.changed.wait_timeout(state, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits while `holds` does, for as long as that is worth it. The step that calls this is set
    /// aside meanwhile, so that others are done.
    fn wait_while<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, Parts>,
        holds: impl Fn(&mut Parts) -> bool,
    ) -> MutexGuard<'a, Parts> {
        while holds(&mut state) {
            let Some(patience) = state.patience() else {
                break;
            };
            self.rouse(&mut state, Haste::Now);
            state = aside(|| self.wait(state, patience));
        }
        state
    }

    /// Takes whole lines in, as many as there is room for in time.
    pub(super) fn push(self: &Arc<Self>, lines: &str) {
        let mut state = self.lock();
        for line in lines.split_inclusive('\n') {
            state = self.wait_while(state, |state| !state.last().waiting.has_room(line));
            state.last().waiting.push(line);
            if !state.running {
                self.rouse(&mut state, Haste::Paced);
            }
        }
    }

    /// What comes from here on belongs in `fd`, or in the same file once that has been emptied.
    pub(super) fn turn_to(self: &Arc<Self>, fd: Option<SlowFd>) {
        let mut state = self.lock();
        state = self.wait_while(state, |state| state.later.len() >= MAX_LATER);
        let truncate = fd.is_none();
        let fd = fd.map_or_else(|| Arc::clone(&state.last().fd), Arc::new);
        let mut part = Part::new(fd, truncate);
        if state.later.len() >= MAX_LATER {
            if let Some(mut left_out) = state.later.pop_back() {
                part.waiting.follow(&mut left_out.waiting);
            }
        }
        state.later.push_back(part);
        if state.since.is_none() && !state.now.owes(true) {
            state.turn();
        }
        if !state.running && state.has_lines() {
            self.rouse(&mut state, Haste::Paced);
        }
    }

    /// Device and inode, if it is a file.
    pub(super) fn file(&self) -> Option<(u64, u64)> {
        let fd = Arc::clone(&self.lock().last().fd);
        let stat = disk::fstat(&*fd).ok()?;
        is_regular(&stat).then_some((stat.st_dev, stat.st_ino))
    }

    /// Has the lines that are on their way written now; whether there are any that it is worth
    /// waiting for.
    pub(super) fn hurry(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        let is_busy = state.has_lines() && state.patience().is_some();
        if is_busy {
            self.rouse(&mut state, Haste::Now);
        }
        is_busy
    }

    /// Nothing more comes.
    pub(super) fn close(self: &Arc<Self>) {
        let mut state = self.lock();
        state.closed = true;
        if state.running {
            self.rouse(&mut state, Haste::Now);
        }
    }

    fn rouse(self: &Arc<Self>, state: &mut Parts, haste: Haste) {
        let job: Arc<dyn Job> = Arc::<IndexFile>::clone(self);
        // Without a thread the lines wait for the next ones.
        state.running = CREW.rouse(job, haste).is_ok();
    }

    fn advance(&self) -> Next {
        let mut state = self.lock();
        let failed = state.now.failed;
        if failed.is_some() && state.turn() {
            return Next::Again(Haste::Now);
        }
        if let Some(failed) = failed.filter(|_| !state.closed) {
            let until = failed + AGAIN;
            if Instant::now() < until {
                return Next::At(until);
            }
        }
        let gives_up = failed.is_some() && state.closed;
        if !gives_up && state.now.owes(!state.later.is_empty()) {
            state = self.write(state);
        } else if gives_up || !state.turn() {
            state.running = false;
            self.changed.notify_all();
            return Next::Done;
        }
        drop(state);
        Next::Again(Haste::Now)
    }

    /// Writes some of the lines that wait, with the lock released meanwhile.
    fn write<'a>(&'a self, mut state: MutexGuard<'a, Parts>) -> MutexGuard<'a, Parts> {
        let text = state.now.waiting.first();
        let (fd, truncate) = (Arc::clone(&state.now.fd), state.now.truncate);
        state.since = Some(Instant::now());
        drop(state);
        let result = write_once(&fd, truncate, &text);
        let mut state = self.lock();
        state.since = None;
        self.changed.notify_all();
        match result {
            Err(Errno::INTR) => {}
            Ok(count) => {
                state.now.truncate = false;
                state.now.waiting.drain(count);
                (state.now.failed, state.warned) = (None, false);
            }
            Err(error) => {
                state.now.failed = Some(Instant::now());
                let warned = std::mem::replace(&mut state.warned, true);
                let is_last = state.later.is_empty();
                drop(state);
                self.mend(&fd, error, warned, is_last);
                return self.lock();
            }
        }
        state
    }

    /// Writing to `failing` failed.
    fn mend(&self, failing: &Arc<SlowFd>, error: Errno, warned: bool, is_last: bool) {
        let passes = matches!(error, Errno::AGAIN | Errno::NOSPC | Errno::DQUOT);
        // Another file may be there by now.
        let opened = (self.named && is_last && !passes).then(|| open_target(&self.path, true));
        if let Some(Ok((target, created))) = opened {
            created.into_iter().for_each(|mut created| created.keep());
            let mut state = self.lock();
            // The log may have turned to the next one meanwhile.
            if Arc::ptr_eq(&state.now.fd, failing) && state.later.is_empty() {
                state.now.fd = Arc::new(target.fd);
            }
        }
        if !warned {
            tracing::warn!(
                "cannot write the index '{}': {}; the log continues, and the index will be retried",
                shown_path(&self.path),
                strerror(error)
            );
        }
    }
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn write_once(fd: &SlowFd, truncate: bool, text: &[u8]) -> Result<usize, Errno> {
    if truncate {
        disk::empty(fd).or_else(|error| match error {
            // It is no file, or may only grow.
            Errno::INVAL | Errno::PERM => Ok(()),
            error => Err(error),
        })?;
    }
    if text.is_empty() {
        return Ok(0);
    }
    match rustix::io::write(fd, text) {
        Ok(0) => Err(Errno::IO),
        result => result,
    }
}
