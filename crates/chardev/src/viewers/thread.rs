//! front → [chardev: scrollback] → viewers: the thread that serves them.
//!
//! ```text
//!   Ready ──serve──▶ CaughtUp ──(rest)── ask to be woken ──▶ Armed ──output──▶ Ready
//!     ▲  └──socket full──▶ Blocked ──writable──▶ Ready
//!     └──────────── new viewer                         peer left ──▶ Gone
//! ```
//!
//! After a round the thread rests. On a busy machine that is at least three times as long as the
//! round took, which bounds what viewers cost: however many there are and however fast they read,
//! they are served for a quarter of one CPU's time at most. And a console that prints many small
//! pieces wakes this thread once in a rest, not once for each write.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use chardev_core::Glance;
use rustix::event::{Timespec, epoll};
use tokio::sync::Notify;

use super::entry::{Entry, Wait};
use super::pace::Pace;
use super::{MAX_VIEWERS, WatchError};
use crate::threads::new_thread;
use crate::wait::Signal;

/// The most bytes for one viewer before it is another's turn, and of one copy for all.
const TURN: usize = 64 << 10;
/// The most turns of a viewer in one round.
const TURNS: usize = 4;
/// The priority of the thread, the lowest there is.
const NICE: i32 = 19;
/// The token of the wake-up; viewers are numbered from 1.
const WAKE: u64 = 0;

/// What the thread and its owner share.
#[derive(Debug)]
pub(super) struct Server {
    epoll: OwnedFd,
    signal: Arc<Signal>,
    state: Mutex<Intake>,
    /// Told when the last viewer has gone.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Intake {
    incoming: Vec<Entry>,
    /// All viewers, those in `incoming` too.
    count: usize,
    running: bool,
    stopping: bool,
}

impl Server {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let signal = Arc::new(Signal::new()?);
        let token = epoll::EventData::new_u64(WAKE);
        epoll::add(&epoll, signal.fd(), token, epoll::EventFlags::IN)?;
        Ok(Server {
            epoll,
            signal,
            state: Mutex::default(),
            ended: Notify::new(),
        })
    }

    /// Takes a viewer over, starting the thread if there is none.
    pub(super) fn add(self: &Arc<Self>, entry: Entry) -> Result<(), WatchError> {
        let mut state = self.lock();
        if state.count >= MAX_VIEWERS {
            return Err(WatchError::TooMany);
        }
        if !state.running {
            let server = Arc::clone(self);
            new_thread("chardev-viewers")
                .and_then(|thread| thread.spawn(move || Loop::new(server).run()))
                .map_err(WatchError::Io)?;
            state.running = true;
        }
        state.incoming.push(entry);
        state.count += 1;
        drop(state);
        self.signal.notify();
        Ok(())
    }

    /// What the thread waits for.
    pub(super) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// Waits until there is no viewer.
    pub(super) async fn ended(&self) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            // Before the look, so that an end right after it is heard.
            ended.as_mut().enable();
            if self.lock().count == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Ends the thread; its viewers see the end of the stream.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.signal.notify();
    }

    fn lock(&self) -> MutexGuard<'_, Intake> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Loop {
    server: Arc<Server>,
    waker: Waker,
    /// In the order in which they came, which keeps those of one console together.
    entries: BTreeMap<u64, Entry>,
    last_token: u64,
    /// Until when nobody is served.
    rest_until: Instant,
    glance: Glance,
}

impl Loop {
    fn new(server: Arc<Server>) -> Self {
        Loop {
            waker: Waker::from(Arc::clone(&server.signal)),
            server,
            entries: BTreeMap::new(),
            last_token: WAKE,
            rest_until: Instant::now(),
            glance: Glance::new(TURN),
        }
    }

    fn run(mut self) {
        // It may only lower its own priority, which is always allowed.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
        let mut pace = Pace::new();
        let mut events = Vec::with_capacity(64);
        while self.take_incoming() {
            let timeout = self.timeout();
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.server.epoll, spare, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!("the viewer thread has stopped: {error}");
                    self.server.lock().stopping = true;
                }
            }
            for event in &events {
                let flags = event.flags;
                self.handle(event.data.u64(), flags);
            }
            self.serve_all(&mut pace);
        }
    }

    /// Takes over new viewers; `false` when there is nobody left, or it is to end.
    fn take_incoming(&mut self) -> bool {
        let mut state = self.server.lock();
        let incoming = std::mem::take(&mut state.incoming);
        state.count = self.entries.len() + incoming.len();
        if state.count == 0 {
            self.server.ended.notify_waiters();
        }
        if state.stopping || (self.entries.is_empty() && incoming.is_empty()) {
            state.running = false;
            return false;
        }
        drop(state);
        for entry in incoming {
            self.last_token += 1;
            let token = epoll::EventData::new_u64(self.last_token);
            // Nothing asked for: a hang-up is told all the same.
            let added = epoll::add(
                &self.server.epoll,
                entry.fd(),
                token,
                epoll::EventFlags::empty(),
            );
            match added {
                Ok(()) => drop(self.entries.insert(self.last_token, entry)),
                Err(error) => tracing::warn!("cannot serve a viewer: {error}"),
            }
        }
        true
    }

    fn handle(&mut self, token: u64, flags: epoll::EventFlags) {
        if token == WAKE {
            self.server.signal.clear();
            self.entries.values_mut().for_each(Entry::wake);
            return;
        }
        let Some(entry) = self.entries.get_mut(&token) else {
            return;
        };
        if flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            entry.state = Wait::Gone;
        } else if entry.state == Wait::Blocked {
            entry.state = Wait::Ready;
            watch(&self.server.epoll, token, entry, epoll::EventFlags::empty());
        }
    }

    /// A round, unless it is a time of rest.
    fn serve_all(&mut self, pace: &mut Pace) {
        let began = Instant::now();
        if began >= self.rest_until {
            let (served, mut more) = self.give_turns(true);
            for _ in 1..TURNS {
                if more {
                    (_, more) = self.give_turns(false);
                }
            }
            if served {
                let rest = pace.rest(began.elapsed(), more);
                self.rest_until = Instant::now() + rest;
            }
        }
        // Closing a descriptor takes it out of the epoll.
        self.entries.retain(|_, entry| {
            let is_over = entry.until().is_some_and(|until| began >= until);
            entry.state != Wait::Gone && !is_over
        });
    }

    /// One turn for everybody who can do something, and those who have everything ask to be woken
    /// if this is the first. Returns whether there was anybody, and whether somebody can go on.
    fn give_turns(&mut self, first: bool) -> (bool, bool) {
        let (mut served, mut more) = (false, false);
        for (token, entry) in &mut self.entries {
            let asks = first && entry.state == Wait::CaughtUp;
            if asks {
                entry.arm(&self.waker);
            }
            if !asks && entry.state != Wait::Ready {
                continue;
            }
            entry.serve(&mut self.glance);
            match entry.state {
                Wait::CaughtUp if asks => entry.state = Wait::Armed,
                Wait::Blocked => {
                    watch(&self.server.epoll, *token, entry, epoll::EventFlags::OUT);
                }
                _ => {}
            }
            more |= entry.state == Wait::Ready;
            served = true;
        }
        (served, more)
    }

    /// How long to wait for news.
    fn timeout(&self) -> Option<Timespec> {
        let now = Instant::now();
        let mut wait: Option<Duration> = None;
        for entry in self.entries.values() {
            let due = match entry.state {
                Wait::Gone => now,
                Wait::Ready | Wait::CaughtUp => self.rest_until,
                Wait::Armed | Wait::Blocked => match entry.until() {
                    Some(until) => until,
                    None => continue,
                },
            };
            let due = due.saturating_duration_since(now);
            wait = Some(wait.map_or(due, |wait| wait.min(due)));
        }
        wait.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        })
    }
}

fn watch(epoll: &OwnedFd, token: u64, entry: &Entry, flags: epoll::EventFlags) {
    let _ = epoll::modify(epoll, entry.fd(), epoll::EventData::new_u64(token), flags);
}
