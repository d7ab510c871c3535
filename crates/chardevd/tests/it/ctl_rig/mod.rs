//! What the tests of `chardevctl` share: a daemon with a console, and the client on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use chardev::screen::{Screen, Size, Snapshot};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// How long anything may take; only a hang reaches it.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A daemon with a monitor for one client at a time.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    dir: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Either call fails only if the daemon has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// One with a shell on `con0`, whose back end is a ring.
    pub(crate) fn start() -> Daemon {
        Daemon::running("PS1=ready: exec sh")
    }

    /// One with this command on `con0`, whose back end is a ring.
    pub(crate) fn running(command: &str) -> Daemon {
        let device = format!("exec,chardev=con0,command={}", command.replace(',', ",,"));
        Daemon::with(&["--chardev", "ringbuf,id=con0", "--device", &device])
    }

    /// One with these arguments, and a monitor.
    pub(crate) fn with(arguments: &[&str]) -> Daemon {
        let dir = tempfile::tempdir().expect("a directory");
        let qmp = format!(
            "unix:{},server=on,wait=off",
            dir.path().join("qmp").display()
        );
        let child = Command::new(env!("CARGO_BIN_EXE_chardevd"))
            .args(arguments)
            .args(["--qmp", &qmp])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("chardevd runs");
        let daemon = Daemon { child, dir };
        until("the daemon answers", || {
            daemon.ctl(&["list"]).status.success()
        });
        daemon
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("qmp")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = chardevctl();
        command.env("CHARDEVD_SOCKET", self.socket());
        command
    }

    pub(crate) fn ctl(&self, arguments: &[&str]) -> Output {
        self.command()
            .args(arguments)
            .output()
            .expect("chardevctl runs")
    }

    /// Waits until the output of `con0` matches `pattern`, however old it is; returns what
    /// `chardevctl expect` prints.
    pub(crate) fn expect(&self, pattern: &str) -> String {
        let limit = LIMIT.as_secs().to_string();
        self.succeed(&[
            "expect",
            "con0",
            "--from",
            "oldest",
            "--timeout",
            &limit,
            pattern,
        ])
    }

    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }
}

/// The client, without what the environment of the tests says about consoles.
pub(crate) fn chardevctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevctl"));
    for name in ["CHARDEVD_SOCKET", "CHARDEV", "CHARDEV_FLEET"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// A program on a terminal of its own, 91 columns wide and 37 rows high.
pub(crate) struct Attached {
    pub(crate) child: Child,
    screen: File,
    terminal: OwnedFd,
    seen: String,
}

impl Attached {
    /// `chardevctl attach con0`, once it is attached.
    pub(crate) fn new(daemon: &Daemon) -> Attached {
        let mut attached = Attached::begin(daemon.command().args(["attach", "con0"]));
        attached.wait_for("[con0: attached; Ctrl-] ? for help]");
        attached
    }

    /// Whatever `command` runs.
    pub(crate) fn begin(command: &mut Command) -> Attached {
        let (screen, terminal) = open_terminal();
        let end = || Stdio::from(terminal.try_clone().expect("a descriptor"));
        let child = command
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("chardevctl runs");
        Attached {
            child,
            screen,
            terminal,
            seen: String::new(),
        }
    }

    pub(crate) fn type_in(&mut self, keys: &[u8]) {
        self.screen
            .write_all(keys)
            .expect("the terminal takes keys");
    }

    /// Feeds what the terminal is sent to `shown` until that is as it should be.
    pub(crate) fn show(
        &mut self,
        shown: &mut Screen,
        what: &str,
        mut done: impl FnMut(&Snapshot) -> bool,
    ) {
        let began = Instant::now();
        shown.feed_all(std::mem::take(&mut self.seen).as_bytes());
        while !done(&shown.snapshot()) {
            let snapshot = shown.snapshot();
            assert!(began.elapsed() < LIMIT, "not yet {what}: {snapshot:?}");
            shown.feed_all(&self.read());
        }
    }

    /// Reads the screen until `wanted` has appeared after what was waited for before; returns what
    /// came before it.
    pub(crate) fn wait_for(&mut self, wanted: &str) -> String {
        let began = Instant::now();
        loop {
            if let Some(at) = self.seen.find(wanted) {
                let before = self.seen[..at].to_owned();
                self.seen.drain(..at + wanted.len());
                return before;
            }
            assert!(began.elapsed() < LIMIT, "no {wanted:?} in {:?}", self.seen);
            let read = self.read();
            self.seen += &String::from_utf8_lossy(&read);
        }
    }

    /// What the terminal is sent next, if that is soon.
    fn read(&mut self) -> Vec<u8> {
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&self.screen, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&second)).expect("poll");
        let mut buffer = vec![0; 4096];
        let count = match ready {
            0 => 0,
            _ => self.screen.read(&mut buffer).expect("the screen"),
        };
        buffer.truncate(count);
        buffer
    }

    /// The terminal's other end is closed.
    pub(crate) fn hang_up(&mut self) {
        let none = || File::open("/dev/null").expect("/dev/null");
        self.screen = none();
        self.terminal = none().into();
    }

    /// The terminal has another size; its program is not told.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.terminal, size).expect("a terminal");
    }

    pub(crate) fn is_raw(&self) -> bool {
        let modes = tcgetattr(self.terminal.as_fd()).expect("a terminal");
        !modes.local_modes.contains(LocalModes::ICANON)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a process");
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Either call fails only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end of a child, with a deadline.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let mut status = None;
    until("the program ends", || {
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    status.expect("it has ended")
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(
            began.elapsed() < LIMIT,
            "{LIMIT:?} passed, and not yet: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn open_terminal() -> (File, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let screen = openpt(flags).expect("a pty");
    grantpt(&screen).expect("a pty");
    unlockpt(&screen).expect("a pty");
    let terminal = ioctl_tiocgptpeer(&screen, flags).expect("a pty");
    let size = Winsize {
        ws_row: 37,
        ws_col: 91,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).expect("a terminal");
    (screen.into(), terminal)
}

/// An empty screen of the terminals' size.
pub(crate) fn blank() -> Screen {
    Screen::new(Size::new(91, 37).expect("a size"))
}
