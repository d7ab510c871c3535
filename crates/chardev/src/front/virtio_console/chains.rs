//! guest → [front: virtio-console] → chardev → back → host: descriptor chains as I/O vectors.
//!
//! Nothing is held between two calls: chains that were looked at and not finished are put back, so
//! what the ring says is always the whole state. A chain that is too large for one batch, or that
//! the back end took a part of, is continued at an offset. Everything is bounded, because a guest
//! may put anything into its rings.

use std::io::{IoSlice, IoSliceMut};

use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemory;
use vm_memory::bitmap::Bitmap;

use super::batch::{Batch, MAX_BYTES, MAX_INPUT, put_back};

/// What was done with a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// So many descriptors were given back to the guest.
    pub(super) freed: usize,
    /// Where the first chain in the ring is to be continued.
    pub(super) offset: u64,
}

/// A batch of output.
pub(super) struct Output<'m, M: GuestMemory> {
    batch: Batch<'m, M>,
    start: u64,
}

/// A batch of room for input.
pub(super) struct Room<'m, M: GuestMemory>(Batch<'m, M>);

impl<'m, M: GuestMemory> Output<'m, M> {
    /// Takes output from the ring; the first chain begins at `start`.
    pub(super) fn gather(queue: &mut Queue, mem: &'m M, start: u64) -> Self {
        let batch = Batch::gather(queue, mem, start, MAX_BYTES, false);
        Output { batch, start }
    }

    /// Takes one chain, of which only the first kilobytes are looked at, and completes as a whole.
    pub(super) fn one(queue: &mut Queue, mem: &'m M) -> Self {
        let mut batch = Batch::new();
        if batch.add_next(queue, mem, &mut 0, MAX_INPUT, false) {
            batch.chains[0].whole = true;
        }
        Output { batch, start: 0 }
    }

    /// How many bytes of the first chain there are.
    pub(super) fn first_bytes(&self) -> usize {
        self.batch.chains.first().map_or(0, |chain| chain.bytes)
    }

    /// Whether the ring has nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.chains.is_empty()
    }

    /// How many chains there are.
    pub(super) fn chains(&self) -> usize {
        self.batch.chains.len()
    }

    /// How many bytes there are.
    pub(super) fn bytes(&self) -> usize {
        self.batch.bytes
    }

    /// Chains that no driver would make.
    pub(super) fn malformed(&self) -> u64 {
        self.batch.malformed
    }

    /// The bytes where they lie in guest memory.
    pub(super) fn bufs(&self) -> Vec<IoSlice<'_>> {
        let bufs = self.batch.slices.iter().map(|slice| {
            let guard = slice.ptr_guard();
            // SAFETY: the slice was checked against guest memory, which stays mapped while `self`
            // borrows it. The guest may write to it meanwhile: the bytes are only copied or handed
            // to the kernel, never interpreted, so any mixture of old and new is one it asked for.
            IoSlice::new(unsafe { std::slice::from_raw_parts(guard.as_ptr(), slice.len()) })
        });
        bufs.collect()
    }

    /// Gives back the chains that the first `taken` bytes complete, and the others to the ring.
    pub(super) fn complete(self, queue: &mut Queue, mem: &M, taken: usize) -> Done {
        let mut left = taken;
        let mut done = Done::default();
        for (index, chain) in self.batch.chains.iter().enumerate() {
            if !chain.whole || left < chain.bytes {
                let start = if index == 0 { self.start } else { 0 };
                done.offset = start + left.min(chain.bytes) as u64;
                put_back(queue, self.batch.chains.len() - index);
                break;
            }
            left -= chain.bytes;
            // Fails only for a head outside of the ring, for which there is no answer.
            if queue.add_used(mem, chain.head, 0).is_ok() {
                done.freed += chain.descriptors;
            }
        }
        done
    }
}

impl<'m, M: GuestMemory> Room<'m, M> {
    /// Takes room for input from the ring.
    pub(super) fn gather(queue: &mut Queue, mem: &'m M) -> Self {
        Room(Batch::gather(queue, mem, 0, MAX_INPUT, true))
    }

    /// Takes one chain, for a control message.
    pub(super) fn one(queue: &mut Queue, mem: &'m M) -> Option<Self> {
        let mut batch = Batch::new();
        batch
            .add_next(queue, mem, &mut 0, MAX_INPUT, true)
            .then_some(Room(batch))
    }

    /// Whether the ring has no chain at all.
    pub(super) fn is_empty(&self) -> bool {
        self.0.chains.is_empty()
    }

    /// How many bytes fit.
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// Chains that no driver would make.
    pub(super) fn malformed(&self) -> u64 {
        self.0.malformed
    }

    /// The room where it lies in guest memory.
    pub(super) fn bufs(&mut self) -> Vec<IoSliceMut<'_>> {
        let bufs = self.0.slices.iter().map(|slice| {
            let guard = slice.ptr_guard_mut();
            // SAFETY: as for output; and no two slices of a batch overlap, which `add` sees to, so
            // these are the only references to these bytes in this process.
            IoSliceMut::new(unsafe { std::slice::from_raw_parts_mut(guard.as_ptr(), slice.len()) })
        });
        bufs.collect()
    }

    /// Gives the guest the chains that `filled` bytes lie in, and the others back to the ring.
    pub(super) fn complete(self, queue: &mut Queue, mem: &M, filled: usize) -> bool {
        let mut left = filled;
        for slice in &self.0.slices {
            let count = slice.len().min(left);
            slice.bitmap().mark_dirty(0, count);
            left -= count;
        }
        let mut left = filled;
        let mut used = false;
        for (index, chain) in self.0.chains.iter().enumerate() {
            if left == 0 && chain.bytes > 0 {
                put_back(queue, self.0.chains.len() - index);
                break;
            }
            let count = chain.bytes.min(left);
            left -= count;
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            used |= queue.add_used(mem, chain.head, count).is_ok();
        }
        used
    }
}
