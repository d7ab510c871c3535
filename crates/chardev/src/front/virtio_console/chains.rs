//! guest → [front: virtio-console] → chardev → back → host: descriptor chains as I/O vectors.
//!
//! Nothing is held between two calls: chains that were looked at and not finished are put back, so
//! what the ring says is always the whole state. A chain that is too large for one batch, or that
//! the back end took a part of, is continued at an offset. Everything is bounded, because a guest
//! may put anything into its rings.

use std::io::{IoSlice, IoSliceMut};

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::bitmap::{BS, Bitmap};
use vm_memory::{Address, GuestMemory, Permissions, VolatileSlice};

/// The most buffers of one batch: what the back ends hand to the kernel at once.
const MAX_BUFS: usize = 64;
/// The most bytes of one batch, so that no lock is held for long.
const MAX_BYTES: usize = 1 << 20;
/// The most input bytes of one batch: reading into more than there is costs work for nothing.
const MAX_INPUT: usize = 64 << 10;
/// No further chain is looked at after this many descriptors; one may have 65,535 empty ones.
const MAX_WALK: usize = 1024;

type Slice<'m, M> = VolatileSlice<'m, BS<'m, <M as GuestMemory>::Bitmap>>;

/// Part of a chain, or all of it.
struct Chain {
    head: u16,
    bytes: usize,
    /// How many there were of these.
    descriptors: usize,
    /// Nothing of the chain lies behind these bytes.
    whole: bool,
}

/// Chains taken from the ring and not answered yet.
struct Batch<'m, M: GuestMemory> {
    chains: Vec<Chain>,
    slices: Vec<Slice<'m, M>>,
    bytes: usize,
    malformed: u64,
    /// Descriptors looked at.
    walked: usize,
}

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

impl<'m, M: GuestMemory> Batch<'m, M> {
    fn new() -> Self {
        Batch {
            chains: Vec::with_capacity(MAX_BUFS),
            slices: Vec::with_capacity(MAX_BUFS),
            bytes: 0,
            malformed: 0,
            walked: 0,
        }
    }

    fn gather(
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
    fn add_next(
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

    /// Adds a descriptor from `start` on, up to `room` bytes, and says how many that were. `None` if
    /// it is not in guest memory or, where it is written to, lies over another of the batch.
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

fn put_back(queue: &mut Queue, chains: usize) {
    let chains = u16::try_from(chains).unwrap_or(u16::MAX);
    queue.set_next_avail(queue.next_avail().wrapping_sub(chains));
}
