//! front → chardev → [back] → host: null, which takes everything and has nobody behind it.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;

use chardev_core::spec::{KindSpec, Options, Short};
use chardev_core::{Backend, Drain, NothingToDrain, Ready, Sent};

use crate::back::{Kind, OpenContext, Opening};

/// The kind `null`.
pub(crate) static KIND: Kind = Kind {
    spec: KindSpec::new("null", "discards all output, never has input", &[])
        .spelled(&[Short::Name]),
    open,
};

fn open<'a>(_options: &'a Options, _context: &'a OpenContext) -> Opening<'a> {
    Box::pin(async { Ok(Box::new(Null) as Box<dyn Backend>) })
}

#[derive(Debug)]
struct Null;

impl Backend for Null {
    fn kind(&self) -> &'static str {
        "null"
    }

    fn filename(&self) -> String {
        "null".to_owned()
    }

    fn is_open(&self) -> bool {
        false
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        Sent::Taken(bufs.iter().map(|buf| buf.len()).sum())
    }

    fn read(&mut self, _bufs: &mut [IoSliceMut<'_>]) -> usize {
        0
    }

    fn watch(&mut self, _interest: Ready) {}

    fn resume_soon(&mut self) -> bool {
        false
    }

    fn may_wait(&self) -> bool {
        false
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        Box::new(NothingToDrain)
    }
}
