//! The places where the operating system hands out what Rust cannot check: descriptors that were
//! open when we were started, one that a runtime watches, the moment between `fork` and `exec`, and
//! signals.
#![allow(unsafe_code)]

mod spawn;

use std::collections::BTreeSet;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use chardev::OpenError;
use chardev::back::FdSource;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) use spawn::{Started, lead_session};

/// The descriptors above 2 that we were started with, each handed out once, by number.
#[derive(Debug)]
pub struct Inherited {
    numbers: Mutex<BTreeSet<RawFd>>,
}

impl Inherited {
    /// Notes what is open now. Call it first thing in `main`, before anything else opens some.
    #[expect(clippy::disallowed_methods, reason = "these files are on no disk")]
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
        let inherited = open.filter(|&number| {
            // SAFETY: the number was found open just now, and nothing else runs yet to close it.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            // What is closed by `exec` was opened since then, by ourselves.
            let own = fcntl_getfd(fd).is_ok_and(|flags| flags.contains(FdFlags::CLOEXEC));
            // Our own children are not to inherit it again. This fails for no open descriptor.
            let _ = fcntl_setfd(fd, FdFlags::CLOEXEC);
            !own
        });
        let numbers: BTreeSet<RawFd> = inherited.collect();
        Inherited {
            numbers: Mutex::new(numbers),
        }
    }
}

impl Inherited {
    /// Closes what nobody has taken.
    pub(crate) fn close_rest(&self) {
        let rest =
            std::mem::take(&mut *self.numbers.lock().unwrap_or_else(PoisonError::into_inner));
        for number in rest {
            // SAFETY: as in `take`: nobody else owns it, now or later.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}

impl FdSource for Inherited {
    fn take(&self, name: &str) -> Result<OwnedFd, OpenError> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let number = name
            .parse()
            .map_err(|_| format!("Unable to parse FD number {name}"))?;
        if !numbers.remove(&number) {
            let text = format!("File descriptor '{number}' is not open or already in use");
            return Err(OpenError::new(text).about(name));
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

/// How many descriptors the process could have before [`allow_more_descriptors`].
static FORMER_LIMIT: OnceLock<Rlimit> = OnceLock::new();
/// As many as hundreds of thousands of consoles need.
const DESCRIPTORS: u64 = 1 << 20;

/// Lets the process have as many descriptors as it may: a shell's limit is what four hundred
/// consoles use up. Programs that it starts have the limit that it had.
pub(crate) fn allow_more_descriptors() {
    let former = getrlimit(Resource::Nofile);
    let most = former.maximum.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
    let more = Rlimit {
        current: Some(most),
        ..former
    };
    if former.current.is_some_and(|now| now < most) && setrlimit(Resource::Nofile, more).is_ok() {
        // Once is enough: whoever was first has kept what it was.
        let _ = FORMER_LIMIT.set(former);
    }
}

/// Large pieces of memory are given back to the system when they are freed, also after the first:
/// the C library otherwise learns to keep them. It also sets 64 MiB of addresses aside for each of
/// many threads, which under `ulimit -v` nobody else can have then; the few that are always there
/// will do.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: this sets numbers of the allocator; nothing refers to them.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 512 << 10);
        libc::mallopt(libc::M_ARENA_MAX, 4);
    }
}

/// Lets every signal through, whatever was blocked when we were started. Call it before there are
/// threads, which inherit this.
pub(crate) fn unblock_signals() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: the set is made by the call before the one that reads it.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Has the kernel do what it does for `signal` when nobody handles it. Returns if that was to stop,
/// and we were continued, or to do nothing.
pub(crate) fn default_action(signal: i32) {
    // SAFETY: all zero is a valid `sigaction`, and the default action needs no handler. What was
    // there before is put back as it was.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        let mut before: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, &default, &mut before);
        libc::raise(signal);
        libc::sigaction(signal, &before, std::ptr::null_mut());
    }
}

/// Signals of a process that cannot go on.
const FAULTS: [i32; 7] = [
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGTRAP,
];

/// Has the terminal put back before a fault ends the process. Whoever handles a fault himself does
/// so after this call, and passes on what is not his.
pub(crate) fn restore_terminal_on_faults() {
    for (signal, before) in FAULTS.into_iter().zip(&BEFORE) {
        // SAFETY: all zero is a valid `sigaction`. The handler does nothing that a signal may
        // interrupt: atomic operations and system calls.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as libc::sighandler_t;
            // A stack that overflowed cannot be used.
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            let mut found: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, &action, &mut found);
            let _ = before.set(found);
        }
    }
}

/// What was done about each of [`FAULTS`] before.
static BEFORE: [OnceLock<libc::sigaction>; FAULTS.len()] =
    [const { OnceLock::new() }; FAULTS.len()];

extern "C" fn on_fault(signal: i32, info: *const libc::siginfo_t, _context: *const libc::c_void) {
    chardev::back::stdio::try_restore_terminal();
    // SAFETY: the kernel passes a valid `info`.
    let sent = unsafe { (*info).si_code } <= 0;
    let place = FAULTS.iter().position(|fault| *fault == signal);
    let before = place.and_then(|place| BEFORE[place].get());
    match before {
        // The instruction is done again, and fails again, for whoever was to hear of it before.
        // SAFETY: it is as the kernel gave it.
        Some(before) if !sent => unsafe {
            libc::sigaction(signal, before, std::ptr::null_mut());
        },
        // It is held back until the handler returns, and finds the default action then.
        // SAFETY: the default action needs no handler.
        _ => unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        },
    }
}
