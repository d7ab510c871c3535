//! guest ← [front: 16550A over vfio-user] ← chardev: the interrupt pin, as VFIO wants it.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev::front::event_counter;

/// The pin of a PCI card. VFIO's rule: a high level is told once, and again after the VMM has
/// unmasked it, if it is still high then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pin(Arc<Mutex<Level>>);

#[derive(Debug, Default)]
struct Level {
    high: bool,
    masked: bool,
    event: Option<File>,
}

impl Pin {
    /// The port's output is `high` from now on.
    pub(crate) fn set_level(&self, high: bool) {
        let mut state = self.lock();
        state.high = high;
        state.tell();
    }

    /// Where the VMM waits; `None` for nowhere.
    pub(crate) fn set_event(&self, event: Option<File>) {
        let mut state = self.lock();
        state.event = event.and_then(event_counter);
        state.masked = false;
        state.tell();
    }

    pub(crate) fn set_masked(&self, masked: bool) {
        let mut state = self.lock();
        state.masked = masked;
        state.tell();
    }

    fn lock(&self) -> MutexGuard<'_, Level> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Level {
    fn tell(&mut self) {
        if !self.high || self.masked {
            return;
        }
        if let Some(event) = &mut self.event {
            self.masked = true;
            // A VMM that has gone needs no interrupt, and a full counter is one.
            let _ = event.write_all(&1u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    fn count(event: &mut File) -> u64 {
        let mut bytes = [0; 8];
        match event.read_exact(&mut bytes) {
            Ok(()) => u64::from_ne_bytes(bytes),
            Err(_) => 0,
        }
    }

    #[test]
    fn a_level_is_told_once_and_again_when_unmasked() {
        let pin = Pin::default();
        let mut event = File::from(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        pin.set_level(true);
        assert_eq!(count(&mut event), 0);
        pin.set_event(Some(event.try_clone().unwrap()));
        assert_eq!(count(&mut event), 1, "a level that was high before");
        pin.set_level(true);
        assert_eq!(count(&mut event), 0, "masked by being told");
        pin.set_masked(false);
        assert_eq!(count(&mut event), 1, "still high");
        pin.set_level(false);
        pin.set_masked(false);
        assert_eq!(count(&mut event), 0);
        pin.set_masked(true);
        pin.set_level(true);
        assert_eq!(count(&mut event), 0);
        pin.set_event(None);
        pin.set_masked(false);
        assert_eq!(count(&mut event), 0);
    }
}
