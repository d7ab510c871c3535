//! front → chardev → [back] → host: pipe, one or two FIFOs that somebody else made.
//!
//! Both are opened for reading and writing, so opening never waits and a reader that leaves is no
//! error; what is written before one comes is kept by the kernel.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev_core::spec::{KindSpec, OptionSpec, OptionType, Options};
use chardev_core::{Backend, Drain, Late, Ready, Sent};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Kind, OpenContext};
use crate::reactor::FdWatch;
use crate::sys::strerror;

/// The most input taken over at once: the largest pipe an ordinary user can have.
const CUT_LIMIT: usize = 1 << 20;

/// The kind `pipe` (QAPI `ChardevHostdev`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec {
        name: "pipe",
        summary: "FIFOs <path>.in and <path>.out, or one file for both directions",
        options: &[OptionSpec {
            name: "device",
            cli: "path",
            ty: OptionType::Str,
            required: true,
            missing: "chardev: pipe: no device path given",
            help: "path of the FIFOs, without .in and .out",
        }],
    },
    open: |options, context| Box::pin(async move { open(options, context) }),
};

fn open(options: &Options, context: &OpenContext) -> Result<Box<dyn Backend>, String> {
    let path = options.str("device").unwrap_or_default();
    let failed = |error: std::io::Error| format!("Could not open '{path}': {}", strerror(error));
    let watch = |fd: OwnedFd| FdWatch::new(&context.port, Arc::new(fd)).map_err(failed);
    let pair = open_fifo(&format!("{path}.in"))
        .and_then(|input| Ok((input, open_fifo(&format!("{path}.out"))?)));
    let (input, output) = match pair {
        Ok((input, output)) => (input, output),
        Err(_) => {
            let both = open_fifo(path).map_err(|error| failed(error.into()))?;
            let copy = both.try_clone().map_err(failed)?;
            (both, copy)
        }
    };
    Ok(Box::new(Pipe {
        input: watch(input)?,
        output: watch(output)?,
    }))
}

fn open_fifo(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

struct Pipe {
    input: FdWatch,
    output: FdWatch,
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
        match rustix::io::writev(self.output.fd(), &bufs[..bufs.len().min(64)]) {
            Ok(count) if count > 0 => Sent::Taken(count),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Sent::Full,
            Err(_) => Sent::NoPeer,
        }
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let count = bufs.len().min(64);
        rustix::io::readv(self.input.fd(), &mut bufs[..count]).unwrap_or(0)
    }

    fn watch(&mut self, interest: Ready) {
        self.input.arm(interest & Ready::READ);
        self.output.arm(interest & Ready::WRITE);
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        let unread = rustix::io::ioctl_fionread(self.input.fd()).unwrap_or(0);
        let mut bytes = vec![0; CUT_LIMIT.min(unread as usize)];
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::io::read(self.input.fd(), &mut bytes[filled..]) {
                Ok(count) if count > 0 => filled += count,
                Err(Errno::INTR) => {}
                _ => break,
            }
        }
        bytes.truncate(filled);
        (bytes, false)
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        Box::new(RetiringPipe {
            output: self.output,
        })
    }
}

/// The output FIFO of a replaced pipe: closing it while nobody else has it open would destroy
/// what its reader has not taken yet. The input FIFO is given up at once, so that whoever goes on
/// writing into it reaches the next reader instead of us.
struct RetiringPipe {
    output: FdWatch,
}

impl Drain for RetiringPipe {
    fn pending(&mut self) -> u64 {
        rustix::io::ioctl_fionread(self.output.fd()).unwrap_or(0)
    }

    fn read_late(&mut self, _buf: &mut [u8]) -> Late {
        Late::End
    }
}
