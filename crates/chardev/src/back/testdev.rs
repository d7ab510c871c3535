//! front → chardev → [back] → host: testdev, by which a guest ends the program, for tests of
//! firmware.
//!
//! It reads commands: a decimal number and a letter, of which `q` is the only one. `NUMBERq` asks
//! for the end with the status `(NUMBER << 1) | 1`, which is never one of success. Nothing ends
//! here: the program is told ([`Chardevs::exit_requested`](crate::Chardevs::exit_requested)).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use chardev_core::spec::{KindSpec, Options, Short};
use chardev_core::{Backend, Drain, NothingToDrain, Ready, Sent};

use crate::back::{Kind, OpenContext, Opening};
use crate::chardevs::Shared;

/// The kind `testdev`.
pub(crate) static KIND: Kind = Kind {
    spec: KindSpec::new(
        "testdev",
        "for tests of firmware: output is read for commands, and NUMBERq ends it with status NUMBER * 2 + 1",
        &[],
    )
    .spelled(&[Short::Name]),
    open,
};

fn open<'a>(_options: &'a Options, context: &'a OpenContext) -> Opening<'a> {
    Box::pin(async {
        Ok(Box::new(Testdev {
            label: context.port.label().to_owned(),
            shared: Arc::downgrade(&context.scene.shared),
            command: Command::default(),
        }) as Box<dyn Backend>)
    })
}

#[derive(Debug)]
struct Testdev {
    label: String,
    /// The I/O thread does not go on for it.
    shared: Weak<Shared>,
    command: Command,
}

impl Backend for Testdev {
    fn kind(&self) -> &'static str {
        "testdev"
    }

    fn filename(&self) -> String {
        "testdev".to_owned()
    }

    fn is_open(&self) -> bool {
        true
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        for byte in bufs.iter().flat_map(|buf| buf.iter()) {
            let Some(status) = self.command.push(*byte) else {
                continue;
            };
            let shared = self.shared.upgrade();
            if shared.is_some_and(|shared| shared.request_exit(status)) {
                tracing::info!(
                    label = self.label,
                    status,
                    "asks for the end of the program"
                );
            }
        }
        Sent::Taken(bufs.iter().map(|buf| buf.len()).sum())
    }

    fn read(&mut self, _bufs: &mut [IoSliceMut<'_>]) -> usize {
        0
    }

    fn watch(&mut self, _interest: Ready) {}

    fn resume_soon(&mut self) -> bool {
        false
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        Box::new(NothingToDrain)
    }
}

/// The command that is being read: spaces, a number, spaces, a letter.
#[derive(Debug, Default)]
struct Command {
    number: Option<u32>,
    /// Spaces have come behind the number.
    complete: bool,
}

impl Command {
    /// The status to end with, once a command for it is complete.
    fn push(&mut self, byte: u8) -> Option<u8> {
        match byte {
            b'0'..=b'9' if !self.complete => {
                let number = self.number.unwrap_or(0).wrapping_mul(10);
                self.number = Some(number.wrapping_add(u32::from(byte - b'0')));
                return None;
            }
            b' ' | b'\t'..=b'\r' => {
                self.complete = self.number.is_some();
                return None;
            }
            _ => {}
        }
        let Command { number, .. } = std::mem::take(self);
        // Of a process's status eight bits count.
        (byte == b'q').then(|| (number.unwrap_or(0) << 1 | 1) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_q_are_a_status() {
        for (text, expected) in [
            ("q", &[1_u8][..]),
            ("0q", &[1]),
            ("3q", &[7]),
            ("127q", &[255]),
            ("128q", &[1]),
            (" 1\r\n2\tq", &[1]),
            ("\n 12 \x0b q", &[25]),
            ("5x3q", &[7]),
            ("Booting 2q", &[5]),
            ("9 8q", &[1]),
            ("1q2q", &[3, 5]),
            ("4294967298q", &[5]),
            ("12", &[]),
            ("Q", &[]),
        ] {
            let mut command = Command::default();
            let found: Vec<u8> = text.bytes().filter_map(|it| command.push(it)).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
