//! The few system calls and texts that no crate below has in the shape we need.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// What the C library's `strerror` says: the cause as QEMU prints it, with no number behind it.
pub(crate) fn strerror(error: impl Into<io::Error>) -> String {
    let text = error.into().to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Registers a descriptor with the tokio runtime of the calling thread.
pub(crate) fn async_fd(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `AsyncFd` owns the only handle of the descriptor, so it stays open and the
    // same for as long as the `AsyncFd` lives.
    let registered = unsafe { AsyncFd::register(fd) };
    registered.map_err(io::Error::from)
}
