//! guest → [front: virtio-console] → chardev → back → host: chains taken from a ring, up to a
//! bound.

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::bitmap::BS;
use vm_memory::{Address, GuestMemory, Permissions, VolatileSlice};

/// The most buffers of one batch: what the back ends hand to the kernel at once.
const MAX_BUFS: usize = 64;
/// The most bytes of one batch, so that no lock is held for long.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// The most input bytes of one batch: reading into more than there is costs work for nothing.
pub(super) const MAX_INPUT: usize = 64 << 10;
/// No further chain is looked at after this many descriptors; one may have 65,535 empty ones.
const MAX_WALK: usize = 1024;

type Slice<'m, M> = VolatileSlice<'m, BS<'m, <M as GuestMemory>::Bitmap>>;

/// Part of a chain, or all of it.
pub(super) struct Chain {
    pub(super) head: u16,
    pub(super) bytes: usize,
    /// How many there were of these.
    pub(super) descriptors: usize,
    /// Nothing of the chain lies behind these bytes.
    pub(super) whole: bool,
}

/// Chains taken from the ring and not answered yet.
pub(super) struct Batch<'m, M: GuestMemory> {
    pub(super) chains: Vec<Chain>,
    pub(super) slices: Vec<Slice<'m, M>>,
    pub(super) bytes: usize,
    pub(super) malformed: u64,
    /// Descriptors looked at.
    walked: usize,
}

impl<'m, M: GuestMemory> Batch<'m, M> {
    pub(super) fn new() -> Self {
        Batch {
            chains: Vec::with_capacity(MAX_BUFS),
            slices: Vec::with_capacity(MAX_BUFS),
            bytes: 0,
            malformed: 0,
            walked: 0,
        }
    }

    pub(super) fn gather(
        queue: &mut Queue,
        mem: &'m M,
        mut skip: u64,
        max_bytes: usize,
        writable: bool,
    ) -> Self {
        let mut batch = Batch::new();
        while batch.has_room(max_bytes)
            && batch.chains.len() < MAX_BUFS
            && batch.add_next(queue, mem, &mut skip, max_bytes, writable)
        {
            skip = 0;
        }
        batch
    }

    fn has_room(&self, max_bytes: usize) -> bool {
        self.slices.len() < MAX_BUFS && self.bytes < max_bytes && self.walked < MAX_WALK
    }

    /// Adds the next chain of the ring; `false` if there is none.
    pub(super) fn add_next(
        &mut self,
        queue: &mut Queue,
        mem: &'m M,
        skip: &mut u64,
        max_bytes: usize,
        writable: bool,
    ) -> bool {
        let Some(descriptors) = queue.pop_descriptor_chain(mem) else {
            return false;
        };
        let mut chain = Chain {
            head: descriptors.head_index(),
            bytes: 0,
            descriptors: 0,
            whole: true,
        };
        let first = self.slices.len();
        let mut sound = false;
        for descriptor in descriptors {
            self.walked += 1;
            chain.descriptors += 1;
            sound = !descriptor.has_next();
            if descriptor.is_write_only() != writable {
                continue;
            }
            let length = u64::from(descriptor.len());
            if *skip >= length {
                *skip -= length;
                continue;
            }
            let start = std::mem::take(skip);
            let room = max_bytes - self.bytes.min(max_bytes);
            let Some(bytes) = self.add(mem, &descriptor, start, room, first) else {
                sound = false;
                break;
            };
            chain.bytes += bytes;
            if (bytes as u64) < length - start {
                chain.whole = false;
                break;
            }
        }
        // A loop, a next outside of the table, an address outside of memory: none of it counts.
        if chain.whole && !sound {
            self.bytes -= chain.bytes;
            self.slices.truncate(first);
            chain.bytes = 0;
            self.malformed += 1;
        }
        self.chains.push(chain);
        true
    }

    /// Adds a descriptor from `start` on, up to `room` bytes, and says how many that were. `None`
    /// if it is not in guest memory or, where it is written to, lies over another of the batch.
    fn add(
        &mut self,
        mem: &'m M,
        descriptor: &Descriptor,
        start: u64,
        room: usize,
        first: usize,
    ) -> Option<usize> {
        let wanted = (u64::from(descriptor.len()) - start).min(room as u64) as usize;
        let address = descriptor.addr().checked_add(start)?;
        let access = if descriptor.is_write_only() {
            Permissions::Write
        } else {
            Permissions::Read
        };
        if !mem.check_range(descriptor.addr(), descriptor.len() as usize, access) {
            return None;
        }
        let mut added = 0;
        for slice in mem.get_slices(address, wanted, access).ok()? {
            let slice = slice.ok()?;
            // The first buffer of a chain is always taken, so that every batch gets on.
            if self.slices.len() >= MAX_BUFS && self.slices.len() > first {
                break;
            }
            if descriptor.is_write_only() && self.slices.iter().any(|old| overlap(old, &slice)) {
                return None;
            }
            added += slice.len();
            self.bytes += slice.len();
            self.slices.push(slice);
        }
        Some(added)
    }
}

fn overlap<B: vm_memory::bitmap::BitmapSlice>(
    a: &VolatileSlice<'_, B>,
    b: &VolatileSlice<'_, B>,
) -> bool {
    let start = |slice: &VolatileSlice<'_, B>| slice.ptr_guard().as_ptr() as usize;
    start(a) < start(b) + b.len() && start(b) < start(a) + a.len()
}

pub(super) fn put_back(queue: &mut Queue, chains: usize) {
    let chains = u16::try_from(chains).unwrap_or(u16::MAX);
    queue.set_next_avail(queue.next_avail().wrapping_sub(chains));
}
