//! The process of a program: how it is started, a few at a time, and its end.

use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use chardev::text::to_os;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Exec, plain};
use crate::background::user_umask;
use crate::devices::on_own_thread;
use crate::edge::{self, Started};

/// How many programs are started at once, each by a thread that waits for the kernel and for the
/// first look of the program at its own file.
static TURNS: Semaphore = Semaphore::const_new(16);
/// How long to wait for a turn: a program whose directory is on a file system that does not answer
/// keeps its own for ever, and nobody else is to wait for that.
const TURN_LIMIT: Duration = Duration::from_secs(5);

impl Exec {
    /// Starts the program on `terminal`. This may wait for a disk, so it is done on another thread,
    /// beside those of other programs.
    pub(super) async fn program(&self, terminal: &Arc<OwnedFd>) -> io::Result<Started> {
        let (command, terminal) = (self.command(), Arc::clone(terminal));
        let line = self.command.clone();
        let start = move || {
            let words = plain::words(&line).unwrap_or_default();
            let programs = match words.first() {
                Some(program) => plain::places(program, env::var_os("PATH")),
                None => Vec::new(),
            };
            edge::lead_session(&command, (programs, words), terminal.as_fd(), user_umask())
        };
        let _turn = timeout(TURN_LIMIT, TURNS.acquire()).await;
        on_own_thread("exec-start", start)
            .await
            .map_err(io::Error::other)?
    }

    fn command(&self) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(to_os(&self.command))
            .env("CHARDEV", to_os(&self.chardev))
            .env("CHARDEVD_PID", std::process::id().to_string());
        command.env_remove(crate::background::VARIABLE);
        for variable in crate::service::VARIABLES {
            command.env_remove(variable);
        }
        if env::var_os("TERM").is_none() {
            command.env("TERM", "vt100");
        }
        if let Some(cwd) = &self.cwd {
            // As the shell says it, which may not be there to do so.
            let shown: PathBuf = cwd.components().collect();
            command.current_dir(cwd).env("PWD", shown);
        }
        command
    }
}

/// How the program ended, once it has.
pub(super) async fn ended(program: Started) -> io::Result<ExitStatus> {
    let pid = program.pid;
    let Some(pidfd) = program.pidfd else {
        let wait = move || wait(pid, WaitOptions::empty());
        let waited = on_own_thread("exec-wait", wait).await;
        let status = waited.map_err(io::Error::other)??;
        return status.ok_or_else(|| Errno::CHILD.into());
    };
    let pidfd = chardev::async_fd(pidfd)?;
    loop {
        let mut ready = pidfd.readable().await?;
        match wait(pid, WaitOptions::NOHANG)? {
            Some(status) => return Ok(status),
            None => ready.clear_ready(),
        }
    }
}

fn wait(pid: Pid, options: WaitOptions) -> io::Result<Option<ExitStatus>> {
    loop {
        match waitpid(Some(pid), options) {
            Err(Errno::INTR) => {}
            waited => {
                let status = waited?.map(|(_, status)| status.as_raw());
                return Ok(status.map(ExitStatus::from_raw));
            }
        }
    }
}
