//! guest → [front: virtio-console over vhost-user] → chardev: surviving memory that a VMM takes
//! away.
//!
//! The VMM shares guest memory as a file and may cut that file short at any time; whoever touches
//! what is gone gets SIGBUS, which ends a process. Here a handler puts empty memory in the place of
//! the whole region and takes note of it: the access goes on with zeros, and the device whose
//! memory it was ends its connection. A process for each device would keep faults apart as well,
//! but every byte would have to go through one more; and copying by system calls that report the
//! fault would cost each ring access one.
#![allow(
    unsafe_code,
    reason = "a signal handler, and a mapping over guest memory"
)]

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, OnceLock, PoisonError};

/// How many regions of all devices together there can be.
const MAX_REGIONS: usize = 16384;

/// A region that the handler knows. One that is free has no length.
struct Slot {
    start: AtomicUsize,
    len: AtomicUsize,
    lost: AtomicBool,
}

static SLOTS: [Slot; MAX_REGIONS] = [const {
    Slot {
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        lost: AtomicBool::new(false),
    }
}; MAX_REGIONS];

/// No slot from here on has ever been used.
static USED: AtomicUsize = AtomicUsize::new(0);
static TAKING: Mutex<()> = Mutex::new(());
/// What was done about SIGBUS before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// A region of guest memory whose loss does not end the process. It must be dropped before the
/// region is unmapped.
#[derive(Debug)]
pub(crate) struct Guarded(usize);

impl Guarded {
    /// Guards the `len` bytes at `start`; `None` if there are too many regions.
    pub(crate) fn new(start: usize, len: usize) -> Option<Self> {
        install();
        let _taking = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let index = SLOTS.iter().position(|slot| slot.len.load(Relaxed) == 0)?;
        let slot = &SLOTS[index];
        slot.lost.store(false, Relaxed);
        slot.start.store(start, Relaxed);
        slot.len.store(len, Release);
        USED.fetch_max(index + 1, SeqCst);
        Some(Guarded(index))
    }

    /// Whether the region was taken away, as far as anybody has touched it since.
    pub(crate) fn is_lost(&self) -> bool {
        SLOTS[self.0].lost.load(Acquire)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        SLOTS[self.0].len.store(0, Release);
    }
}

fn install() {
    BEFORE.get_or_init(|| {
        // SAFETY: all zero is a valid `sigaction`. The handler does nothing that a signal may
        // interrupt: atomic operations and one system call.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut before);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
            before
        }
    });
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `info`.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // One that somebody sent has no address.
    if code > 0 && put_empty_memory(address) {
        return;
    }
    pass_on(signal, info, context);
}

/// Maps empty memory over the region that `address` lies in; `false` if it is nobody's.
fn put_empty_memory(address: usize) -> bool {
    for slot in &SLOTS[..USED.load(SeqCst)] {
        let len = slot.len.load(Acquire);
        let start = slot.start.load(Relaxed);
        if !(start..start.wrapping_add(len)).contains(&address) {
            continue;
        }
        slot.lost.store(true, Release);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: the range is a whole mapping of guest memory, which may change at any time and is
        // only accessed as such; it stays mapped for as long as the slot is taken.
        let mapped = unsafe { libc::mmap(start as *mut _, len, protection, flags, -1, 0) };
        return mapped != libc::MAP_FAILED;
    }
    false
}

/// Does what was done before there were guarded regions.
fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
    let before = BEFORE.get();
    match before.map(|before| (before.sa_sigaction, before.sa_flags)) {
        Some((handler, flags))
            if handler != libc::SIG_DFL
                && handler != libc::SIG_IGN
                && flags & libc::SA_SIGINFO != 0 =>
        {
            // SAFETY: it was installed as a handler of this kind.
            let handler: Handler = unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        _ => {
            // SAFETY: all zero is the default action. The instruction is done again and fails
            // again; a signal that was sent is sent again.
            unsafe {
                let default: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, &default, std::ptr::null_mut());
                if (*info).si_code <= 0 {
                    libc::raise(signal);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use vm_memory::{
        Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    };

    use super::*;

    fn mapped(size: u64) -> (File, GuestMemoryMmap) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        let shared = FileOffset::new(file.try_clone().unwrap(), 0);
        let range = (GuestAddress(0), size as usize, Some(shared));
        (
            file,
            GuestMemoryMmap::from_ranges_with_files([range]).unwrap(),
        )
    }

    #[test]
    fn memory_that_is_taken_away_becomes_empty_and_only_that() {
        let (lost, kept) = (mapped(1 << 20), mapped(1 << 20));
        let guard = |memory: &GuestMemoryMmap| {
            let region = memory.iter().next().unwrap();
            Guarded::new(region.as_ptr() as usize, region.len() as usize).unwrap()
        };
        let guards = [guard(&lost.1), guard(&kept.1)];
        for (_, memory) in [&lost, &kept] {
            memory.write_obj(7u64, GuestAddress(70_000)).unwrap();
        }
        assert!(!guards[0].is_lost());
        lost.0.set_len(0).unwrap();
        assert_eq!(lost.1.read_obj::<u64>(GuestAddress(70_000)).unwrap(), 0);
        lost.1.write_obj(8u64, GuestAddress(70_000)).unwrap();
        assert_eq!(lost.1.read_obj::<u64>(GuestAddress(70_000)).unwrap(), 8);
        assert_eq!(kept.1.read_obj::<u64>(GuestAddress(70_000)).unwrap(), 7);
        assert!(guards[0].is_lost() && !guards[1].is_lost());
    }
}
