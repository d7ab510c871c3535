//! guest → [front: 16550A over vfio-user] → chardev → back → host: a serial port with hotswap for
//! any VMM that has a vfio-user slot, without code of its own.
//!
//! The card is what QEMU calls `pci-serial` (1b36:0002, class 0700, programming interface 16550):
//! one port in eight bytes of I/O space at BAR 0, interrupt pin A. Linux drives it with 8250_pci.
//! The VMM connects to a Unix socket and sends every access of the guest as a message; interrupts
//! go back through an event descriptor, so the chardev's news reach the guest without the VMM
//! asking.
//!
//! One VMM is served at a time. The port outlives it, as a serial port outlives a reboot.
//!
//! # Trust
//! The guest is not trusted: it can only read and write registers, see
//! [`chardev::front::uart16550`]. The VMM is trusted not to exhaust memory, because the `vfio_user`
//! library allocates what a message asks for; one that breaks the protocol ends its own connection.

#![forbid(unsafe_code)]

mod card;
mod irq;
mod server;

pub use server::{Error, Server, Stopper};
