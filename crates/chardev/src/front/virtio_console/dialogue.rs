//! guest ↔ [front: virtio-console]: the conversation over the control queues, and its effects.

use chardev_core::Event;
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemory;

use super::chains::{Output, Room};
use super::control::{self, Message, Tell};
use super::{CONTROL_IN, CONTROL_OUT, Rings, VirtioConsole};

impl VirtioConsole {
    pub(super) fn handle_event(&mut self, index: usize, event: Event, rings: &mut impl Rings) {
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
            Event::Changed(_) => self.pending.output_again(index),
            // A virtio console has no break, and a console port is always open.
            _ => {}
        }
        self.tell(rings);
    }

    /// Tells the guest what it does not know yet, as far as it offers room for messages.
    pub(super) fn tell(&mut self, rings: &mut impl Rings) {
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
    pub(super) fn hear(&mut self, rings: &mut impl Rings) {
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
