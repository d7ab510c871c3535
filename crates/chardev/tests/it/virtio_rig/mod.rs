//! A virtio console with chardevs behind it and a driver of our own in front.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use chardev::Chardevs;
use chardev::front::virtio_console::{CONTROL_IN, CONTROL_OUT, PortConfig, Rings, VirtioConsole};
use chardev::spec::{OptionValue, Options, SocketAddress};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::common::{self, add};
use crate::virtio_driver::{MEMORY, Part, Ring};

pub(crate) const SIZE: u16 = 64;
/// Where data buffers lie, behind the rings.
pub(crate) const DATA: u64 = 1 << 20;

/// The queues as a VMM would hold them.
pub(crate) struct Local {
    pub(crate) mem: GuestMemoryMmap,
    pub(crate) queues: Vec<Queue>,
    pub(crate) notified: HashMap<usize, usize>,
}

impl Rings for Local {
    type Memory = GuestMemoryMmap;

    fn with<R>(
        &mut self,
        index: usize,
        action: impl FnOnce(&mut Queue, &GuestMemoryMmap) -> R,
    ) -> Option<R> {
        let queue = self.queues.get_mut(index).filter(|queue| queue.ready())?;
        Some(action(queue, &self.mem))
    }

    fn notify(&mut self, index: usize) {
        *self.notified.entry(index).or_default() += 1;
    }
}

/// A guest with its driver, the device, and the chardevs behind it.
pub(crate) struct Rig {
    pub(crate) chardevs: Chardevs,
    pub(crate) console: VirtioConsole,
    pub(crate) rings: Local,
    pub(crate) driver: Vec<Ring>,
}

impl Rig {
    pub(crate) fn new(ports: u16, features: u64) -> Self {
        let mem = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        let mut console = VirtioConsole::new(ports).unwrap();
        console.set_driver_features(features);
        let mut rig = Rig {
            chardevs: Chardevs::new().unwrap(),
            rings: Local {
                mem,
                queues: Vec::new(),
                notified: HashMap::new(),
            },
            driver: Vec::new(),
            console,
        };
        rig.start_queues(features);
        rig
    }

    /// Lays all rings out anew, as a driver does that begins.
    pub(crate) fn start_queues(&mut self, features: u64) {
        let count = self.console.queue_count();
        self.driver = (0..count as u64)
            .map(|index| Ring::new(&self.rings.mem, 0x4000 * (index + 1), SIZE))
            .collect();
        let queues = self.driver.iter().map(|ring| {
            let mut queue = Queue::new(256).unwrap();
            queue.set_size(ring.size);
            queue.set_desc_table_address(Some(ring.table as u32), None);
            queue.set_avail_ring_address(Some(ring.avail as u32), None);
            queue.set_used_ring_address(Some(ring.used as u32), None);
            queue.set_event_idx(features & 1 << 29 != 0);
            queue.set_ready(true);
            queue
        });
        self.rings.queues = queues.collect();
    }

    pub(crate) fn port(&mut self, id: &str, options: &Options, config: PortConfig) -> u32 {
        add(&self.chardevs, id, options);
        let front = self.chardevs.front_end(id, Arc::new(())).unwrap();
        self.console.add_port(None, front, config).unwrap()
    }

    /// A port behind which a socket's other end is in the test's hand.
    pub(crate) fn socket_port(&mut self, id: &str, config: PortConfig) -> (u32, UnixStream) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let number = self.port(id, &connect(&path), config);
        (number, listener.accept().unwrap().0)
    }

    pub(crate) fn kick(&mut self, queue: usize) {
        self.console.queue_kicked(queue, &mut self.rings);
    }

    pub(crate) fn write(&mut self, queue: usize, address: u64, bytes: &[u8]) {
        self.rings
            .mem
            .write_slice(bytes, GuestAddress(address))
            .unwrap();
        let part = readable(address, bytes.len());
        self.driver[queue].offer(&self.rings.mem, &[part]).unwrap();
    }

    pub(crate) fn control(&mut self, port: u32, event: u16, value: u16) {
        let mut message = port.to_le_bytes().to_vec();
        message.extend_from_slice(&event.to_le_bytes());
        message.extend_from_slice(&value.to_le_bytes());
        self.write(CONTROL_OUT, DATA, &message);
        self.kick(CONTROL_OUT);
        assert!(self.driver[CONTROL_OUT].take(&self.rings.mem).is_some());
    }

    /// Offers room for control messages, each in a place of its own.
    pub(crate) fn post_control(&mut self, count: u64) {
        for index in 0..count {
            let part = writable(DATA + 0x1000 + 0x200 * index, 0x200);
            self.driver[CONTROL_IN]
                .offer(&self.rings.mem, &[part])
                .unwrap();
        }
    }

    /// All messages the device has sent since.
    pub(crate) fn heard(&mut self) -> Vec<(u32, u16, u16, Vec<u8>)> {
        let mut heard = Vec::new();
        loop {
            let table = self.driver[CONTROL_IN].table;
            let Some((head, length)) = self.driver[CONTROL_IN].take(&self.rings.mem) else {
                return heard;
            };
            let address: u64 = self
                .rings
                .mem
                .read_obj(GuestAddress(table + 16 * u64::from(head)))
                .unwrap();
            let mut bytes = vec![0; length as usize];
            self.rings
                .mem
                .read_slice(&mut bytes, GuestAddress(address))
                .unwrap();
            let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            heard.push((u32::from(word(0)), word(4), word(6), bytes[8..].to_vec()));
        }
    }

    /// Lets the device work its news off until `done` says so.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = std::time::Instant::now() + common::DEADLINE;
        while !done(self) {
            assert!(std::time::Instant::now() < end, "{what} did not come");
            let mut fds = [rustix::event::PollFd::new(
                &self.console,
                rustix::event::PollFlags::IN,
            )];
            let pause = rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 5_000_000,
            };
            let _ = rustix::event::poll(&mut fds, Some(&pause));
            self.console.handle_news(&mut self.rings);
        }
    }

    /// Starts the driver: every port is ready and open, and no message is left.
    pub(crate) fn start(&mut self, ports: &[u32]) {
        self.post_control(32);
        self.control(u32::MAX, 0, 1);
        for port in ports {
            self.control(*port, 3, 1);
            self.control(*port, 6, 1);
        }
        self.heard();
    }
}

pub(crate) fn readable(address: u64, length: usize) -> Part {
    Part {
        address,
        length: length as u32,
        writable: false,
    }
}

pub(crate) fn writable(address: u64, length: usize) -> Part {
    Part {
        writable: true,
        ..readable(address, length)
    }
}

pub(crate) fn connect(path: &std::path::Path) -> Options {
    Options::new("socket")
        .with(
            "addr",
            OptionValue::Address(SocketAddress::Unix {
                path: path.to_str().unwrap().to_owned(),
                abstract_name: false,
                tight: true,
            }),
        )
        .with("server", OptionValue::Bool(false))
}

pub(crate) fn output_queue(port: u32) -> usize {
    if port == 0 { 1 } else { 2 * port as usize + 3 }
}

pub(crate) fn input_queue(port: u32) -> usize {
    output_queue(port) - 1
}
