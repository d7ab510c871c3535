//! The few system calls and texts that no crate provides in the form we need.
#![allow(
    clippy::disallowed_methods,
    reason = "each request that may wait stands behind what finds out whether it may"
)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use chardev_core::OpenError;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::offload::assert_may_wait;

#[cfg(feature = "parallel")]
pub(crate) mod ppdev;

/// What the C library's `strerror` says: the cause as QEMU prints it, with no number behind it.
pub(crate) fn strerror(error: impl Into<io::Error>) -> String {
    text_of(&error.into())
}

/// `WHAT 'OBJECT': CAUSE`, QEMU's form for what the host refuses.
pub(crate) fn refused(what: &str, object: &str, error: impl Into<io::Error>) -> OpenError {
    let error = error.into();
    let text = format!("{what} '{object}': {}", text_of(&error));
    OpenError::new(text).about(object).because(error)
}

/// `WHAT: CAUSE`, where there is no name for what it is about.
pub(crate) fn failed(what: &str, error: impl Into<io::Error>) -> OpenError {
    let error = error.into();
    let text = format!("{what}: {}", text_of(&error));
    OpenError::new(text).because(error)
}

fn text_of(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Registers a descriptor with the tokio runtime of the calling thread: for the crates beside this
/// one, most of which forbid what is unsafe.
///
/// # Errors
/// The descriptor cannot be polled.
///
/// # Panics
/// There is no runtime with I/O.
pub fn async_fd(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    async_fd_for(fd, Interest::READABLE | Interest::WRITABLE)
}

/// [`async_fd`] where only some readiness is of interest: the thread is woken for no other.
///
/// # Errors
/// The descriptor cannot be polled.
///
/// # Panics
/// There is no runtime with I/O.
pub fn async_fd_for(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `AsyncFd` owns the only handle of the descriptor, so it stays open and the
    // same for as long as the `AsyncFd` lives.
    let registered = unsafe { AsyncFd::register_with_interest(fd, interest) };
    registered.map_err(io::Error::from)
}

/// Whether the kernel would map `bytes` bytes of memory. The allocator may have some set aside,
/// which is of no use for a stack.
pub(crate) fn could_map(bytes: usize) -> bool {
    let (access, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: the mapping is a new one, which nobody else knows of, and is given back untouched.
    unsafe {
        let mapped = libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0);
        mapped != libc::MAP_FAILED && libc::munmap(mapped, bytes) == 0
    }
}

/// What a terminal has not sent yet (`TIOCOUTQ`).
#[cfg(feature = "serial")]
#[track_caller]
pub(crate) fn unsent_by(terminal: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    assert_may_wait();
    unsent(terminal)
}

/// What a terminal has received and nobody has read (`FIONREAD`).
#[cfg(feature = "serial")]
#[track_caller]
pub(crate) fn received_by(terminal: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    assert_may_wait();
    rustix::io::ioctl_fionread(terminal)
}

/// Throws away what a terminal has received and nobody has read, what it has not sent, or both
/// (`TCFLSH`).
#[cfg(feature = "serial")]
#[track_caller]
pub(crate) fn flush(terminal: BorrowedFd<'_>, input: bool, output: bool) -> rustix::io::Result<()> {
    use rustix::termios::{QueueSelector, tcflush};
    assert_may_wait();
    match (input, output) {
        (false, false) => Ok(()),
        (true, false) => tcflush(terminal, QueueSelector::IFlush),
        (false, true) => tcflush(terminal, QueueSelector::OFlush),
        (true, true) => tcflush(terminal, QueueSelector::IOFlush),
    }
}

/// What a stream socket's peer has not taken yet (`SIOCOUTQ`): for TCP bytes not acknowledged, for
/// Unix sockets memory not read. 0 means that everything was taken.
#[cfg(any(feature = "socket", feature = "serial"))]
pub(crate) fn unsent(socket: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    const SIOCOUTQ: rustix::ioctl::Opcode = libc::TIOCOUTQ as rustix::ioctl::Opcode;
    // SAFETY: the request writes one C int, which is what the getter provides.
    let count = unsafe {
        let getter = rustix::ioctl::Getter::<SIOCOUTQ, std::ffi::c_int>::new();
        rustix::ioctl::ioctl(socket, getter)?
    };
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Whether reads of a pseudoterminal's master begin with a byte about the slave (`TIOCPKT`).
#[cfg(feature = "pty")]
pub(crate) fn set_packet_mode(master: BorrowedFd<'_>, on: bool) -> rustix::io::Result<()> {
    const TIOCPKT: rustix::ioctl::Opcode = libc::TIOCPKT as rustix::ioctl::Opcode;
    // SAFETY: the request reads one C int, which is what the setter points to.
    unsafe {
        let setter = rustix::ioctl::Setter::<TIOCPKT, std::ffi::c_int>::new(on.into());
        rustix::ioctl::ioctl(master, setter)
    }
}

/// The modem lines of a serial port (`TIOCMGET`), with the kernel's values.
#[cfg(feature = "serial")]
#[track_caller]
pub(crate) fn modem_lines(port: BorrowedFd<'_>) -> rustix::io::Result<u32> {
    assert_may_wait();
    const TIOCMGET: rustix::ioctl::Opcode = libc::TIOCMGET as rustix::ioctl::Opcode;
    // SAFETY: the request writes one C int, which is what the getter provides.
    unsafe {
        let getter = rustix::ioctl::Getter::<TIOCMGET, std::ffi::c_int>::new();
        rustix::ioctl::ioctl(port, getter).map(|lines| lines as u32)
    }
}

/// How often CTS, DSR, RI and DCD have changed so far (`TIOCGICOUNT`).
#[cfg(feature = "serial")]
#[track_caller]
pub(crate) fn modem_counts(port: BorrowedFd<'_>) -> rustix::io::Result<[std::ffi::c_int; 4]> {
    assert_may_wait();
    const TIOCGICOUNT: rustix::ioctl::Opcode = 0x545d;
    // SAFETY: the request writes a `struct serial_icounter_struct`, which is 20 C ints.
    let counts = unsafe {
        let getter = rustix::ioctl::Getter::<TIOCGICOUNT, [std::ffi::c_int; 20]>::new();
        rustix::ioctl::ioctl(port, getter)?
    };
    let [cts, dsr, ring, carrier, ..] = counts;
    Ok([cts, dsr, ring, carrier])
}

/// Whether a terminal may be opened by nobody but root (`TIOCGEXCL`).
#[cfg(all(test, feature = "serial"))]
pub(crate) fn is_exclusive(terminal: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    const TIOCGEXCL: rustix::ioctl::Opcode = libc::TIOCGEXCL as rustix::ioctl::Opcode;
    // SAFETY: the request writes one C int, which is what the getter provides.
    unsafe {
        let getter = rustix::ioctl::Getter::<TIOCGEXCL, std::ffi::c_int>::new();
        rustix::ioctl::ioctl(terminal, getter).map(|exclusive| exclusive != 0)
    }
}

/// Sets DTR and RTS as in `outputs` and leaves the other modem lines (`TIOCMBIS`, `TIOCMBIC`).
#[cfg(feature = "serial")]
#[track_caller]
pub(crate) fn set_modem_outputs(port: BorrowedFd<'_>, outputs: u32) -> rustix::io::Result<()> {
    assert_may_wait();
    const TIOCMBIS: rustix::ioctl::Opcode = libc::TIOCMBIS as rustix::ioctl::Opcode;
    const TIOCMBIC: rustix::ioctl::Opcode = libc::TIOCMBIC as rustix::ioctl::Opcode;
    let both = (libc::TIOCM_DTR | libc::TIOCM_RTS) as u32;
    // SAFETY: both requests read one C int, which is what the setters point to.
    unsafe {
        let on = (outputs & both) as std::ffi::c_int;
        let setter = rustix::ioctl::Setter::<TIOCMBIS, std::ffi::c_int>::new(on);
        rustix::ioctl::ioctl(port, setter)?;
        let off = (!outputs & both) as std::ffi::c_int;
        let setter = rustix::ioctl::Setter::<TIOCMBIC, std::ffi::c_int>::new(off);
        rustix::ioctl::ioctl(port, setter)
    }
}

/// How a serial port drives an RS-485 bus (`TIOCGRS485`): the kernel's `struct serial_rs485`.
#[cfg(feature = "serial")]
#[track_caller]
pub(crate) fn rs485(port: BorrowedFd<'_>) -> rustix::io::Result<[u32; 8]> {
    assert_may_wait();
    const TIOCGRS485: rustix::ioctl::Opcode = libc::TIOCGRS485 as rustix::ioctl::Opcode;
    // SAFETY: the request writes a `struct serial_rs485`, which is eight 32-bit numbers long.
    unsafe {
        let getter = rustix::ioctl::Getter::<TIOCGRS485, [u32; 8]>::new();
        rustix::ioctl::ioctl(port, getter)
    }
}

/// The same to be set (`TIOCSRS485`).
#[cfg(feature = "serial")]
#[track_caller]
pub(crate) fn set_rs485(port: BorrowedFd<'_>, mut bus: [u32; 8]) -> rustix::io::Result<()> {
    assert_may_wait();
    const TIOCSRS485: rustix::ioctl::Opcode = libc::TIOCSRS485 as rustix::ioctl::Opcode;
    // SAFETY: the request reads a `struct serial_rs485` and writes it back.
    unsafe {
        let updater = rustix::ioctl::Updater::<TIOCSRS485, [u32; 8]>::new(&mut bus);
        rustix::ioctl::ioctl(port, updater)
    }
}

/// Begins or ends a break (`TIOCSBRK`, `TIOCCBRK`).
#[cfg(feature = "serial")]
#[track_caller]
pub(crate) fn set_break(port: BorrowedFd<'_>, on: bool) -> rustix::io::Result<()> {
    assert_may_wait();
    const TIOCSBRK: rustix::ioctl::Opcode = libc::TIOCSBRK as rustix::ioctl::Opcode;
    const TIOCCBRK: rustix::ioctl::Opcode = libc::TIOCCBRK as rustix::ioctl::Opcode;
    // SAFETY: neither request has an argument.
    unsafe {
        match on {
            true => rustix::ioctl::ioctl(port, rustix::ioctl::NoArg::<TIOCSBRK>::new()),
            false => rustix::ioctl::ioctl(port, rustix::ioctl::NoArg::<TIOCCBRK>::new()),
        }
    }
}
