//! Where epochs come from: the kernel's random numbers, which the core does not know.

use chardev_core::Epoch;
use rustix::rand::{GetRandomFlags, getrandom};

/// One that nobody has had before.
pub fn fresh() -> Epoch {
    loop {
        let mut bytes = [0; 8];
        let mut filled = 0;
        while filled < bytes.len() {
            // It fails for an interruption alone, and only until the kernel has booted.
            if let Ok(count) = getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
                filled += count;
            }
        }
        match u64::from_ne_bytes(bytes) {
            0 => {}
            number => return Epoch::new(number),
        }
    }
}
