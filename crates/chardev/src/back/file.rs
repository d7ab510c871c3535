//! front → chardev → [back] → host: file, output into a file and, if wanted, input from another.
//!
//! A regular file is written by a thread behind a bounded queue (see `writer`), since it cannot
//! be polled; anything that can, such as a FIFO or a terminal, is written directly. The same holds
//! for input: a regular file is read where it stands, which the page cache makes quick.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev_core::spec::{KindSpec, OptionSpec, OptionType, Options};
use chardev_core::{Backend, BackendEvent, Drain, NothingToDrain, Ready, Sent};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Kind, OpenContext};
use crate::reactor::FdWatch;
use crate::writer::{Created, FileWriter, could_not, open_target};

/// The most input taken from a regular file at once, so that a slow disk costs little time.
const READ_LIMIT: usize = 64 << 10;

/// The kind `file` (QAPI `ChardevFile`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec {
        name: "file",
        summary: "output into a file, input from another",
        options: &[
            OptionSpec {
                name: "in",
                cli: "input-path",
                ty: OptionType::Str,
                required: false,
                missing: "",
                help: "file to read input from",
            },
            OptionSpec {
                name: "out",
                cli: "path",
                ty: OptionType::Str,
                required: true,
                missing: "chardev: file: no filename given",
                help: "file to write output to",
            },
            OptionSpec {
                name: "append",
                cli: "append",
                ty: OptionType::Bool,
                required: false,
                missing: "",
                help: "append instead of truncating (default off)",
            },
        ],
    },
    open: |options, context| Box::pin(async move { open(options, context) }),
};

fn open(options: &Options, context: &OpenContext) -> Result<Box<dyn Backend>, String> {
    let append = options.bool_or("append", false);
    let path = options.str("out").unwrap_or_default();
    let input = options
        .str("in")
        .map(|path| Source::open(path, context))
        .transpose()?;
    let (target, created) =
        open_target(path, append).map_err(|error| could_not("open", path, error))?;
    let sink = if target.file_type() == FileType::RegularFile {
        Sink::Queued(FileWriter::new(target, path, &context.port))
    } else {
        let fd = Arc::new(target.fd);
        Sink::Direct {
            watch: FdWatch::new(&context.port, Arc::clone(&fd)).ok(),
            fd,
        }
    };
    Ok(Box::new(File {
        sink,
        input,
        created,
        truncate: !append,
        events: Vec::new(),
    }))
}

struct File {
    sink: Sink,
    input: Option<Source>,
    created: Option<Created>,
    truncate: bool,
    events: Vec<BackendEvent>,
}

enum Sink {
    Queued(FileWriter),
    /// What epoll refuses, such as `/dev/null`, never says "not now" and needs no watch.
    Direct {
        fd: Arc<OwnedFd>,
        watch: Option<FdWatch>,
    },
}

struct Source {
    fd: Arc<OwnedFd>,
    watch: Option<FdWatch>,
}

impl Source {
    fn open(path: &str, context: &OpenContext) -> Result<Self, String> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let failed = |error| could_not("open", path, error);
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let kind = rustix::fs::fstat(&fd).map_err(failed)?;
        if FileType::from_raw_mode(kind.st_mode) == FileType::Directory {
            return Err(failed(Errno::ISDIR));
        }
        let fd = Arc::new(fd);
        Ok(Source {
            watch: FdWatch::new(&context.port, Arc::clone(&fd)).ok(),
            fd,
        })
    }
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
        let taken = match &self.sink {
            Sink::Queued(writer) => writer.push(bufs),
            Sink::Direct { fd, .. } => match rustix::io::writev(fd, &bufs[..bufs.len().min(64)]) {
                Ok(count) => count,
                Err(Errno::AGAIN | Errno::INTR) => 0,
                Err(_) => return Sent::NoPeer,
            },
        };
        if taken > 0 {
            Sent::Taken(taken)
        } else {
            Sent::Full
        }
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let (Some(source), Some(buf)) = (&self.input, bufs.iter_mut().find(|buf| !buf.is_empty()))
        else {
            return 0;
        };
        let count = buf.len().min(READ_LIMIT);
        match rustix::io::read(&source.fd, &mut buf[..count]) {
            Ok(count) if count > 0 => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Ok(_) | Err(_) => {
                self.input = None;
                self.events
                    .push(BackendEvent::Closed { unread: Vec::new() });
                0
            }
        }
    }

    fn watch(&mut self, interest: Ready) {
        if interest.contains(Ready::WRITE) {
            match &self.sink {
                Sink::Queued(writer) => writer.watch(),
                Sink::Direct {
                    watch: Some(watch), ..
                } => watch.arm(Ready::WRITE),
                Sink::Direct { .. } => {}
            }
        }
        if let (
            true,
            Some(Source {
                watch: Some(watch), ..
            }),
        ) = (interest.contains(Ready::READ), &self.input)
        {
            watch.arm(Ready::READ);
        }
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        self.events.pop()
    }

    fn activate(&mut self) -> Result<(), String> {
        if let Sink::Queued(writer) = &self.sink {
            writer.activate(self.truncate).map_err(|error| {
                format!("Could not truncate file: {}", crate::sys::strerror(error))
            })?;
        }
        if let Some(created) = &mut self.created {
            created.keep();
        }
        Ok(())
    }

    /// What a FIFO holds was sent by its writer. A regular file is a place, not a peer: nothing
    /// in it was sent to us before we read it.
    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        let Some(Source { fd, watch: Some(_) }) = &self.input else {
            return (Vec::new(), false);
        };
        let unread = rustix::io::ioctl_fionread(fd).unwrap_or(0).min(1 << 20);
        let mut bytes = vec![0; unread as usize];
        let count = rustix::io::read(fd, &mut bytes).unwrap_or(0);
        bytes.truncate(count);
        (bytes, false)
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        match self.sink {
            Sink::Queued(writer) => Box::new(writer),
            Sink::Direct { .. } => Box::new(NothingToDrain),
        }
    }
}
