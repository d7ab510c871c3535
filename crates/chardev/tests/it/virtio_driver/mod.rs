//! The guest's side of virtqueues, for tests: lays rings out in guest memory, offers chains (sound
//! ones and others), takes back what was used, and checks that each came back once.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{Ordering, fence};

use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryMmap};

/// The memory of the guest: what tests need and no more.
pub(crate) const MEMORY: usize = 4 << 20;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// One part of a chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) address: u64,
    pub(crate) length: u32,
    pub(crate) writable: bool,
}

/// The driver's side of one split ring.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) table: u64,
    pub(crate) avail: u64,
    pub(crate) used: u64,
    pub(crate) size: u16,
    next_avail: u16,
    next_used: u16,
    free: VecDeque<u16>,
    /// Head of a chain that is out, and its descriptors.
    out: HashMap<u16, Vec<u16>>,
}

impl Ring {
    /// A ring of `size` at `base`, for which it needs 16 KiB.
    pub(crate) fn new(mem: &GuestMemoryMmap, base: u64, size: u16) -> Self {
        let zero = [0; 0x4000];
        mem.write_slice(&zero, GuestAddress(base)).unwrap();
        Ring {
            table: base,
            avail: base + 0x1000,
            used: base + 0x2000,
            size,
            next_avail: 0,
            next_used: 0,
            free: (0..size).collect(),
            out: HashMap::new(),
        }
    }

    /// Writes a descriptor of the table, whatever it says.
    pub(crate) fn descriptor(
        &self,
        mem: &GuestMemoryMmap,
        table: u64,
        index: u16,
        (address, length, flags, next): (u64, u32, u16, u16),
    ) {
        let at = GuestAddress(table + 16 * u64::from(index));
        mem.write_obj(address, at).unwrap();
        mem.write_obj(length, at.unchecked_add(8)).unwrap();
        mem.write_obj(flags, at.unchecked_add(12)).unwrap();
        mem.write_obj(next, at.unchecked_add(14)).unwrap();
    }

    /// Puts a head into the ring, whatever it is.
    pub(crate) fn offer_head(&mut self, mem: &GuestMemoryMmap, head: u16) {
        let slot = self.avail + 4 + 2 * u64::from(self.next_avail % self.size);
        mem.write_obj(head, GuestAddress(slot)).unwrap();
        self.next_avail = self.next_avail.wrapping_add(1);
        fence(Ordering::SeqCst);
        mem.store(
            self.next_avail,
            GuestAddress(self.avail + 2),
            Ordering::Release,
        )
        .unwrap();
    }

    /// Offers a sound chain and returns its head; `None` if the ring is full.
    pub(crate) fn offer(&mut self, mem: &GuestMemoryMmap, parts: &[Part]) -> Option<u16> {
        if self.free.len() < parts.len() {
            return None;
        }
        let indices: Vec<u16> = self.free.drain(..parts.len()).collect();
        self.write_parts(mem, self.table, &indices, parts);
        let head = indices[0];
        self.out.insert(head, indices);
        self.offer_head(mem, head);
        Some(head)
    }

    /// Offers a chain by an indirect table at `table`.
    pub(crate) fn offer_indirect(
        &mut self,
        mem: &GuestMemoryMmap,
        table: u64,
        parts: &[Part],
    ) -> Option<u16> {
        let head = self.free.pop_front()?;
        let indices: Vec<u16> = (0..parts.len() as u16).collect();
        self.write_parts(mem, table, &indices, parts);
        let length = 16 * parts.len() as u32;
        self.descriptor(mem, self.table, head, (table, length, INDIRECT, 0));
        self.out.insert(head, vec![head]);
        self.offer_head(mem, head);
        Some(head)
    }

    fn write_parts(&self, mem: &GuestMemoryMmap, table: u64, indices: &[u16], parts: &[Part]) {
        for (at, part) in parts.iter().enumerate() {
            let last = at + 1 == parts.len();
            let mut flags = if last { 0 } else { NEXT };
            if part.writable {
                flags |= WRITE;
            }
            let next = if last { 0 } else { indices[at + 1] };
            let descriptor = (part.address, part.length, flags, next);
            self.descriptor(mem, table, indices[at], descriptor);
        }
    }

    /// Takes back the next chain that was used: its head and how many bytes were written.
    pub(crate) fn take(&mut self, mem: &GuestMemoryMmap) -> Option<(u16, u32)> {
        let index: u16 = mem
            .load(GuestAddress(self.used + 2), Ordering::Acquire)
            .unwrap();
        if index == self.next_used {
            return None;
        }
        let slot = GuestAddress(self.used + 4 + 8 * u64::from(self.next_used % self.size));
        let head: u32 = mem.read_obj(slot).unwrap();
        let length: u32 = mem.read_obj(slot.unchecked_add(4)).unwrap();
        self.next_used = self.next_used.wrapping_add(1);
        // What interrupts are wanted for: the next one (used_event).
        let event = self.avail + 4 + 2 * u64::from(self.size);
        mem.write_obj(self.next_used, GuestAddress(event)).unwrap();
        let head = u16::try_from(head).unwrap();
        let indices = self.out.remove(&head);
        let indices = indices.unwrap_or_else(|| panic!("head {head} came back and was not out"));
        self.free.extend(indices);
        Some((head, length))
    }

    /// Everything the device was offered so far.
    pub(crate) fn offered(&self) -> u16 {
        self.next_avail
    }

    /// Chains that are out.
    pub(crate) fn outstanding(&self) -> usize {
        self.out.len()
    }

    /// Whether the device wants to be kicked for chain number `index` (avail_event).
    pub(crate) fn wants_kick(&self, mem: &GuestMemoryMmap, index: u16) -> bool {
        let event = GuestAddress(self.used + 4 + 8 * u64::from(self.size));
        let event: u16 = mem.read_obj(event).unwrap();
        event == index
    }

    /// Whether the device asks for a kick now that everything from chain number `since` on is new:
    /// by avail_event if `event_idx`, otherwise by the used ring's flags.
    pub(crate) fn must_kick(&self, mem: &GuestMemoryMmap, since: u16, event_idx: bool) -> bool {
        fence(Ordering::SeqCst);
        if !event_idx {
            let flags: u16 = mem.read_obj(GuestAddress(self.used)).unwrap();
            return flags & 1 == 0;
        }
        let event = GuestAddress(self.used + 4 + 8 * u64::from(self.size));
        let event: u16 = mem.read_obj(event).unwrap();
        let new = self.next_avail;
        new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(since)
    }
}
