//! back ◀── [peer]: what a peer speaks above bytes.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};

use chardev::back::LayerKind;
use chardev_core::Stack;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::peer::Kind;
use crate::toy::escape::{Decoder, HELLO, complete, encode};

/// How often it is asked whether a peer is to leave in the middle of its handshake.
const MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// A protocol.
pub(crate) enum Speech {
    Escaped(Escaped),
    Dressed(Box<Dressed>),
}

impl Speech {
    /// Shakes hands; returns what was said right behind that, or nothing if the other end has left
    /// or the peer is to leave.
    pub(crate) fn greet(&mut self, fd: &OwnedFd, leaves: impl Fn() -> bool) -> Option<Vec<u8>> {
        match self {
            Speech::Escaped(_) => {
                assert_eq!(rustix::io::write(fd, HELLO), Ok(HELLO.len()));
                Some(Vec::new())
            }
            Speech::Dressed(dressed) => dressed.greet(fd, leaves),
        }
    }

    /// What `bytes` mean.
    pub(crate) fn hear(&mut self, fd: &OwnedFd, bytes: &[u8]) -> Vec<u8> {
        match self {
            Speech::Escaped(escaped) => escaped.heard.decode(bytes),
            Speech::Dressed(dressed) => dressed.hear(fd, bytes),
        }
    }

    /// Says as much of `bytes` as it can, and how many are complete.
    pub(crate) fn say(&mut self, to: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Speech::Escaped(escaped) => escaped.say(to, bytes),
            Speech::Dressed(dressed) => dressed.say(to, bytes),
        }
    }

    /// The peer ends its sending, if that can be said.
    pub(crate) fn end(&mut self, fd: &OwnedFd) {
        if let Speech::Dressed(dressed) = self {
            dressed.end(fd);
        }
    }

    /// The other end closes the connection: whether it has said so before.
    pub(crate) fn has_ended(&mut self) -> bool {
        match self {
            Speech::Escaped(escaped) => escaped.heard.ended,
            Speech::Dressed(dressed) => {
                dressed.stack.receive_end();
                dressed.stack.failure().is_none() || dressed.stack.is_closed()
            }
        }
    }
}

/// The toy protocol.
#[derive(Debug, Default)]
pub(crate) struct Escaped {
    heard: Decoder,
    /// Bytes that were sent of a sequence of which the rest was not.
    begun: usize,
}

impl Escaped {
    fn say(&mut self, to: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
        let sent = self.begun + rustix::io::write(to, &encode(bytes)[self.begun..])?;
        let count = complete(bytes, sent);
        self.begun = sent - encode(&bytes[..count]).len();
        Ok(count)
    }
}

/// A protocol that users know, by the layer that the other end has too.
pub(crate) struct Dressed {
    stack: Stack,
    kind: Kind,
    /// Bytes that the stack has taken and that are not all sent.
    begun: usize,
}

impl Dressed {
    pub(crate) fn new(layer: &LayerKind, kind: Kind) -> Self {
        Dressed {
            stack: Stack::new(vec![layer.make()]),
            kind,
            begun: 0,
        }
    }

    fn greet(&mut self, fd: &OwnedFd, leaves: impl Fn() -> bool) -> Option<Vec<u8>> {
        let mut buf = [0; 4096];
        let mut said = Vec::new();
        while !self.stack.is_open() || self.stack.has_wire() {
            let _ = self.flush(fd);
            match rustix::io::read(fd, &mut buf) {
                Ok(0) => return None,
                Ok(count) => said.extend(self.hear(fd, &buf[..count])),
                Err(Errno::AGAIN | Errno::INTR) => {
                    poll(
                        &mut [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)],
                        Some(&MOMENT),
                    )
                    .unwrap();
                }
                Err(_) => return None,
            }
            if leaves() {
                return None;
            }
        }
        Some(said)
    }

    fn hear(&mut self, fd: &OwnedFd, bytes: &[u8]) -> Vec<u8> {
        self.stack.receive(bytes);
        let mut all = Vec::new();
        let mut buf = [0; 4096];
        loop {
            match self.stack.read(&mut [IoSliceMut::new(&mut buf)]) {
                0 => break,
                count => all.extend_from_slice(&buf[..count]),
            }
        }
        let _ = self.flush(fd);
        all
    }

    fn say(&mut self, fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
        if self.stack.failure().is_some() {
            // A websocket takes nothing behind its closing frame.
            return Err(Errno::PIPE);
        }
        if !self.stack.has_wire() {
            self.begun = self.stack.send(&[IoSlice::new(bytes)]);
        }
        match self.flush(fd)? {
            true => Ok(std::mem::take(&mut self.begun)),
            false => Err(Errno::AGAIN),
        }
    }

    /// TLS says that one direction ends. What websocket can say ends both, so it says nothing.
    fn end(&mut self, fd: &OwnedFd) {
        if self.kind == Kind::Tls {
            self.stack.send_end();
            while self.flush(fd) == Ok(false) {
                std::thread::park_timeout(crate::common::LOOK_AGAIN);
            }
        }
    }

    /// Sends what it can; whether that was all.
    fn flush(&mut self, fd: &OwnedFd) -> Result<bool, Errno> {
        while self.stack.has_wire() {
            match rustix::io::writev(fd, &self.stack.wire()) {
                Ok(count) => self.stack.sent(count),
                Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
