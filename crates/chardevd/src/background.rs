//! `--daemonize`: the daemon in a session of its own, and a parent that waits until it is ready.
//!
//! The program starts itself again instead of splitting in two, since no thread survives that.
#![allow(clippy::disallowed_methods, reason = "only the start waits for it")]

use std::env;
use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use chardev::back::FdSource;
use rustix::fs::{Mode, OFlags};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::pipe;

use crate::DaemonError;
use crate::edge::{self, Inherited};
use crate::messages;

/// Holds `PID:FD`: the process that waits, and the descriptor over which the second start tells it
/// that all is well. For anybody but a child of that process it means nothing.
pub(crate) const VARIABLE: &str = "CHARDEVD_READY_FD";

/// What files of a daemon in the background are for: the user, and reading for the group, as in
/// QEMU.
const UMASK: u32 = 0o027;

/// The umask that we were started with, which is for the programs of the user.
pub(crate) fn user_umask() -> Mode {
    static FOUND: OnceLock<Mode> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let mask = mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok());
        Mode::from_raw_mode(mask.unwrap_or(0o022))
    })
}

/// The second start, before it has its descriptors.
#[derive(Debug)]
pub struct Background {
    number: String,
}

/// The second start, with its parent waiting.
#[derive(Debug)]
pub struct Waiting {
    ready: OwnedFd,
}

impl Background {
    /// Starts the daemon and waits until it is set up; `None` once it is. In the daemon itself it
    /// returns at once. Call it before anything else opens descriptors.
    ///
    /// # Errors
    /// The daemon was not set up, and has said why.
    pub fn begin() -> Result<Option<Self>, DaemonError> {
        if let Some(number) = told_by_parent() {
            take_name();
            rustix::process::umask(Mode::from_raw_mode(UMASK));
            return Ok(Some(Background { number }));
        }
        let failed = |error: io::Error| DaemonError::of("-daemonize", error);
        let (told, ready) = pipe().map_err(|error| failed(error.into()))?;
        // The end that we read must not be open in the daemon, or nobody notices its end.
        fcntl_setfd(&told, FdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let mut command = Command::new("/proc/self/exe");
        let mut arguments = env::args_os();
        if let Some(name) = arguments.next() {
            std::os::unix::process::CommandExt::arg0(&mut command, name);
        }
        command.args(arguments).stdin(Stdio::null());
        let told_to = format!("{}:{}", std::process::id(), ready.as_raw_fd());
        command.env(VARIABLE, told_to);
        edge::new_session(&mut command);
        let mut child = command.spawn().map_err(failed)?;
        drop(ready);
        let mut word = [0];
        match std::fs::File::from(told).read(&mut word) {
            Ok(1) => Ok(None),
            _ => {
                // It has said what is wrong on the standard error it shares with us.
                let status = child.wait().map_err(failed)?;
                match status.code() {
                    Some(code) => std::process::exit(code.max(1)),
                    None => {
                        let what = "-daemonize: the daemon exited during startup";
                        Err(format!("{what}: {status}").into())
                    }
                }
            }
        }
    }

    /// Takes the line to the parent out of what was inherited.
    ///
    /// # Errors
    /// It is not there.
    pub fn ready(self, inherited: &Inherited) -> Result<Waiting, DaemonError> {
        let ready = inherited.take(&self.number);
        let ready = ready
            .map_err(|error| DaemonError::of(format_args!("-daemonize: {VARIABLE}"), error))?;
        Ok(Waiting { ready })
    }
}

/// The system calls a program after the file it was started from, and that is `exe` here. Threads
/// have the name of the one that starts them, so this comes before all others.
fn take_name() {
    let given = env::args_os().next().unwrap_or_default();
    let name = Path::new(&given).file_name().unwrap_or_default();
    if let Ok(name) = CString::new(name.as_bytes()) {
        // Another name hinders nobody.
        let _ = rustix::thread::set_name(&name);
    }
}

fn told_by_parent() -> Option<String> {
    let value = env::var(VARIABLE).ok()?;
    let (parent, number) = value.split_once(':')?;
    let own = rustix::process::getppid()?.as_raw_nonzero().to_string();
    (parent == own).then(|| number.to_owned())
}

impl Waiting {
    /// Lets go of the terminal, and lets the parent end.
    ///
    /// # Errors
    /// `/dev/null` cannot be opened.
    pub fn detach(self) -> Result<(), DaemonError> {
        let failed = |error: rustix::io::Errno| DaemonError::of("-daemonize", error);
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let null = null.map_err(failed)?;
        // What was said so far belongs to whoever started us.
        messages::finish();
        rustix::stdio::dup2_stdin(&null).map_err(failed)?;
        rustix::stdio::dup2_stdout(&null).map_err(failed)?;
        rustix::stdio::dup2_stderr(&null).map_err(failed)?;
        messages::to_background();
        rustix::process::chdir("/").map_err(failed)?;
        // A parent that is gone does not need to know.
        let _ = rustix::io::write(&self.ready, b"1");
        Ok(())
    }
}
