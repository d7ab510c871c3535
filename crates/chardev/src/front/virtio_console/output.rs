//! guest → [front: virtio-console] → chardev → back → host: a port's output.

use std::collections::VecDeque;
use std::io::IoSlice;

use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemory;

use super::chains::Output;
use super::pace::Pace;
use super::port::{Next, Port, Step};
use super::{Role, WhenFull};

/// What a guest may have in hand when its queue is stopped; more of one chain is dropped.
const STOP_LIMIT: usize = 1 << 20;

impl Port {
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
            let verdict = self.pace.empty(queue.size());
            ask = verdict.ask;
            if let Some(pace) = verdict.again {
                return Step::after(queue, mem, ask, Next::Later(pace));
            }
            if queue.enable_notification(mem).unwrap_or(false) {
                output = Output::gather(queue, mem, self.offset);
            }
            // Nothing came meanwhile; or the guest's index is wrong, and nothing will.
            if output.is_empty() {
                let next = verdict.ask_after.map_or(Next::Rest, Next::Later);
                return Step::after(queue, mem, ask, next);
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
        let next = verdict.again.map_or(Next::Rest, Next::Later);
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
}
