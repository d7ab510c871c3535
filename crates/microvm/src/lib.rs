//! A small virtual machine whose consoles can be changed while it runs: what a VMM author copies
//! from, and a product of its own.
//!
//! ```text
//!   cli ─▶ chardevd: chardevs, monitors ─┐   (qmp: commands of the machine's own)
//!      └─▶ machine: vCPU thread ─▶ bus ─▶ front::uart16550 ─▶ chardev
//!             ├ memory: RAM              └▶ virtio ─▶ front::virtio_console ─▶ chardev
//!             └ boot: kernel, initrd, page tables, registers
//! ```
//!
//! One vCPU, RAM, the interrupt controllers and timer that KVM has, serial ports COM1 and COM2, a
//! virtio console with any number of ports on virtio-mmio, and the keyboard controller's reset. A
//! kernel is a 64-bit ELF file or a bzImage.
#![deny(unsafe_code)]

pub mod boot;
pub mod bus;
pub mod cli;
pub mod machine;
pub mod memory;
mod qmp;
pub mod virtio;
