//! guest → [front: virtio-console] → chardev → back → host: one port, and its input.

use std::collections::VecDeque;
use std::time::Duration;

use chardev_core::{Event, FrontEnd};
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemory;

use super::chains::Room;
use super::pace::Pace;
use super::{PortConfig, PortStats, PortWatch, Role};

/// What to do after one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next batch.
    Again,
    /// Nothing more before somebody says so.
    Rest,
    /// Nothing more for so long.
    Later(Duration),
    /// The guest is to be told of an event, then the next batch.
    Tell(Event),
}

/// The outcome of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The guest wants an interrupt for what it was given back.
    pub(super) notify: bool,
    pub(super) next: Next,
}

impl Step {
    const REST: Step = Step {
        notify: false,
        next: Next::Rest,
    };

    /// Asks the guest, if so, whether it wants an interrupt.
    pub(super) fn after<M: GuestMemory>(queue: &mut Queue, mem: &M, ask: bool, next: Next) -> Self {
        let notify = ask && queue.needs_notification(mem).unwrap_or(true);
        Step { notify, next }
    }
}

/// A port with its chardev.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) front: FrontEnd,
    pub(super) config: PortConfig,
    pub(super) stats: PortStats,
    /// Somebody in the guest has it open, so input can go there.
    pub(super) guest_open: bool,
    /// What was told of that.
    watched_open: bool,
    watch: PortWatch,
    /// The driver has set the port up, so it can be told things.
    pub(super) guest_ready: bool,
    /// Somebody is there on the host's side.
    pub(super) host_open: bool,
    /// What the guest believes of that; it begins with "nobody".
    pub(super) told_open: bool,
    /// How much of the first chain in the output ring was taken already.
    pub(super) offset: u64,
    pub(super) pace: Pace,
    /// Output that the guest has done with and the back end has not taken.
    pub(super) backlog: VecDeque<u8>,
}

impl Port {
    pub(super) fn new(front: FrontEnd, config: PortConfig, watch: PortWatch) -> Self {
        let console = config.role == Role::Console;
        if console {
            front.set_open(true);
        }
        // A console's guest writes whether or not anybody listens.
        let mut host_open = console;
        while let Some(event) = front.next_event() {
            host_open = console || event == Event::Opened || host_open && event != Event::Closed;
        }
        Port {
            host_open,
            front,
            pace: Pace::new(config.role == Role::Generic),
            config,
            stats: PortStats::default(),
            guest_open: false,
            watched_open: false,
            watch,
            guest_ready: false,
            told_open: false,
            offset: 0,
            backlog: VecDeque::new(),
        }
    }

    pub(super) fn is_console(&self) -> bool {
        self.config.role == Role::Console
    }

    /// The driver is gone: nobody has the port open, and what it had not finished never was.
    pub(super) fn reset(&mut self) {
        self.offset = 0;
        self.pace = Pace::new(self.config.role == Role::Generic);
        self.begin();
    }

    /// The driver begins with this port anew.
    pub(super) fn begin(&mut self) {
        self.guest_ready = false;
        self.told_open = false;
        self.set_guest_open(false);
    }

    pub(super) fn set_guest_open(&mut self, open: bool) {
        self.guest_open = open;
        if let Some(id) = self
            .config
            .id
            .as_ref()
            .filter(|_| self.watched_open != open)
        {
            self.watched_open = open;
            self.watch.push(id, open);
        }
        if !self.is_console() {
            self.front.set_open(open);
        }
    }

    /// Moves one batch from the chardev to the guest.
    pub(super) fn receive<M: GuestMemory>(&mut self, queue: &mut Queue, mem: &M) -> Step {
        if !self.guest_open {
            return self.next_event(Step::REST);
        }
        let mut room = Room::gather(queue, mem);
        if room.is_empty() {
            // Only now is it worth a kick that there is room.
            if queue.enable_notification(mem).unwrap_or(false) {
                room = Room::gather(queue, mem);
            }
            if room.is_empty() {
                return self.next_event(Step::REST);
            }
        }
        let _ = queue.disable_notification(mem);
        self.stats.malformed += room.malformed();
        let count = if room.bytes() > 0 {
            self.front.read_vectored(&mut room.bufs())
        } else {
            0
        };
        let useless = room.bytes() == 0;
        self.stats.input += count as u64;
        let used = room.complete(queue, mem, count);
        let step = Step {
            notify: used && queue.needs_notification(mem).unwrap_or(true),
            next: if count > 0 || useless && used {
                Next::Again
            } else {
                Next::Rest
            },
        };
        if count > 0 {
            step
        } else {
            self.next_event(step)
        }
    }

    fn next_event(&mut self, step: Step) -> Step {
        match self.front.next_event() {
            None => step,
            Some(event) => Step {
                next: Next::Tell(event),
                ..step
            },
        }
    }
}
