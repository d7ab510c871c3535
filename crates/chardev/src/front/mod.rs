//! guest → \[front\] → chardev → back → host: devices, and handles for devices that a VMM has
//! already.
//!
//! Nothing here knows a back end: a front end sees a [`FrontEnd`](chardev_core::FrontEnd) only.

mod event_fd;
pub mod handle;
#[cfg(feature = "vm-superio")]
pub mod superio;
#[cfg(feature = "uart16550")]
pub mod uart16550;
#[cfg(feature = "virtio-console")]
pub mod virtio_console;

pub use event_fd::event_counter;
