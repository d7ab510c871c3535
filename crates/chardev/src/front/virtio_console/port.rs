//! guest → [front: virtio-console] → chardev → back → host: one port, its output and its input.

use std::collections::VecDeque;
use std::io::IoSlice;

use chardev_core::{Event, FrontEnd};
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemory;

use super::chains::{Output, Room};
use super::pace::Pace;
use super::{PortConfig, PortStats, PortWatch, Role, WhenFull};

/// What a guest may have in hand when its queue is stopped; more of one chain is dropped.
const STOP_LIMIT: usize = 1 << 20;

/// What to do after one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next batch.
    Again,
    /// Nothing more before somebody says so.
    Rest,
    /// Nothing more for one [`PACE`](super::pace::PACE).
    Later,
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
    fn after<M: GuestMemory>(queue: &mut Queue, mem: &M, ask: bool, next: Next) -> Self {
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
    offset: u64,
    pace: Pace,
    /// Output that the guest has done with and the back end has not taken.
    backlog: VecDeque<u8>,
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

    /// Moves one batch from the guest to the chardev.
    pub(super) fn transmit<M: GuestMemory>(&mut self, queue: &mut Queue, mem: &M) -> Step {
        // A ring outside of memory has nothing to offer; the next call will find that out.
        let _ = queue.disable_notification(mem);
        if !self.flush_backlog() && self.config.when_full == WhenFull::Wait {
            let ask = self.pace.stop();
            return Step::after(queue, mem, ask, Next::Rest);
        }
        let mut output = Output::gather(queue, mem, self.offset);
        let mut ask = false;
        if output.is_empty() {
            let verdict = self.pace.empty();
            ask = verdict.ask;
            if verdict.again {
                return Step::after(queue, mem, ask, Next::Later);
            }
            if queue.enable_notification(mem).unwrap_or(false) {
                output = Output::gather(queue, mem, self.offset);
            }
            // Nothing came meanwhile; or the guest's index is wrong, and nothing will.
            if output.is_empty() {
                return Step::after(queue, mem, ask, Next::Rest);
            }
            let _ = queue.disable_notification(mem);
        }
        self.stats.malformed += output.malformed();
        let (chains, bytes) = (output.chains(), output.bytes());
        let taken = self.send(&output.bufs());
        self.stats.output += taken as u64;
        let done = output.complete(queue, mem, taken);
        self.offset = done.offset;
        ask |= self.pace.found(chains, taken, done.freed, queue.size());
        if taken == bytes {
            return Step::after(queue, mem, ask, Next::Again);
        }
        // The back end reports when it takes more, and only that makes another try worth while.
        let verdict = self.pace.full(taken);
        let next = if verdict.again {
            Next::Later
        } else {
            Next::Rest
        };
        Step::after(queue, mem, ask | verdict.ask, next)
    }

    /// Sends what the back end takes, and by the port's policy the rest as well.
    fn send(&mut self, bufs: &[IoSlice<'_>]) -> usize {
        let taken = if self.backlog.is_empty() && !bufs.is_empty() {
            self.front.write_vectored(bufs)
        } else {
            0
        };
        let WhenFull::Drop { buffer } = self.config.when_full else {
            return taken;
        };
        // The driver of a console waits for its buffer in a loop that nothing interrupts: keep what
        // fits, count what does not, and let it go on.
        let mut skip = taken;
        let mut total = 0;
        for buf in bufs {
            total += buf.len();
            let start = skip.min(buf.len());
            skip -= start;
            let rest = &buf[start..];
            let kept = rest.len().min(buffer.saturating_sub(self.backlog.len()));
            self.backlog.extend(&rest[..kept]);
            self.drop_output(rest.len() - kept);
        }
        total
    }

    fn drop_output(&mut self, count: usize) {
        if count > 0 {
            self.stats.dropped += count as u64;
            self.front.count_dropped(count);
        }
    }

    /// Sends older output; `true` once there is none.
    pub(super) fn flush_backlog(&mut self) -> bool {
        while !self.backlog.is_empty() {
            let (first, second) = self.backlog.as_slices();
            let bufs = [IoSlice::new(first), IoSlice::new(second)];
            let taken = self.front.write_vectored(&bufs);
            if taken == 0 {
                return false;
            }
            self.backlog.drain(..taken);
            if self.backlog.is_empty() {
                // An idle port keeps no buffer.
                self.backlog = VecDeque::new();
            }
        }
        true
    }

    /// Output in hand that no back end has taken.
    pub(super) fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// Puts a byte behind all output, for the emergency register.
    pub(super) fn put(&mut self, byte: u8) {
        self.flush_backlog();
        self.stats.output += 1;
        if self.backlog.is_empty() && self.front.write(&[byte]) == 1 {
            return;
        }
        if self.backlog.len() < STOP_LIMIT {
            self.backlog.push_back(byte);
        } else {
            self.drop_output(1);
        }
    }

    /// The queue stops for now: a chain that was taken in part is taken in hand, so that the ring
    /// alone says where to go on.
    pub(super) fn stop<M: GuestMemory>(&mut self, queue: &mut Queue, mem: &M) -> bool {
        let mut notify = self.pace.stop();
        if self.pace.is_flowing() {
            // Whoever goes on with the ring finds it as it is, but is to be kicked for what comes.
            let _ = queue.enable_notification(mem);
        }
        self.pace = Pace::new(self.config.role == Role::Generic);
        while self.offset > 0 {
            let output = Output::gather(queue, mem, self.offset);
            if output.is_empty() {
                self.offset = 0;
                break;
            }
            let count = output.first_bytes();
            let mut left = count;
            for buf in output.bufs() {
                let part = &buf[..buf.len().min(left)];
                left -= part.len();
                let kept = part
                    .len()
                    .min(STOP_LIMIT.saturating_sub(self.backlog.len()));
                self.backlog.extend(&part[..kept]);
                self.drop_output(part.len() - kept);
            }
            self.stats.output += count as u64;
            let done = output.complete(queue, mem, count);
            self.offset = done.offset;
            notify |= done.freed > 0;
        }
        notify && queue.needs_notification(mem).unwrap_or(true)
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
