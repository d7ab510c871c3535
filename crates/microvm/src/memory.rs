//! The guest's RAM: one piece from address 0, below the devices' addresses.
#![allow(unsafe_code, reason = "RAM is handed to the kernel by address")]

use chardevd::DaemonError;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

/// The most RAM there can be; above are the devices.
pub const LIMIT: u64 = 3 << 30;
/// The least that a guest has room in.
const LEAST: u64 = 8 << 20;

/// Allocates RAM and gives it to the machine.
///
/// # Errors
/// The size is out of range, or the host has not that much.
pub fn create(vm: &VmFd, size: u64) -> Result<GuestMemoryMmap, DaemonError> {
    if !(LEAST..=LIMIT).contains(&size) {
        return Err(format!(
            "-m {}: choose from {} to {} MiB",
            size >> 20,
            LEAST >> 20,
            LIMIT >> 20
        )
        .into());
    }
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), size as usize)])
        .map_err(|error| format!("{} MiB of memory: {error}", size >> 20))?;
    for (slot, region) in (0..).zip(memory.iter()) {
        let address = memory
            .get_host_address(region.start_addr())
            .map_err(|error| format!("guest memory: {error}"))?;
        let described = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().raw_value(),
            memory_size: region.len(),
            userspace_addr: address as u64,
        };
        // SAFETY: the machine keeps the mapping alive for longer than it keeps the VM, and nothing
        // else in this process takes the guest's bytes for anything but bytes.
        unsafe { vm.set_user_memory_region(described) }
            .map_err(|error| format!("guest memory: {error}"))?;
    }
    Ok(memory)
}
