//! front → [chardev] → back → host: the joint between one front end and one back end.
//!
//! The machine owns the back end in its one slot, the line, the policy, the counters and what
//! outlives a back end: unread input and a replaced ring buffer's content. It calls the back
//! end directly, so with nothing queued a write goes from the caller's buffers to the
//! descriptor with no copy in between.

mod events;
mod facts;

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError, Weak};
use std::task::Waker;

use crate::backend::{Backend, BackendId, Ready};
use crate::books::Books;
use crate::error::OpenError;
use crate::event::Event;
use crate::few::Few;
use crate::freeze::Freeze;
use crate::frontend::FrontEndHooks;
use crate::held::Inside;
use crate::input::InputQueue;
use crate::landmarks::{Landmark, Landmarks};
use crate::line::{Answers, Line, TerminalSize};
use crate::notice::{Notice, Told};
use crate::policy::{Closed, Policy, PolicyChange};
use crate::ringbuf::RingBuffer;
use crate::seldom::{Rare, Seldom};
use crate::spec::Options;
use crate::stats::Stats;
use crate::sync::{Mutex, MutexGuard};
use crate::tap::Tap;
use crate::times::Times;

/// The most input from beside the back end that waits for the front end.
const TYPED_LIMIT: usize = 64 << 10;

/// A copy of all output, such as a log file.
pub trait LogSink: Send {
    /// Bytes that fit now.
    fn room(&self) -> usize;
    /// Appends `bytes`, at most [`LogSink::room`] of them, and returns how many it took: fewer only
    /// if it has just broken.
    fn push(&mut self, bytes: &[u8]) -> usize;
    /// Whether there will be room soon if there is none now, so that output may wait for it.
    fn is_prompt(&self) -> bool {
        false
    }
    /// `bytes` bytes of the output are missing after what was pushed.
    fn skip(&mut self, _bytes: u64) {}
    /// The hole that [`LogSink::skip`] made has come to its end.
    fn go_on(&mut self) {}
    /// Why it is not written, where that is known.
    fn trouble(&self) -> Option<String> {
        None
    }
    /// Asks for one report of write readiness when there is room again.
    fn watch(&mut self);
    /// The log goes live: truncate the file if that was asked for.
    fn activate(&mut self) {}
    /// The first byte pushed will be the one at this absolute offset of the chardev's output.
    fn begin_at(&mut self, _offset: u64) {}
    /// There is a landmark after what was pushed and skipped. Returns whether the index has room
    /// for it, where there is one.
    fn note(&mut self, _landmark: &Landmark) -> Option<bool> {
        None
    }
    /// Bytes pushed that are not in the log yet.
    fn pending(&self) -> u64 {
        0
    }
    /// What can be done to the log from outside, where anything can.
    fn control(&self) -> Option<Arc<dyn LogControl>> {
        None
    }
}

/// A log's side for whoever rotates it. May wait for the disk, so it is used without any lock.
pub trait LogControl: Send + Sync {
    /// Opens the log's path anew: what is accepted before this call goes to the old file, what is
    /// accepted after it to the new one.
    ///
    /// # Errors
    /// The cause; the log then goes on in the old file.
    fn reopen(&self) -> Result<(), OpenError>;
}

/// Which output the back end in the slot is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The offset of its first byte.
    pub from: u64,
    /// Where the output was when the back end came: what is before that had waited for it.
    pub live: u64,
}

/// The front end's side of a chardev while one is attached.
pub(crate) struct Front {
    pub(crate) hooks: Arc<dyn FrontEndHooks>,
    pub(crate) read_waker: Option<Waker>,
    pub(crate) write_waker: Option<Waker>,
}

/// One character device. All methods return at once; shared through [`ChardevRef`].
pub struct Chardev {
    pub(crate) label: Arc<str>,
    pub(crate) id: BackendId,
    pub(crate) backend: Box<dyn Backend>,
    /// What it was made with and changed to, where that is known.
    pub(crate) options: Option<Options>,
    pub(crate) rare: Seldom<Rare>,
    /// Whether the last opened/closed event put in the queue was an opening.
    pub(crate) shown_open: bool,
    pub(crate) policy: Policy,
    pub(crate) line: Line,
    pub(crate) line_generation: u64,
    pub(crate) size: Option<TerminalSize>,
    pub(crate) front: Option<Front>,
    pub(crate) input: InputQueue,
    /// Output that no back end has taken yet: what a replaced ring buffer held unread.
    pub(crate) preface: Seldom<RingBuffer>,
    /// See [`Chardev::given`].
    pub(crate) given: Given,
    pub(crate) log: Option<Box<dyn LogSink>>,
    /// What the log was given last does not end a line.
    pub(crate) log_inside_line: bool,
    pub(crate) stats: Stats,
    pub(crate) books: Books,
    pub(crate) tap: Tap,
    pub(crate) landmarks: Landmarks,
    pub(crate) told: Told,
    /// That there was no memory is told once for each back end.
    pub(crate) told_out_of_memory: bool,
    pub(crate) times: Times,
    pub(crate) changing: bool,
    pub(crate) removed: bool,
    pub(crate) freeze: Freeze,
    /// Output was refused because of a transaction and has not been tried again.
    pub(crate) output_refused: bool,
    /// It is in use, not only being prepared.
    pub(crate) live: bool,
    /// What was reported or tried meanwhile, to be looked at afterwards.
    missed: Option<Ready>,
    pub(crate) wakes: Few<Waker>,
    /// See [`Chardev::keep_for_host`].
    pub(crate) kept_for_host: Option<Arc<dyn Any + Send + Sync>>,
}

impl std::fmt::Debug for Chardev {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chardev")
            .field("label", &self.label)
            .field("kind", &self.backend.kind())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// A shared chardev. Clones refer to the same one.
#[derive(Clone, Debug)]
pub struct ChardevRef(Arc<Mutex<Chardev>>);

/// A reference that does not keep the chardev alive.
#[derive(Clone, Debug)]
pub struct WeakChardev(Weak<Mutex<Chardev>>);

impl ChardevRef {
    /// A chardev around `backend`, which goes live with this call.
    pub fn new(
        label: impl Into<Arc<str>>,
        id: BackendId,
        backend: Box<dyn Backend>,
        policy: impl Into<Policy>,
        log: Option<Box<dyn LogSink>>,
    ) -> Self {
        let chardev = ChardevRef::prepare(label, id, backend, policy, log);
        let weak = chardev.downgrade();
        chardev.with(|chardev| chardev.begin_life(&weak));
        chardev
    }

    /// A chardev that becomes live as a [`Step::Add`](crate::Step::Add); until then it takes and
    /// gives nothing.
    pub fn prepare(
        label: impl Into<Arc<str>>,
        id: BackendId,
        mut backend: Box<dyn Backend>,
        policy: impl Into<Policy>,
        log: Option<Box<dyn LogSink>>,
    ) -> Self {
        let policy = policy.into();
        backend.set_hold(policy.closed == Closed::Hold);
        let shown_open = backend.is_open();
        ChardevRef(Arc::new(Mutex::new(Chardev {
            label: label.into(),
            id,
            backend,
            options: None,
            rare: Seldom::default(),
            shown_open,
            policy,
            line: Line::default(),
            line_generation: 0,
            size: None,
            front: None,
            input: InputQueue::default(),
            preface: Seldom::default(),
            given: Given::default(),
            log,
            log_inside_line: false,
            stats: Stats::default(),
            books: Books::default(),
            tap: Tap::default(),
            landmarks: Landmarks::default(),
            told: Told::default(),
            told_out_of_memory: false,
            times: Times::default(),
            changing: false,
            removed: false,
            freeze: Freeze::Free,
            kept_for_host: None,
            output_refused: false,
            live: false,
            missed: None,
            wakes: Few::default(),
        })))
    }

    /// Runs `action` under the chardev's lock and afterwards, unlocked, wakes whom it made ready.
    pub fn with<R>(&self, action: impl FnOnce(&mut Chardev) -> R) -> R {
        let mut chardev = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = Inside::enter();
        let result = action(&mut chardev);
        leave(chardev, inside);
        result
    }

    /// The back end of a chardev that is only being prepared. Nobody else knows the chardev, so
    /// this may wait as long as the opening may.
    pub(crate) fn with_prepared<R>(&self, action: impl FnOnce(&mut Box<dyn Backend>) -> R) -> R {
        let mut chardev = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        action(&mut chardev.backend)
    }

    /// Whether both refer to the same chardev.
    pub fn is(&self, other: &ChardevRef) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether this chardev is `other` or rests on it, over multiplexers and hubs.
    pub fn rests_on(&self, other: &ChardevRef) -> bool {
        self.is(other)
            || self
                .with(|chardev| chardev.backend.members())
                .iter()
                .any(|member| member.rests_on(other))
    }

    /// A reference that does not keep the chardev alive.
    pub fn downgrade(&self) -> WeakChardev {
        WeakChardev(Arc::downgrade(&self.0))
    }
}

/// The end of [`ChardevRef::with`], apart from it: there are a hundred actions, each with a copy of
/// what stands there.
fn leave(mut chardev: MutexGuard<'_, Chardev>, inside: Inside) {
    chardev.tell_dropped();
    chardev.check_books();
    let wakes = chardev.wakes.take();
    drop(chardev);
    drop(inside);
    wakes.for_each(Waker::wake);
}

impl WeakChardev {
    /// The chardev, if it still exists.
    pub fn upgrade(&self) -> Option<ChardevRef> {
        self.0.upgrade().map(ChardevRef)
    }
}

impl Chardev {
    /// Changes the policy from here on. A front end that waited looks again; what a smaller
    /// history has no room for is dropped and counted. A history that is named is also kept for
    /// viewers ([`Chardev::set_scrollback`]).
    pub fn set_policy(&mut self, change: PolicyChange) {
        let old = self.policy;
        self.policy = old.with(change);
        self.backend.set_hold(self.policy.closed == Closed::Hold);
        if let Some(options) = &mut self.options {
            options.keep_policy(change);
        }
        if let Some(history) = change.history {
            self.set_scrollback(history);
        }
        if self.policy.history < old.history && self.policy.closed == Closed::History {
            let lost = self.preface.set_capacity(self.policy.history);
            self.stats.output_overwritten += lost as u64;
        }
        self.wake(Ready::WRITE);
    }

    /// What another back end may have of the one in the slot; see
    /// [`Sharing::lend`](crate::Sharing::lend).
    pub fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        let lent = self.backend.lend(wanted);
        lent.or_else(|| self.rare.there()?.parked.as_mut()?.1.lend(wanted))
    }

    /// Readiness or news of the back end `id`; one that is not in the slot is ignored.
    pub fn handle_ready(&mut self, id: BackendId, ready: Ready) {
        if id == BackendId::LOG {
            self.look_at_log();
            self.wake(Ready::WRITE);
        }
        if id != self.id || self.misses(ready) {
            return;
        }
        self.backend.update(ready);
        self.collect_events();
        if ready.contains(Ready::READ) {
            self.wake(Ready::READ);
        }
        if ready.contains(Ready::WRITE) {
            self.flush_preface();
            self.wake(Ready::WRITE);
        }
    }

    /// Sends a break to the front end (`chardev-send-break`).
    pub fn send_break(&mut self) {
        if !self.backend.send_break() {
            self.push_event(Event::Break);
        }
    }

    /// The peer's terminal has a new size.
    pub fn resize(&mut self, size: TerminalSize) {
        self.size = Some(size);
        let offset = self.stats.output_accepted;
        self.tell(Notice::Resized { size, offset });
        self.push_event(Event::Resized(size));
    }

    /// Takes input that comes from beside the back end, and returns how much: no more than 64 KiB
    /// wait for a front end that does not read.
    pub fn type_in(&mut self, bytes: &[u8]) -> usize {
        if self.is_still() {
            return 0;
        }
        let room = TYPED_LIMIT.saturating_sub(self.input.bytes());
        let count = bytes.len().min(room);
        if count == 0 {
            return 0;
        }
        self.push_input(bytes[..count].to_vec());
        count
    }

    /// Breaks the back end's connection, if it has one (`yank`); `false` for kinds without.
    pub fn yank(&mut self) -> bool {
        let peers = self.backend.peers().filter(|peers| peers.yankable());
        peers.map(|peers| peers.yank()).is_some()
    }

    /// Gives the back end a connected peer (`add_client`).
    ///
    /// # Errors
    /// The descriptor, if the kind takes none or a peer is there.
    #[doc(alias = "qemu_chr_add_client")]
    pub fn add_client(&mut self, fd: OwnedFd) -> Result<(), OwnedFd> {
        self.backend.add_client(fd)?;
        self.collect_events();
        Ok(())
    }

    fn is_still(&self) -> bool {
        self.freeze != Freeze::Free || !self.live
    }

    /// Whether it is still; then `ready` is looked at once it is not any more.
    pub(crate) fn misses(&mut self, ready: Ready) -> bool {
        if self.is_still() {
            self.missed = Some(self.missed.unwrap_or(Ready::empty()) | ready);
        }
        self.is_still()
    }

    /// What was ready before anybody listened is looked at after the transaction.
    pub(crate) fn look_again(&mut self) {
        self.missed = Some(Ready::all());
    }

    /// The transaction has been decided: life goes on.
    pub(crate) fn thaw(&mut self) {
        self.freeze = Freeze::Free;
        if let Some(ready) = self.missed.take().filter(|_| self.live) {
            self.handle_ready(self.id, ready);
        }
        self.freeze_ends();
    }

    pub(crate) fn set_line(&mut self, change: impl FnOnce(&mut Line)) -> Answers {
        change(&mut self.line);
        self.line_generation += 1;
        self.backend.apply(&self.line)
    }

    /// Notes whom to wake once the lock is released.
    pub(crate) fn wake(&mut self, which: Ready) {
        if which.contains(Ready::READ) && !self.rare.tails.is_empty() {
            self.wake_tails();
        }
        let Some(front) = &self.front else { return };
        if which.contains(Ready::READ) {
            self.wakes.extend(front.read_waker.clone());
        }
        if which.contains(Ready::WRITE) {
            self.wakes.extend(front.write_waker.clone());
        }
    }
}
