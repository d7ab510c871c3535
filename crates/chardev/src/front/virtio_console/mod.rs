//! guest → [front: virtio-console] → chardev → back → host: a virtio console with many ports.
//!
//! The device apart from its transport: virtio-mmio in a VMM, or vhost-user. It owns no queue and no
//! guest memory, it borrows them through [`Rings`] for as long as one batch takes. Output goes from
//! guest memory to the descriptor in one vectored write, input from the descriptor into the guest's
//! buffers, with no copy in between.
//!
//! A guest that pours output into a [`Role::Generic`] port is not asked to kick: its ring is looked at
//! every 75 µs until it falls silent. Kicks and interrupts cost it more than its bytes do.
//!
//! # What a full back end means
//! A [`Role::Generic`] port waits: its buffers stay in the ring, the guest's writers sleep, nothing
//! is lost. The driver of a [`Role::Console`] port (Linux's hvc) waits for each buffer in a loop with
//! a lock held, so waiting would freeze the guest: by default such a port keeps [`CONSOLE_BUFFER`]
//! bytes and drops the newest beyond, counted in [`PortStats::dropped`] and in the chardev's
//! [`Stats::output_dropped`](chardev_core::Stats). [`WhenFull`] chooses otherwise.
//!
//! # Threads
//! Every method returns at once. The device is called from one thread at a time (a mutex around it
//! will do); the readiness of its chardevs arrives on the descriptor of [`AsFd`], whichever thread
//! caused it, and is worked off by [`VirtioConsole::handle_news`].
//!
//! # What a guest cannot do
//! Whatever it puts into a ring: nothing outside of its memory is touched, nothing panics, no call
//! takes longer than a few megabytes of copying, no memory grows beyond the buffers named above.

#[allow(
    unsafe_code,
    reason = "the edge to guest memory: checked slices as I/O vectors"
)]
mod chains;
mod control;
mod news;
mod pace;
mod port;
mod watch;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use chardev_core::{Event, FrontEnd, TerminalSize};
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemory;

use self::chains::{Output, Room};
use self::control::{Message, Tell};
use self::news::{Clock, News};
use self::port::{Next, Port, Step};
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

const EMERGENCY: u64 = 8;
/// The most batches of one direction of one port before others have their turn.
const TURN: usize = 8;
/// The longest name, so that it fits into any driver's control buffer.
const MAX_NAME: usize = 255;

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

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "virtconsole")]
#[doc(alias = "virtserialport")]
pub enum Role {
    /// A terminal: `/dev/hvc0` in Linux.
    Console,
    /// A channel that a program opens: `/dev/vport0p1` in Linux.
    Generic,
}

/// What happens to output while the back end takes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It stays in the ring and the guest waits. On a console port that freezes a Linux guest's CPU.
    Wait,
    /// Up to `buffer` bytes are kept, the newest beyond are dropped and counted.
    Drop {
        /// Bytes.
        buffer: usize,
    },
}

/// A port as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// What it is for.
    pub role: Role,
    /// Its name in the guest (`/dev/virtio-ports/NAME`); empty for none.
    pub name: String,
    /// What happens to output while the back end takes none.
    pub when_full: WhenFull,
    /// What a monitor calls it, see [`VirtioConsole::watch`]; `None` for a port nobody is told of.
    pub id: Option<String>,
}

impl PortConfig {
    /// A terminal that never stalls the guest.
    pub fn console() -> Self {
        PortConfig {
            role: Role::Console,
            name: String::new(),
            when_full: WhenFull::Drop {
                buffer: CONSOLE_BUFFER,
            },
            id: None,
        }
    }

    /// A channel called `name` that loses nothing.
    pub fn generic(name: &str) -> Self {
        PortConfig {
            role: Role::Generic,
            name: name.to_owned(),
            when_full: WhenFull::Wait,
            id: None,
        }
    }
}

/// Counters of one port since it was added. The chardev has more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Bytes taken from the guest, dropped ones included.
    pub output: u64,
    /// Bytes given to the guest.
    pub input: u64,
    /// Bytes of output dropped because the back end took none and the buffer was full.
    pub dropped: u64,
    /// Descriptor chains that no driver would make; what they held was ignored.
    pub malformed: u64,
}

/// Why a port was not added (QEMU's words).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// There is one with this number.
    #[error("virtio-serial-bus: A port already exists at id {0}")]
    NumberTaken(u32),
    /// There is one with this name.
    #[error("virtio-serial-bus: A port already exists by name {0}")]
    NameTaken(String),
    /// Every number is taken.
    #[error("virtio-serial-bus: Maximum port limit for this device reached")]
    Full,
    /// The device has fewer ports.
    #[error("virtio-serial-bus: Out-of-range port id specified, max. allowed: {0}")]
    OutOfRange(u32),
    /// Drivers without multiport support expect a console there.
    #[error(
        "virtio-serial-bus: Port number 0 on virtio-serial devices reserved for virtconsole devices \
         for backward compatibility."
    )]
    ZeroIsForConsoles,
    /// The name cannot be told to a guest.
    #[error("virtio-serial-bus: the name of a port has at most {MAX_NAME} bytes and no NUL")]
    BadName,
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
    news: Arc<News>,
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
        let news = News::new()?;
        Ok(VirtioConsole {
            slots: (0..count).map(|_| Slot::default()).collect(),
            clock: Clock::new(&news)?,
            news,
            watch: PortWatch::new(),
            multiport: false,
            ready: false,
        })
    }

    /// Adds a port that is the device of `front`'s chardev and returns its number: `number`, or the
    /// first free one, where 0 is left for a console. A running guest is told.
    ///
    /// # Errors
    /// The number or the name is taken or impossible.
    pub fn add_port(
        &mut self,
        number: Option<u32>,
        front: FrontEnd,
        config: PortConfig,
    ) -> Result<u32, PortError> {
        let number = self.free_number(number, &config)?;
        let slot = &mut self.slots[number];
        let mut port = Port::new(front, config, self.watch.clone());
        // Without control messages nobody says that the one port is open.
        port.guest_open = !self.multiport && number == 0;
        self.news.watch(number, &port.front);
        slot.port = Some(port);
        slot.tell |= Tell::ADD;
        self.news.input_again(number);
        Ok(number as u32)
    }

    /// Removes a port and returns its chardev's front end. A running guest is told.
    pub fn remove_port(&mut self, number: u32) -> Option<FrontEnd> {
        let index = usize::try_from(number).ok()?;
        let slot = self.slots.get_mut(index)?;
        let port = slot.port.take()?;
        // One that the guest has not heard of needs no farewell.
        slot.tell = if slot.tell.contains(Tell::ADD) {
            slot.tell & Tell::REMOVE
        } else {
            Tell::REMOVE
        };
        self.news.input_again(index);
        Some(port.front)
    }

    /// Where the guest's opening and closing of ports can be read; for one reader.
    #[doc(alias = "VSERPORT_CHANGE")]
    pub fn watch(&self) -> PortWatch {
        self.watch.clone()
    }

    /// The counters of a port.
    pub fn port_stats(&self, number: u32) -> Option<PortStats> {
        Some(self.port_ref(number)?.stats)
    }

    /// Whether somebody in the guest has the port open.
    pub fn guest_open(&self, number: u32) -> bool {
        self.port_ref(number).is_some_and(|port| port.guest_open)
    }

    /// Bytes the guest has done with and no back end has taken yet, over all ports.
    pub fn backlog(&self) -> usize {
        let ports = self.slots.iter().filter_map(|slot| slot.port.as_ref());
        ports.map(Port::backlog).sum()
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

    /// Reads the configuration space; zero where there is none.
    pub fn read_config(&self, offset: u64, data: &mut [u8]) {
        let size = self.port_ref(0).and_then(|port| port.front.size());
        let size = size.unwrap_or(TerminalSize { cols: 0, rows: 0 });
        let mut config = [0; CONFIG_SIZE];
        config[..4].copy_from_slice(&control::size(size));
        config[4..8].copy_from_slice(&(self.slots.len() as u32).to_le_bytes());
        for (index, byte) in data.iter_mut().enumerate() {
            let at = usize::try_from(offset)
                .ok()
                .and_then(|at| at.checked_add(index));
            *byte = at.and_then(|at| config.get(at)).copied().unwrap_or(0);
        }
    }

    /// Writes the configuration space. Only the emergency register does anything: its low byte goes
    /// to port 0 as output, even of a driver that is not there yet.
    pub fn write_config(&mut self, offset: u64, data: &[u8]) {
        if offset == EMERGENCY {
            if let (Some(byte), Some(port)) = (data.first(), self.port_mut(0)) {
                port.put(*byte);
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
        let (input, output) = self.news.take();
        let output = output | self.clock.take();
        for port in 0..self.slots.len() {
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
                self.news.input_again(index);
                self.news.output_again(index);
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
        let Some(port) = self.slots.get_mut(port).and_then(|slot| slot.port.as_mut()) else {
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

    fn free_number(&self, number: Option<u32>, config: &PortConfig) -> Result<usize, PortError> {
        if config.name.len() > MAX_NAME || config.name.contains('\0') {
            return Err(PortError::BadName);
        }
        let mut ports = self.slots.iter().filter_map(|slot| slot.port.as_ref());
        if !config.name.is_empty() && ports.any(|port| port.config.name == config.name) {
            return Err(PortError::NameTaken(config.name.clone()));
        }
        let console = config.role == Role::Console;
        let Some(number) = number else {
            let free = self.slots.iter().enumerate().skip(usize::from(!console));
            let free = free.filter(|(_, slot)| slot.port.is_none());
            return free.map(|(index, _)| index).next().ok_or(PortError::Full);
        };
        let slot = usize::try_from(number)
            .ok()
            .and_then(|index| self.slots.get(index));
        match slot {
            None => Err(PortError::OutOfRange(self.slots.len() as u32 - 1)),
            Some(slot) if slot.port.is_some() => Err(PortError::NumberTaken(number)),
            Some(_) if number == 0 && !console => Err(PortError::ZeroIsForConsoles),
            Some(_) => Ok(number as usize),
        }
    }

    fn port_ref(&self, number: u32) -> Option<&Port> {
        self.slots.get(usize::try_from(number).ok()?)?.port.as_ref()
    }

    fn port_mut(&mut self, number: u32) -> Option<&mut Port> {
        self.slots
            .get_mut(usize::try_from(number).ok()?)?
            .port
            .as_mut()
    }

    /// Output of one port, as much as is one turn.
    fn transmit(&mut self, index: usize, rings: &mut impl Rings) {
        let queue = output_queue(index);
        for _ in 0..TURN {
            let Some(port) = self
                .slots
                .get_mut(index)
                .and_then(|slot| slot.port.as_mut())
            else {
                return;
            };
            let step = rings.with(queue, |queue, mem| port.transmit(queue, mem));
            match notify(rings, queue, step) {
                Some(Next::Again) => {}
                Some(Next::Later) => return self.clock.look_later(index),
                _ => return,
            }
        }
        self.news.output_again(index);
    }

    /// Input and events of one port, as much as is one turn.
    fn receive(&mut self, index: usize, rings: &mut impl Rings) {
        let queue = input_queue(index);
        for _ in 0..TURN {
            let Some(port) = self
                .slots
                .get_mut(index)
                .and_then(|slot| slot.port.as_mut())
            else {
                return;
            };
            let step = rings.with(queue, |queue, mem| port.receive(queue, mem));
            match notify(rings, queue, step) {
                Some(Next::Again) => {}
                Some(Next::Tell(event)) => self.handle_event(index, event, rings),
                Some(Next::Rest | Next::Later) | None => return,
            }
        }
        self.news.input_again(index);
    }

    fn handle_event(&mut self, index: usize, event: Event, rings: &mut impl Rings) {
        let slot = &mut self.slots[index];
        let Some(port) = &mut slot.port else {
            return;
        };
        match event {
            Event::Opened | Event::Closed if !port.is_console() => {
                port.host_open = event == Event::Opened;
                let news = port.guest_ready && port.told_open != port.host_open;
                slot.tell.set(Tell::OPEN, news);
            }
            Event::Resized(_) if port.is_console() => {
                slot.tell.set(Tell::SIZE, port.guest_ready);
            }
            Event::Changed(_) => self.news.output_again(index),
            // A virtio console has no break, and a console port is always open.
            _ => {}
        }
        self.tell(rings);
    }

    /// Tells the guest what it does not know yet, as far as it offers room for messages.
    fn tell(&mut self, rings: &mut impl Rings) {
        if !self.ready {
            return;
        }
        for index in 0..self.slots.len() {
            while let Some((what, message)) = self.next_message(index) {
                let sent = rings.with(CONTROL_IN, |queue, mem| send(queue, mem, &message));
                let Some(Some(wanted)) = sent else {
                    return;
                };
                if wanted {
                    rings.notify(CONTROL_IN);
                }
                let slot = &mut self.slots[index];
                slot.tell -= what;
                if let Some(port) = slot.port.as_mut().filter(|_| what == Tell::OPEN) {
                    port.told_open = port.host_open;
                }
            }
        }
    }

    fn next_message(&mut self, index: usize) -> Option<(Tell, Vec<u8>)> {
        let slot = &mut self.slots[index];
        if slot.tell.contains(Tell::REMOVE) {
            let message = control::message(index, control::DEVICE_REMOVE, 1, &[]);
            return Some((Tell::REMOVE, message));
        }
        let Some(port) = &slot.port else {
            slot.tell = Tell::empty();
            return None;
        };
        let (what, event, value, behind) = match slot.tell.iter().next()? {
            Tell::ADD => (Tell::ADD, control::DEVICE_ADD, 1, Vec::new()),
            Tell::CONSOLE => (Tell::CONSOLE, control::CONSOLE_PORT, 1, Vec::new()),
            Tell::NAME => {
                let mut name = port.config.name.clone().into_bytes();
                name.push(0);
                (Tell::NAME, control::PORT_NAME, 1, name)
            }
            Tell::SIZE => {
                let size = port.front.size().map(control::size);
                let size = size.unwrap_or_default().to_vec();
                (Tell::SIZE, control::RESIZE, 1, size)
            }
            _ => {
                let open = u16::from(port.host_open);
                (Tell::OPEN, control::PORT_OPEN, open, Vec::new())
            }
        };
        Some((what, control::message(index, event, value, &behind)))
    }

    /// Takes the guest's control messages.
    fn hear(&mut self, rings: &mut impl Rings) {
        for _ in 0..256 {
            let heard = rings.with(CONTROL_OUT, take_message);
            let Some(Some((message, wanted))) = heard else {
                return;
            };
            if wanted {
                rings.notify(CONTROL_OUT);
            }
            if let Some(message) = message {
                self.obey(message, rings);
            }
        }
        // So many at once say nothing that the last ones do not; the next kick goes on.
    }

    fn obey(&mut self, message: Message, rings: &mut impl Rings) {
        if message.event == control::DEVICE_READY {
            self.ready = message.value != 0;
            for slot in &mut self.slots {
                slot.tell = Tell::empty();
                if let Some(port) = &mut slot.port {
                    port.begin();
                    slot.tell = Tell::ADD;
                }
            }
            return self.tell(rings);
        }
        let Ok(index) = usize::try_from(message.port) else {
            return;
        };
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let Some(port) = &mut slot.port else {
            return;
        };
        match message.event {
            control::PORT_READY if message.value != 0 => {
                port.guest_ready = true;
                slot.tell.set(Tell::OPEN, port.host_open);
                slot.tell.set(Tell::CONSOLE, port.is_console());
                slot.tell.set(Tell::NAME, !port.config.name.is_empty());
                slot.tell
                    .set(Tell::SIZE, port.is_console() && port.front.size().is_some());
                self.tell(rings);
            }
            control::PORT_OPEN => {
                port.set_guest_open(message.value != 0);
                self.receive(index, rings);
            }
            _ => {}
        }
    }
}

impl AsFd for VirtioConsole {
    /// Readable while [`VirtioConsole::handle_news`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

fn input_queue(port: usize) -> usize {
    if port == 0 { 0 } else { 2 * port + 2 }
}

fn output_queue(port: usize) -> usize {
    input_queue(port) + 1
}

fn notify(rings: &mut impl Rings, queue: usize, step: Option<Step>) -> Option<Next> {
    let step = step?;
    if step.notify {
        rings.notify(queue);
    }
    Some(step.next)
}

/// Writes one message to the guest: whether it wants an interrupt for it, or `None` if there is no
/// room. What a buffer is too small for is cut off.
fn send<M: GuestMemory>(queue: &mut Queue, mem: &M, message: &[u8]) -> Option<bool> {
    let room = Room::one(queue, mem).or_else(|| {
        let more = queue.enable_notification(mem).unwrap_or(false);
        more.then(|| Room::one(queue, mem)).flatten()
    });
    let mut room = room?;
    let mut filled = 0;
    for buf in &mut room.bufs() {
        let rest = &message[filled..];
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        filled += count;
    }
    // A chain without any room is answered too, or it would be in the way for ever.
    let used = room.complete(queue, mem, filled);
    Some(used && queue.needs_notification(mem).unwrap_or(true))
}

/// Takes one message from the guest, if it is one, and whether the guest wants an interrupt.
fn take_message<M: GuestMemory>(queue: &mut Queue, mem: &M) -> Option<(Option<Message>, bool)> {
    let mut output = Output::one(queue, mem);
    if output.is_empty() && queue.enable_notification(mem).unwrap_or(false) {
        output = Output::one(queue, mem);
    }
    if output.is_empty() {
        return None;
    }
    let mut bytes = [0; control::HEADER];
    let mut length = 0;
    for buf in output.bufs() {
        let count = buf.len().min(bytes.len() - length);
        bytes[length..length + count].copy_from_slice(&buf[..count]);
        length += count;
    }
    let message = (length == bytes.len()).then(|| Message::parse(bytes));
    let total = output.bytes();
    let done = output.complete(queue, mem, total);
    let wanted = done.freed > 0 && queue.needs_notification(mem).unwrap_or(true);
    Some((message, wanted))
}
