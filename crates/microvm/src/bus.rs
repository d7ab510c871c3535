//! guest → \[machine\] → front → chardev → back: I/O ports and addresses to devices.

use chardev::front::uart16550::SharedUart;
use chardev::front::virtio_console::PortWatch;

use crate::virtio::{self, VirtioMmio};

/// The keyboard controller's command port, and its command that resets the machine.
const KEYBOARD_COMMAND: u16 = 0x64;
const PULSE_RESET: u8 = 0xfe;
/// A byte written here ends the machine with that status.
const EXIT: u16 = 0xf4;

/// What the guest asked of the machine by a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Nothing, or only something of a device.
    None,
    /// To start again.
    Reset,
    /// To be switched off, with a status.
    PowerOff(u8),
}

/// The devices.
#[derive(Default)]
pub struct Bus {
    serial: Vec<(u16, SharedUart)>,
    virtio: Option<VirtioMmio>,
}

impl Bus {
    /// Adds a serial port at `base`.
    pub fn add_serial(&mut self, base: u16, uart: SharedUart) {
        self.serial.push((base, uart));
    }

    /// Puts the virtio console at its address.
    pub fn set_virtio(&mut self, virtio: VirtioMmio) {
        self.virtio = Some(virtio);
    }

    /// Which of the virtio console's ports the guest opens and closes, if there are any.
    pub fn port_watch(&self) -> Option<PortWatch> {
        self.virtio.as_ref().map(VirtioMmio::watch)
    }

    /// The guest reads memory that is no RAM. Where there is nothing it reads ones.
    pub fn read_memory(&self, address: u64, data: &mut [u8]) {
        match self.virtio_at(address) {
            Some((virtio, offset)) => virtio.read(offset, data),
            None => data.fill(0xff),
        }
    }

    /// The guest writes memory that is no RAM.
    pub fn write_memory(&self, address: u64, data: &[u8]) {
        if let Some((virtio, offset)) = self.virtio_at(address) {
            virtio.write(offset, data);
        }
    }

    /// The guest reads `values.len()` times from `port`. Where there is nothing it reads ones.
    pub fn read(&self, port: u16, values: &mut [u8]) {
        match self.find(port) {
            Some((uart, offset)) => uart.read_burst(offset, values),
            // A keyboard controller that is idle has nothing to read and takes every command.
            None if port == KEYBOARD_COMMAND => values.fill(0),
            None => values.fill(0xff),
        }
    }

    /// The guest writes `values` to `port`, one after the other.
    pub fn write(&self, port: u16, values: &[u8]) -> Request {
        if let Some((uart, offset)) = self.find(port) {
            uart.write_burst(offset, values);
            return Request::None;
        }
        match (port, values.last()) {
            (KEYBOARD_COMMAND, Some(&PULSE_RESET)) => Request::Reset,
            (EXIT, Some(&status)) => Request::PowerOff(status),
            _ => Request::None,
        }
    }

    /// Resets every device; peers stay connected.
    pub fn reset(&self) {
        for (_, uart) in &self.serial {
            uart.reset();
        }
        if let Some(virtio) = &self.virtio {
            virtio.reset();
        }
    }

    fn virtio_at(&self, address: u64) -> Option<(&VirtioMmio, u64)> {
        let offset = address.checked_sub(virtio::ADDRESS)?;
        let virtio = self.virtio.as_ref()?;
        (offset < virtio::SIZE).then_some((virtio, offset))
    }

    fn find(&self, port: u16) -> Option<(&SharedUart, u8)> {
        let found = self.serial.iter().find(|(base, _)| port & !7 == *base)?;
        Some((&found.1, (port & 7) as u8))
    }
}
