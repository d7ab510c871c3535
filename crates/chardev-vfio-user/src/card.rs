//! guest → [front: 16550A over vfio-user] → chardev → back → host: the card that a guest finds.

use std::fs::File;
use std::io::{self, ErrorKind};

use chardev::front::uart16550::SharedUart;
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_AUTOMASKED, VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_MASKABLE,
    VFIO_IRQ_SET_ACTION_MASK, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_ACTION_UNMASK,
    VFIO_IRQ_SET_DATA_EVENTFD, VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS, VFIO_REGION_INFO_FLAG_READ,
    VFIO_REGION_INFO_FLAG_WRITE, vfio_region_info,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, ServerBackend, ServerRegion};

use crate::irq::Pin;

/// The registers of a 16550A.
const PORT_SIZE: u64 = 8;
/// The configuration space of a PCI card.
const CONFIG_SIZE: usize = 256;

/// Offsets in the configuration space that can be written.
const COMMAND: usize = 0x04;
const INTERRUPT_LINE: usize = 0x3c;

/// What the library calls for one connection.
pub(crate) struct Card {
    uart: SharedUart,
    pin: Pin,
    config: [u8; CONFIG_SIZE],
}

impl Card {
    pub(crate) fn new(uart: SharedUart, pin: Pin) -> Self {
        let mut config = [0; CONFIG_SIZE];
        let mut put = |offset: usize, bytes: &[u8]| {
            config[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        // Vendor, device: what drivers know as a 16550A alone on a card.
        put(0x00, &[0x36, 0x1b, 0x02, 0x00]);
        // Revision, then programming interface 16550, serial controller, communication.
        put(0x08, &[0x01, 0x02, 0x00, 0x07]);
        // BAR 0 is in I/O space.
        put(0x10, &[0x01]);
        // The subsystem: QEMU's, as for all its cards.
        put(0x2c, &[0xf4, 0x1a, 0x00, 0x11]);
        // Interrupt pin A.
        put(0x3d, &[0x01]);
        Card { uart, pin, config }
    }

    /// The regions: eight registers, and the configuration space.
    pub(crate) fn regions() -> Vec<ServerRegion> {
        let region = |index| {
            let size = match index {
                VFIO_PCI_BAR0_REGION_INDEX => PORT_SIZE,
                VFIO_PCI_CONFIG_REGION_INDEX => CONFIG_SIZE as u64,
                _ => 0,
            };
            let flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
            ServerRegion {
                region_info: vfio_region_info {
                    argsz: size_of::<vfio_region_info>() as u32,
                    index,
                    size,
                    flags: if size > 0 { flags } else { 0 },
                    ..Default::default()
                },
                sparse_areas: Vec::new(),
                mmap_fd: None,
            }
        };
        (0..VFIO_PCI_NUM_REGIONS).map(region).collect()
    }

    /// The interrupts: one pin, no messages.
    pub(crate) fn irqs() -> Vec<IrqInfo> {
        let irq = |index| match index {
            VFIO_PCI_INTX_IRQ_INDEX => IrqInfo {
                index,
                flags: VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED,
                count: 1,
            },
            _ => IrqInfo {
                index,
                flags: 0,
                count: 0,
            },
        };
        (0..VFIO_PCI_NUM_IRQS).map(irq).collect()
    }

    /// The VMM has gone.
    pub(crate) fn end(&self) {
        self.pin.set_event(None);
    }
}

impl ServerBackend for Card {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        match region {
            VFIO_PCI_BAR0_REGION_INDEX => {
                check(offset, data.len(), PORT_SIZE as usize)?;
                for (offset, byte) in (offset as u8..).zip(data) {
                    *byte = self.uart.read(offset);
                }
            }
            VFIO_PCI_CONFIG_REGION_INDEX => {
                let start = check(offset, data.len(), CONFIG_SIZE)?;
                data.copy_from_slice(&self.config[start..start + data.len()]);
            }
            _ => return Err(no_such("region")),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        match region {
            VFIO_PCI_BAR0_REGION_INDEX => {
                check(offset, data.len(), PORT_SIZE as usize)?;
                for (offset, byte) in (offset as u8..).zip(data) {
                    self.uart.write(offset, *byte);
                }
            }
            VFIO_PCI_CONFIG_REGION_INDEX => {
                let start = check(offset, data.len(), CONFIG_SIZE)?;
                for (offset, byte) in (start..).zip(data) {
                    if [COMMAND, COMMAND + 1, INTERRUPT_LINE].contains(&offset) {
                        self.config[offset] = *byte;
                    }
                }
            }
            _ => return Err(no_such("region")),
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        _flags: DmaMapFlags,
        _offset: u64,
        _address: u64,
        _size: u64,
        _memory: Option<File>,
    ) -> io::Result<()> {
        // A serial port touches no memory.
        Ok(())
    }

    fn dma_unmap(&mut self, _flags: DmaUnmapFlags, _address: u64, _size: u64) -> io::Result<()> {
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.uart.reset();
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        _start: u32,
        count: u32,
        mut events: Vec<File>,
    ) -> io::Result<()> {
        if index != VFIO_PCI_INTX_IRQ_INDEX {
            // None of the others has any interrupt, so there is nothing to set.
            return Ok(());
        }
        let by_event = flags & VFIO_IRQ_SET_DATA_EVENTFD != 0;
        if flags & VFIO_IRQ_SET_ACTION_TRIGGER != 0 {
            let event = events.pop().filter(|_| by_event && count > 0);
            self.pin.set_event(event);
        } else if by_event {
            return Err(no_such("way to mask or unmask by a descriptor"));
        } else if flags & VFIO_IRQ_SET_ACTION_MASK != 0 {
            self.pin.set_masked(true);
        } else if flags & VFIO_IRQ_SET_ACTION_UNMASK != 0 {
            self.pin.set_masked(false);
        }
        Ok(())
    }
}

/// Where an access begins, if it lies in a region of `size` bytes.
fn check(offset: u64, length: usize, size: usize) -> io::Result<usize> {
    let start = usize::try_from(offset).ok();
    let start = start.filter(|start| start.checked_add(length).is_some_and(|end| end <= size));
    start.ok_or_else(|| no_such("offset"))
}

fn no_such(what: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidInput,
        format!("the card has no such {what}"),
    )
}
