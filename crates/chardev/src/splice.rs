//! front ↔ chardev ↔ back → [host]: a pipe of the kernel's, through which a relay moves bytes from
//! one socket to another without a copy.
//!
//! `splice` puts the pages of what a socket has received into the pipe, and gives them to the other
//! socket as they are. What the scrollback wants of them is duplicated into a second pipe before
//! (`tee`, again without a copy); once it is known how much has gone out, the newest of that is
//! read out of there, and the rest goes to `/dev/null`.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use chardev_core::Channel;
use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice, tee};

/// How many bytes of memory pages a pipe may refer to, and so the most that is in one.
const SIZE: usize = 1 << 20;
/// What is read out of the second pipe at a time.
const PIECE: usize = 64 << 10;

thread_local! {
    /// One for all pipes of a thread, which nothing keeps between two calls.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A [`Channel`] for the sockets of this crate. It has four descriptors, so a program keeps a few
/// and uses them in turn; while it is empty it keeps no memory.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    held: usize,
    copy_reader: OwnedFd,
    copy_writer: OwnedFd,
    copied: usize,
}

impl Pipe {
    /// An empty one; `None` if the process or the user can have no more of them.
    pub fn new() -> Option<Self> {
        null()?;
        let (reader, writer) = open()?;
        let (copy_reader, copy_writer) = open()?;
        Some(Pipe {
            reader,
            writer,
            held: 0,
            copy_reader,
            copy_writer,
            copied: 0,
        })
    }

    /// Takes out what is in it, for somebody who has to look at it.
    pub fn take_all(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.held];
        let mut count = 0;
        while count < bytes.len() {
            match retry_on_intr(|| rustix::io::read(&self.reader, &mut bytes[count..])) {
                Ok(read) if read > 0 => count += read,
                // The kernel has what it was given, and it has not gone elsewhere.
                end => unreachable!("{} bytes are in the pipe: {end:?}", bytes.len() - count),
            }
        }
        self.held = 0;
        bytes
    }

    /// Moves up to `most` bytes in that `from` has received; 0 means that it has ended.
    ///
    /// # Errors
    /// The kernel's; [`Errno::AGAIN`] if nothing is there, [`Errno::INVAL`] if it cannot.
    pub(crate) fn fill(&mut self, from: impl AsFd, most: usize) -> Result<usize, Errno> {
        let count = splice_now(from, &self.writer, most.min(SIZE))?;
        self.held += count;
        Ok(count)
    }

    /// Moves out what `to`, which must not block, takes now.
    ///
    /// # Errors
    /// The kernel's; [`Errno::AGAIN`] if it takes nothing, [`Errno::INVAL`] if it cannot.
    pub(crate) fn pour(&mut self, to: impl AsFd) -> Result<usize, Errno> {
        let count = splice_now(&self.reader, to, self.held)?;
        self.held -= count;
        Ok(count)
    }

    fn forget(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            let gone = null().map(|null| splice_now(&self.copy_reader, null, left));
            match gone {
                Some(Ok(count)) if count > 0 => left -= count,
                end => unreachable!("{left} copied bytes are in the pipe: {end:?}"),
            }
        }
        self.copied -= count;
    }
}

impl Channel for Pipe {
    fn len(&self) -> usize {
        self.held
    }

    fn tee(&mut self) -> bool {
        let wanted = self.held;
        let flags = SpliceFlags::NONBLOCK;
        let copied = retry_on_intr(|| tee(&self.reader, &self.copy_writer, wanted, flags));
        self.copied = copied.unwrap_or(0);
        let whole = self.copied == wanted;
        if !whole {
            self.forget(self.copied);
        }
        whole
    }

    fn show(&mut self, count: usize, newest: usize, to: &mut dyn FnMut(&[u8])) {
        self.forget(count - newest);
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(PIECE, 0);
            let mut left = newest;
            while left > 0 {
                let piece = &mut scratch[..left.min(PIECE)];
                match retry_on_intr(|| rustix::io::read(&self.copy_reader, &mut *piece)) {
                    Ok(read) if read > 0 => {
                        to(&piece[..read]);
                        left -= read;
                    }
                    end => unreachable!("{left} copied bytes are in the pipe: {end:?}"),
                }
            }
        });
        self.copied -= newest;
        self.forget(self.copied);
    }
}

/// Both ends of a new pipe. One that may not be as large as that does with what it has.
fn open() -> Option<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
    let _ = fcntl_setpipe_size(&writer, SIZE);
    Some((reader, writer))
}

fn splice_now(from: impl AsFd, to: impl AsFd, most: usize) -> Result<usize, Errno> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    retry_on_intr(|| splice(&from, None, &to, None, most, flags))
}

/// Where bytes go that nobody wants.
#[expect(
    clippy::disallowed_methods,
    reason = "/dev/null is no file on a disk, and opening it never waits"
)]
fn null() -> Option<&'static OwnedFd> {
    static NULL: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let open = || std::fs::OpenOptions::new().write(true).open("/dev/null");
    NULL.get_or_init(|| open().ok().map(OwnedFd::from)).as_ref()
}
