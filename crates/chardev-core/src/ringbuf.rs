//! A byte ring of fixed capacity that can overwrite its oldest bytes.

use std::collections::VecDeque;

/// A ring of bytes that counts what it had to overwrite.
///
/// The storage grows with its content up to the capacity, so an idle ring costs nothing.
#[derive(Debug, Default)]
pub struct RingBuffer {
    bytes: VecDeque<u8>,
    capacity: usize,
}

impl RingBuffer {
    /// An empty ring for at most `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        RingBuffer {
            bytes: VecDeque::new(),
            capacity,
        }
    }

    /// The most bytes the ring can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Makes the capacity at least `capacity`.
    pub fn reserve_capacity(&mut self, capacity: usize) {
        self.capacity = self.capacity.max(capacity);
    }

    /// Sets the capacity and returns how many of the oldest bytes were lost to that.
    pub fn set_capacity(&mut self, capacity: usize) -> usize {
        self.capacity = capacity;
        let lost = self.bytes.len().saturating_sub(capacity);
        self.bytes.drain(..lost);
        lost
    }

    /// Bytes held now.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that fit without overwriting.
    pub fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    /// Appends as much of `bytes` as fits and returns how much that was.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        self.bytes.extend(&bytes[..count]);
        count
    }

    /// Appends all of `bytes`, overwriting the oldest, and returns how many bytes were lost.
    pub fn push_overwriting(&mut self, bytes: &[u8]) -> usize {
        let skipped = bytes.len().saturating_sub(self.capacity);
        let kept = &bytes[skipped..];
        let overwritten = kept.len().saturating_sub(self.room());
        self.bytes.drain(..overwritten);
        self.bytes.extend(kept);
        skipped + overwritten
    }

    /// The content, oldest first, in two slices.
    pub fn as_slices(&self) -> (&[u8], &[u8]) {
        self.bytes.as_slices()
    }

    /// Forgets the oldest `count` bytes; storage is given back when the ring becomes empty.
    pub fn consume(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        if self.bytes.is_empty() {
            self.bytes = VecDeque::new();
        }
    }

    /// Removes and returns up to `count` of the oldest bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.bytes.len());
        let taken = self.bytes.drain(..count).collect();
        if self.bytes.is_empty() {
            self.bytes = VecDeque::new();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::RingBuffer;

    #[test]
    fn keeps_the_newest_bytes_and_counts_the_rest() {
        for (capacity, writes, content, lost) in [
            (4, &["abcd"][..], "abcd", 0),
            (4, &["abcd", "ef"], "cdef", 2),
            (2, &["abcd"], "cd", 2),
            (4, &["ab", "cdefgh"], "efgh", 4),
            (0, &["ab"], "", 2),
        ] {
            let mut ring = RingBuffer::new(capacity);
            let total: usize = writes
                .iter()
                .map(|text| ring.push_overwriting(text.as_bytes()))
                .sum();
            assert_eq!(
                (ring.take(99), total),
                (content.as_bytes().to_vec(), lost),
                "{writes:?}"
            );
        }
    }

    #[test]
    fn push_takes_only_what_fits() {
        let mut ring = RingBuffer::new(3);
        assert_eq!(ring.push(b"ab"), 2);
        assert_eq!(ring.push(b"cd"), 1);
        assert_eq!(ring.push(b"e"), 0);
        ring.consume(2);
        assert_eq!(ring.take(9), b"c");
    }
}
