//! A device process in a thread, and a VMM with a driver of our own that connects to it.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chardev::Chardevs;
use chardev::front::virtio_console::{PortConfig, VirtioConsole};
use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev_vhost_user::{Error, Server};
use tempfile::TempDir;
use vhost::vhost_user::message::{
    VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserProtocolFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::virtio_driver::{MEMORY, Part, Ring};

/// Where data buffers lie, behind the rings.
pub(crate) const DATA: u64 = 1 << 20;
/// Queues of a console and one channel.
const QUEUES: usize = 6;
const SIZE: u16 = 64;
const DEADLINE: Duration = Duration::from_secs(20);

/// A device process, in all but the process.
pub(crate) struct Device {
    pub(crate) chardevs: Chardevs,
    pub(crate) path: PathBuf,
    server: Arc<Server>,
    running: JoinHandle<Result<(), Error>>,
    _dir: TempDir,
}

impl Device {
    /// One with a console that goes to a ring, and a channel whose other end the test has.
    pub(crate) fn start() -> (Self, UnixStream) {
        let dir = tempfile::tempdir().unwrap();
        let chardevs = Chardevs::new().unwrap();
        let mut console = VirtioConsole::new(2).unwrap();
        let peer = UnixListener::bind(dir.path().join("peer")).unwrap();
        let socket = Options::new("socket")
            .with(
                "addr",
                OptionValue::Address(SocketAddress::Unix {
                    path: dir.path().join("peer").to_str().unwrap().to_owned(),
                    abstract_name: false,
                    tight: true,
                }),
            )
            .with("server", OptionValue::Bool(false))
            .with("x-closed", OptionValue::Str("hold".to_owned()));
        let ring = Options::new("ringbuf").with("size", OptionValue::Int(1 << 16));
        for (id, options, config) in [
            ("c", ring, PortConfig::console()),
            ("g", socket, PortConfig::generic("org.test.0")),
        ] {
            let added = chardevs.add(id, &options);
            chardevs.block_on(added).unwrap();
            let front = chardevs.front_end(id, Arc::new(())).unwrap();
            console.add_port(None, front, config).unwrap();
        }
        let path = dir.path().join("vhost");
        let listener = UnixListener::bind(&path).unwrap();
        let server = Arc::new(Server::new(Arc::new(Mutex::new(console))).unwrap());
        let serving = Arc::clone(&server);
        let device = Device {
            chardevs,
            path,
            server,
            running: std::thread::spawn(move || serving.run(listener)),
            _dir: dir,
        };
        (device, peer.accept().unwrap().0)
    }

    /// Ends it as a daemon does on SIGTERM.
    pub(crate) fn stop(self) {
        self.server.stop();
        self.running.join().unwrap().unwrap();
        drop(self.server);
        let rest = self.chardevs.shut_down(Duration::from_secs(2));
        self.chardevs.block_on(rest);
    }
}

/// A VMM: guest memory, rings, and a connection.
pub(crate) struct Vmm {
    pub(crate) memory: GuestMemoryMmap,
    pub(crate) driver: Vec<Ring>,
    /// How many answered chains the VMM has not heard of when it reconnects.
    pub(crate) unaware: u16,
    frontend: Frontend,
    kicks: Vec<EventFd>,
    calls: Vec<EventFd>,
}

impl Vmm {
    /// Connects and starts all queues.
    pub(crate) fn connect(device: &Device) -> Self {
        let file = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = std::fs::File::from(file);
        file.set_len(MEMORY as u64).unwrap();
        let range = (GuestAddress(0), MEMORY, Some(FileOffset::new(file, 0)));
        let event = || EventFd::new(EFD_NONBLOCK).unwrap();
        let mut vmm = Vmm {
            memory: GuestMemoryMmap::from_ranges_with_files([range]).unwrap(),
            driver: Vec::new(),
            unaware: 0,
            frontend: Frontend::connect(&device.path, QUEUES as u64).unwrap(),
            kicks: (0..QUEUES).map(|_| event()).collect(),
            calls: (0..QUEUES).map(|_| event()).collect(),
        };
        vmm.negotiate();
        vmm.start_queues(false);
        vmm
    }

    /// Connects to the next device process, with the rings as they are.
    pub(crate) fn reconnect(&mut self, device: &Device) {
        self.frontend = Frontend::connect(&device.path, QUEUES as u64).unwrap();
        self.negotiate();
        self.start_queues(true);
    }

    fn negotiate(&mut self) {
        self.frontend.set_owner().unwrap();
        let features = self.frontend.get_features().unwrap();
        self.frontend.set_features(features).unwrap();
        let protocol = self.frontend.get_protocol_features().unwrap();
        assert!(protocol.contains(VhostUserProtocolFeatures::CONFIG));
        self.frontend.set_protocol_features(protocol).unwrap();
        assert_eq!(self.frontend.get_queue_num().unwrap(), QUEUES as u64);
        self.share_memory().unwrap();
    }

    /// Gives the device the memory as it is.
    pub(crate) fn share_memory(&mut self) -> vhost::Result<()> {
        let regions: Vec<_> = self
            .memory
            .iter()
            .map(|region| VhostUserMemoryRegionInfo::from_guest_region(region).unwrap())
            .collect();
        self.frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        self.frontend.set_mem_table(&regions).map(drop)
    }

    /// Cuts the file of the memory short, or makes it whole again. It is not to be touched
    /// meanwhile.
    pub(crate) fn set_memory_size(&self, size: usize) {
        let region = self.memory.iter().next().unwrap();
        let file = region.file_offset().unwrap().file();
        file.set_len(size as u64).unwrap();
    }

    /// Whether the device has ended the connection.
    pub(crate) fn is_cut_off(&mut self) -> bool {
        self.frontend.get_features().is_err()
    }

    /// Names a descriptor for interrupts.
    pub(crate) fn set_call(&mut self, queue: usize, call: EventFd) {
        self.frontend.set_vring_call(queue, &call).unwrap();
        self.calls[queue] = call;
    }

    /// Sets the queues up, from their beginning or from where the rings stand.
    pub(crate) fn start_queues(&mut self, go_on: bool) {
        if !go_on {
            self.driver = (0..QUEUES as u64)
                .map(|index| Ring::new(&self.memory, 0x4000 * (index + 1), SIZE))
                .collect();
        }
        for index in 0..QUEUES {
            let ring = &self.driver[index];
            // What was used is what was taken, because the device answers in order and in full.
            let base: u16 = self.memory.read_obj(GuestAddress(ring.used + 2)).unwrap();
            let host = |address| {
                let region = self.memory.get_host_address(GuestAddress(address)).unwrap();
                region as u64
            };
            let config = VringConfigData {
                queue_max_size: SIZE,
                queue_size: SIZE,
                flags: 0,
                desc_table_addr: host(ring.table),
                used_ring_addr: host(ring.used),
                avail_ring_addr: host(ring.avail),
                log_addr: None,
            };
            let base = base - self.unaware.min(base);
            let frontend = &mut self.frontend;
            frontend.set_vring_num(index, SIZE).unwrap();
            frontend.set_vring_addr(index, &config).unwrap();
            frontend.set_vring_base(index, base).unwrap();
            frontend.set_vring_call(index, &self.calls[index]).unwrap();
            frontend.set_vring_kick(index, &self.kicks[index]).unwrap();
            frontend.set_vring_enable(index, true).unwrap();
        }
    }

    /// Stops all queues, as for a reset.
    pub(crate) fn stop_queues(&mut self) {
        for index in 0..QUEUES {
            self.frontend.get_vring_base(index).unwrap();
        }
    }

    /// Says that the driver is there and that port 1 is open.
    pub(crate) fn start_driver(&mut self) {
        for slot in 0..16 {
            self.post(2, DATA + 0x1000 + 0x200 * slot, 0x200);
        }
        for (port, event) in [(0_u32, 0_u16), (1, 3), (1, 6)] {
            let mut message = port.to_le_bytes().to_vec();
            message.extend_from_slice(&event.to_le_bytes());
            message.extend_from_slice(&1_u16.to_le_bytes());
            self.write(3, &message);
            self.used(3);
        }
    }

    /// Offers a buffer of output of its own place.
    pub(crate) fn write(&mut self, queue: usize, bytes: &[u8]) {
        self.write_at(queue, DATA + 0x10000, bytes);
    }

    /// The same for large ones, each queue position in a place of its own.
    pub(crate) fn write_block(&mut self, queue: usize, bytes: &[u8]) {
        let place = u64::from(self.driver[queue].offered() % 8);
        self.write_at(queue, DATA + 0x20000 + place * 0x4_0000, bytes);
    }

    fn write_at(&mut self, queue: usize, address: u64, bytes: &[u8]) {
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .unwrap();
        let part = Part {
            address,
            length: bytes.len() as u32,
            writable: false,
        };
        self.driver[queue].offer(&self.memory, &[part]).unwrap();
        self.kick(queue);
    }

    /// Offers room.
    pub(crate) fn post(&mut self, queue: usize, address: u64, length: u32) {
        let part = Part {
            address,
            length,
            writable: true,
        };
        self.driver[queue].offer(&self.memory, &[part]).unwrap();
        self.kick(queue);
    }

    pub(crate) fn kick(&self, queue: usize) {
        self.kicks[queue].write(1).unwrap();
    }

    /// Waits for the next chain to come back.
    pub(crate) fn used(&mut self, queue: usize) -> (u16, u32) {
        let mut used = None;
        until("a chain comes back", || {
            used = self.driver[queue].take(&self.memory);
            used.is_some()
        });
        used.unwrap()
    }

    /// Waits for an interrupt.
    pub(crate) fn wait_for_call(&self, queue: usize) {
        until("an interrupt", || self.calls[queue].read().is_ok());
    }

    /// Takes all interrupts that have come.
    pub(crate) fn forget_calls(&self) {
        for call in &self.calls {
            // An error says that there is none.
            let _ = call.read();
        }
    }

    /// Names another descriptor for interrupts; what went to the old one is gone.
    pub(crate) fn replace_call(&mut self, queue: usize) {
        self.calls[queue] = EventFd::new(EFD_NONBLOCK).unwrap();
        let call = &self.calls[queue];
        self.frontend.set_vring_call(queue, call).unwrap();
    }

    /// Reads the configuration space.
    pub(crate) fn config(&mut self, offset: u32, length: usize) -> Vec<u8> {
        let flags = VhostUserConfigFlags::empty();
        let buffer = vec![0; length];
        let size = length as u32;
        self.frontend
            .get_config(offset, size, flags, &buffer)
            .unwrap()
            .1
    }
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(
            Instant::now() < end,
            "{DEADLINE:?} passed, and not yet: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
