//! front → [chardev: scrollback] → viewers: a copy of the newest output, and who looks at it.
//!
//! ```text
//!   front end ──write──▶ chardev ──▶ back end
//!                           └─ one copy ─▶ scrollback ◀─ cursor of viewer 1
//!                                                     ◀─ cursor of viewer 2 …
//! ```
//!
//! A byte's address is its absolute offset, [`Stats::output_accepted`](crate::Stats) when it was
//! accepted. A viewer is a cursor in the one scrollback, so replay and live output are one
//! stream with no seam between them, a hundred viewers cost the writer what one does, and a
//! viewer that is too slow finds a gap and delays nobody.

mod glance;
mod ring;
#[cfg(test)]
mod tests;
mod waiters;

use std::io::IoSlice;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::chardev::{Chardev, ChardevRef, WeakChardev};
use crate::epoch::Epoch;
use crate::few::Few;
use crate::memory;
pub use glance::{Glance, ViewPlace};
use ring::{Found, Ring};
use waiters::Waiters;

/// Bytes of scrollback while there are viewers and no history was asked for.
pub const VIEWED_SCROLLBACK: usize = 1 << 20;
/// The most scrollback one chardev can have; more is cut down to it.
pub const SCROLLBACK_LIMIT: usize = 1 << 30;

/// Where a viewer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewFrom {
    /// With what comes next.
    Now,
    /// With the oldest byte kept.
    Oldest,
    /// At this absolute offset. If it is no longer kept, a gap comes first.
    Offset(u64),
    /// This many bytes before the end, or as many as there have been.
    Last(u64),
}

/// What becomes of a viewer that falls behind by more than the scrollback holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slow {
    /// It is told how much it missed and goes on.
    #[default]
    Skip,
    /// It ends.
    Drop,
}

/// What [`Viewer::read`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewed {
    /// `count` bytes, the first of which is at `offset`.
    Data {
        /// The absolute offset of the first byte.
        offset: u64,
        /// How many bytes were put into the buffer.
        count: usize,
    },
    /// Everything from `from` up to, but not including, `to` is missing.
    Gap {
        /// The offset of the first byte missing.
        from: u64,
        /// The offset of the first byte after the gap.
        to: u64,
    },
    /// Nothing more follows.
    End(ViewEnd),
}

/// Why a viewer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewEnd {
    /// The chardev was removed, and all that was kept has been read.
    Removed,
    /// It was too slow, and [`Slow::Drop`] was its policy; this is how far behind it was, in bytes.
    TooSlow(u64),
}

/// Why nothing can be viewed from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewError {
    /// The offset asked for has not been reached.
    Ahead {
        /// The chardev.
        id: String,
        /// The offset asked for.
        from: u64,
        /// Where the output ends.
        end: u64,
    },
    /// There is no chardev of this id, or it was removed.
    NotFound(String),
}

/// A piece of the output that was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Which life of the chardev the offsets are of, if it is in a registry.
    pub epoch: Option<Epoch>,
    /// The offset of the first byte of `bytes`; above the one asked for if that is gone.
    pub start: u64,
    /// The content.
    pub bytes: Vec<u8>,
    /// The offset of the oldest byte kept.
    pub oldest: u64,
    /// The offset of the next byte to come.
    pub end: u64,
}

/// A chardev's scrollback, as far as it is wanted. Only used under the chardev's lock.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    /// Bytes to keep whether or not there are viewers; no more than [`SCROLLBACK_LIMIT`].
    wanted: u32,
    /// Nobody asked for that much in particular.
    by_default: bool,
    kept: Option<Box<Kept>>,
    /// There was no memory for what was to be kept.
    short: bool,
}

#[derive(Debug)]
struct Kept {
    /// The same ring as in `shared`, which the writer uses without a lock.
    ring: Arc<Ring>,
    shared: Arc<Audience>,
    /// How large the ring is to be; it is smaller where there is no memory.
    target: usize,
}

/// What the viewers of one chardev share with it.
#[derive(Debug)]
struct Audience {
    ring: Mutex<Arc<Ring>>,
    waiters: Waiters,
    viewers: AtomicUsize,
    ended: AtomicBool,
}

impl Audience {
    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tap {
    /// Copies the first `count` bytes of `bufs`, the output that begins at offset `at`, if anybody
    /// wants it, and moves whoever waits for it into `wakes`.
    pub(crate) fn push(
        &mut self,
        at: u64,
        bufs: &[IoSlice<'_>],
        mut count: usize,
        wakes: &mut Few<Waker>,
    ) {
        if count == 0 {
            return;
        }
        if self.kept.is_none() {
            self.adjust(at, 0);
        }
        let Some(kept) = &mut self.kept else { return };
        for buf in bufs {
            let part = &buf[..buf.len().min(count)];
            self.short |= !kept.write(part);
            count -= part.len();
        }
        kept.shared.waiters.take(wakes);
    }

    /// How many of the newest bytes are kept of an output that has come to offset `at`.
    pub(crate) fn keeps(&mut self, at: u64) -> usize {
        if self.kept.is_none() {
            self.adjust(at, 0);
        }
        self.kept.as_ref().map_or(0, |kept| kept.target)
    }

    /// So many bytes of output are not shown, which those that follow at once would overwrite.
    pub(crate) fn skip(&mut self, count: usize) {
        if let Some(kept) = self.kept.as_ref().filter(|_| count > 0) {
            kept.ring.skip(count);
        }
    }

    /// How many viewers there are.
    pub(crate) fn viewers(&self) -> usize {
        let kept = self.kept.as_ref();
        kept.map_or(0, |kept| kept.shared.viewers.load(SeqCst))
    }

    /// The output ends: viewers get what is kept, and then the end.
    pub(crate) fn end(&mut self, wakes: &mut Few<Waker>) {
        if let Some(kept) = self.kept.take() {
            kept.shared.ended.store(true, SeqCst);
            kept.shared.waiters.take(wakes);
            kept.dispose();
        }
    }

    /// Whether there was no memory for what was to be kept, since the last call.
    pub(crate) fn take_shortage(&mut self) -> bool {
        std::mem::take(&mut self.short)
    }

    /// Makes the scrollback as large as it is wanted now; the output has come to offset `at`.
    fn adjust(&mut self, at: u64, viewers: usize) {
        let target = match (self.wanted as usize, viewers) {
            (0, 0) => {
                if let Some(kept) = self.kept.take() {
                    kept.dispose();
                }
                return;
            }
            (0, _) => VIEWED_SCROLLBACK,
            (wanted, 1..) if self.by_default => wanted.max(VIEWED_SCROLLBACK),
            (wanted, _) => wanted,
        };
        let kept = self.kept.get_or_insert_with(|| {
            let ring = Arc::new(Ring::new(target, at));
            let shared = Audience {
                ring: Mutex::new(Arc::clone(&ring)),
                waiters: Waiters::default(),
                viewers: AtomicUsize::new(0),
                ended: AtomicBool::new(false),
            };
            Box::new(Kept {
                ring,
                shared: Arc::new(shared),
                target,
            })
        });
        if kept.target != target {
            kept.target = target;
            kept.replace(target);
        }
    }
}

impl Kept {
    /// Appends all of `bytes`; `false` if there was no memory to keep as many as there should be.
    fn write(&mut self, bytes: &[u8]) -> bool {
        let mut rest = &bytes[self.ring.write(bytes)..];
        if rest.is_empty() {
            return true;
        }
        // What there is has to do from now on.
        let there = self.ring.allocated();
        if there > 0 {
            self.replace(there);
            rest = &rest[self.ring.write(rest)..];
        }
        if !rest.is_empty() {
            self.ring.skip(rest.len());
        }
        false
    }

    fn replace(&mut self, capacity: usize) {
        let ring = Arc::new(Ring::resized(&self.ring, capacity));
        let old = std::mem::replace(&mut self.ring, Arc::clone(&ring));
        let mut shown = self.shared.ring.lock();
        let shown = shown.as_deref_mut().unwrap_or_else(|error| error.get_mut());
        let shown = std::mem::replace(shown, ring);
        let bytes = old.allocated();
        memory::dispose((old, shown), bytes);
    }

    /// Lets go of what is kept. A viewer that still reads it keeps it for that long.
    fn dispose(self) {
        let bytes = self.ring.allocated();
        memory::dispose(self, bytes);
    }
}

impl Chardev {
    /// Keeps the newest `bytes` bytes of output (up to [`SCROLLBACK_LIMIT`]) whether or not there
    /// are viewers; 0 keeps nothing beyond what the viewers need. Memory is used as output comes.
    /// What is kept already stays as far as it fits.
    pub fn set_scrollback(&mut self, bytes: usize) {
        self.want_scrollback(bytes, false);
    }

    /// The same for a chardev whose user has named no size. Viewers find no less than they would
    /// without it.
    pub fn set_default_scrollback(&mut self, bytes: usize) {
        self.want_scrollback(bytes, true);
    }

    /// Whether how much is kept is nobody's wish in particular.
    pub fn has_default_scrollback(&self) -> bool {
        self.tap.by_default && self.tap.wanted > 0
    }

    /// Whether output is kept, whether or not there are viewers.
    pub fn keeps_scrollback(&self) -> bool {
        self.tap.wanted > 0
    }

    fn want_scrollback(&mut self, bytes: usize, by_default: bool) {
        self.tap.wanted = bytes.min(SCROLLBACK_LIMIT) as u32;
        self.tap.by_default = by_default;
        if self.tap.kept.is_some() {
            let viewers = self.tap.viewers();
            self.tap.adjust(self.stats.output_accepted, viewers);
        }
    }

    /// How many viewers there are.
    pub fn viewers(&self) -> usize {
        self.tap.viewers()
    }

    /// The offset of the oldest byte of output that is kept, and that of the next to come.
    pub fn scrollback(&self) -> (u64, u64) {
        let end = self.stats.output_accepted;
        let oldest = self.tap.kept.as_ref().map_or(end, |kept| kept.ring.low());
        (oldest, end)
    }

    fn resolve(&self, from: ViewFrom) -> Result<u64, ViewError> {
        if self.removed {
            return Err(ViewError::NotFound(self.label.to_string()));
        }
        let (oldest, end) = self.scrollback();
        match from {
            ViewFrom::Now => Ok(end),
            ViewFrom::Oldest => Ok(oldest),
            ViewFrom::Last(count) => Ok(end.saturating_sub(count)),
            ViewFrom::Offset(from) if from > end => Err(ViewError::Ahead {
                id: self.label.to_string(),
                from,
                end,
            }),
            ViewFrom::Offset(from) => Ok(from),
        }
    }
}

impl ChardevRef {
    /// Copies out up to `limit` bytes of the output kept, beginning at `from`.
    ///
    /// # Errors
    /// [`ViewError::Ahead`], or [`ViewError::NotFound`] if the chardev was removed.
    pub fn history(&self, from: ViewFrom, limit: usize) -> Result<History, ViewError> {
        let (start, (oldest, end), epoch, ring) = self.with(|chardev| {
            let ring = chardev.tap.kept.as_ref().map(|kept| Arc::clone(&kept.ring));
            let epoch = chardev.epoch();
            Ok((chardev.resolve(from)?, chardev.scrollback(), epoch, ring))
        })?;
        let mut history = History {
            epoch,
            start: start.max(oldest),
            bytes: Vec::new(),
            oldest,
            end,
        };
        let Some(ring) = ring else {
            return Ok(history);
        };
        while history.start != end {
            let there = usize::try_from(end - history.start).unwrap_or(usize::MAX);
            history.bytes.resize(there.min(limit), 0);
            match ring.read(history.start, &mut history.bytes) {
                Found::Bytes(_) => return Ok(history),
                // The writer came round while we copied.
                Found::Overwritten(low) => history.start = ring.ahead_of(low).min(end),
                Found::Nothing => history.start = end,
            }
        }
        history.bytes.clear();
        Ok(history)
    }

    /// A new viewer. From this moment on nothing is lost to it that the scrollback still holds.
    ///
    /// # Errors
    /// [`ViewError::Ahead`], or [`ViewError::NotFound`] if the chardev was removed.
    pub fn view(&self, from: ViewFrom, slow: Slow) -> Result<Viewer, ViewError> {
        self.with(|chardev| {
            let at = chardev.resolve(from)?;
            let current = at >= chardev.scrollback().0;
            let viewers = chardev.tap.viewers() + 1;
            chardev.tap.adjust(chardev.stats.output_accepted, viewers);
            let Some(kept) = &chardev.tap.kept else {
                return Err(ViewError::NotFound(chardev.label.to_string()));
            };
            let shared = Arc::clone(&kept.shared);
            shared.viewers.fetch_add(1, SeqCst);
            Ok(Viewer {
                chardev: self.downgrade(),
                epoch: chardev.epoch(),
                shared,
                at,
                slow,
                current,
                ended: None,
            })
        })
    }
}

/// A reader of a chardev's output, beside its back end and without any effect on it.
///
/// It follows the chardev through changes and ends when the chardev is removed. It may be moved
/// to another thread; no method waits.
#[derive(Debug)]
pub struct Viewer {
    chardev: WeakChardev,
    epoch: Option<Epoch>,
    shared: Arc<Audience>,
    at: u64,
    slow: Slow,
    /// It was where the scrollback is: a gap now is one it was too slow for.
    current: bool,
    ended: Option<ViewEnd>,
}

impl Viewer {
    /// Which life of the chardev it looks at, if that is in a registry.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// The offset of the byte it reads next.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The offset of the next byte to come, as of now.
    pub fn end(&self) -> u64 {
        self.shared.ring().end()
    }

    /// Copies what comes next into `buf`; `None` when there is nothing now.
    pub fn read(&mut self, buf: &mut [u8]) -> Option<Viewed> {
        self.peek(buf).inspect(|viewed| self.accept(*viewed))
    }

    /// [`Viewer::read`], waking the task when there is something.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Viewed> {
        if let Some(viewed) = self.read(buf) {
            return Poll::Ready(viewed);
        }
        self.shared.waiters.register(cx.waker());
        self.read(buf).map_or(Poll::Pending, Poll::Ready)
    }

    /// As [`Viewer::read`], but the same is found again until [`Viewer::advance`].
    ///
    /// A slow viewer that hands on less than it peeked at needs no buffer for the rest: that
    /// stays in the scrollback for as long as the scrollback holds it.
    pub fn peek(&self, buf: &mut [u8]) -> Option<Viewed> {
        if let Some(end) = self.ended {
            return Some(Viewed::End(end));
        }
        // In this order, so that the end is not taken for true while the last bytes come.
        let ended = self.shared.ended.load(SeqCst);
        let ring = self.shared.ring();
        match ring.read(self.at, buf) {
            Found::Bytes(count) => Some(Viewed::Data {
                offset: self.at,
                count,
            }),
            Found::Nothing => ended.then_some(Viewed::End(ViewEnd::Removed)),
            Found::Overwritten(_) if self.current && self.slow == Slow::Drop => {
                Some(Viewed::End(ViewEnd::TooSlow(ring.end() - self.at)))
            }
            Found::Overwritten(low) => Some(Viewed::Gap {
                from: self.at,
                to: self.landing(&ring, low),
            }),
        }
    }

    /// Goes on by `count` bytes of the data that was peeked at.
    pub fn advance(&mut self, count: usize) {
        self.current = true;
        self.at += count as u64;
    }

    /// Goes on behind what was peeked at.
    pub fn accept(&mut self, viewed: Viewed) {
        match viewed {
            Viewed::Data { count, .. } => self.advance(count),
            Viewed::Gap { to, .. } => {
                self.current = true;
                self.at = self.at.max(to);
            }
            Viewed::End(end) => self.ended = Some(end),
        }
    }

    /// Asks for one wake-up when there is something; look again after this call.
    pub fn wake_when_ready(&self, waker: &Waker) {
        self.shared.waiters.register(waker);
    }

    /// Where a viewer goes on after a gap.
    fn landing(&self, ring: &Ring, low: u64) -> u64 {
        match self.current {
            true => ring.ahead_of(low),
            false => low,
        }
    }
}

impl Drop for Viewer {
    /// What nobody looks at any more is let go, on a thread that may hold the chardev's lock: a
    /// viewer's may be one of the lowest priority.
    fn drop(&mut self) {
        if self.shared.viewers.fetch_sub(1, SeqCst) == 1 {
            memory::clean_up(Unwatched(self.chardev.clone()));
        }
    }
}

/// A chardev that has lost its last viewer.
struct Unwatched(WeakChardev);

impl Drop for Unwatched {
    fn drop(&mut self) {
        if let Some(chardev) = self.0.upgrade() {
            chardev.with(|chardev| {
                let viewers = chardev.tap.viewers();
                chardev.tap.adjust(chardev.stats.output_accepted, viewers);
            });
        }
    }
}
