//! The places where the operating system hands out what Rust cannot check: descriptors that were
//! open when we were started, one that a runtime watches, and the moment between `fork` and `exec`.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use chardev::back::FdSource;
use rustix::io::FdFlags;
use tokio::io::unix::AsyncFd;

/// The descriptors above 2 that we were started with, each handed out once, by number.
#[derive(Debug)]
pub struct Inherited {
    numbers: Mutex<BTreeSet<RawFd>>,
}

impl Inherited {
    /// Notes what is open now. Call it first thing in `main`, before anything else opens some.
    pub fn collect() -> Self {
        let entries = fs::read_dir("/proc/self/fd")
            .into_iter()
            .flatten()
            .flatten();
        let listed: Vec<RawFd> = entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        // One of those was the listing itself, which is closed by now.
        let open = listed.into_iter().filter(|number| {
            *number > 2 && fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok()
        });
        let numbers: BTreeSet<RawFd> = open.collect();
        for &number in &numbers {
            // SAFETY: the number was found open just now, and nothing else runs yet to close it.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            // Our own children are not to inherit it again. This fails for no open descriptor.
            let _ = rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC);
        }
        Inherited {
            numbers: Mutex::new(numbers),
        }
    }
}

impl FdSource for Inherited {
    fn take(&self, name: &str) -> Result<OwnedFd, String> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let number = name
            .parse()
            .map_err(|_| format!("Unable to parse FD number {name}"))?;
        if !numbers.remove(&number) {
            return Err(format!(
                "File descriptor '{number}' is not open or in use already"
            ));
        }
        // SAFETY: it was open before we opened anything, and its number leaves the set, so nobody
        // else in this process owns it now or later.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }
}

/// Makes the program that `command` starts the leader of a session without a terminal.
pub(crate) fn new_session(command: &mut std::process::Command) {
    let between = || Ok(rustix::process::setsid().map(drop)?);
    // SAFETY: one system call between `fork` and `exec`: no allocation, no lock, no panic.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, between) };
}

/// Makes the program that `command` starts the leader of a session on its standard input, which
/// must be a terminal.
pub(crate) fn lead_session(command: &mut tokio::process::Command) {
    let between = || {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    // SAFETY: two system calls, which is all a child of a process with threads may do here: no
    // allocation, no lock, no panic.
    unsafe { command.pre_exec(between) };
}

/// Registers a descriptor with the tokio runtime of the calling thread.
pub(crate) fn async_fd(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `AsyncFd` owns the only handle of the descriptor, so it stays open and the
    // same for as long as the `AsyncFd` lives.
    let registered = unsafe { AsyncFd::register(fd) };
    registered.map_err(std::io::Error::from)
}
