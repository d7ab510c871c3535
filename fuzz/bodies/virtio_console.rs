//! What must hold for a virtio console whatever a guest puts into its rings and control messages.

use std::sync::Arc;

use chardev::front::virtio_console::{
    CONTROL_IN, CONTROL_OUT, FEATURES, PortConfig, Rings, VirtioConsole, WhenFull,
};
use chardev::{BackendId, ChardevRef, Closed, FrontEnd, Ready};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::host::Host;
use crate::virtio_driver::{Part, Ring};

const PORTS: u16 = 3;
const QUEUES: usize = 8;
const SIZE: u16 = 16;
const MEMORY: usize = 256 << 10;
/// Where buffers lie, behind the rings.
const DATA: u64 = 0x4000 * (QUEUES as u64 + 1);

struct Local {
    memory: GuestMemoryMmap,
    queues: Vec<Queue>,
}

impl Rings for Local {
    type Memory = GuestMemoryMmap;

    fn with<R>(
        &mut self,
        index: usize,
        action: impl FnOnce(&mut Queue, &GuestMemoryMmap) -> R,
    ) -> Option<R> {
        Some(action(self.queues.get_mut(index)?, &self.memory))
    }

    fn notify(&mut self, _: usize) {}
}

/// A guest with a console (port 0) and two channels.
struct Machine {
    console: VirtioConsole,
    rings: Local,
    driver: Vec<Ring>,
    hosts: Vec<Host>,
    chardevs: Vec<ChardevRef>,
}

impl Machine {
    fn new() -> Self {
        let range = [(GuestAddress(0), MEMORY)];
        let memory = GuestMemoryMmap::from_ranges(&range).expect("memory is there");
        let mut console = VirtioConsole::new(PORTS).expect("a descriptor is there");
        console.set_driver_features(FEATURES);
        let mut machine = Machine {
            console,
            rings: Local {
                memory,
                queues: Vec::new(),
            },
            driver: Vec::new(),
            hosts: Vec::new(),
            chardevs: Vec::new(),
        };
        for number in 0..PORTS {
            machine.add_port(number);
        }
        machine.start_queues();
        machine
    }

    fn add_port(&mut self, number: u16) {
        let host = Host::default();
        let chardev = ChardevRef::new(
            "c",
            BackendId(1),
            Box::new(host.clone()),
            Closed::Discard,
            None,
        );
        let front = FrontEnd::attach(&chardev, Arc::new(())).expect("nobody else is attached");
        let config = match number {
            0 => PortConfig {
                when_full: WhenFull::Drop { buffer: 100 },
                ..PortConfig::console()
            },
            number => PortConfig::generic(&format!("p{number}")),
        };
        let added = self.console.add_port(Some(number.into()), front, config);
        assert_eq!(added, Ok(number.into()));
        self.hosts.push(host);
        self.chardevs.push(chardev);
    }

    fn start_queues(&mut self) {
        let memory = &self.rings.memory;
        self.driver = (0..QUEUES as u64)
            .map(|index| Ring::new(memory, 0x4000 * (index + 1), SIZE))
            .collect();
        let queues = self.driver.iter().map(|ring| {
            let mut queue = Queue::new(SIZE).expect("a power of two");
            queue.set_desc_table_address(Some(ring.table as u32), None);
            queue.set_avail_ring_address(Some(ring.avail as u32), None);
            queue.set_used_ring_address(Some(ring.used as u32), None);
            queue.set_event_idx(true);
            queue.set_ready(true);
            queue
        });
        self.rings.queues = queues.collect();
    }

    fn control(&mut self, message: &[u8]) {
        let memory = &self.rings.memory;
        memory
            .write_slice(message, GuestAddress(DATA))
            .expect("in memory");
        let part = Part {
            address: DATA,
            length: message.len() as u32,
            writable: false,
        };
        self.driver[CONTROL_OUT].offer(memory, &[part]);
        self.console.queue_kicked(CONTROL_OUT, &mut self.rings);
    }

    /// Nothing is lost between the guest and the host.
    fn check(&self) {
        for number in 0..PORTS {
            let Some(stats) = self.console.port_stats(number.into()) else {
                continue;
            };
            let received =
                self.hosts[usize::from(number)].with(|world| world.received.len() as u64);
            let in_hand = stats.output - stats.dropped - received;
            assert!(in_hand <= self.console.backlog() as u64);
            assert!(
                number == 0 || stats.dropped == 0,
                "a channel has lost something"
            );
        }
        assert!(self.console.backlog() <= 100, "more than its buffer");
    }
}

/// Eight bytes are one step on rings that hold anything.
pub(crate) fn run_chains(data: &[u8]) {
    let mut machine = Machine::new();
    for port in 0..PORTS {
        for event in [0, 3, 6] {
            machine.control(&[port as u8, 0, 0, 0, event, 0, 1, 0]);
        }
    }
    for step in data.chunks_exact(8) {
        let [what, a, b, c, d, e, f, g] = *step else {
            unreachable!("eight bytes");
        };
        let queue = usize::from(a) % QUEUES;
        let memory = machine.rings.memory.clone();
        let (word, long) = (u16::from_le_bytes([b, c]), u32::from_le_bytes([d, e, f, g]));
        match what % 8 {
            0 | 1 => {
                let table = match what & 0x10 {
                    0 => machine.driver[queue].table,
                    _ => DATA + 0x1000,
                };
                let address = u64::from(word) << (g % 4);
                let length = [64, 16, 0, long][usize::from(f) % 4];
                let flags = u16::from(d) % 8;
                let descriptor = (address, length, flags, u16::from(e) % 18);
                let index = u16::from(what >> 5);
                machine.driver[queue].descriptor(&memory, table, index, descriptor);
            }
            2 => machine.driver[queue].offer_head(&memory, word % 20),
            3 => {
                let address = GuestAddress(u64::from(long) % MEMORY as u64);
                // Across the end of memory nothing is written.
                let _ = memory.write_obj(word, address);
            }
            4 => machine.console.queue_kicked(queue, &mut machine.rings),
            5 => machine.hosts[queue % 3].with(|world| {
                world.room += usize::from(word) % 5000;
                world.to_read.extend(std::iter::repeat_n(d, usize::from(e)));
            }),
            6 => {
                let chardev = &machine.chardevs[queue % 3];
                chardev.with(|chardev| chardev.handle_ready(BackendId(1), Ready::all()));
                machine.console.handle_news(&mut machine.rings);
            }
            _ if g == 0 => {
                machine.console.reset();
                machine.console.set_driver_features(FEATURES);
                machine.start_queues();
            }
            _ => machine.console.stop_queue(queue, &mut machine.rings),
        }
        // What a stop takes in hand has a bound of its own.
        if what % 8 != 7 && machine.console.backlog() <= 100 {
            machine.check();
        }
    }
}

/// Nine bytes are one step: a control message, or something on the host's side.
pub(crate) fn run_control(data: &[u8]) {
    let mut machine = Machine::new();
    let mut present = [false; PORTS as usize];
    for step in data.chunks_exact(9) {
        let (what, message) = (step[0], &step[1..]);
        let port = u16::from(message[0]) % PORTS;
        match what % 8 {
            0..=3 => {
                // Half of the messages are about ports that there are.
                let mut message = message.to_vec();
                if what & 8 != 0 {
                    message[1..4].fill(0);
                    message[0] %= 4;
                    message[4] %= 8;
                    message[5] = 0;
                }
                message.truncate(if what & 0x30 == 0x30 { 5 } else { 8 });
                machine.control(&message);
            }
            4 => {
                let memory = &machine.rings.memory;
                for _ in 0..message[0] % 8 {
                    let slot = u64::from(machine.driver[CONTROL_IN].offered() % SIZE);
                    let part = Part {
                        address: DATA + 0x1000 + 0x100 * slot,
                        length: 0x100,
                        writable: true,
                    };
                    machine.driver[CONTROL_IN].offer(memory, &[part]);
                }
                machine.console.queue_kicked(CONTROL_IN, &mut machine.rings);
            }
            5 => drop(machine.console.remove_port(port.into())),
            6 if machine.console.port_stats(port.into()).is_none() => machine.add_port_again(port),
            _ => machine.console.handle_news(&mut machine.rings),
        }
        while machine.driver[CONTROL_OUT]
            .take(&machine.rings.memory)
            .is_some()
        {}
        machine.hear(&mut present);
    }
}

impl Machine {
    fn add_port_again(&mut self, number: u16) {
        self.add_port(number);
        // The new host stands where the former one stood.
        let last = self.hosts.len() - 1;
        self.hosts.swap(usize::from(number), last);
        self.hosts.truncate(last);
        self.chardevs.swap(usize::from(number), last);
        self.chardevs.truncate(last);
    }

    /// Reads what the device says: whole messages, of ports the guest has been told of.
    fn hear(&mut self, present: &mut [bool; PORTS as usize]) {
        let table = self.driver[CONTROL_IN].table;
        while let Some((head, length)) = self.driver[CONTROL_IN].take(&self.rings.memory) {
            let at = GuestAddress(table + 16 * u64::from(head));
            let address: u64 = self.rings.memory.read_obj(at).expect("in memory");
            let mut bytes = vec![0; length as usize];
            let memory = &self.rings.memory;
            memory
                .read_slice(&mut bytes, GuestAddress(address))
                .expect("in memory");
            assert!(bytes.len() >= 8, "half a message");
            let port = usize::from(bytes[0]);
            assert!(port < present.len() && bytes[1..4] == [0; 3]);
            match bytes[4] {
                1 => present[port] = true,
                2 => present[port] = false,
                4..=7 => assert!(present[port], "a message of a port the guest does not know"),
                other => panic!("event {other}"),
            }
        }
    }
}
