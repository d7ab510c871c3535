//! front → chardev → [back] → host: input and output on plain descriptors, until the input ends.
//!
//! What `file`, `pipe`, `serial` and `stdio` have in common. What the end of the input means is up
//! to them: a file goes on taking output, a terminal that hangs up does not.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};

use chardev_core::{BackendEvent, Drain, Ready, Sent};

use super::fifo::Refused;
use super::reader::Found;
use super::{Input, Output};

/// An input, an output, and what happened to them.
pub(in crate::back) struct Duplex {
    input: Input,
    output: Output,
    ended: bool,
    /// The end of the input is not the end of the peer.
    half_close: bool,
    input_ended: bool,
    /// The input was given up: what had been sent by then, and how many bytes came too late.
    refused: Option<(Vec<u8>, usize)>,
    events: VecDeque<BackendEvent>,
}

impl Duplex {
    /// Both directions, neither of which has ended.
    pub(in crate::back) fn new(input: Input, output: Output) -> Self {
        Duplex {
            input,
            output,
            ended: false,
            half_close: false,
            input_ended: false,
            refused: None,
            events: VecDeque::new(),
        }
    }

    /// Whether the input has ended or the peer vanished.
    pub(in crate::back) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes as much of `bufs` as fits now.
    pub(in crate::back) fn write(&mut self, bufs: &[IoSlice<'_>]) -> Sent {
        self.output.write(bufs)
    }

    /// Fills `bufs` with what is there.
    pub(in crate::back) fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        match self.input.read(bufs) {
            Found::Data(count) => count,
            Found::Nothing => 0,
            Found::End if self.half_close => {
                self.input_ended = true;
                0
            }
            Found::End => {
                self.end(Vec::new());
                0
            }
        }
    }

    /// Asks for one report of each of `interest`.
    pub(in crate::back) fn watch(&self, interest: Ready) {
        if interest.contains(Ready::READ) {
            self.input.watch();
        }
        if interest.contains(Ready::WRITE) {
            self.output.watch();
        }
    }

    /// Keeps a peer whose input ends, or does not any more.
    pub(in crate::back) fn set_half_close(&mut self, half_close: bool) {
        self.half_close = half_close;
        if self.input_ended && !half_close {
            self.end(Vec::new());
        }
    }

    /// Whether the input has ended, and with it nothing else yet.
    pub(in crate::back) fn input_ended(&self) -> bool {
        self.input_ended && !self.ended
    }

    /// Looks for the end of the input, once `ready` was reported.
    pub(in crate::back) fn update(&mut self, ready: Ready) {
        if self.half_close {
            return;
        }
        if let Some(unread) = self.input.take_if_ended(ready) {
            self.end(unread);
        }
    }

    /// The peer has vanished: what it had sent is the last of the input.
    pub(in crate::back) fn give_up(&mut self) {
        let unread = self.input.take_all();
        self.end(unread);
    }

    /// Reports `event` after those before it.
    pub(in crate::back) fn report(&mut self, event: BackendEvent) {
        self.events.push_back(event);
    }

    /// The next event.
    pub(in crate::back) fn poll_event(&mut self) -> Option<BackendEvent> {
        self.events.pop_front()
    }

    /// Goes live, truncating a regular file if `truncate` says so.
    pub(in crate::back) fn go_live(&mut self, truncate: bool) {
        self.output.go_live(truncate);
    }

    /// Gives the input up, so that whoever goes on writing into it is refused, or reaches its next
    /// reader instead of us.
    pub(in crate::back) fn refuse_input(&mut self) {
        self.refused = Some(self.input.refuse());
    }

    /// Everything that was sent and nobody has read.
    pub(in crate::back) fn take_input(&mut self) -> Vec<u8> {
        match &mut self.refused {
            Some((bytes, _)) => std::mem::take(bytes),
            None => self.input.take_all(),
        }
    }

    /// The output.
    pub(in crate::back) fn output(&self) -> &Output {
        &self.output
    }

    /// Leaves what is needed to deliver accepted output. The input is given up at once.
    pub(in crate::back) fn retire(self) -> Box<dyn Drain> {
        let drain = self.output.retire();
        match self.refused {
            Some((unread, late)) if unread.len() + late > 0 => Box::new(Refused {
                drain,
                late: unread.len() + late,
            }),
            _ => drain,
        }
    }

    fn end(&mut self, unread: Vec<u8>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.report(BackendEvent::Closed { unread });
        }
    }
}
