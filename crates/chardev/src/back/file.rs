//! front → chardev → [back] → host: file, output into a file and, if wanted, input from another.
//!
//! A regular file is written by a thread behind a bounded queue (see `writer`), since it cannot
//! be polled; anything that can, such as a FIFO or a terminal, is written directly. The same holds
//! for input: a thread reads a regular file one piece ahead.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use chardev_core::spec::{KindSpec, OptionSpec, OptionType, Options, Short};
use chardev_core::{
    Backend, BackendEvent, BackendId, Drain, OpenError, Ready, Sent, Sharing, WeakChardev,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::stream::{Duplex, Input, Output};
use super::{Access, FdSource, Kind, OpenContext, open_set};
use crate::disk;
use crate::port::Port;
use crate::sys::refused;
use crate::writer::{Created, Target, could_not, open_target};

/// The kind `file` (QAPI `ChardevFile`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec::new(
        "file",
        "writes output to a file, reads input from another",
        &[
            OptionSpec::new("in", OptionType::Str, "file to read input from")
                .key("input-path")
                .path(),
            OptionSpec::new("out", OptionType::Str, "file to write output to")
                .key("path")
                .path()
                .required_or("chardev: file: no filename given"),
            OptionSpec::new(
                "append",
                OptionType::Bool,
                "append instead of truncating (default off)",
            ),
        ],
    )
    .spelled(&[Short::Path])
    .derived_from("chardev-fd"),
    open: |options, context| Box::pin(open(options, context)),
};

async fn open(options: &Options, context: &OpenContext) -> Result<Box<dyn Backend>, OpenError> {
    let append = options.bool_or("append", false);
    let path = options.str("out").unwrap_or_default().to_owned();
    let place = options.path("out").unwrap_or_default();
    let source = options.str("in").map(str::to_owned);
    let source = source.zip(options.path("in"));
    let port = context.port.clone();
    let fds = Arc::clone(&context.fds);
    // Opening may wait for a disk or a network. The input comes first: if that fails, the output
    // file has not been created.
    let name = path.clone();
    let opening = context.port.offload_open(move || {
        let input = source
            .map(|(source, place)| open_input(&source, &place, &*fds, &port))
            .transpose()?;
        let failed = |error| refused("Could not open", &path, error);
        let (target, created) = match open_set(&path, Access::Write, append, &*fds) {
            Some(given) => (given.and_then(Target::of).map_err(failed)?, None),
            None => open_target(&place, append).map_err(failed)?,
        };
        let output = Output::new(target, &path, &port)
            .map_err(|error| refused("Could not open", &path, error))?;
        let input = input.unwrap_or(Input::Ended);
        Ok(File {
            duplex: Duplex::new(input, output),
            created,
            truncate: !append,
            path,
        })
    });
    let opened = opening.await;
    let opened: Result<File, OpenError> = opened.map_err(|why| {
        let text = format!("Could not open '{name}': {why}");
        OpenError::new(text).about(name)
    })?;
    Ok(Box::new(opened?))
}

fn open_input(
    path: &str,
    place: &Path,
    fds: &dyn FdSource,
    port: &Port,
) -> Result<Input, OpenError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let failed = |error: io::Error| refused("Could not open", path, error);
    let fd = match open_set(path, Access::Read, false, fds) {
        Some(given) => given,
        None => disk::open(place, flags, Mode::empty()),
    };
    let fd = fd.map_err(|error| failed(error.into()))?;
    Input::new(fd, true, port).map_err(failed)
}

struct File {
    duplex: Duplex,
    created: Option<Created>,
    truncate: bool,
    path: String,
}

impl Backend for File {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn filename(&self) -> String {
        "file".to_owned()
    }

    /// The end of the input does not close a file: it goes on taking output.
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
        self.duplex.go_live(self.truncate);
        if let Some(created) = &mut self.created {
            created.keep();
        }
    }

    /// What has to wait was found out when it was opened, or is a writer's. But a new file is gone
    /// again before a change that fails is answered.
    fn may_wait(&self) -> bool {
        self.created.is_some() || !self.duplex.output().is_queued()
    }

    fn refuse_input(&mut self) {
        self.duplex.refuse_input();
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        (self.duplex.take_input(), false)
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        self.duplex.retire()
    }

    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }
}

impl Sharing for File {
    fn activate(&mut self) -> Result<(), OpenError> {
        match self.truncate && self.duplex.output().is_append_only() {
            true => Err(could_not("truncate", &self.path, Errno::PERM)),
            false => Ok(()),
        }
    }
}
