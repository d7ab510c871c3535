//! guest ↔ [front: virtio-console]: the messages of the control queue (virtio 1.3, 5.3.6.2).

use bitflags::bitflags;
use chardev_core::TerminalSize;

/// From the guest: the driver is there (1), or failed (0).
pub(super) const DEVICE_READY: u16 = 0;
/// To the guest: there is such a port.
pub(super) const DEVICE_ADD: u16 = 1;
/// To the guest: the port is gone.
pub(super) const DEVICE_REMOVE: u16 = 2;
/// From the guest: the port is set up (1), or is not wanted (0).
pub(super) const PORT_READY: u16 = 3;
/// To the guest: the port is a console.
pub(super) const CONSOLE_PORT: u16 = 4;
/// To the guest: the size of a console's terminal.
pub(super) const RESIZE: u16 = 5;
/// Both ways: somebody opened (1) or closed (0) the port on the sender's side.
pub(super) const PORT_OPEN: u16 = 6;
/// To the guest: the port's name.
pub(super) const PORT_NAME: u16 = 7;

/// The length of a message without what some carry behind it.
pub(super) const HEADER: usize = 8;

/// A message from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) port: u32,
    pub(super) event: u16,
    pub(super) value: u16,
}

impl Message {
    /// Reads a message; what follows it is ignored.
    pub(super) fn parse(bytes: [u8; HEADER]) -> Self {
        let [p0, p1, p2, p3, e0, e1, v0, v1] = bytes;
        Message {
            port: u32::from_le_bytes([p0, p1, p2, p3]),
            event: u16::from_le_bytes([e0, e1]),
            value: u16::from_le_bytes([v0, v1]),
        }
    }
}

/// A message to the guest, as it goes on the wire.
pub(super) fn message(port: usize, event: u16, value: u16, behind: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + behind.len());
    bytes.extend_from_slice(&(port as u32).to_le_bytes());
    bytes.extend_from_slice(&event.to_le_bytes());
    bytes.extend_from_slice(&value.to_le_bytes());
    bytes.extend_from_slice(behind);
    bytes
}

/// What lies behind RESIZE: columns, then rows.
pub(super) fn size(size: TerminalSize) -> [u8; 4] {
    let [c0, c1] = size.cols.to_le_bytes();
    let [r0, r1] = size.rows.to_le_bytes();
    [c0, c1, r0, r1]
}

bitflags! {
    /// What the guest is still to be told of a port, in this order. A set of bits instead of a
    /// queue: a guest that offers no room for messages makes nothing grow, and hears the latest
    /// later.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Tell: u8 {
        const REMOVE = 1;
        const ADD = 2;
        const CONSOLE = 4;
        const NAME = 8;
        const SIZE = 16;
        const OPEN = 32;
    }
}
