//! Starting a program without a copy of the daemon's page tables.
//!
//! `fork` copies them, for a child that throws them away a moment later, and keeps everybody who
//! maps or touches new memory meanwhile. So the child is one as `posix_spawn` makes it: it borrows
//! our memory, and the thread that started it stands still until the program runs. The C library's
//! own call cannot set a umask, a limit or a controlling terminal.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsStr, OsString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, setrlimit};

use super::FORMER_LIMIT;

/// The stack of the child until the program runs: what it calls needs a few hundred bytes.
const STACK: usize = 64 << 10;
/// The size of the kernel's set of signals, and their number.
const SET: usize = 8;
const SIGNALS: c_int = 64;

/// A program that was started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: Pid,
    /// Readable once it has ended; Linux before 5.2 has none.
    pub(crate) pidfd: Option<OwnedFd>,
}

/// What the child needs, made before there is one: it can allocate nothing.
struct Plan<'a> {
    /// Programs with their arguments; the first that is there is run.
    programs: Vec<(CString, Pointers)>,
    environment: Pointers,
    directory: Option<CString>,
    terminal: BorrowedFd<'a>,
    umask: Mode,
    limit: Option<Rlimit>,
    /// Why it could not be started.
    error: AtomicI32,
}

/// Strings as `execve` takes them, with those that they point to.
struct Pointers {
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Pointers {
    fn new(strings: Vec<CString>) -> Self {
        let all = strings.iter().map(|string| string.as_ptr());
        Pointers {
            pointers: all.chain([ptr::null()]).collect(),
            _strings: strings,
        }
    }

    fn of<'a>(strings: impl Iterator<Item = &'a OsStr>) -> io::Result<Self> {
        let strings: io::Result<_> = strings.map(c_string).collect();
        Ok(Pointers::new(strings?))
    }
}

/// Starts `command`, of which the program (a path), arguments, directory and environment count, or
/// rather the first of `others` that is there, with the arguments that they share: as the leader of
/// a session on `terminal`, with every signal as a login would give it, for whoever started us may
/// have had some ignored, as a shell does for what it puts into the background.
/// Returns once it runs, which may wait for a disk.
///
/// # Errors
/// Why it does not run.
pub(crate) fn lead_session(
    command: &Command,
    others: (Vec<PathBuf>, Vec<&str>),
    terminal: BorrowedFd<'_>,
    umask: Mode,
) -> io::Result<Started> {
    let mut programs = Vec::new();
    for other in others.0 {
        let arguments = others.1.iter().map(OsStr::new);
        programs.push((c_string(other.as_os_str())?, Pointers::of(arguments)?));
    }
    let program = command.get_program();
    let arguments = [program].into_iter().chain(command.get_args());
    programs.push((c_string(program)?, Pointers::of(arguments)?));
    let directory = command.get_current_dir();
    let plan = Plan {
        programs,
        environment: Pointers::new(environment(command)?),
        directory: directory
            .map(|path| c_string(path.as_os_str()))
            .transpose()?,
        terminal,
        umask,
        // Programs that use `select` cannot have more.
        limit: FORMER_LIMIT.get().copied(),
        error: AtomicI32::new(0),
    };
    let started = with_signals_blocked(|| clone(&plan))?;
    match plan.error.load(Ordering::Relaxed) {
        0 => Ok(started),
        error => {
            // It has ended, and is nobody's any more after this.
            let _ =
                rustix::process::waitpid(Some(started.pid), rustix::process::WaitOptions::empty());
            Err(io::Error::from_raw_os_error(error))
        }
    }
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(io::Error::from)
}

/// Ours, with what `command` changes.
fn environment(command: &Command) -> io::Result<Vec<CString>> {
    let mut all: BTreeMap<OsString, OsString> = env::vars_os().collect();
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => _ = all.insert(name.to_owned(), value.to_owned()),
            None => _ = all.remove(name),
        }
    }
    let joined = all.into_iter().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        c_string(&name)
    });
    joined.collect()
}

/// Calls `action` while no handler can run, in this thread or in a child that borrows its memory.
fn with_signals_blocked<R>(action: impl FnOnce() -> R) -> R {
    // The kernel's call, since the C library keeps two signals to itself.
    let (all, mut before) = (u64::MAX, 0u64);
    // SAFETY: both pointers are to sets of the size that is said.
    unsafe { set_mask(&all, &mut before) };
    let result = action();
    // SAFETY: as above.
    unsafe { set_mask(&before, ptr::null_mut()) };
    result
}

/// # Safety
/// `before` is null or may be written to.
unsafe fn set_mask(mask: &u64, before: *mut u64) {
    let mask: *const u64 = mask;
    // SAFETY: the caller's; and it is no call that changes memory but `before`.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            mask,
            before,
            SET,
        )
    };
}

/// Makes the child. When this returns, it has left our memory: the program runs or the child has
/// ended.
fn clone(plan: &Plan<'_>) -> io::Result<Started> {
    let mut stack = vec![MaybeUninit::<u128>::uninit(); STACK / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end;
    let argument = ptr::from_ref(plan).cast_mut().cast::<c_void>();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: RawFd = -1;
    // SAFETY: with CLONE_VFORK this thread stands still until the child has left our memory, so
    // `plan`, the stack and `pidfd` outlive its use of them, and nothing else uses them meanwhile.
    // All signals are blocked, so that no handler of ours runs in the child.
    let pid = unsafe { libc::clone(begin, top.cast(), flags, argument, &mut pidfd as *mut RawFd) };
    let failed = io::Error::last_os_error();
    let pid = Pid::from_raw(pid.max(0)).ok_or(failed)?;
    // SAFETY: the kernel opened it for us just now.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    Ok(Started { pid, pidfd })
}

/// The child. From here to the program there are only system calls: no allocation, no lock, no
/// panic.
extern "C" fn begin(plan: *mut c_void) -> c_int {
    // SAFETY: it is what `clone` passed, and it is there until the child has left this memory.
    let plan = unsafe { &*plan.cast_const().cast::<Plan<'_>>() };
    let error = plan.run();
    plan.error.store(error.raw_os_error(), Ordering::Relaxed);
    127
}

impl Plan<'_> {
    /// Becomes the program, or says why not.
    fn run(&self) -> Errno {
        default_signals();
        if let Err(error) = self.prepare() {
            return error;
        }
        let none = 0u64;
        // Nothing handles a signal any more, so whatever comes now is the program's.
        // SAFETY: there is nothing to be written to.
        unsafe { set_mask(&none, ptr::null_mut()) };
        let environment = self.environment.pointers.as_ptr();
        let mut error = Errno::NOENT;
        for (program, arguments) in &self.programs {
            // SAFETY: all are strings that end with a zero, in lists that end with a null. It
            // returns only if it failed.
            unsafe { libc::execve(program.as_ptr(), arguments.pointers.as_ptr(), environment) };
            error = Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO);
        }
        error
    }

    fn prepare(&self) -> Result<(), Errno> {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(self.terminal)?;
        rustix::stdio::dup2_stdin(self.terminal.as_fd())?;
        rustix::stdio::dup2_stdout(self.terminal.as_fd())?;
        rustix::stdio::dup2_stderr(self.terminal.as_fd())?;
        rustix::process::umask(self.umask);
        if let Some(limit) = self.limit {
            // Whoever cannot lower a limit cannot lower ours.
            let _ = setrlimit(Resource::Nofile, limit);
        }
        match &self.directory {
            Some(directory) => rustix::process::chdir(directory.as_c_str()),
            None => Ok(()),
        }
    }
}

fn default_signals() {
    for signal in 1..=SIGNALS {
        // The kernel's call, since the C library keeps two signals to itself. All zero is its
        // `sigaction` for the default action.
        let (default, before) = ([0u64; 4], ptr::null_mut::<u64>());
        // SAFETY: both pointers are as the call wants them. It fails for signals without a choice,
        // which changes nothing.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                before,
                SET,
            )
        };
    }
}
