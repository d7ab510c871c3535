//! guest → [front: virtio-console over vhost-user] → chardev → back → host: a ring whose interrupt
//! descriptor may be replaced.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chardev::front::event_counter;
use vhost_user_backend::{VringMutex, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::Error;

use crate::memory::Memory;

/// The library's ring. A VMM may name another descriptor for interrupts at any time, for example
/// while its guest masks them: what went to the old one may never reach the guest, which then waits
/// for ever. An interrupt too many only makes it look.
#[derive(Clone)]
pub(crate) struct Vring {
    ring: VringMutex,
    /// There was an interrupt, also if there was no descriptor for it.
    interrupted: Arc<AtomicBool>,
}

impl<'a> VringStateGuard<'a, Memory> for Vring {
    type G = <VringMutex as VringStateGuard<'a, Memory>>::G;
}

impl<'a> VringStateMutGuard<'a, Memory> for Vring {
    type G = <VringMutex as VringStateMutGuard<'a, Memory>>::G;
}

impl VringT<Memory> for Vring {
    fn new(mem: Memory, max_queue_size: u16) -> Result<Self, Error> {
        Ok(Vring {
            ring: VringMutex::new(mem, max_queue_size)?,
            interrupted: Arc::default(),
        })
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        // Noted before the descriptor is looked at, which is replaced before this is looked at.
        self.interrupted.store(true, Ordering::SeqCst);
        self.ring.signal_used_queue()
    }

    fn set_call(&self, file: Option<File>) {
        self.ring.set_call(file.and_then(counter));
        if self.interrupted.load(Ordering::SeqCst) {
            // A VMM that has gone needs no interrupt.
            let _ = self.ring.signal_used_queue();
        }
    }

    fn get_ref(&self) -> <Self as VringStateGuard<'_, Memory>>::G {
        self.ring.get_ref()
    }

    fn get_mut(&self) -> <Self as VringStateMutGuard<'_, Memory>>::G {
        self.ring.get_mut()
    }

    fn add_used(&self, desc_index: u16, len: u32) -> Result<(), Error> {
        self.ring.add_used(desc_index, len)
    }

    fn enable_notification(&self) -> Result<bool, Error> {
        self.ring.enable_notification()
    }

    fn disable_notification(&self) -> Result<(), Error> {
        self.ring.disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, Error> {
        self.ring.needs_notification()
    }

    fn set_enabled(&self, enabled: bool) {
        self.ring.set_enabled(enabled);
    }

    fn set_queue_info(&self, desc: u64, avail: u64, used: u64) -> Result<(), Error> {
        self.ring.set_queue_info(desc, avail, used)
    }

    fn queue_next_avail(&self) -> u16 {
        self.ring.queue_next_avail()
    }

    fn set_queue_next_avail(&self, base: u16) {
        self.ring.set_queue_next_avail(base);
    }

    fn set_queue_next_used(&self, index: u16) {
        self.ring.set_queue_next_used(index);
    }

    fn queue_used_idx(&self) -> Result<u16, Error> {
        self.ring.queue_used_idx()
    }

    fn set_queue_size(&self, size: u16) {
        self.ring.set_queue_size(size);
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        self.ring.set_queue_event_idx(enabled);
    }

    fn set_queue_ready(&self, ready: bool) {
        self.ring.set_queue_ready(ready);
    }

    fn set_kick(&self, file: Option<File>) {
        self.ring.set_kick(file.and_then(counter));
    }

    /// Somebody else may have read it first, which is no failure: that would end the thread.
    fn read_kick(&self) -> io::Result<bool> {
        let read = self.ring.read_kick();
        read.or_else(|_| Ok(self.ring.get_ref().is_enabled()))
    }

    fn set_err(&self, file: Option<File>) {
        self.ring.set_err(file.and_then(counter));
    }
}

/// A descriptor of the VMM for kicks or interrupts, unless it is of no use as one.
fn counter(file: File) -> Option<File> {
    let counter = event_counter(file);
    if counter.is_none() {
        tracing::warn!("vhost-user: the VMM passed a descriptor that is not an eventfd");
    }
    counter
}
