//! front → [chardev: scrollback] → viewers: the newest output, read without a lock.
//!
//! One thread at a time writes (whoever holds the chardev's lock); any number read at the same
//! time and never hold the writer up, however slow their threads are. A reader copies first and
//! then looks whether the writer has come round meanwhile: what may have been overwritten is not
//! returned. The bytes are atomic words, so that this needs no `unsafe`.
//!
//! The words lie in segments, which come as output does. A ring of another size shares the
//! segments of the one it replaces, so that neither growing nor shrinking copies what is kept.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};
use std::sync::{Arc, OnceLock};

use crate::memory;

/// Bytes in one word.
const WORD: usize = 8;
/// The largest segment of a ring that many chardevs have and few of them fill, and how large that
/// is at most.
const TINY_SEGMENT: usize = 4 << 10;
const TINY: usize = 64 << 10;
/// A ring of another size has no more segments than this of the size that its former one had.
const MOST_SEGMENTS: usize = 1024;
/// The largest segment of a small ring and of a large one, and where that begins.
const SMALL_SEGMENT: usize = 64 << 10;
const LARGE_SEGMENT: usize = 1 << 20;
const LARGE: usize = 4 << 20;

/// The newest bytes of a stream, addressed by their absolute offset.
#[derive(Debug)]
pub(super) struct Ring {
    /// Shared with the rings this one has replaced, whose readers must see what is overwritten.
    marks: Arc<Marks>,
    /// From this offset on the bytes are in the ring that replaced this one.
    until: AtomicU64,
    segments: Box<[OnceLock<Arc<Segment>>]>,
    segment_size: usize,
    limit: usize,
}

type Segment = [AtomicU64];

#[derive(Debug)]
struct Marks {
    /// The oldest byte that is not being overwritten.
    low: AtomicU64,
    /// Where the next byte goes.
    end: AtomicU64,
}

/// What a look at the ring brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This many bytes were copied.
    Bytes(usize),
    /// Nothing has been written there yet.
    Nothing,
    /// What was there has been overwritten; this is the oldest byte there is.
    Overwritten(u64),
}

impl Ring {
    /// An empty ring for `limit` bytes whose first byte will be the one at `offset`.
    pub(super) fn new(limit: usize, offset: u64) -> Self {
        let marks = Marks {
            low: AtomicU64::new(offset),
            end: AtomicU64::new(offset),
        };
        Self::with_marks(limit, Arc::new(marks), None)
    }

    /// With segments of the size of a former ring, which can then be shared, where that makes
    /// sense.
    fn with_marks(limit: usize, marks: Arc<Marks>, former: Option<usize>) -> Self {
        let limit = limit.max(1);
        let most = limit.min(SMALL_SEGMENT);
        let former = former.filter(|size| *size <= most && limit / size <= MOST_SEGMENTS);
        let largest = match limit {
            limit if limit > LARGE => LARGE_SEGMENT,
            limit if limit > TINY => SMALL_SEGMENT,
            _ => TINY_SEGMENT,
        };
        let segment_size = former.unwrap_or(largest.min(limit.next_multiple_of(WORD)));
        let count = limit.div_ceil(segment_size);
        Ring {
            marks,
            until: AtomicU64::new(u64::MAX),
            segments: (0..count).map(|_| OnceLock::new()).collect(),
            segment_size,
            limit,
        }
    }

    /// A ring for `limit` bytes with the newest bytes of `old`, which is not written any more.
    pub(super) fn resized(old: &Ring, limit: usize) -> Self {
        let ring = Self::with_marks(limit, Arc::clone(&old.marks), Some(old.segment_size));
        let end = old.end();
        old.until.store(end, Release);
        let low = old.low().max(end.saturating_sub(ring.limit as u64));
        old.marks.low.store(low, Release);
        let size = ring.segment_size as u64;
        let shares = ring.segment_size == old.segment_size;
        // The segment being written is copied: in `old` it ends with bytes of another age.
        let written = (end % size > 0).then(|| ring.slot(end));
        let mut at = low;
        while at < end {
            let next = ((at / size + 1) * size).min(end);
            let copied = match old.segments[old.slot(at)].get() {
                Some(segment) if shares && written != Some(ring.slot(at)) => ring.segments
                    [ring.slot(at)]
                .set(Arc::clone(segment))
                .is_ok(),
                _ => ring.copy(old, at, next),
            };
            if !copied {
                // There is no memory: what comes after this is kept.
                old.marks.low.store(next, Release);
            }
            at = next;
        }
        ring
    }

    /// Copies the bytes from `at` to `end` out of `old`; `false` without memory.
    fn copy(&self, old: &Ring, mut at: u64, end: u64) -> bool {
        let mut buf = [0; 4 << 10];
        while at < end {
            let most = buf.len().min((end - at) as usize);
            let Some(count) = old.load(at, &mut buf[..most]) else {
                return false;
            };
            if !self.reserve(at, count) {
                return false;
            }
            self.store(at, &buf[..count]);
            at += count as u64;
        }
        true
    }

    /// Where a reader goes on that was overtaken when `low` was the oldest byte: some way ahead of
    /// the writer, or it would be overtaken again at once.
    pub(super) fn ahead_of(&self, low: u64) -> u64 {
        let lead = self.limit as u64 / 4;
        (low + lead).min(self.end()).max(low)
    }

    /// The offset of the oldest byte kept.
    pub(super) fn low(&self) -> u64 {
        self.marks.low.load(Acquire)
    }

    /// The offset of the next byte to come.
    pub(super) fn end(&self) -> u64 {
        self.marks.end.load(Acquire)
    }

    /// How many bytes there is memory for; what is kept now is not more.
    pub(super) fn allocated(&self) -> usize {
        let there = self.segments.iter().filter(|one| one.get().is_some());
        there.count() * self.segment_size
    }

    /// Appends as many of `bytes` as there is memory for over the oldest ones and returns how many
    /// that was. Only one thread may be in here at a time.
    pub(super) fn write(&self, bytes: &[u8]) -> usize {
        let end = self.marks.end.load(Relaxed);
        let skipped = bytes.len().saturating_sub(self.limit);
        let (mut at, mut rest) = (end + skipped as u64, &bytes[skipped..]);
        if skipped > 0 {
            self.marks.low.store(at, Relaxed);
        }
        let mut written = 0;
        while !rest.is_empty() {
            let inside = (at % self.segment_size as u64) as usize;
            let part = rest.len().min(self.segment_size - inside);
            if !self.reserve(at, part) {
                break;
            }
            self.pass(at + part as u64);
            self.store(at, &rest[..part]);
            at += part as u64;
            rest = &rest[part..];
            written += part;
            self.marks.end.store(at, Release);
        }
        match written {
            0 => 0,
            written => skipped + written,
        }
    }

    /// Goes on `count` bytes later, with nothing kept.
    pub(super) fn skip(&self, count: usize) {
        let end = self.marks.end.load(Relaxed) + count as u64;
        self.marks.low.store(end, Relaxed);
        fence(Release);
        self.marks.end.store(end, Release);
    }

    /// What is overwritten by a write up to `end` is no longer to be read.
    fn pass(&self, end: u64) {
        let oldest = end.saturating_sub(self.limit as u64);
        let low = self.marks.low.load(Relaxed);
        self.marks.low.store(low.max(oldest), Relaxed);
        // Pairs with the fence in `read`: who sees a word stored after this also sees the new
        // `low`.
        fence(Release);
    }

    /// Copies what is at offset `at` into `buf`, as much as fits and is there.
    pub(super) fn read(&self, at: u64, buf: &mut [u8]) -> Found {
        // In this order: a byte of the ring that replaced this one is not looked for here.
        let end = self.marks.end.load(Acquire);
        let end = end.min(self.until.load(Acquire));
        let low = self.low();
        if at < low {
            return Found::Overwritten(low);
        }
        if at >= end {
            return Found::Nothing;
        }
        let there = usize::try_from(end - at).unwrap_or(usize::MAX);
        let mut count = 0;
        let most = there.min(buf.len());
        while count < most {
            let Some(loaded) = self.load(at + count as u64, &mut buf[count..most]) else {
                return Found::Nothing;
            };
            count += loaded;
        }
        fence(Acquire);
        match self.marks.low.load(Relaxed) {
            low if low > at => Found::Overwritten(low),
            _ => Found::Bytes(count),
        }
    }

    /// Makes sure that there is a segment for the `count` bytes at `at`, which lie in one.
    fn reserve(&self, at: u64, count: usize) -> bool {
        debug_assert!((at % self.segment_size as u64) as usize + count <= self.segment_size);
        let segment = &self.segments[self.slot(at)];
        segment.get().is_some()
            || new_segment(self.segment_size).is_some_and(|new| segment.set(new).is_ok())
    }

    /// Stores bytes that lie in one segment, which is there.
    fn store(&self, at: u64, mut bytes: &[u8]) {
        let Some(words) = self.segments[self.slot(at)].get() else {
            return;
        };
        let mut inside = (at % self.segment_size as u64) as usize;
        while !bytes.is_empty() {
            let (index, shift) = (inside / WORD, inside % WORD);
            let whole = bytes.len() / WORD;
            let count = if shift > 0 || whole == 0 {
                let count = bytes.len().min(WORD - shift);
                merge(&words[index], shift, &bytes[..count]);
                count
            } else {
                let words = words[index..].iter();
                for (word, bytes) in words.zip(bytes[..whole * WORD].chunks_exact(WORD)) {
                    word.store(value(bytes), Relaxed);
                }
                whole * WORD
            };
            inside += count;
            bytes = &bytes[count..];
        }
    }

    /// Loads bytes from one segment, as many as it has; `None` if it is not there.
    fn load(&self, at: u64, buf: &mut [u8]) -> Option<usize> {
        let words = self.segments[self.slot(at)].get()?;
        let mut inside = (at % self.segment_size as u64) as usize;
        let total = buf.len().min(self.segment_size - inside);
        let mut buf = &mut buf[..total];
        while !buf.is_empty() {
            let (index, shift) = (inside / WORD, inside % WORD);
            let whole = buf.len() / WORD;
            let count = if shift > 0 || whole == 0 {
                let count = buf.len().min(WORD - shift);
                let bytes = words[index].load(Relaxed).to_ne_bytes();
                buf[..count].copy_from_slice(&bytes[shift..shift + count]);
                count
            } else {
                let words = words[index..].iter();
                for (word, part) in words.zip(buf[..whole * WORD].chunks_exact_mut(WORD)) {
                    part.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
                }
                whole * WORD
            };
            inside += count;
            buf = &mut buf[count..];
        }
        Some(total)
    }

    /// Which segment offset `at` lies in.
    fn slot(&self, at: u64) -> usize {
        (at / self.segment_size as u64 % self.segments.len() as u64) as usize
    }
}

/// Puts a part of a word; the bytes around it stay.
fn merge(word: &AtomicU64, shift: usize, part: &[u8]) {
    let mut bytes = word.load(Relaxed).to_ne_bytes();
    bytes[shift..shift + part.len()].copy_from_slice(part);
    word.store(u64::from_ne_bytes(bytes), Relaxed);
}

fn value(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

fn new_segment(size: usize) -> Option<Arc<Segment>> {
    // An allocation that fails ends the process, so it is known beforehand.
    if !memory::is_available(size) {
        return None;
    }
    Some((0..size / WORD).map(|_| AtomicU64::new(0)).collect())
}

#[cfg(test)]
mod tests {
    use super::{Found, Ring};

    /// The byte that stands at offset `at` in these tests.
    fn byte(at: u64) -> u8 {
        (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
    }

    fn bytes(from: u64, count: usize) -> Vec<u8> {
        (from..from + count as u64).map(byte).collect()
    }

    #[test]
    fn keeps_the_newest_bytes_at_their_offsets() {
        let ring = Ring::new(64, 1000);
        let mut end = 1000;
        for size in [1, 7, 8, 9, 63, 64, 65, 200, 3, 0, 16] {
            ring.write(&bytes(end, size));
            end += size as u64;
            let low = ring.low();
            assert_eq!((ring.end(), low), (end, (end - 64).max(1000)), "{size}");
            for from in low..end {
                let mut buf = vec![0; (end - from) as usize];
                assert_eq!(ring.read(from, &mut buf), Found::Bytes(buf.len()));
                assert_eq!(buf, bytes(from, buf.len()), "from {from} to {end}");
            }
            assert_eq!(ring.read(end, &mut [0; 4]), Found::Nothing);
            if low > 1000 {
                assert_eq!(ring.read(low - 1, &mut [0; 4]), Found::Overwritten(low));
            }
        }
    }

    #[test]
    fn a_ring_of_another_size_has_the_newest_bytes() {
        let sizes = [1, 24, 100, 70_000, 200_000, 1 << 20, 5 << 20, 9 << 20];
        for (first, written) in [
            (100, 250),
            (70_000, 69_999),
            (200_000, 500_000),
            (5 << 20, 14 << 20),
        ] {
            for then in sizes {
                let start = 12_345;
                let ring = Ring::new(first, start);
                let all = bytes(start, written);
                assert_eq!(ring.write(&all), written);
                let resized = Ring::resized(&ring, then);
                let more = bytes(start + written as u64, 90_001);
                for round in 0..2 {
                    let (low, end) = (resized.low(), resized.end());
                    let kept = (first.min(then) as u64).min(written as u64);
                    if round == 0 {
                        assert_eq!(end - low, kept, "{first} to {then}");
                    }
                    let mut buf = vec![0; (end - low) as usize];
                    assert_eq!(resized.read(low, &mut buf), Found::Bytes(buf.len()));
                    assert!(
                        buf == bytes(low, buf.len()),
                        "{first} to {then}, round {round}"
                    );
                    // The one before ends where it was replaced.
                    let until = start + written as u64;
                    if round == 1 && low < until {
                        assert_eq!(ring.read(until, &mut [0]), Found::Nothing);
                        let mut last = [0];
                        assert_eq!(ring.read(until - 1, &mut last), Found::Bytes(1));
                        assert_eq!(last[0], byte(until - 1));
                    }
                    assert_eq!(resized.write(&more), more.len());
                }
            }
        }
    }

    #[test]
    fn readers_beside_a_writer_see_only_what_was_written() {
        let ring = std::sync::Mutex::new(std::sync::Arc::new(Ring::new(4096, 0)));
        let current = || std::sync::Arc::clone(&ring.lock().expect("no panic"));
        let total = 8 << 20;
        std::thread::scope(|scope| {
            for reader in 1..3 {
                let current = &current;
                scope.spawn(move || {
                    let (mut at, mut read, mut buf) = (0, 0, vec![0; 500 * reader]);
                    while at < total {
                        match current().read(at, &mut buf) {
                            Found::Bytes(count) => {
                                let expected = bytes(at, count);
                                assert!(buf[..count] == expected, "torn at {at}");
                                at += count as u64;
                                read += count;
                            }
                            Found::Overwritten(low) => at = low,
                            Found::Nothing => std::thread::yield_now(),
                        }
                    }
                    assert!(read > 0);
                });
            }
            let mut at = 0;
            for size in (1..).map(|round| round * 37 % 1500) {
                let size = size.min((total - at) as usize);
                assert_eq!(current().write(&bytes(at, size)), size);
                at += size as u64;
                if size % 7 == 0 {
                    let resized = Ring::resized(&current(), 1000 + size * 190);
                    *ring.lock().expect("no panic") = std::sync::Arc::new(resized);
                }
                if at == total {
                    break;
                }
            }
        });
    }
}
