//! The few system calls and texts that no crate below has in the shape we need.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

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

/// What a stream socket's peer has not taken yet (`SIOCOUTQ`): for TCP bytes not acknowledged, for
/// Unix sockets memory not read. 0 means that everything was taken.
#[cfg(feature = "socket")]
pub(crate) fn unsent(socket: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    const SIOCOUTQ: rustix::ioctl::Opcode = libc::TIOCOUTQ as rustix::ioctl::Opcode;
    // SAFETY: the request writes one C int, which is what the getter provides.
    let count = unsafe {
        let getter = rustix::ioctl::Getter::<SIOCOUTQ, std::ffi::c_int>::new();
        rustix::ioctl::ioctl(socket, getter)?
    };
    Ok(u64::try_from(count).unwrap_or(0))
}
