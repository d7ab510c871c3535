//! guest → [front: virtio-console] → chardev → back → host: the configuration space.

use chardev_core::TerminalSize;

use super::{CONFIG_SIZE, VirtioConsole, control};

/// The emergency register.
const EMERGENCY: u64 = 8;

impl VirtioConsole {
    /// Reads the configuration space; zero where there is none.
    pub fn read_config(&self, offset: u64, data: &mut [u8]) {
        let size = self.port_ref(0).and_then(|port| port.front.size());
        let size = size.unwrap_or(TerminalSize { cols: 0, rows: 0 });
        let mut config = [0; CONFIG_SIZE];
        config[..4].copy_from_slice(&control::size(size));
        config[4..8].copy_from_slice(&(self.slots.len() as u32).to_le_bytes());
        for (index, byte) in data.iter_mut().enumerate() {
            let at = usize::try_from(offset)
                .ok()
                .and_then(|at| at.checked_add(index));
            *byte = at.and_then(|at| config.get(at)).copied().unwrap_or(0);
        }
    }

    /// Writes the configuration space. Only the emergency register does anything: its low byte goes
    /// to port 0 as output, even of a driver that is not there yet.
    pub fn write_config(&mut self, offset: u64, data: &[u8]) {
        if offset == EMERGENCY {
            if let (Some(byte), Some(port)) = (data.first(), self.port_mut(0)) {
                port.put(*byte);
            }
        }
    }
}
