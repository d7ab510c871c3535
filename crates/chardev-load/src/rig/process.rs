//! The program under test: started with everything it is to have, and ended.

use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::monitor::{Monitor, connect};
use crate::LoadError;
use crate::STUCK;
use crate::peers::pause;
use crate::program::COMMAND;

/// What a program under test is started with, for each of its consoles.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The chardev of the demo, in the grammar of `-chardev`.
    pub chardev: String,
    /// Its id.
    pub id: String,
    /// Where the guest's report goes, a FIFO.
    pub report: PathBuf,
    /// The device strings of two monitors.
    pub monitors: [String; 2],
}

/// The programs to run.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `chardevd`
    pub daemon: PathBuf,
    /// `chardevctl`, whose hidden command is the program behind the console.
    pub client: PathBuf,
}

/// The daemon; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    messages: std::fs::File,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// What it printed, for an error message.
    pub(crate) fn said(&mut self) -> String {
        let mut text = String::new();
        let _ = self.messages.rewind();
        let _ = self.messages.read_to_string(&mut text);
        text.lines()
            .rev()
            .take(5)
            .fold(String::new(), |said, line| format!("\n  {line}{said}"))
    }
}

impl Setup {
    /// A chardev `id` with the back end in `line`, and everything else in `dir`.
    pub(super) fn new(id: &str, line: &str, dir: &Path) -> Self {
        let monitor = |name: &str| {
            let path = dir.join(name).display().to_string().replace(',', ",,");
            format!("unix:{path},server=on,wait=off")
        };
        Setup {
            chardev: format!("{line},id={id},x-closed=hold"),
            id: id.to_owned(),
            report: dir.join("report"),
            monitors: [monitor("qmp"), monitor("qmp-ring")],
        }
    }
}

impl Programs {
    /// The daemon with the program behind its console, set up as asked.
    pub fn command(&self, setup: &Setup) -> Command {
        let quote =
            |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
        let program = format!(
            "exec {} {COMMAND} {}",
            quote(&self.client),
            quote(&setup.report)
        );
        let mut command = Command::new(&self.daemon);
        command
            .args(["--no-default-monitor", "--chardev", &setup.chardev])
            .arg("--device")
            .arg(format!(
                "exec,chardev={},command={}",
                setup.id,
                program.replace(',', ",,")
            ))
            .args(setup.monitors.iter().flat_map(|dev| ["--qmp", dev]));
        command
    }
}

/// Starts the program; what it says is kept in `dir`.
pub(crate) fn start(dir: &Path, mut command: Command) -> Result<Daemon, LoadError> {
    let messages = tempfile::tempfile_in(dir).map_err(|error| error.to_string())?;
    let both = || messages.try_clone().map_err(|error| error.to_string());
    let child = command
        .stdin(Stdio::null())
        .stdout(both()?)
        .stderr(both()?)
        .spawn()
        .map_err(|error| {
            format!(
                "cannot start {}: {error}\nname the daemon's program with --daemon PATH",
                command.get_program().to_string_lossy()
            )
        })?;
    Ok(Daemon { child, messages })
}

pub(crate) fn wait_for_monitor(
    path: &Path,
    daemon: &mut Daemon,
    began: Instant,
) -> Result<Monitor, LoadError> {
    loop {
        match connect(path) {
            Ok(monitor) => return Ok(monitor),
            Err(_) if began.elapsed() < STUCK => {}
            Err(error) => return Err(format!("{error}{}", daemon.said()).into()),
        }
        if let Ok(Some(status)) = daemon.child.try_wait() {
            return Err(format!("the daemon exited immediately, {status}{}", daemon.said()).into());
        }
        pause(Duration::from_millis(5));
    }
}
