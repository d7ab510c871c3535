//! front → [chardev: scrollback] → viewers: the newest output, read without a lock.
//!
//! One thread at a time writes (whoever holds the chardev's lock); any number read at the same
//! time and never hold the writer up, however slow their threads are. A reader copies first and
//! then looks whether the writer has come round meanwhile: what may have been overwritten is not
//! returned. The bytes are atomic words, so that this needs no `unsafe`.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

/// Bytes in one word.
const WORD: usize = 8;

/// The newest bytes of a stream, addressed by their absolute offset.
#[derive(Debug)]
pub(super) struct Ring {
    words: Box<[AtomicU64]>,
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
    /// An empty ring for `capacity` bytes, rounded up to whole words, whose first byte will be
    /// the one at `offset`.
    pub(super) fn new(capacity: usize, offset: u64) -> Self {
        let words = capacity.div_ceil(WORD).max(1);
        Ring {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            low: AtomicU64::new(offset),
            end: AtomicU64::new(offset),
        }
    }

    /// A ring for `capacity` bytes with the newest bytes of `old`.
    pub(super) fn resized(old: &Ring, capacity: usize) -> Self {
        let (low, end) = (old.low(), old.end());
        let mut ring = Ring::new(capacity, 0);
        let kept = (end - low).min(ring.capacity() as u64);
        ring.low = AtomicU64::new(end - kept);
        ring.end = AtomicU64::new(end - kept);
        let mut buf = vec![0; (64 << 10).min(ring.capacity())];
        while let Found::Bytes(count) = old.read(ring.end(), &mut buf) {
            ring.write(&buf[..count]);
        }
        ring
    }

    pub(super) fn capacity(&self) -> usize {
        self.words.len() * WORD
    }

    /// The offset of the oldest byte kept.
    pub(super) fn low(&self) -> u64 {
        self.low.load(Acquire)
    }

    /// The offset of the next byte to come.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Acquire)
    }

    /// Appends `bytes` over the oldest ones. Only one thread may be in here at a time.
    pub(super) fn write(&self, bytes: &[u8]) {
        let end = self.end.load(Relaxed);
        let new_end = end + bytes.len() as u64;
        let oldest = new_end.saturating_sub(self.capacity() as u64);
        if oldest > self.low.load(Relaxed) {
            self.low.store(oldest, Relaxed);
        }
        // Pairs with the fence in `read`: who sees a word stored below also sees the new `low`.
        fence(Release);
        let skipped = bytes.len().saturating_sub(self.capacity());
        self.store(end + skipped as u64, &bytes[skipped..]);
        self.end.store(new_end, Release);
    }

    /// Copies what is at offset `at` into `buf`, as much as fits and is there.
    pub(super) fn read(&self, at: u64, buf: &mut [u8]) -> Found {
        let end = self.end.load(Acquire);
        if at >= end {
            return Found::Nothing;
        }
        let low = self.low();
        if at < low {
            return Found::Overwritten(low);
        }
        let there = usize::try_from(end - at).unwrap_or(usize::MAX);
        let count = there.min(buf.len());
        self.load(at, &mut buf[..count]);
        fence(Acquire);
        match self.low.load(Relaxed) {
            low if low > at => Found::Overwritten(low),
            _ => Found::Bytes(count),
        }
    }

    fn store(&self, mut at: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (index, inside) = self.place(at);
            let words = &self.words[index..];
            let whole = words.len().min(bytes.len() / WORD);
            let count = if inside > 0 || whole == 0 {
                let count = bytes.len().min(WORD - inside);
                self.merge(index, inside, &bytes[..count]);
                count
            } else {
                for (word, bytes) in words.iter().zip(bytes[..whole * WORD].chunks_exact(WORD)) {
                    word.store(value(bytes), Relaxed);
                }
                whole * WORD
            };
            at += count as u64;
            bytes = &bytes[count..];
        }
    }

    /// Puts a part of a word; the bytes around it stay.
    fn merge(&self, index: usize, inside: usize, part: &[u8]) {
        let mut bytes = self.words[index].load(Relaxed).to_ne_bytes();
        bytes[inside..inside + part.len()].copy_from_slice(part);
        self.words[index].store(u64::from_ne_bytes(bytes), Relaxed);
    }

    fn load(&self, mut at: u64, mut buf: &mut [u8]) {
        while !buf.is_empty() {
            let (index, inside) = self.place(at);
            let words = &self.words[index..];
            let whole = words.len().min(buf.len() / WORD);
            let count = if inside > 0 || whole == 0 {
                let count = buf.len().min(WORD - inside);
                let bytes = words[0].load(Relaxed).to_ne_bytes();
                buf[..count].copy_from_slice(&bytes[inside..inside + count]);
                count
            } else {
                for (word, part) in words.iter().zip(buf[..whole * WORD].chunks_exact_mut(WORD)) {
                    part.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
                }
                whole * WORD
            };
            at += count as u64;
            buf = &mut buf[count..];
        }
    }

    /// The word of offset `at`, and the place inside it.
    fn place(&self, at: u64) -> (usize, usize) {
        // Both fit: they are below the capacity.
        let at = (at % self.capacity() as u64) as usize;
        (at / WORD, at % WORD)
    }
}

fn value(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_ne_bytes)
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
    fn readers_beside_a_writer_see_only_what_was_written() {
        let ring = Ring::new(4096, 0);
        let total = 8 << 20;
        std::thread::scope(|scope| {
            for reader in 1..3 {
                let ring = &ring;
                scope.spawn(move || {
                    let (mut at, mut read, mut buf) = (0, 0, vec![0; 500 * reader]);
                    while at < total {
                        match ring.read(at, &mut buf) {
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
                ring.write(&bytes(at, size));
                at += size as u64;
                if at == total {
                    break;
                }
            }
        });
    }
}
