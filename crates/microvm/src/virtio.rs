//! guest → [virtio-mmio] → front: virtio-console → chardev → back: the console's seat on the memory
//! bus.
//!
//! The registers of virtio-mmio, version 2. A vCPU's access works the queues off at once; what the
//! chardevs have to say arrives on a thread of its own.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use chardev::FrontEnd;
use chardev::front::virtio_console::{
    DEVICE_ID, FEATURES, PortConfig, PortError, PortWatch, Rings, VirtioConsole,
};
use chardevd::DaemonError;
use rustix::event::{PollFd, PollFlags, poll};
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemoryMmap;

/// Where the registers are, above RAM, and how many bytes they take.
pub const ADDRESS: u64 = 0xd000_0000;
/// The size of the register window.
pub const SIZE: u64 = 0x1000;
/// Its interrupt.
pub const IRQ: u32 = 5;

const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
const VENDOR: u32 = 0;
const QUEUE_SIZE: u16 = 256;
const CONFIG: u64 = 0x100;
const USED_RING: u32 = 1;
const FEATURES_OK: u32 = 8;
const EVENT_IDX: u64 = 1 << 29;

/// Called with the level of the interrupt line when that changes.
type Interrupt = Box<dyn Fn(bool) + Send>;

/// The device and its queues, shared by the vCPU and the thread that waits for chardevs.
#[derive(Clone)]
pub struct VirtioMmio {
    shared: Arc<Mutex<Transport>>,
    /// Closed with the last clone, which ends the thread.
    _alive: Arc<OwnedFd>,
}

struct Transport {
    device: VirtioConsole,
    lent: Lent,
    interrupt: Interrupt,
    level: bool,
    status: u32,
    driver_features: u64,
    /// Which half of the features the driver looks at, and sets.
    device_half: u32,
    driver_half: u32,
    selected: usize,
}

/// What the device borrows.
struct Lent {
    queues: Vec<Queue>,
    memory: GuestMemoryMmap,
    interrupt_status: u32,
}

impl Rings for Lent {
    type Memory = GuestMemoryMmap;

    fn with<R>(
        &mut self,
        index: usize,
        action: impl FnOnce(&mut Queue, &GuestMemoryMmap) -> R,
    ) -> Option<R> {
        let queue = self.queues.get_mut(index)?;
        queue.ready().then(|| action(queue, &self.memory))
    }

    fn notify(&mut self, _: usize) {
        self.interrupt_status |= USED_RING;
    }
}

impl VirtioMmio {
    /// A device with `ports`, each with its chardev's front end.
    ///
    /// # Errors
    /// A port cannot be, or the process is out of descriptors or threads.
    pub fn new(
        ports: Vec<(FrontEnd, PortConfig)>,
        memory: GuestMemoryMmap,
        interrupt: impl Fn(bool) + Send + 'static,
    ) -> Result<Self, DaemonError> {
        let failed = |error: std::io::Error| DaemonError::of("the virtio console", error);
        let mut device = VirtioConsole::new(ports.len() as u16 + 1).map_err(failed)?;
        for (front, config) in ports {
            device
                .add_port(None, front, config)
                .map_err(|error: PortError| DaemonError::from(error))?;
        }
        let queues = (0..device.queue_count()).map(|_| Queue::new(QUEUE_SIZE));
        let queues: Result<Vec<_>, _> = queues.collect();
        let queues = queues.map_err(|error| DaemonError::of("the virtio console", error))?;
        let news = device.as_fd().try_clone_to_owned().map_err(failed)?;
        let shared = Arc::new(Mutex::new(Transport {
            device,
            lent: Lent {
                queues,
                memory,
                interrupt_status: 0,
            },
            interrupt: Box::new(interrupt),
            level: false,
            status: 0,
            driver_features: 0,
            device_half: 0,
            driver_half: 0,
            selected: 0,
        }));
        let (end, alive) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| failed(error.into()))?;
        let weak = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("virtio-console".to_owned())
            .spawn(move || serve(&weak, &news, &end))
            .map_err(failed)?;
        Ok(VirtioMmio {
            shared,
            _alive: Arc::new(alive),
        })
    }

    /// Which ports the guest opens and closes.
    pub fn watch(&self) -> PortWatch {
        self.lock().device.watch()
    }

    /// The guest reads the registers at `offset`.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        let transport = self.lock();
        if offset >= CONFIG {
            transport.device.read_config(offset - CONFIG, data);
            return;
        }
        let value = transport.register(offset).to_le_bytes();
        for (slot, byte) in data.iter_mut().zip(value) {
            *slot = byte;
        }
    }

    /// The guest writes the registers at `offset`.
    pub fn write(&self, offset: u64, data: &[u8]) {
        let mut transport = self.lock();
        if offset >= CONFIG {
            transport.device.write_config(offset - CONFIG, data);
        } else if let Ok(value) = data.try_into() {
            transport.set_register(offset, u32::from_le_bytes(value));
        }
        transport.settle();
    }

    /// A reset by the machine. Peers stay connected.
    pub fn reset(&self) {
        let mut transport = self.lock();
        transport.reset();
        transport.settle();
    }

    fn lock(&self) -> MutexGuard<'_, Transport> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works off what the chardevs have to say, until the device is gone.
fn serve(device: &Weak<Mutex<Transport>>, news: &OwnedFd, end: &OwnedFd) {
    loop {
        let mut fds = [
            PollFd::new(news, PollFlags::IN),
            PollFd::new(end, PollFlags::IN),
        ];
        let polled = poll(&mut fds, None);
        let Some(device) = device.upgrade() else {
            return;
        };
        if polled.is_ok() && fds[0].revents().is_empty() {
            return;
        }
        let mut transport = device.lock().unwrap_or_else(PoisonError::into_inner);
        let Transport { device, lent, .. } = &mut *transport;
        device.handle_news(lent);
        transport.settle();
    }
}

impl Transport {
    fn register(&self, offset: u64) -> u32 {
        match offset {
            0x000 => MAGIC,
            0x004 => VERSION,
            0x008 => DEVICE_ID,
            0x00c => VENDOR,
            0x010 => match self.device_half {
                0 => FEATURES as u32,
                1 => (FEATURES >> 32) as u32,
                _ => 0,
            },
            0x034 => self.queue().map_or(0, |_| u32::from(QUEUE_SIZE)),
            0x044 => self.queue().map_or(0, |queue| u32::from(queue.ready())),
            0x060 => self.lent.interrupt_status,
            0x070 => self.status,
            // The configuration never changes under a driver's eyes: it is 12 bytes, and a new size
            // of the terminal comes by a control message.
            _ => 0,
        }
    }

    fn set_register(&mut self, offset: u64, value: u32) {
        match offset {
            0x014 => self.device_half = value,
            0x020 => self.set_driver_features(value),
            0x024 => self.driver_half = value,
            0x030 => self.selected = value as usize,
            0x050 => {
                let Transport { device, lent, .. } = self;
                device.queue_kicked(value as usize, lent);
            }
            0x064 => self.lent.interrupt_status &= !value,
            0x070 if value == 0 => self.reset(),
            0x070 => {
                if value & !self.status & FEATURES_OK != 0 {
                    self.device.set_driver_features(self.driver_features);
                }
                self.status = value;
            }
            _ => self.set_queue_register(offset, value),
        }
    }

    fn set_queue_register(&mut self, offset: u64, value: u32) {
        let event_idx = self.driver_features & EVENT_IDX != 0;
        let Some(queue) = self.lent.queues.get_mut(self.selected) else {
            return;
        };
        match offset {
            0x038 => queue.set_size(u16::try_from(value).unwrap_or(0)),
            0x044 => {
                queue.set_event_idx(event_idx);
                queue.set_ready(value == 1);
                // One that lies outside of memory would only be an error at every look.
                if !queue.is_valid(&self.lent.memory) {
                    queue.set_ready(false);
                }
            }
            0x080 => queue.set_desc_table_address(Some(value), None),
            0x084 => queue.set_desc_table_address(None, Some(value)),
            0x090 => queue.set_avail_ring_address(Some(value), None),
            0x094 => queue.set_avail_ring_address(None, Some(value)),
            0x0a0 => queue.set_used_ring_address(Some(value), None),
            0x0a4 => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }

    fn set_driver_features(&mut self, value: u32) {
        let shift = match self.driver_half {
            0 => 0,
            1 => 32,
            _ => return,
        };
        self.driver_features &= !(0xffff_ffff << shift);
        self.driver_features |= (u64::from(value) << shift) & FEATURES;
    }

    fn queue(&self) -> Option<&Queue> {
        self.lent.queues.get(self.selected)
    }

    fn reset(&mut self) {
        self.device.reset();
        self.lent.queues.iter_mut().for_each(Queue::reset);
        self.lent.interrupt_status = 0;
        self.status = 0;
        self.driver_features = 0;
    }

    /// Brings the interrupt line up to date.
    fn settle(&mut self) {
        let level = self.lent.interrupt_status != 0;
        if level != self.level {
            self.level = level;
            (self.interrupt)(level);
        }
    }
}
