//! A driver for a virtio console with many ports, on the queues and transport of `virtio-drivers`,
//! whose own console driver knows port 0 only.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{DeviceStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use crate::Channel;

/// Where the machine puts the device.
const ADDRESS: usize = 0xd000_0000;
const WINDOW: usize = 0x1000;
const QUEUE_NOTIFY: usize = 0x50;

const MULTIPORT: u64 = 1 << 1;
const VERSION_1: u64 = 1 << 32;

const CONTROL_IN: u16 = 2;
const CONTROL_OUT: u16 = 3;
const DEVICE_READY: u16 = 0;
const DEVICE_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const PORT_OPEN: u16 = 6;

const QUEUE: usize = 4;
/// How much goes into one buffer.
const BATCH: usize = 512;
const ROOM: usize = 1024;

type Queue = VirtQueue<Machine, QUEUE>;

/// One port of the device.
pub struct Port {
    input: (u16, Queue),
    output: (u16, Queue),
    received: [u8; ROOM],
    /// The buffer that the device has for input, and how much of the last one is unread.
    posted: Option<u16>,
    unread: usize,
    batch: [u8; BATCH],
    /// The buffer that the device has not sent yet, and its length.
    sending: Option<(u16, usize)>,
}

/// Starts the device and opens the ports `numbers`; `None` where there is no such device.
///
/// A port must not move once it has sent or received.
pub fn start<const N: usize>(numbers: [u16; N]) -> Option<[Port; N]> {
    let header = NonNull::new(ADDRESS as *mut _)?;
    // SAFETY: the machine has the registers of a device there, or reads as ones, which `new`
    // finds out; nobody else uses them but `notify`, which writes one that nobody reads.
    let transport = unsafe { MmioTransport::new(header, WINDOW) }.ok()?;
    // Dropping it would reset the device.
    let mut transport = ManuallyDrop::new(transport);
    let transport = &mut *transport;
    transport.set_status(DeviceStatus::empty());
    transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
    let features = transport.read_device_features() & (MULTIPORT | VERSION_1);
    transport.write_driver_features(features);
    transport
        .set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK);
    let mut control_in = Queue::new(transport, CONTROL_IN, false, false).ok()?;
    let mut control_out = Queue::new(transport, CONTROL_OUT, false, false).ok()?;
    let mut ports = [const { None }; N];
    for (port, number) in ports.iter_mut().zip(numbers) {
        *port = Some(Port::new(transport, number)?);
    }
    transport.finish_init();
    let mut say = |transport: &mut MmioTransport<'static>, port: u32, event: u16| {
        let message = message(port, event, 1);
        control_out.add_notify_wait_pop(&[&message], &mut [], transport)
    };
    say(transport, u32::MAX, DEVICE_READY).ok()?;
    let mut missing = N;
    while missing > 0 {
        let mut buffer = [0; 64];
        let heard = control_in.add_notify_wait_pop(&[], &mut [&mut buffer], transport);
        heard.ok()?;
        let port = u32::from_le_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
        let event = u16::from_le_bytes([buffer[4], buffer[5]]);
        if event == DEVICE_ADD && numbers.iter().any(|number| u32::from(*number) == port) {
            missing -= 1;
        }
    }
    for number in numbers {
        say(transport, number.into(), PORT_READY).ok()?;
        say(transport, number.into(), PORT_OPEN).ok()?;
    }
    Some(ports.map(|port| port.expect("every port was started")))
}

/// Tells the device that there is something in `queue`.
fn notify(queue: u16) {
    let register = (ADDRESS + QUEUE_NOTIFY) as *mut u32;
    // SAFETY: a register of the device, which is there once a port is.
    unsafe { register.write_volatile(queue.into()) };
}

impl Port {
    fn new(transport: &mut MmioTransport<'static>, number: u16) -> Option<Self> {
        let first = if number == 0 { 0 } else { 2 * number + 2 };
        let mut queue = |index| Queue::new(transport, index, false, false).ok();
        Some(Port {
            input: (first, queue(first)?),
            output: (first + 1, queue(first + 1)?),
            received: [0; ROOM],
            posted: None,
            unread: 0,
            batch: [0; BATCH],
            sending: None,
        })
    }

    fn take_sent(&mut self) {
        let Some((token, length)) = self.sending.filter(|_| self.output.1.can_pop()) else {
            return;
        };
        // SAFETY: the buffer is the one it was added with.
        let done = unsafe {
            self.output
                .1
                .pop_used(token, &[&self.batch[..length]], &mut [])
        };
        if done.is_ok() {
            self.sending = None;
        }
    }

    fn take_received(&mut self) {
        match self.posted {
            Some(token) if self.input.1.can_pop() => {
                // SAFETY: the buffer is the one it was added with.
                let done = unsafe { self.input.1.pop_used(token, &[], &mut [&mut self.received]) };
                self.posted = None;
                self.unread = done.map_or(0, |count| count as usize);
            }
            None if self.unread == 0 => {
                // SAFETY: the buffer stays where it is, and nobody looks at it before `pop_used`.
                self.posted = unsafe { self.input.1.add(&[], &mut [&mut self.received]) }.ok();
                if self.input.1.should_notify() {
                    notify(self.input.0);
                }
            }
            _ => {}
        }
    }
}

impl Channel for Port {
    fn poll(&mut self) -> (bool, bool) {
        self.take_sent();
        self.take_received();
        (self.unread > 0, self.sending.is_none())
    }

    fn read(&mut self, take: &mut dyn FnMut(&[u8])) {
        take(&self.received[..self.unread]);
        self.unread = 0;
    }

    fn send(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) {
        let count = fill(&mut self.batch);
        // SAFETY: the batch stays where it is, and nobody writes to it before `pop_used`.
        let token = unsafe { self.output.1.add(&[&self.batch[..count]], &mut []) };
        self.sending = token.ok().map(|token| (token, count));
        if self.output.1.should_notify() {
            notify(self.output.0);
        }
    }
}

fn message(port: u32, event: u16, value: u16) -> [u8; 8] {
    let ([a, b, c, d], [e, f]) = (port.to_le_bytes(), event.to_le_bytes());
    let [g, h] = value.to_le_bytes();
    [a, b, c, d, e, f, g, h]
}

/// Memory for queues: a few pages, never given back. Addresses are what they seem.
struct Machine;

const PAGES: usize = 24;

#[repr(C, align(4096))]
struct Pages([[u8; PAGE_SIZE]; PAGES]);

static mut POOL: Pages = Pages([[0; PAGE_SIZE]; PAGES]);
static USED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every page is handed out once, and is zero at first because `.bss` is.
unsafe impl Hal for Machine {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = USED.fetch_add(pages, Ordering::Relaxed);
        assert!(first + pages <= PAGES);
        let pool = (&raw mut POOL).cast::<u8>();
        let at = pool.wrapping_add(first * PAGE_SIZE);
        (
            at as PhysAddr,
            NonNull::new(at).unwrap_or(NonNull::dangling()),
        )
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(address as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// The driver crate is linked with the allocating library, and allocates nothing.
struct Nothing;

#[global_allocator]
static NOTHING: Nothing = Nothing;

// SAFETY: it never hands out memory.
unsafe impl GlobalAlloc for Nothing {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
