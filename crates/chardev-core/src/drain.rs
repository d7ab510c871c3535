//! Draining a replaced back end: deliver what it accepted, then let its peer go.
//!
//! A [`Drainer`] owns the [`Drain`] that [`Backend::retire`](crate::Backend::retire) left behind
//! and walks it through three phases: *settle* (input that was under way still counts as sent
//! before the change), *deliver* (the peer takes what was accepted; a slow one has until the
//! limit since its last progress), *part* (the peer has seen the end of file and is given a
//! moment to close its side, so that no reset destroys what it has not read yet). A peer that
//! goes on sending where the kernel cannot refuse it has the shorter of two moments: it is to
//! learn from its own write that nobody listens.

use std::time::Duration;

use crate::chardev::ChardevRef;
use crate::input::CARRY_LIMIT;
use crate::ringbuf::RingBuffer;

/// How long a TCP peer must be silent for its input to count as complete.
const SETTLE_QUIET: Duration = Duration::from_millis(60);
/// The longest time a peer that never falls silent can keep the settle phase going.
const SETTLE_LIMIT: Duration = Duration::from_millis(500);
/// The most input a settle phase takes in: the kernel's default limits of both socket buffers.
const SETTLE_BYTES: usize = 16 << 20;
/// The most that one step reads of a refused peer's input.
const SETTLE_PIECE: usize = 1 << 20;
/// How long a peer that takes nothing keeps a replaced back end alive.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// How long a silent peer may take to close its side after it was told the end of file, and how
/// long one that goes on sending.
const PART_QUIET: Duration = Duration::from_secs(1);
const PART_LIMIT: Duration = Duration::from_secs(2);
/// The shortest and the longest pause between two looks.
const POLL_MIN: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(50);

/// What came from the old peer after the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// This many bytes.
    Data(usize),
    /// Nothing now, but the peer is still there.
    Quiet,
    /// Nothing now or later.
    End,
}

/// A retired back end, as far as it is still needed.
pub trait Drain: Send {
    /// Bytes accepted that the peer has not taken; 0 also when it never will, being gone.
    fn pending(&mut self) -> u64;

    /// Any number that changes when the peer takes something, where [`Drain::pending`] alone
    /// cannot tell.
    fn progress(&mut self) -> u64 {
        0
    }

    /// Reads what the peer goes on sending.
    fn read_late(&mut self, _buf: &mut [u8]) -> Late {
        Late::End
    }

    /// Whether the peer can send nothing more, so that what is left to read is finite and all of it
    /// was sent before the change, however long reading it takes.
    fn is_refused(&self) -> bool {
        false
    }

    /// All that counts as sent before the change has been read: the peer may be refused now, where
    /// that could not be done before.
    fn refuse_input(&mut self) {}

    /// The wait is over: lets go, and returns how many accepted bytes are lost by that.
    fn give_up(&mut self) -> u64 {
        self.pending()
    }

    /// Gives the peer something more and returns how much was taken: the answer to the command
    /// that replaced the back end.
    fn send(&mut self, _bytes: &[u8]) -> usize {
        0
    }

    /// Tells the peer that no more output follows.
    fn half_close(&mut self) {}

    /// The [mark](crate::Group::mark) that [`Drain::read_late`] has come to.
    fn take_mark(&mut self) -> Option<u64> {
        None
    }

    /// How many breaks [`Drain::read_late`] has come to, having answered [`Late::Quiet`]; told
    /// once.
    fn take_breaks(&mut self) -> u64 {
        0
    }

    /// Whether there is nothing to be done, now or later.
    fn is_nothing(&self) -> bool {
        false
    }

    /// Whether what [`Drain::read_late`] brings comes from other drains, which bound it. Then it is
    /// all waited for.
    fn rests_on_others(&self) -> bool {
        false
    }
}

/// A drain with nothing to deliver.
#[derive(Debug)]
pub struct NothingToDrain;

impl Drain for NothingToDrain {
    fn pending(&mut self) -> u64 {
        0
    }

    fn is_nothing(&self) -> bool {
        true
    }
}

/// When the next look at a drain is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainStep {
    /// Call [`Drainer::poll`] again after this pause.
    Again(Duration),
    /// All is delivered or given up; drop the drainer.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Settle,
    Deliver,
    Part,
}

/// Walks a retired back end to its end. Time is an argument, counted from any fixed moment.
pub struct Drainer {
    drain: Box<dyn Drain>,
    chardev: ChardevRef,
    phase: Phase,
    settle_marker: Option<u64>,
    only_settles: bool,
    limit: Duration,
    phase_began: Option<Duration>,
    last_progress: Duration,
    last_heard: Duration,
    settled_bytes: usize,
    final_output: RingBuffer,
    pending: u64,
    progress: u64,
    pause: Duration,
}

impl std::fmt::Debug for Drainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drainer")
            .field("phase", &self.phase)
            .field("pending", &self.pending)
            .finish()
    }
}

impl Drainer {
    /// A drainer for `drain`, reporting to `chardev`. `settle_marker` names the gap in the input
    /// queue that the settle phase fills.
    pub(crate) fn new(
        mut drain: Box<dyn Drain>,
        chardev: ChardevRef,
        settle_marker: Option<u64>,
    ) -> Self {
        if settle_marker.is_none() {
            drain.refuse_input();
        }
        Drainer {
            drain,
            chardev,
            phase: if settle_marker.is_some() {
                Phase::Settle
            } else {
                Phase::Deliver
            },
            settle_marker,
            only_settles: false,
            limit: DRAIN_LIMIT,
            phase_began: None,
            last_progress: Duration::ZERO,
            last_heard: Duration::ZERO,
            settled_bytes: 0,
            final_output: RingBuffer::default(),
            pending: u64::MAX,
            progress: 0,
            pause: POLL_MIN,
        }
    }

    /// A drainer of what is on its way through a back end that is only set aside: it ends with
    /// that.
    pub(crate) fn of_awaited(drain: Box<dyn Drain>, chardev: ChardevRef, place: u64) -> Self {
        let mut drainer = Drainer::new(drain, chardev, Some(place));
        drainer.only_settles = true;
        drainer
    }

    /// Adds what the peer is to get after everything else, waiting as long as for that.
    pub(crate) fn say(&mut self, final_output: RingBuffer) {
        self.final_output = final_output;
        self.send_final_output();
    }

    fn send_final_output(&mut self) {
        while !self.final_output.is_empty() {
            let piece = self.final_output.front();
            let (count, whole) = (self.drain.send(piece), piece.len());
            self.final_output.consume(count);
            if count < whole {
                return;
            }
        }
    }

    /// Sets how long a peer that takes nothing is waited for.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// The chardev it reports to.
    pub fn chardev(&self) -> &ChardevRef {
        &self.chardev
    }

    /// How many accepted bytes the old peer had not taken at the last look; `None` before the
    /// first one.
    pub fn undelivered(&self) -> Option<u64> {
        (self.pending != u64::MAX).then_some(self.pending)
    }

    /// Whether it ends with its next steps, whatever they find: they cost nothing.
    pub fn is_at_its_end(&self) -> bool {
        self.drain.is_nothing() && self.final_output.is_empty()
    }

    /// Takes the next step; never blocks.
    pub fn poll(&mut self, now: Duration) -> DrainStep {
        loop {
            let began = *self.phase_began.get_or_insert_with(|| {
                self.last_progress = now;
                now
            });
            let next = match self.phase {
                Phase::Settle => self.settle(now, began),
                Phase::Deliver => self.deliver(now),
                Phase::Part => self.part(now, began),
            };
            match next {
                Some(_) if self.only_settles => return DrainStep::Done,
                Some(phase) => {
                    self.phase = phase;
                    self.phase_began = None;
                    self.pause = POLL_MIN;
                }
                None if self.phase == Phase::Part && self.pause.is_zero() => {
                    return DrainStep::Done;
                }
                None => {
                    let pause = self.pause;
                    self.pause = (pause * 2).min(POLL_MAX);
                    return DrainStep::Again(pause);
                }
            }
        }
    }

    fn settle(&mut self, now: Duration, began: Duration) -> Option<Phase> {
        if self.drain.is_refused() {
            return self.settle_refused(now);
        }
        let mut buf = [0; 16 << 10];
        let bounded = self.drain.rests_on_others();
        let ended = loop {
            match self.drain.read_late(&mut buf) {
                Late::Data(count) => {
                    self.last_progress = now;
                    self.settled_bytes += count;
                    self.chardev
                        .with(|chardev| chardev.settle(self.settle_marker, &buf[..count]));
                    if self.settled_bytes >= SETTLE_BYTES && !bounded {
                        break true;
                    }
                }
                Late::Quiet if self.pass_mark() || self.pass_breaks() => {}
                Late::Quiet => break false,
                Late::End => break true,
            }
            if now - began > SETTLE_LIMIT && !bounded {
                break true;
            }
        };
        let quiet = now - self.last_progress >= SETTLE_QUIET || now - began >= SETTLE_LIMIT;
        self.pause = POLL_MIN * 2;
        (ended || (quiet && !bounded)).then(|| {
            self.finish_settling();
            Phase::Deliver
        })
    }

    /// What a refused peer had sent waits in the kernel: it is fetched as the front end takes it,
    /// so that any amount costs no more memory than the input queue may.
    fn settle_refused(&mut self, now: Duration) -> Option<Phase> {
        self.send_final_output();
        let mut buf = [0; 16 << 10];
        let mut room = CARRY_LIMIT
            .saturating_sub(self.chardev.with(|chardev| chardev.input_pending()))
            .min(SETTLE_PIECE);
        while room > 0 {
            let most = buf.len().min(room);
            match self.drain.read_late(&mut buf[..most]) {
                Late::Data(count) => {
                    self.last_progress = now;
                    self.pause = POLL_MIN;
                    room -= count;
                    self.chardev
                        .with(|chardev| chardev.settle(self.settle_marker, &buf[..count]));
                }
                Late::Quiet if self.pass_breaks() => {}
                Late::Quiet => break,
                Late::End => {
                    self.finish_settling();
                    return Some(Phase::Deliver);
                }
            }
        }
        None
    }

    /// Whether what settles has come to a mark.
    fn pass_mark(&mut self) -> bool {
        let Some((marker, mark)) = self.settle_marker.zip(self.drain.take_mark()) else {
            return false;
        };
        self.chardev
            .with(|chardev| chardev.settling_passes(marker, mark));
        true
    }

    /// Whether what settles has come to breaks.
    fn pass_breaks(&mut self) -> bool {
        let breaks = self.drain.take_breaks();
        if let Some(marker) = self.settle_marker.filter(|_| breaks > 0) {
            self.chardev
                .with(|chardev| chardev.settle_breaks(marker, breaks));
        }
        breaks > 0
    }

    fn finish_settling(&mut self) {
        if let Some(marker) = self.settle_marker.take() {
            self.drain.refuse_input();
            self.chardev.with(|chardev| chardev.settled(marker));
        }
    }

    fn deliver(&mut self, now: Duration) -> Option<Phase> {
        self.discard_late();
        self.send_final_output();
        let pending = self.drain.pending() + self.final_output.len() as u64;
        let progress = self.drain.progress();
        if pending != self.pending || progress != self.progress {
            self.last_progress = now;
            self.pause = POLL_MIN;
        }
        self.pending = pending;
        self.progress = progress;
        if pending == 0 {
            self.drain.half_close();
            self.chardev.with(|chardev| chardev.tell_drained(0));
            return Some(Phase::Part);
        }
        if now - self.last_progress >= self.limit {
            let lost = self.drain.give_up() + self.final_output.len() as u64;
            self.chardev.with(|chardev| {
                chardev.count_undrained(lost);
                chardev.tell_drained(lost);
            });
            return Some(Phase::Part);
        }
        None
    }

    fn part(&mut self, now: Duration, began: Duration) -> Option<Phase> {
        let (late, gone) = self.discard_late();
        if late > 0 {
            self.last_heard = now;
        }
        let silent = now - began.max(self.last_heard) >= PART_QUIET;
        if gone || self.pending > 0 || silent || now - began >= PART_LIMIT {
            self.pause = Duration::ZERO;
        }
        None
    }

    /// Reads and counts what the old peer still sends: how much that was, and whether it has closed
    /// its side.
    fn discard_late(&mut self) -> (u64, bool) {
        let mut buf = [0; 4 << 10];
        let mut total = 0;
        let gone = loop {
            match self.drain.read_late(&mut buf) {
                Late::Data(count) => total += count as u64,
                Late::Quiet => break false,
                Late::End => break true,
            }
            if total > 1 << 20 {
                break false;
            }
        };
        self.chardev.with(|chardev| chardev.count_late_input(total));
        (total, gone)
    }
}

impl Drop for Drainer {
    /// A drainer dropped early must not leave the front end's input waiting for it.
    fn drop(&mut self) {
        self.finish_settling();
    }
}
