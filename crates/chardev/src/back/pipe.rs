//! front → chardev → [back] → host: pipe, one or two FIFOs that somebody else made.
//!
//! Both are opened for reading and writing, so opening never waits and a reader that leaves is no
//! error; what is written before one comes is kept by the kernel.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use chardev_core::spec::{KindSpec, OptionSpec, OptionType, Options, Short};
use chardev_core::{Backend, BackendEvent, BackendId, Drain, OpenError, Ready, Sent, WeakChardev};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::stream::{Duplex, Input, Output};
use super::{Access, Kind, OpenContext, open_set, opening_elsewhere};
use crate::disk;
use crate::sys::refused;
use crate::writer::Target;

/// The kind `pipe` (QAPI `ChardevHostdev`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec::new(
        "pipe",
        "FIFOs <path>.in and <path>.out, or one file for both directions",
        &[OptionSpec::new(
            "device",
            OptionType::Str,
            "path of the FIFOs, without .in and .out",
        )
        .key("path")
        .path()
        .required_or("chardev: pipe: no device path given")],
    )
    .spelled(&[Short::Path])
    .derived_from("chardev-fd"),
    open: |options, context| opening_elsewhere(options, context, open),
};

fn open(options: &Options, context: &OpenContext) -> Result<Box<dyn Backend>, OpenError> {
    let path = options.str("device").unwrap_or_default();
    let place = options.path("device").unwrap_or_default();
    let failed = |error: io::Error| refused("Could not open", path, error);
    let pair = open_fifo(&with_suffix(&place, ".in"))
        .and_then(|input| Ok((input, open_fifo(&with_suffix(&place, ".out"))?)));
    let (input, output, both_ways) = match pair {
        Ok((input, output)) => (input, output, false),
        Err(_) => {
            let both = match open_set(path, Access::Both, false, &*context.fds) {
                Some(given) => given,
                None => open_fifo(&place),
            };
            let both = both.map_err(|error| failed(error.into()))?;
            let copy = both.try_clone().map_err(failed)?;
            (both, copy, true)
        }
    };
    let target = Target::of(output).map_err(|error| failed(error.into()))?;
    let loops = both_ways && target.file_type() == FileType::Fifo;
    let mut input = Input::new(input, false, &context.port).map_err(failed)?;
    if !loops {
        input.prepare_to_refuse();
    }
    Ok(Box::new(Pipe {
        duplex: Duplex::new(
            input,
            Output::new(target, path, &context.port).map_err(failed)?,
        ),
        loops,
    }))
}

fn open_fifo(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    disk::open(path, flags, Mode::empty())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

struct Pipe {
    duplex: Duplex,
    /// One FIFO serves both directions, so what is in it may be our own output.
    loops: bool,
}

impl Backend for Pipe {
    fn kind(&self) -> &'static str {
        "pipe"
    }

    fn filename(&self) -> String {
        "pipe".to_owned()
    }

    fn is_open(&self) -> bool {
        true
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        self.duplex.write(bufs)
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        self.duplex.read(bufs)
    }

    fn watch(&mut self, interest: Ready) {
        self.duplex.watch(interest);
    }

    fn update(&mut self, ready: Ready) {
        self.duplex.update(ready);
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        self.duplex.poll_event()
    }

    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {
        self.duplex.go_live(false);
    }

    /// Where one FIFO serves both directions its reader is still owed what is in it.
    fn refuse_input(&mut self) {
        if !self.loops {
            self.duplex.refuse_input();
        }
    }

    /// Where output cannot be told from input it is left to whoever reads the FIFO next: output
    /// that was accepted must not come back as input.
    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        if self.loops {
            return (Vec::new(), false);
        }
        (self.duplex.take_input(), false)
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        self.duplex.retire()
    }
}
