//! front → [chardev] → back → host: the path of output, from the front end's buffers to the back
//! end.
//!
//! With nothing queued a write goes straight through. What a back end does not take, the policy
//! decides about; what waits for the next back end or the next peer is the preface.

use std::io::IoSlice;

use crate::backend::{Ready, Sent};
use crate::chardev::Chardev;
use crate::freeze::Freeze;
use crate::policy::Closed;
use crate::ringbuf::RingBuffer;

/// How much of the preface is written before others may have the lock.
const FLUSH_TURN: usize = 1 << 20;
/// The most pieces of the preface that are written at once (IOV_MAX).
const MOST_PIECES: usize = 1024;

impl Chardev {
    pub(crate) fn write(&mut self, bufs: &[IoSlice<'_>]) -> usize {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if total == 0 || !self.begin_write() {
            return 0;
        }
        let room = self.log_room();
        if room == 0 {
            return 0;
        }
        let taken = match room >= total {
            true => self.write_logged(bufs, total),
            false => self.write_logged(&limit(bufs, room), room),
        };
        self.log_output(bufs, taken);
        if taken < total {
            // Asks to be told, if it is the log that has no room.
            self.log_room();
        }
        taken
    }

    /// Whether output may go on; it may not while a transaction is being decided.
    pub(crate) fn begin_write(&mut self) -> bool {
        if self.misses(Ready::WRITE) {
            if self.freeze != Freeze::Free {
                self.output_refused = true;
            }
            return false;
        }
        self.output_goes_on();
        true
    }

    fn write_logged(&mut self, bufs: &[IoSlice<'_>], total: usize) -> usize {
        self.flush_preface();
        let taken = if self.preface.is_empty() {
            match self.write_straight(bufs, total) {
                Some(count) => count,
                None => self.nobody_there(bufs, total),
            }
        } else {
            self.write_behind_preface(bufs, total)
        };
        let offset = self.stats.output_accepted;
        self.tap.push(offset, bufs, taken, &mut self.wakes);
        self.stats.output_accepted += taken as u64;
        taken
    }

    /// From the caller's buffers to the back end; `None` if nobody is there.
    fn write_straight(&mut self, bufs: &[IoSlice<'_>], total: usize) -> Option<usize> {
        let mut none = Vec::new();
        let rare = self.rare.there();
        let fds = rare.map_or(&mut none, |rare| &mut rare.output_fds);
        match self.backend.write(bufs, fds) {
            Sent::Taken(count) => {
                if count < total {
                    self.backend.watch(Ready::WRITE);
                }
                let lost = self.backend.take_overwritten();
                self.count_delivered(count, lost);
                Some(count)
            }
            Sent::Full => {
                self.backend.watch(Ready::WRITE);
                Some(0)
            }
            Sent::NoPeer => None,
        }
    }

    /// The policy decides, unless a look at the back end shows that a peer has come after all, or a
    /// parked back end has come back.
    fn nobody_there(&mut self, bufs: &[IoSlice<'_>], total: usize) -> usize {
        self.backend.watch(Ready::WRITE);
        let news = self.collect_events();
        if self.policy.closed == Closed::Hold {
            return 0;
        }
        if news {
            if let Some(count) = self.write_straight(bufs, total) {
                return count;
            }
        }
        if self.policy.closed == Closed::History {
            return self.remember(bufs, total);
        }
        let ring = self.rare.ring_goes_on;
        if ring > 0 {
            self.preface.set_capacity(ring);
            self.keep_newest(bufs);
            return total;
        }
        self.stats.output_discarded += total as u64;
        total
    }

    /// Keeps the newest output for the next peer.
    fn remember(&mut self, bufs: &[IoSlice<'_>], total: usize) -> usize {
        let capacity = self.policy.history.max(self.preface.len());
        self.preface.set_capacity(capacity);
        self.keep_newest(bufs);
        total
    }

    /// Puts output into the preface over the oldest there.
    fn keep_newest(&mut self, bufs: &[IoSlice<'_>]) {
        for buf in bufs {
            self.stats.output_overwritten += self.preface.push_overwriting(buf) as u64;
        }
        if self.preface.take_shortage() {
            self.tell_out_of_memory();
        }
    }

    /// Older output still waits for its first reader. Where the policy is to discard, the ring
    /// goes on as the ring it was: it keeps the newest bytes, and the front end never waits.
    fn write_behind_preface(&mut self, bufs: &[IoSlice<'_>], total: usize) -> usize {
        if self.policy.closed == Closed::Hold || self.backend.is_open() {
            self.backend.watch(Ready::WRITE);
            return 0;
        }
        if self.policy.closed == Closed::History {
            return self.remember(bufs, total);
        }
        self.keep_newest(bufs);
        total
    }

    /// How much [`Chardev::spool`] would take care of now.
    pub(crate) fn spool_room(&mut self, limit: usize) -> usize {
        if self.misses(Ready::WRITE) {
            return 0;
        }
        let log = self.log_room();
        let room = match self.policy.closed {
            Closed::Hold => limit.saturating_sub(self.preface.len()),
            Closed::Discard | Closed::History => usize::MAX,
        };
        room.min(log)
    }

    /// Writes for somebody who does not wait: what the peer does not take now is kept, up to
    /// `limit` bytes, and beyond that the policy decides. Takes care of all of `bufs`, of which
    /// there must be room for.
    pub(crate) fn spool(&mut self, bufs: &[IoSlice<'_>], limit: usize) {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        let taken = self.write(bufs);
        if taken == total {
            return;
        }
        let mut rest: Vec<_> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
        let mut rest = &mut rest[..];
        IoSlice::advance_slices(&mut rest, taken);
        let offset = self.stats.output_accepted;
        self.tap.push(offset, rest, total - taken, &mut self.wakes);
        self.stats.output_accepted += (total - taken) as u64;
        self.log_output(rest, total - taken);
        let keep = limit.max(self.preface.len());
        self.preface.set_capacity(keep);
        if self.policy.closed == Closed::History {
            self.keep_newest(rest);
        } else {
            for buf in rest {
                let kept = self.preface.push(buf);
                self.stats.output_discarded += (buf.len() - kept) as u64;
            }
        }
        self.flush_preface();
    }

    pub(crate) fn flush_preface(&mut self) {
        // Descriptors wait for the next byte the front end writes, not for older ones.
        let mut no_fds = Vec::new();
        let mut turn = 0;
        self.pour_into_ring();
        while !self.preface.is_empty() {
            if turn >= FLUSH_TURN && self.backend.resume_soon() {
                break;
            }
            let pieces = self.preface.io_slices(MOST_PIECES);
            match self.backend.write(&pieces, &mut no_fds) {
                Sent::Taken(count) => {
                    turn += count;
                    self.preface.consume(count);
                    let lost = self.backend.take_overwritten();
                    self.count_delivered(count, lost);
                }
                Sent::Full => {
                    self.backend.watch(Ready::WRITE);
                    break;
                }
                Sent::NoPeer => {
                    // Trying may be what showed that the peer has left.
                    self.collect_events();
                    break;
                }
            }
        }
    }

    /// From one ring into another the content moves without being copied.
    fn pour_into_ring(&mut self) {
        if self.preface.is_empty() {
            return;
        }
        let Some(ring) = self.backend.buffer() else {
            return;
        };
        let holds = self.policy.closed == Closed::Hold;
        let most = if holds { ring.room() } else { usize::MAX };
        let moved = self.preface.split_front(most);
        let count = moved.len();
        let lost = ring.absorb(moved);
        self.count_delivered(count, lost as u64);
    }

    /// A back end took `count` bytes and, being a ring, overwrote `lost` for them.
    pub(crate) fn count_delivered(&mut self, count: usize, lost: u64) {
        if let Some(rare) = self.rare.there() {
            rare.ring_goes_on = 0;
        }
        self.stats.output_delivered += count as u64;
        self.stats.output_delivered -= lost;
        self.stats.output_overwritten += lost;
        let ring = self.backend.buffer();
        if ring.is_some_and(RingBuffer::take_shortage) {
            self.tell_out_of_memory();
        }
    }

    /// Puts output into the ring buffer, after everything the front end has written
    /// (`ringbuf-write`); `None` where the back end is not one.
    pub fn ring_write(&mut self, bytes: &[u8]) -> Option<()> {
        self.backend.buffer()?;
        self.flush_preface();
        self.stats.output_injected += bytes.len() as u64;
        if self.preface.is_empty() {
            let lost = self.backend.buffer()?.push_overwriting(bytes);
            self.count_delivered(bytes.len(), lost as u64);
        } else {
            self.stats.output_overwritten += self.preface.push_overwriting(bytes) as u64;
        }
        Some(())
    }

    /// Runs `action` on the ring buffer inside; `None` where the back end is not one.
    pub fn with_ring<R>(&mut self, action: impl FnOnce(&mut RingBuffer) -> R) -> Option<R> {
        let result = action(self.backend.buffer()?);
        self.backend.update(Ready::WRITE);
        self.flush_preface();
        self.wake(Ready::WRITE);
        Some(result)
    }

    /// Output bytes that no back end has taken yet: what a replaced ring buffer held unread.
    pub fn output_pending(&self) -> usize {
        self.preface.len()
    }

    /// Output bytes in the ring buffer inside that nobody has read; `None` where there is none.
    pub fn ring_len(&mut self) -> Option<usize> {
        self.backend.buffer().map(|ring| ring.len())
    }
}

/// The first `count` bytes of `bufs`.
pub(crate) fn limit<'a>(bufs: &'a [IoSlice<'_>], mut count: usize) -> Vec<IoSlice<'a>> {
    let mut limited = Vec::with_capacity(bufs.len());
    for buf in bufs {
        if count == 0 {
            break;
        }
        let part = &buf[..buf.len().min(count)];
        count -= part.len();
        limited.push(IoSlice::new(part));
    }
    limited
}
