//! guest → [front: virtio-console over vhost-user] → chardev → back → host: one connection's rings.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use chardev::front::virtio_console::{CONTROL_OUT, F_MULTIPORT, FEATURES, Rings, VirtioConsole};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{ShutdownHandle, VhostUserBackend, VringT};
use virtio_queue::{Queue, QueueT};
use vm_memory::atomic::GuestMemoryLoadGuard;
use vm_memory::{GuestAddressSpace, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventNotifier};

use crate::memory::{Guards, Memory};
use crate::vring::Vring;

/// The largest ring we serve; QEMU's generic device asks for 64, its serial bus for 128.
const MAX_QUEUE_SIZE: usize = 1024;
/// The most of the configuration space that a message can ask for.
const MAX_CONFIG: u32 = 256;

/// What the library calls for one connection.
pub(crate) struct Connection {
    console: Arc<Mutex<VirtioConsole>>,
    queues: usize,
    memory: Memory,
    guards: Guards,
    /// Ends the connection; there once there is one.
    shutdown: OnceLock<ShutdownHandle>,
    /// Known from the first event on.
    vrings: OnceLock<Vec<Vring>>,
    features: AtomicU64,
    /// The queues were started and nobody has looked yet by which driver.
    fresh: AtomicBool,
    /// The queues that have begun, one bit each.
    begun: AtomicU64,
    /// Nothing more is taken from the rings.
    finished: AtomicBool,
}

impl Connection {
    pub(crate) fn new(console: Arc<Mutex<VirtioConsole>>, memory: Memory) -> Self {
        let queues = lock(&console).queue_count();
        Connection {
            console,
            queues,
            memory,
            guards: Guards::default(),
            shutdown: OnceLock::new(),
            vrings: OnceLock::new(),
            features: AtomicU64::new(0),
            fresh: AtomicBool::new(true),
            begun: AtomicU64::new(0),
            finished: AtomicBool::new(false),
        }
    }

    /// The event that something of the console is pending.
    pub(crate) fn pending(&self) -> u64 {
        self.queues as u64 + 1
    }

    /// The event that ends the thread that serves the queues.
    pub(crate) fn exit(&self) -> u64 {
        self.queues as u64 + 2
    }

    /// What ends the connection.
    pub(crate) fn set_shutdown(&self, handle: ShutdownHandle) {
        let _ = self.shutdown.set(handle);
    }

    /// Ends the connection if the VMM has taken memory away: what is in its place is empty.
    fn check_memory(&self) {
        if !self.guards.is_lost() || self.finished.swap(true, Ordering::SeqCst) {
            return;
        }
        tracing::warn!("vhost-user: the VMM took guest memory away; closing its connection");
        if let Some(handle) = self.shutdown.get() {
            handle.shutdown();
        }
    }

    /// Finishes what was begun and takes nothing more. Before the connection ends, because the VMM
    /// reads then from the rings where the next process is to go on.
    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::SeqCst);
        for index in 0..self.queues {
            self.stop(index);
        }
    }

    /// The connection is over: what was begun is finished, the driver is forgotten.
    pub(crate) fn end(&self) {
        self.finish();
        lock(&self.console).reset();
    }

    fn stop(&self, index: usize) {
        if let Some(vrings) = self.vrings.get() {
            let mut rings = Stopped(self.rings(vrings));
            lock(&self.console).stop_queue(index, &mut rings);
        }
    }

    /// Finds out whose queues these are: a driver's that begins, which will say what it has open,
    /// or one's that has run for long, maybe with a process that is no more. `false` if it is too
    /// early.
    fn meet_driver(&self, console: &mut VirtioConsole, rings: &mut Vrings<'_>) -> bool {
        let features = self.features.load(Ordering::Relaxed);
        if features & F_MULTIPORT == 0 {
            return true;
        }
        // The queue's own start is an event, too.
        let Some(heard) = rings.with(CONTROL_OUT, |queue, _| queue.next_avail()) else {
            return false;
        };
        self.fresh.store(false, Ordering::Relaxed);
        if heard == 0 {
            console.reset();
            console.set_driver_features(features);
        } else {
            console.resume();
        }
        for queue in 0..self.queues {
            console.queue_kicked(queue, rings);
        }
        true
    }

    fn rings<'a>(&'a self, vrings: &'a [Vring]) -> Vrings<'a> {
        Vrings {
            vrings,
            memory: self.memory.memory(),
            begun: &self.begun,
        }
    }
}

impl VhostUserBackend for Connection {
    type Bitmap = ();
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        self.queues
    }

    fn max_queue_size(&self) -> usize {
        MAX_QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        FEATURES | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn acked_features(&self, features: u64) {
        self.features.store(features, Ordering::Relaxed);
        lock(&self.console).set_driver_features(features);
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    fn reset_device(&self) {
        for index in 0..self.queues {
            self.stop(index);
        }
        lock(&self.console).reset();
    }

    fn set_event_idx(&self, _enabled: bool) {
        // The queues know themselves.
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let mut data = vec![0; size.min(MAX_CONFIG) as usize];
        lock(&self.console).read_config(offset.into(), &mut data);
        data
    }

    fn set_config(&self, offset: u32, data: &[u8]) -> io::Result<()> {
        lock(&self.console).write_config(offset.into(), data);
        Ok(())
    }

    /// The memory is the one we have; new is what it maps.
    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        self.guards.cover(&memory).inspect_err(|error| {
            tracing::warn!("vhost-user: refusing the VMM's memory table: {error}");
        })
    }

    fn queues_per_thread(&self) -> Vec<u64> {
        // No call waits for anything, so one thread keeps no queue from its turn.
        vec![u64::MAX]
    }

    /// The library would never close the descriptor; see [`Connection::exit`].
    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        None
    }

    fn stop_vring(&self, index: u32) -> io::Result<()> {
        self.fresh.store(true, Ordering::Relaxed);
        self.begun.fetch_and(!(1 << index), Ordering::Relaxed);
        self.stop(index as usize);
        Ok(())
    }

    /// Fails only for the event that is to end the thread: that is what an error does.
    fn handle_event(
        &self,
        event: u16,
        _events: EventSet,
        vrings: &[Vring],
        _thread: usize,
    ) -> io::Result<()> {
        if u64::from(event) == self.exit() {
            return Err(io::Error::other("the connection has ended"));
        }
        self.serve_event(event, vrings);
        self.check_memory();
        Ok(())
    }
}

impl Connection {
    fn serve_event(&self, event: u16, vrings: &[Vring]) {
        let vrings = self.vrings.get_or_init(|| vrings.to_vec());
        let mut rings = self.rings(vrings);
        let mut console = lock(&self.console);
        if self.finished.load(Ordering::SeqCst) {
            return;
        }
        let pending = u64::from(event) == self.pending();
        if self.fresh.load(Ordering::Relaxed) && !self.meet_driver(&mut console, &mut rings) {
            if pending {
                // They would come again and again; meeting the driver is a look at everything.
                console.handle_news(&mut NoRings);
            }
            return;
        }
        if pending {
            console.handle_news(&mut rings);
        } else {
            console.queue_kicked(event.into(), &mut rings);
        }
    }
}

/// The rings of a connection, while they run.
struct Vrings<'a> {
    vrings: &'a [Vring],
    memory: GuestMemoryLoadGuard<GuestMemoryMmap>,
    begun: &'a AtomicU64,
}

impl Rings for Vrings<'_> {
    type Memory = GuestMemoryMmap;

    fn with<R>(
        &mut self,
        index: usize,
        action: impl FnOnce(&mut Queue, &GuestMemoryMmap) -> R,
    ) -> Option<R> {
        let mut vring = self.vrings.get(index)?.get_mut();
        if !vring.is_enabled() || !vring.get_queue().ready() {
            return None;
        }
        let queue = vring.get_queue_mut();
        let mut inherited = false;
        if self.begun.fetch_or(1 << index, Ordering::Relaxed) & (1 << index) == 0 {
            // Chains are answered in order, so the former process had done with what it had used,
            // whatever the VMM remembers of that.
            queue.set_next_avail(queue.next_used());
            inherited = queue.next_used() != 0;
        }
        let result = action(queue, &self.memory);
        drop(vring);
        if inherited {
            // The former process may not have come to say that it had.
            self.notify(index);
        }
        Some(result)
    }

    fn notify(&mut self, index: usize) {
        if let Some(vring) = self.vrings.get(index) {
            // A VMM that has gone needs no interrupt.
            let _ = vring.signal_used_queue();
        }
    }
}

/// The same once they are stopped: the last look at them.
struct Stopped<'a>(Vrings<'a>);

impl Rings for Stopped<'_> {
    type Memory = GuestMemoryMmap;

    fn with<R>(
        &mut self,
        index: usize,
        action: impl FnOnce(&mut Queue, &GuestMemoryMmap) -> R,
    ) -> Option<R> {
        let mut vring = self.0.vrings.get(index)?.get_mut();
        let queue = vring.get_queue_mut();
        let ready = queue.ready();
        queue.set_ready(true);
        let result = action(queue, &self.0.memory);
        queue.set_ready(ready);
        Some(result)
    }

    fn notify(&mut self, index: usize) {
        self.0.notify(index);
    }
}

/// No driver.
pub(crate) struct NoRings;

impl Rings for NoRings {
    type Memory = GuestMemoryMmap;

    fn with<R>(
        &mut self,
        _index: usize,
        _action: impl FnOnce(&mut Queue, &GuestMemoryMmap) -> R,
    ) -> Option<R> {
        None
    }

    fn notify(&mut self, _index: usize) {}
}

pub(crate) fn lock(console: &Mutex<VirtioConsole>) -> MutexGuard<'_, VirtioConsole> {
    console.lock().unwrap_or_else(PoisonError::into_inner)
}
