//! front → chardev → back → [host]: a descriptor that may take long to close.
//!
//! The last close of a terminal waits until what is in it has been sent (30 s on a line that is
//! held back), that of a large file without a name until its blocks are free. So neither is closed
//! where it is let go of.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::FileType;

use crate::offload::sometime;

/// Closes `fd` soon, on a thread where waiting for that holds up nobody: closing a terminal waits
/// for what it still sends, and closing a file without a name for the disk.
pub fn close_elsewhere(fd: OwnedFd) {
    sometime(move || drop(fd));
}

/// A descriptor that is closed elsewhere if that may wait.
#[derive(Debug)]
pub(crate) struct SlowFd {
    /// There until the end.
    fd: Option<OwnedFd>,
    waits: bool,
}

impl SlowFd {
    /// Of something of type `file_type`.
    pub(crate) fn new(fd: OwnedFd, file_type: FileType) -> Self {
        let quick = [FileType::Fifo, FileType::Socket];
        SlowFd {
            fd: Some(fd),
            waits: !quick.contains(&file_type),
        }
    }
}

impl AsFd for SlowFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Some(fd) => fd.as_fd(),
            None => unreachable!("a descriptor is taken out only when it is dropped"),
        }
    }
}

impl Drop for SlowFd {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take().filter(|_| self.waits) {
            close_elsewhere(fd);
        }
    }
}
