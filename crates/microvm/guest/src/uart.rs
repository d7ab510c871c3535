//! A driver of our own for a 16550A.

use crate::Channel;
use crate::machine::{inb, insb, outb, outsb};

/// The first serial port.
pub const COM1: u16 = 0x3f8;
/// The second one.
pub const COM2: u16 = 0x2f8;

/// A character has come.
const DATA_READY: u8 = 0x01;
/// A break has come.
const BREAK: u8 = 0x10;
/// The transmitter takes a whole FIFO.
const TRANSMITTER_EMPTY: u8 = 0x20;

/// How many bytes the transmitter takes when it is empty.
const FIFO: usize = 16;
/// The receiver's trigger level, and its bits in the FIFO control register.
const TRIGGER: usize = 14;
const TRIGGER_BITS: u8 = 0xc0;

/// A serial port.
pub struct Uart(u16);

impl Uart {
    /// The port at `base` as it is.
    pub fn at(base: u16) -> Self {
        Uart(base)
    }

    /// Sets the port at `base` up: 115200 8N1, FIFO, DTR and RTS. The interrupts are enabled in the
    /// port, because that is what makes it say why; nothing listens to them.
    pub fn start(base: u16) -> Self {
        let uart = Uart(base);
        outb(base + 1, 0);
        uart.set_params(1, 0x03);
        outb(base + 2, TRIGGER_BITS | 0x01);
        uart.set_modem(0x03);
        outb(base + 1, 0x01);
        uart
    }

    /// Sets the divisor and the line control register.
    pub fn set_params(&self, divisor: u16, lcr: u8) {
        outb(self.0 + 3, 0x80);
        outb(self.0, divisor as u8);
        outb(self.0 + 1, (divisor >> 8) as u8);
        outb(self.0 + 3, lcr);
    }

    /// Sets DTR (1) and RTS (2).
    pub fn set_modem(&self, lines: u8) {
        outb(self.0 + 4, 0x08 | lines);
    }

    /// The line status register.
    pub fn status(&self) -> u8 {
        inb(self.0 + 5)
    }

    /// Reads what is known to be there after [`DATA_READY`]: a whole trigger level if that has
    /// come, else one byte.
    fn read_ready(&self, buffer: &mut [u8; FIFO]) -> usize {
        let count = if inb(self.0 + 2) & 0x0f == 0x04 {
            TRIGGER
        } else {
            1
        };
        insb(self.0, &mut buffer[..count]);
        count
    }

    /// Sends everything, waiting for the transmitter.
    pub fn print(&self, bytes: &[u8]) {
        for part in bytes.chunks(FIFO) {
            while self.status() & TRANSMITTER_EMPTY == 0 {}
            outsb(self.0, part);
        }
        // What is in the FIFO goes on its way when somebody looks.
        self.status();
    }

    /// Waits for a byte.
    pub fn read_byte(&self) -> u8 {
        while self.status() & DATA_READY == 0 {}
        inb(self.0)
    }

    /// Waits for a line and returns its length without the end.
    pub fn read_line(&self, line: &mut [u8]) -> usize {
        let mut length = 0;
        loop {
            match self.read_byte() {
                b'\n' => return length,
                byte if length < line.len() => {
                    line[length] = byte;
                    length += 1;
                }
                _ => {}
            }
        }
    }

    /// Sends a break, for as long as the host takes to see both its ends.
    pub fn send_break(&self) {
        let lcr = inb(self.0 + 3);
        outb(self.0 + 3, lcr | 0x40);
        outb(self.0 + 3, lcr & !0x40);
    }

    /// Waits for a break and takes its character out.
    pub fn await_break(&self) {
        loop {
            let status = self.status();
            if status & BREAK != 0 {
                inb(self.0);
                return;
            }
            if status & DATA_READY != 0 {
                inb(self.0);
            }
        }
    }

    /// Whether the port gives the reasons for interrupts that it should: the transmitter's when it
    /// is enabled, once, and again after a byte.
    pub fn check_interrupts(&self) -> bool {
        let reason = || inb(self.0 + 2) & 0x0f;
        while self.status() & TRANSMITTER_EMPTY == 0 {}
        outb(self.0 + 1, 0x02);
        let enabled = (reason(), reason());
        outb(self.0, b'i');
        while self.status() & TRANSMITTER_EMPTY == 0 {}
        let sent = (reason(), reason());
        outb(self.0 + 1, 0x01);
        enabled == (0x02, 0x01) && sent == (0x02, 0x01)
    }
}

impl Channel for Uart {
    fn poll(&mut self) -> (bool, bool) {
        let status = self.status();
        (status & DATA_READY != 0, status & TRANSMITTER_EMPTY != 0)
    }

    fn read(&mut self, take: &mut dyn FnMut(&[u8])) {
        let mut buffer = [0; FIFO];
        let count = self.read_ready(&mut buffer);
        take(&buffer[..count]);
    }

    fn send(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) {
        let mut buffer = [0; FIFO];
        let count = fill(&mut buffer);
        outsb(self.0, &buffer[..count]);
    }
}
