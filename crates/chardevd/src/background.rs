//! `--daemonize`: the daemon in a session of its own, and a parent that waits until it is set up.
//!
//! The program starts itself again instead of splitting in two, since no thread survives that.

use std::env;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

use chardev::back::FdSource;
use rustix::fs::{Mode, OFlags};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::pipe;

use crate::edge::{self, Inherited};

/// Names the descriptor over which the second start tells the first one that all is well.
const VARIABLE: &str = "CHARDEVD_READY_FD";

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
    pub fn begin() -> Result<Option<Self>, String> {
        if let Ok(number) = env::var(VARIABLE) {
            return Ok(Some(Background { number }));
        }
        let failed = |error: io::Error| format!("-daemonize: {error}");
        let (told, ready) = pipe().map_err(|error| failed(error.into()))?;
        // The end that we read must not be open in the daemon, or nobody notices its end.
        fcntl_setfd(&told, FdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let mut command = Command::new("/proc/self/exe");
        let mut arguments = env::args_os();
        if let Some(name) = arguments.next() {
            std::os::unix::process::CommandExt::arg0(&mut command, name);
        }
        command.args(arguments).stdin(Stdio::null());
        command.env(VARIABLE, ready.as_raw_fd().to_string());
        edge::new_session(&mut command);
        let mut child = command.spawn().map_err(failed)?;
        drop(ready);
        let mut word = [0];
        match std::fs::File::from(told).read(&mut word) {
            Ok(1) => Ok(None),
            _ => {
                // It has said what is wrong on the standard error it shares with us.
                let status = child.wait().map_err(failed)?;
                std::process::exit(status.code().unwrap_or(1));
            }
        }
    }

    /// Takes the line to the parent out of what was inherited.
    ///
    /// # Errors
    /// It is not there: somebody else has set the variable.
    pub fn ready(self, inherited: &Inherited) -> Result<Waiting, String> {
        let ready = inherited.take(&self.number);
        let ready = ready.map_err(|error| format!("{VARIABLE}: {error}; unset it"))?;
        Ok(Waiting { ready })
    }
}

impl Waiting {
    /// Lets go of the terminal, and lets the parent end.
    ///
    /// # Errors
    /// `/dev/null` cannot be opened.
    pub fn detach(self) -> Result<(), String> {
        let failed = |error: rustix::io::Errno| format!("-daemonize: {error}");
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let null = null.map_err(failed)?;
        rustix::stdio::dup2_stdin(&null).map_err(failed)?;
        rustix::stdio::dup2_stdout(&null).map_err(failed)?;
        rustix::stdio::dup2_stderr(&null).map_err(failed)?;
        rustix::process::chdir("/").map_err(failed)?;
        // A parent that is gone does not need to know.
        let _ = rustix::io::write(&self.ready, b"1");
        Ok(())
    }
}
