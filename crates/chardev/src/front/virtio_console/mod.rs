//! guest → [front: virtio-console] → chardev → back → host: a virtio console with many ports.
//!
//! The device apart from its transport: virtio-mmio in a VMM, or vhost-user. It owns no queue and
//! no guest memory, it borrows them through [`Rings`] for as long as one batch takes. Output goes
//! from guest memory to the descriptor in one vectored write, input from the descriptor into the
//! guest's buffers, with no copy in between.
//!
//! A guest that pours output into a [`Role::Generic`] port is not asked to kick: its ring is looked
//! at every 40 to 320 µs until it falls silent. Kicks and interrupts cost it more than its bytes
//! do.
//!
//! # What a full back end means
//! A [`Role::Generic`] port waits: its buffers stay in the ring, the guest's writers sleep, nothing
//! is lost. The driver of a [`Role::Console`] port (Linux's hvc) waits for each buffer in a loop
//! with a lock held, so waiting would freeze the guest: by default such a port keeps
//! [`CONSOLE_BUFFER`] bytes and drops the newest beyond, counted in [`PortStats::dropped`] and in
//! the chardev's [`Stats::output_dropped`](chardev_core::Stats). [`WhenFull`] chooses otherwise.
//!
//! # Threads
//! Every method returns at once. The device is called from one thread at a time (a mutex around it
//! will do); the readiness of its chardevs arrives on the descriptor of [`AsFd`], whichever thread
//! caused it, and is worked off by [`VirtioConsole::handle_news`].
//!
//! # What a guest cannot do
//! Whatever it puts into a ring: nothing outside of its memory is touched, nothing panics, no call
//! takes longer than a few megabytes of copying, no memory grows beyond the buffers named above.

mod batch;
#[allow(
    unsafe_code,
    reason = "the edge to guest memory: checked slices as I/O vectors"
)]
mod chains;
mod config;
mod control;
mod dialogue;
mod output;
mod pace;
mod pending;
mod port;
mod ports;
mod space;
mod turns;
mod watch;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use virtio_queue::Queue;
use vm_memory::GuestMemory;

pub use self::config::{PortConfig, PortStats, Role, WhenFull};
use self::control::Tell;
use self::pending::{Clock, Pending};
use self::port::Port;
pub use self::ports::PortError;
pub use self::watch::{PortChange, PortWatch};

/// The virtio device id of a console.
pub const DEVICE_ID: u32 = 3;
/// The most ports of one device.
pub const MAX_PORTS: u16 = 31;
/// What a console port keeps while its back end takes nothing, unless told otherwise.
pub const CONSOLE_BUFFER: usize = 1 << 20;
/// The length of the configuration space: columns, rows, number of ports, emergency register.
pub const CONFIG_SIZE: usize = 12;

const F_SIZE: u64 = 1 << 0;
/// The feature that a driver takes control messages, so that there can be more ports than one.
pub const F_MULTIPORT: u64 = 1 << 1;
const F_EMERG_WRITE: u64 = 1 << 2;
const F_INDIRECT_DESC: u64 = 1 << 28;
const F_EVENT_IDX: u64 = 1 << 29;
const F_VERSION_1: u64 = 1 << 32;

/// Every feature the device has; the transport may add its own.
pub const FEATURES: u64 =
    F_SIZE | F_MULTIPORT | F_EMERG_WRITE | F_INDIRECT_DESC | F_EVENT_IDX | F_VERSION_1;

/// The queue of control messages to the guest.
pub const CONTROL_IN: usize = 2;
/// The queue of control messages from the guest.
pub const CONTROL_OUT: usize = 3;

/// What a transport lends the device.
pub trait Rings {
    /// The guest's memory.
    type Memory: GuestMemory;

    /// Runs `action` with the queue `index` and guest memory; `None` while the driver has not set
    /// the queue up.
    fn with<R>(
        &mut self,
        index: usize,
        action: impl FnOnce(&mut Queue, &Self::Memory) -> R,
    ) -> Option<R>;

    /// Interrupts the guest for the queue `index`.
    fn notify(&mut self, index: usize);
}

/// A place for a port, and what the guest has not been told of it yet.
#[derive(Debug, Default)]
struct Slot {
    port: Option<Port>,
    tell: Tell,
}

/// The device.
#[derive(Debug)]
#[doc(alias = "virtio-serial")]
pub struct VirtioConsole {
    slots: Vec<Slot>,
    pending: Arc<Pending>,
    clock: Clock,
    watch: PortWatch,
    /// The driver takes control messages at all.
    multiport: bool,
    /// The driver said so.
    ready: bool,
}

impl VirtioConsole {
    /// A device with room for `max_ports` ports (at least 1, at most [`MAX_PORTS`]).
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn new(max_ports: u16) -> io::Result<Self> {
        let count = max_ports.clamp(1, MAX_PORTS);
        let pending = Pending::new()?;
        Ok(VirtioConsole {
            slots: (0..count).map(|_| Slot::default()).collect(),
            clock: Clock::new(&pending)?,
            pending,
            watch: PortWatch::new(),
            multiport: false,
            ready: false,
        })
    }

    /// How many queues the device has: two for each port, and two for control messages.
    pub fn queue_count(&self) -> usize {
        2 * self.slots.len() + 2
    }

    /// The driver chose among [`FEATURES`].
    pub fn set_driver_features(&mut self, features: u64) {
        self.multiport = features & F_MULTIPORT != 0;
        if !self.multiport {
            if let Some(port) = self.port_mut(0) {
                port.set_guest_open(true);
            }
        }
    }

    /// The driver kicked the queue `index`.
    pub fn queue_kicked(&mut self, index: usize, rings: &mut impl Rings) {
        match (index, self.multiport) {
            (0, _) => self.receive(0, rings),
            (1, _) => self.transmit(0, rings),
            (CONTROL_IN, true) => self.tell(rings),
            (CONTROL_OUT, true) => self.hear(rings),
            (_, true) if index % 2 == 0 => self.receive(index / 2 - 1, rings),
            (_, true) => self.transmit(index / 2 - 1, rings),
            _ => {}
        }
    }

    /// Works off what happened to the chardevs; called when [`AsFd`]'s descriptor is readable.
    pub fn handle_news(&mut self, rings: &mut impl Rings) {
        let (input, output) = self.pending.take();
        let late = self.clock.take();
        let output = output | late;
        for port in 0..self.slots.len() {
            if let Some(port) = self.port(port).filter(|_| late & 1 << port != 0) {
                port.pace.late();
            }
            if output & 1 << port != 0 {
                self.transmit(port, rings);
            }
            if input & 1 << port != 0 {
                self.receive(port, rings);
            }
        }
        self.tell(rings);
    }

    /// The driver is gone, or the guest starts anew. Chardevs and their peers stay as they are.
    pub fn reset(&mut self) {
        self.ready = false;
        self.multiport = false;
        for slot in &mut self.slots {
            slot.tell = Tell::empty();
            if let Some(port) = &mut slot.port {
                port.reset();
            }
        }
    }

    /// This process took over a device whose driver is running: it will not say again that it is
    /// ready, nor which ports are open, so all are taken to be.
    pub fn resume(&mut self) {
        if self.ready || !self.multiport {
            return;
        }
        self.ready = true;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let Some(port) = &mut slot.port {
                port.guest_ready = true;
                port.set_guest_open(true);
                slot.tell = Tell::OPEN;
                self.pending.input_again(index);
                self.pending.output_again(index);
            }
        }
    }

    /// The transport stops the queue `index` and will remember where it stands: a chain that the
    /// back end took a part of is finished, its rest taken in hand.
    pub fn stop_queue(&mut self, index: usize, rings: &mut impl Rings) {
        let port = match index {
            1 => 0,
            5.. if index % 2 == 1 => index / 2 - 1,
            _ => return,
        };
        let Some(port) = self.port(port) else {
            return;
        };
        if rings.with(index, |queue, mem| port.stop(queue, mem)) == Some(true) {
            rings.notify(index);
        }
    }

    /// Tries to send what ports have in hand; for a transport that has stopped.
    pub fn flush(&mut self) {
        for slot in &mut self.slots {
            if let Some(port) = &mut slot.port {
                port.flush_backlog();
            }
        }
    }
}

impl AsFd for VirtioConsole {
    /// Readable while [`VirtioConsole::handle_news`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pending.as_fd()
    }
}
