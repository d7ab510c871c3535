//! guest → [front: virtio-console] → chardev → back → host: output and input of each port in turn.

use super::port::{Next, Port, Step};
use super::{Rings, VirtioConsole};

/// The most batches of one direction of one port before others have their turn.
const TURN: usize = 8;

impl VirtioConsole {
    /// Output of one port, as much as is one turn.
    pub(super) fn transmit(&mut self, index: usize, rings: &mut impl Rings) {
        let queue = output_queue(index);
        for _ in 0..TURN {
            let Some(port) = self.port(index) else {
                return;
            };
            let step = rings.with(queue, |queue, mem| port.transmit(queue, mem));
            match notify(rings, queue, step) {
                Some(Next::Again) => {}
                Some(Next::Later(pace)) => return self.clock.look_later(index, pace),
                _ => return,
            }
        }
        self.pending.output_again(index);
    }

    /// Input and events of one port, as much as is one turn.
    pub(super) fn receive(&mut self, index: usize, rings: &mut impl Rings) {
        let queue = input_queue(index);
        for _ in 0..TURN {
            let Some(port) = self.port(index) else {
                return;
            };
            let step = rings.with(queue, |queue, mem| port.receive(queue, mem));
            match notify(rings, queue, step) {
                Some(Next::Again) => {}
                Some(Next::Tell(event)) => self.handle_event(index, event, rings),
                Some(Next::Rest | Next::Later(_)) | None => return,
            }
        }
        self.pending.input_again(index);
    }

    pub(super) fn port(&mut self, index: usize) -> Option<&mut Port> {
        self.slots.get_mut(index)?.port.as_mut()
    }
}

pub(super) fn input_queue(port: usize) -> usize {
    if port == 0 { 0 } else { 2 * port + 2 }
}

pub(super) fn output_queue(port: usize) -> usize {
    input_queue(port) + 1
}

fn notify(rings: &mut impl Rings, queue: usize, step: Option<Step>) -> Option<Next> {
    let step = step?;
    if step.notify {
        rings.notify(queue);
    }
    Some(step.next)
}
