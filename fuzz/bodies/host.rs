//! The host's side of a chardev in memory, for scripts without any I/O.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use chardev::{Answers, Backend, Drain, Line, LineControl, ModemLines, Ready, Sent};
use chardev_core::NothingToDrain;

/// What a script sees of the host and sets there.
#[derive(Default)]
pub(crate) struct World {
    /// How many bytes are taken from now on.
    pub(crate) room: usize,
    /// All that was taken.
    pub(crate) received: Vec<u8>,
    /// What is there to be read.
    pub(crate) to_read: VecDeque<u8>,
    /// The modem lines, if it has any.
    pub(crate) inputs: Option<ModemLines>,
}

/// A back end; its clones are the same host.
#[derive(Clone, Default)]
pub(crate) struct Host(Arc<Mutex<World>>);

impl Host {
    /// Looks at the host, or changes it.
    pub(crate) fn with<R>(&self, action: impl FnOnce(&mut World) -> R) -> R {
        action(&mut self.0.lock().expect("no other holder panicked"))
    }
}

impl Backend for Host {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn filename(&self) -> String {
        String::new()
    }

    fn is_open(&self) -> bool {
        true
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _: &mut Vec<OwnedFd>) -> Sent {
        self.with(|world| {
            let before = world.received.len();
            for buf in bufs {
                let count = buf.len().min(world.room);
                world.received.extend(&buf[..count]);
                world.room -= count;
            }
            match world.received.len() - before {
                0 => Sent::Full,
                count => Sent::Taken(count),
            }
        })
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        self.with(|world| {
            let mut total = 0;
            for buf in bufs {
                let count = buf.len().min(world.to_read.len());
                for (slot, byte) in buf.iter_mut().zip(world.to_read.drain(..count)) {
                    *slot = byte;
                }
                total += count;
            }
            total
        })
    }

    fn watch(&mut self, _: Ready) {}

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        Box::new(NothingToDrain)
    }

    fn line(&mut self) -> Option<&mut dyn LineControl> {
        Some(self)
    }
}

impl LineControl for Host {
    fn apply(&mut self, line: &Line) -> Answers {
        Answers::unsupported(line, self.is_open())
    }

    fn modem_inputs(&mut self) -> Option<ModemLines> {
        self.with(|world| world.inputs)
    }
}
