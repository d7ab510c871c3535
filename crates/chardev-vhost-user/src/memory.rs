//! guest → [front: virtio-console over vhost-user] → chardev: the guest memory of one connection.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::{
    GuestAddressSpace, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap,
};

use crate::guard::Guarded;

pub(crate) type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// The memory tables that are in use, guarded for as long as they are.
#[derive(Debug, Default)]
pub(crate) struct Guards(Mutex<Vec<Guard>>);

/// The fields in this order: a region is given up by its guard before it is unmapped.
#[derive(Debug)]
struct Guard {
    regions: Vec<Guarded>,
    table: Arc<GuestMemoryMmap>,
}

impl Guards {
    /// Takes in the table that the VMM has given just now.
    ///
    /// # Errors
    /// A region is longer than the file it lies in, or there are too many.
    pub(crate) fn cover(&self, memory: &Memory) -> io::Result<()> {
        let table = memory.memory().into_inner();
        let mut guards = self.lock();
        // Nobody but us has a table that was replaced and is not being used.
        guards.retain(|guard| Arc::strong_count(&guard.table) > 1);
        let regions: Option<Vec<_>> = table
            .iter()
            .map(|region| Guarded::new(region.as_ptr() as usize, region.len() as usize))
            .collect();
        let regions = regions.ok_or_else(|| io::Error::other("too many memory regions"))?;
        // Guarded before it is refused, because the library has put it in place already.
        let checked = table.iter().try_for_each(check_size);
        guards.push(Guard { regions, table });
        checked
    }

    /// Whether memory was taken away.
    pub(crate) fn is_lost(&self) -> bool {
        let guards = self.lock();
        guards
            .iter()
            .any(|guard| guard.regions.iter().any(Guarded::is_lost))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Guard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// # Errors
/// The region ends behind its file.
fn check_size(region: &GuestRegionMmap) -> io::Result<()> {
    let Some(place) = region.file_offset() else {
        return Ok(());
    };
    let file = place.file().metadata()?;
    let end = place.start().checked_add(region.len());
    // What is no file, such as a device, has no size of its own.
    if file.is_file() && end.is_none_or(|end| end > file.size()) {
        return Err(io::Error::other(format!(
            "a memory region of {} bytes at offset {} is longer than its file of {} bytes",
            region.len(),
            place.start(),
            file.size()
        )));
    }
    Ok(())
}
