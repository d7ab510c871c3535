//! front → chardev → back → [host]: one direction of a descriptor, whatever it refers to.
//!
//! What epoll takes is read and written directly, without blocking; what it refuses (regular
//! files, disks, `/dev/null`) goes through a thread.

mod duplex;
mod fifo;
mod reader;

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use chardev_core::{Drain, NothingToDrain, Ready, Sent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags};

pub(super) use self::duplex::Duplex;
use self::fifo::{Holder, RetiringFifo};
use self::reader::{FileReader, Found};
use crate::port::Port;
use crate::reactor::FdWatch;
use crate::writer::{FileWriter, Target};

/// The most buffers passed to one system call.
const MAX_BUFS: usize = 64;
/// The most input handed over at once when a peer leaves or is cut off.
const CUT_LIMIT: usize = 16 << 20;
/// The most a terminal holds: its line buffer and the bytes on the way there, rounded up.
const TERMINAL_LIMIT: usize = 128 << 10;

/// A descriptor for output.
pub(super) enum Output {
    /// Written where the front end runs.
    Direct(Direct),
    /// Written by a thread.
    Queued(FileWriter),
}

/// A descriptor for input.
pub(super) enum Input {
    /// Read where the front end runs.
    Direct(Direct),
    /// Read by a thread.
    Ahead(FileReader),
    /// There is no more.
    Ended,
}

/// A descriptor that says when it is ready.
pub(super) struct Direct {
    watch: FdWatch,
    file_type: FileType,
    /// A read of 0 from a FIFO that no writer has opened yet is not the end.
    awaits_writer: bool,
    gone: bool,
    /// A FIFO's output has gone live.
    holder: Option<Holder>,
    /// A FIFO's other end; see [`fifo::keeper`].
    keeper: Option<OwnedFd>,
}

impl Output {
    /// Output to `target`, called `name` in warnings.
    pub(super) fn new(target: Target, name: &str, port: &Port) -> io::Result<Self> {
        Ok(match Direct::new(target, port)? {
            Ok(direct) => Output::Direct(direct),
            Err(target) => Output::Queued(FileWriter::new(target, name, port)),
        })
    }

    /// Takes as much of `bufs` as fits now.
    pub(super) fn write(&mut self, bufs: &[IoSlice<'_>]) -> Sent {
        match self {
            Output::Direct(direct) => direct.write(bufs),
            Output::Queued(writer) => match writer.push(bufs) {
                0 => Sent::Full,
                count => Sent::Taken(count),
            },
        }
    }

    /// Asks for one report of write readiness.
    pub(super) fn watch(&self) {
        match self {
            Output::Direct(direct) if !direct.gone => direct.watch.arm(Ready::WRITE),
            Output::Direct(_) => {}
            Output::Queued(writer) => writer.watch(),
        }
    }

    /// Goes live, truncating a regular file if `truncate` says so.
    pub(super) fn go_live(&mut self, truncate: bool) {
        match self {
            Output::Queued(writer) => writer.go_live(truncate),
            Output::Direct(direct) if direct.file_type == FileType::Fifo => {
                direct.holder = Holder::live(direct.watch.fd());
            }
            Output::Direct(_) => {}
        }
    }

    /// Whether it is a file that a writer writes.
    pub(super) fn is_queued(&self) -> bool {
        matches!(self, Output::Queued(_))
    }

    /// Whether the file may only grow, so that truncating it would fail.
    pub(super) fn is_append_only(&self) -> bool {
        match self {
            Output::Direct(_) => false,
            Output::Queued(writer) => writer.is_append_only(),
        }
    }

    /// Leaves what is needed to deliver accepted output.
    pub(super) fn retire(self) -> Box<dyn Drain> {
        match self {
            Output::Queued(writer) => Box::new(writer),
            Output::Direct(direct) if direct.file_type == FileType::Fifo => {
                Box::new(RetiringFifo::new(direct.watch, direct.holder))
            }
            Output::Direct(_) => Box::new(NothingToDrain),
        }
    }
}

impl Input {
    /// Input from `fd`. A FIFO that has no writer yet is waited for if `awaits_writer` says so.
    pub(super) fn new(fd: OwnedFd, awaits_writer: bool, port: &Port) -> io::Result<Self> {
        let target = Target::of(fd)?;
        if target.file_type() == FileType::Directory {
            return Err(Errno::ISDIR.into());
        }
        Ok(match Direct::new(target, port)? {
            Ok(direct) => Input::Direct(Direct {
                awaits_writer,
                ..direct
            }),
            Err(target) => Input::Ahead(FileReader::new(target.fd, port)),
        })
    }

    /// Fills `bufs`; after [`Found::End`] the descriptor is closed.
    pub(super) fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> Found {
        let found = match self {
            Input::Direct(direct) => direct.read(bufs),
            Input::Ahead(reader) => reader.read(bufs),
            Input::Ended => return Found::Nothing,
        };
        if found == Found::End {
            *self = Input::Ended;
        }
        found
    }

    /// Asks for one report of read readiness.
    pub(super) fn watch(&self) {
        match self {
            Input::Direct(direct) => direct.watch.arm(Ready::READ),
            Input::Ahead(reader) => reader.watch(),
            Input::Ended => {}
        }
    }

    /// Everything the peer has sent so far and nobody has read.
    ///
    /// A file is a place, not a peer: of it only what was read ahead counts as sent.
    pub(super) fn take_all(&mut self) -> Vec<u8> {
        match self {
            Input::Direct(direct) => direct.take_all(),
            Input::Ahead(reader) => reader.take_all(),
            Input::Ended => Vec::new(),
        }
    }

    /// A FIFO that does not end with its writers: what [`Input::refuse`] needs is opened here.
    pub(super) fn prepare_to_refuse(&mut self) {
        if let Input::Direct(direct) = self {
            if direct.file_type == FileType::Fifo {
                direct.keeper = fifo::keeper(direct.watch.fd());
            }
        }
    }

    /// Gives the input up for good. Where the kernel can refuse those who write into it, it does
    /// from here on. Returns what had been sent, and the number of bytes that came too late.
    pub(super) fn refuse(&mut self) -> (Vec<u8>, usize) {
        match std::mem::replace(self, Input::Ended) {
            Input::Direct(direct) if direct.file_type == FileType::Fifo => {
                fifo::refuse(direct.watch, direct.keeper)
            }
            mut other => (other.take_all(), 0),
        }
    }

    /// Looks for the end, once `ready` was reported; if it came, what had been sent before it.
    pub(super) fn take_if_ended(&mut self, ready: Ready) -> Option<Vec<u8>> {
        let unread = match self {
            Input::Direct(direct)
                if ready.contains(Ready::HANGUP)
                    && conditions(direct.watch.fd()).contains(PollFlags::HUP) =>
            {
                // Beyond the limit the rest is given up, as for any peer that left.
                direct.take_all()
            }
            Input::Ahead(reader) if reader.has_ended() => reader.take_all(),
            _ => return None,
        };
        *self = Input::Ended;
        Some(unread)
    }
}

impl Direct {
    /// `Err` gives back a descriptor that epoll refuses.
    fn new(target: Target, port: &Port) -> io::Result<Result<Self, Target>> {
        let file_type = target.file_type();
        let target = Arc::new(target);
        match FdWatch::new(port, Arc::clone(&target)) {
            Ok(watch) => Ok(Ok(Direct {
                watch,
                file_type,
                awaits_writer: false,
                gone: false,
                holder: None,
                keeper: None,
            })),
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                Arc::into_inner(target).map(Err).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, bufs: &[IoSlice<'_>]) -> Sent {
        if self.gone {
            return Sent::NoPeer;
        }
        let bufs = &bufs[..bufs.len().min(MAX_BUFS)];
        let result = if self.file_type == FileType::Socket {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            rustix::net::sendmsg(
                self.watch.fd(),
                bufs,
                &mut SendAncillaryBuffer::default(),
                flags,
            )
        } else {
            rustix::io::writev(self.watch.fd(), bufs)
        };
        match result {
            Ok(count) if count > 0 => Sent::Taken(count),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Sent::Full,
            Err(_) => {
                self.gone = true;
                Sent::NoPeer
            }
        }
    }

    fn read(&self, bufs: &mut [IoSliceMut<'_>]) -> Found {
        let count = bufs.len().min(MAX_BUFS);
        let bufs = &mut bufs[..count];
        let result = if self.file_type == FileType::Socket {
            let mut no_fds = RecvAncillaryBuffer::default();
            rustix::net::recvmsg(self.watch.fd(), bufs, &mut no_fds, RecvFlags::DONTWAIT)
                .map(|message| message.bytes)
        } else {
            rustix::io::readv(self.watch.fd(), bufs)
        };
        match result {
            Ok(count) if count > 0 => Found::Data(count),
            Err(Errno::AGAIN | Errno::INTR) => Found::Nothing,
            Ok(_)
                if self.awaits_writer && !conditions(self.watch.fd()).contains(PollFlags::HUP) =>
            {
                Found::Nothing
            }
            _ => Found::End,
        }
    }

    /// Reads what is there now. A count taken first keeps this exact and bounded, however fast the
    /// peer goes on writing; a terminal passes bytes on in portions, so there the first empty read
    /// ends it.
    fn take_all(&self) -> Vec<u8> {
        let limit = if self.file_type == FileType::CharacterDevice {
            TERMINAL_LIMIT
        } else {
            let unread = rustix::io::ioctl_fionread(self.watch.fd()).unwrap_or(0);
            CUT_LIMIT.min(unread as usize)
        };
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        while bytes.len() < limit {
            let room = piece.len().min(limit - bytes.len());
            match self.read(&mut [IoSliceMut::new(&mut piece[..room])]) {
                Found::Data(count) => bytes.extend_from_slice(&piece[..count]),
                Found::Nothing | Found::End => break,
            }
        }
        bytes
    }
}

fn conditions(fd: BorrowedFd<'_>) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let _ = poll(
        &mut fds,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    );
    fds[0].revents()
}
