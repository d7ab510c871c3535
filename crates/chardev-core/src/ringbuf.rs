//! A byte ring of fixed capacity that can overwrite its oldest bytes.
//!
//! The bytes lie in segments of at most a mebibyte. A ring grows, moves into another and is taken
//! apart by whole segments, so no operation but the copying of the caller's own bytes takes longer
//! for a larger ring.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::memory;

/// The most bytes in one segment.
const SEGMENT: usize = 1 << 20;
/// A segment with no more bytes than this is copied behind another rather than kept for itself.
const SMALL: usize = 4 << 10;

/// A ring of bytes that counts what it had to overwrite.
///
/// The storage grows with its content up to the capacity, so an idle ring costs nothing. Where
/// there is no memory for more, the ring is as large as what it has; see
/// [`RingBuffer::take_shortage`].
#[derive(Debug, Default)]
pub struct RingBuffer {
    segments: VecDeque<Segment>,
    /// Bytes of the first segment that are no longer part of the content.
    skipped: usize,
    len: usize,
    capacity: usize,
    short: bool,
}

/// A piece of the content. It is only appended to, and never beyond what was reserved for it.
type Segment = Vec<u8>;

impl RingBuffer {
    /// One with no room.
    pub(crate) const fn empty() -> Self {
        RingBuffer {
            segments: VecDeque::new(),
            skipped: 0,
            len: 0,
            capacity: 0,
            short: false,
        }
    }

    /// An empty ring for at most `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        let mut ring = RingBuffer::default();
        ring.capacity = capacity;
        ring
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
        let lost = self.len.saturating_sub(capacity);
        self.consume(lost);
        lost
    }

    /// Bytes held now.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that fit without overwriting, if there is memory for them.
    pub fn room(&self) -> usize {
        self.capacity.saturating_sub(self.len)
    }

    /// Whether there was no memory for bytes that would have fitted, since the last call.
    pub fn take_shortage(&mut self) -> bool {
        std::mem::take(&mut self.short)
    }

    /// Appends as much of `bytes` as fits and returns how much that was.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        self.append(&bytes[..bytes.len().min(self.room())])
    }

    /// Appends all of `bytes`, overwriting the oldest, and returns how many bytes were lost.
    pub fn push_overwriting(&mut self, bytes: &[u8]) -> usize {
        let mut lost = bytes.len().saturating_sub(self.capacity);
        let mut rest = &bytes[lost..];
        let overwritten = rest.len().saturating_sub(self.room());
        self.consume(overwritten);
        lost += overwritten;
        loop {
            rest = &rest[self.append(rest)..];
            if rest.is_empty() {
                return lost;
            }
            // There is no memory for more: the oldest bytes make room, or else the new are lost.
            match self.recycle_front(rest.len()) {
                None => return lost + rest.len(),
                Some(given_up) => lost += given_up,
            }
        }
    }

    /// The oldest bytes that lie in one piece; none if the ring is empty.
    pub fn front(&self) -> &[u8] {
        self.segments
            .front()
            .map_or(&[], |first| &first[self.skipped..])
    }

    /// The content, oldest first, in pieces.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut skipped = self.skipped;
        self.segments
            .iter()
            .map(move |segment| &segment[std::mem::take(&mut skipped)..])
            .filter(|piece| !piece.is_empty())
    }

    /// The oldest pieces of the content, at most `most` of them, to be written.
    pub fn io_slices(&self, most: usize) -> Vec<IoSlice<'_>> {
        self.slices().take(most).map(IoSlice::new).collect()
    }

    /// Copies the bytes from place `at` on, 0 being the oldest, and returns how many there were.
    pub fn peek(&self, at: usize, buf: &mut [u8]) -> usize {
        let (mut before, mut copied) = (at, 0);
        for piece in self.slices() {
            let (skipped, piece) = piece.split_at(before.min(piece.len()));
            before -= skipped.len();
            let count = piece.len().min(buf.len() - copied);
            buf[copied..copied + count].copy_from_slice(&piece[..count]);
            copied += count;
        }
        copied
    }

    /// Forgets the oldest `count` bytes; storage is given back when the ring becomes empty.
    pub fn consume(&mut self, count: usize) {
        let mut count = count.min(self.len);
        if count >= memory::SLOW_TO_FREE {
            drop(self.split_front(count));
            return;
        }
        self.len -= count;
        while count > 0 {
            let held = self.segments[0].len() - self.skipped;
            if count < held {
                self.skipped += count;
                return;
            }
            count -= held;
            self.skipped = 0;
            self.segments.pop_front();
        }
        if self.len == 0 {
            self.segments = VecDeque::new();
            self.skipped = 0;
        }
    }

    /// Removes and returns up to `count` of the oldest bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        self.split_front(count).into_bytes()
    }

    /// Moves up to `count` of the oldest bytes into a ring of their own, which is just as large.
    pub fn split_front(&mut self, count: usize) -> RingBuffer {
        let count = count.min(self.len);
        let mut front = RingBuffer::new(count);
        if count == self.len {
            front.segments = std::mem::take(&mut self.segments);
            front.skipped = std::mem::take(&mut self.skipped);
            front.len = std::mem::take(&mut self.len);
            return front;
        }
        while front.len < count {
            let held = self.segments[0].len() - self.skipped;
            if held > count - front.len {
                let part = count - front.len;
                let piece = self.segments[0][self.skipped..self.skipped + part].to_vec();
                front.segments.push_back(piece);
                front.len += part;
                self.skipped += part;
                self.len -= part;
                break;
            }
            // Only the first segment is skipped into.
            front.skipped += std::mem::take(&mut self.skipped);
            front.segments.extend(self.segments.pop_front());
            front.len += held;
            self.len -= held;
        }
        front
    }

    /// Moves the content of `other` behind this ring's own, overwriting the oldest bytes, and
    /// returns how many were lost.
    pub fn absorb(&mut self, mut other: RingBuffer) -> usize {
        self.short |= other.short;
        let lost_there = other.set_capacity(self.capacity.min(other.len));
        let overwritten = other.len.saturating_sub(self.room());
        self.consume(overwritten);
        if self.is_empty() {
            std::mem::swap(&mut self.segments, &mut other.segments);
            std::mem::swap(&mut self.skipped, &mut other.skipped);
            std::mem::swap(&mut self.len, &mut other.len);
            return lost_there + overwritten;
        }
        let mut lost = lost_there + overwritten;
        while other.len > 0 {
            let piece = &other.segments[0][other.skipped..];
            let count = piece.len();
            if other.skipped > 0 || count <= SMALL {
                lost += self.push_overwriting(piece);
                other.consume(count);
            } else {
                self.segments.extend(other.segments.pop_front());
                self.len += count;
                other.len -= count;
            }
        }
        lost
    }

    /// The content in one piece.
    fn into_bytes(mut self) -> Vec<u8> {
        if self.segments.len() == 1 && self.skipped == 0 {
            self.len = 0;
            return self.segments.pop_front().unwrap_or_default();
        }
        let mut bytes = Vec::with_capacity(self.len);
        for piece in self.slices() {
            bytes.extend_from_slice(piece);
        }
        bytes
    }

    /// Appends what there is memory for; all of it fits.
    fn append(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            let most = SEGMENT.min(self.capacity);
            // A large ring takes whole segments, so that nothing is moved as it grows.
            let wanted = if self.len >= most / 2 {
                most
            } else {
                rest.len()
            };
            let mut room = self
                .segments
                .back_mut()
                .map_or(0, |last| grow(last, wanted, most));
            if room == 0 {
                let mut segment = Segment::new();
                room = grow(&mut segment, wanted, most);
                if room == 0 {
                    self.short = true;
                    break;
                }
                self.segments.push_back(segment);
            }
            let (now, later) = rest.split_at(room.min(rest.len()));
            if let Some(last) = self.segments.back_mut() {
                last.extend_from_slice(now);
            }
            self.len += now.len();
            rest = later;
        }
        bytes.len() - rest.len()
    }

    /// Gives up some of the oldest bytes, about `wanted`, so that their storage is used again;
    /// returns how many. `None`: there is none that could be used again.
    fn recycle_front(&mut self, wanted: usize) -> Option<usize> {
        let single = self.segments.len() == 1;
        let mut segment = self.segments.pop_front()?;
        let skipped = std::mem::take(&mut self.skipped);
        let held = segment.len() - skipped;
        let given_up = if single {
            held.min(wanted.max(held / 4))
        } else {
            held
        };
        let gained = skipped + given_up;
        segment.drain(..gained);
        self.segments.push_back(segment);
        self.len -= given_up;
        (gained > 0).then_some(given_up)
    }
}

impl From<Vec<u8>> for RingBuffer {
    /// A full ring with these bytes.
    fn from(bytes: Vec<u8>) -> Self {
        let mut ring = RingBuffer::new(bytes.len());
        ring.len = bytes.len();
        ring.segments.extend((ring.len > 0).then_some(bytes));
        ring
    }
}

impl Drop for RingBuffer {
    fn drop(&mut self) {
        let segments = std::mem::take(&mut self.segments);
        memory::dispose(segments, self.len);
    }
}

/// Makes room in `segment` for up to `wanted` more bytes, by doubling at least and up to `most` in
/// all, and returns how many fit.
fn grow(segment: &mut Segment, wanted: usize, most: usize) -> usize {
    let room = |segment: &Segment| most.min(segment.capacity()).saturating_sub(segment.len());
    if room(segment) > 0 {
        return room(segment);
    }
    let more = wanted
        .max(segment.len())
        .min(most.saturating_sub(segment.len()));
    if more > 0 && memory::allows(more) {
        // Without memory there is no room, which is what the caller is told.
        let _ = segment.try_reserve_exact(more);
    }
    room(segment)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::{RingBuffer, SEGMENT};

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

    #[test]
    fn without_memory_the_oldest_bytes_make_room() {
        let mut ring = RingBuffer::new(usize::MAX);
        ring.push(&[b'a'; 3000]);
        let before = ring.segments[0].capacity();
        // What a refused allocation leads to, since none can be had refused here.
        let given_up = ring.recycle_front(1000);
        assert_eq!((given_up, ring.len()), (Some(1000), 2000));
        assert_eq!(ring.segments[0].capacity(), before, "the storage is kept");
        assert_eq!(ring.push_overwriting(&[b'b'; 1000]), 0);
        assert_eq!(ring.take(2001), [[b'a'; 2000].as_slice(), b"b"].concat());
        assert_eq!(RingBuffer::new(9).recycle_front(9), None);
    }

    /// What is done to a ring, its numbers in bytes.
    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Overwrite(usize),
        Consume(usize),
        Take(usize),
        Split(usize),
        Absorb(usize, usize),
        Capacity(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let size = prop_oneof![0..40usize, 0..9000usize, 0..3 * SEGMENT];
        let step = prop_oneof![
            size.clone().prop_map(Step::Push),
            size.clone().prop_map(Step::Overwrite),
            size.clone().prop_map(Step::Consume),
            size.clone().prop_map(Step::Take),
            size.clone().prop_map(Step::Split),
            (size.clone(), size.clone()).prop_map(|(len, gone)| Step::Absorb(len, gone)),
            size.prop_map(Step::Capacity),
        ];
        prop::collection::vec(step, 1..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The ring does what a plain queue of bytes does.
        #[test]
        fn it_is_a_queue_of_bytes(steps in steps()) {
            let (mut ring, mut plain) = (RingBuffer::new(SEGMENT), VecDeque::new());
            let (mut capacity, mut next) = (SEGMENT, 0_u32);
            let mut fresh = |count: usize| -> Vec<u8> {
                next += 1;
                (0..count).map(|at| (at as u32 ^ next.wrapping_mul(77)) as u8).collect()
            };
            for step in steps {
                let before = plain.len();
                match step {
                    Step::Push(count) => {
                        let bytes = fresh(count);
                        let fits = count.min(capacity.saturating_sub(before));
                        prop_assert_eq!(ring.push(&bytes), fits);
                        plain.extend(&bytes[..fits]);
                    }
                    Step::Overwrite(count) => {
                        let bytes = fresh(count);
                        plain.extend(&bytes);
                        let lost = plain.len().saturating_sub(capacity);
                        plain.drain(..lost);
                        prop_assert_eq!(ring.push_overwriting(&bytes), lost);
                    }
                    Step::Consume(count) => {
                        ring.consume(count);
                        plain.drain(..count.min(before));
                    }
                    Step::Take(count) => {
                        let taken: Vec<u8> = plain.drain(..count.min(before)).collect();
                        prop_assert!(ring.take(count) == taken);
                    }
                    Step::Split(count) => {
                        let front = ring.split_front(count);
                        let taken: Vec<u8> = plain.drain(..count.min(before)).collect();
                        prop_assert_eq!((front.len(), front.capacity()), (taken.len(), taken.len()));
                        prop_assert!(front.slices().collect::<Vec<_>>().concat() == taken);
                    }
                    Step::Absorb(count, gone) => {
                        let bytes = fresh(count);
                        let mut other = RingBuffer::new(count);
                        other.push(&bytes);
                        other.consume(gone);
                        plain.extend(&bytes[gone.min(count)..]);
                        let lost = plain.len().saturating_sub(capacity);
                        plain.drain(..lost);
                        prop_assert_eq!(ring.absorb(other), lost);
                    }
                    Step::Capacity(count) => {
                        let lost = before.saturating_sub(count);
                        plain.drain(..lost);
                        capacity = count;
                        prop_assert_eq!(ring.set_capacity(count), lost);
                    }
                }
                prop_assert_eq!(ring.len(), plain.len());
                prop_assert!(!ring.take_shortage());
            }
            prop_assert!(plain == ring.take(usize::MAX));
        }
    }
}
