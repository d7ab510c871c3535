//! `chardevctl` against a running daemon: what it prints, and a terminal that is attached.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

const LIMIT: Duration = Duration::from_secs(20);

/// A daemon with a shell on `con0`, whose back end is a ring.
struct Daemon {
    child: Child,
    dir: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start() -> Daemon {
        let dir = tempfile::tempdir().expect("a directory");
        let qmp = format!(
            "unix:{},server=on,wait=off",
            dir.path().join("qmp").display()
        );
        let child = Command::new(env!("CARGO_BIN_EXE_chardevd"))
            .args(["--chardev", "ringbuf,id=con0", "--qmp", &qmp])
            .args(["--device", "exec,chardev=con0,command=PS1=ready: exec sh"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("chardevd runs");
        let daemon = Daemon { child, dir };
        let began = Instant::now();
        while !daemon.ctl(&["list"]).status.success() {
            assert!(began.elapsed() < LIMIT, "the daemon does not answer");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("qmp")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chardevctl"));
        command.env("CHARDEVD_SOCKET", self.socket());
        command
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        self.command()
            .args(arguments)
            .output()
            .expect("chardevctl runs")
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }
}

/// `chardevctl attach` on a terminal of its own.
struct Attached {
    child: Child,
    screen: File,
    terminal: OwnedFd,
    seen: String,
}

impl Attached {
    fn new(daemon: &Daemon) -> Attached {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
        grantpt(&screen).expect("a pty");
        unlockpt(&screen).expect("a pty");
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = ioctl_tiocgptpeer(&screen, flags).expect("a pty");
        let size = Winsize {
            ws_row: 37,
            ws_col: 91,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).expect("a terminal");
        let end = || Stdio::from(terminal.try_clone().expect("a descriptor"));
        let child = daemon
            .command()
            .args(["attach", "con0"])
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("chardevctl runs");
        let mut attached = Attached {
            child,
            screen: screen.into(),
            terminal,
            seen: String::new(),
        };
        attached.wait_for("[con0: attached; Ctrl-] ? for help]");
        attached
    }

    fn type_in(&mut self, keys: &[u8]) {
        self.screen
            .write_all(keys)
            .expect("the terminal takes keys");
    }

    /// Reads the screen until `wanted` has appeared after what was waited for before.
    fn wait_for(&mut self, wanted: &str) {
        let began = Instant::now();
        loop {
            if let Some(at) = self.seen.find(wanted) {
                self.seen.drain(..at + wanted.len());
                return;
            }
            assert!(began.elapsed() < LIMIT, "no {wanted:?} in {:?}", self.seen);
            let second = Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            let mut fds = [PollFd::new(&self.screen, PollFlags::IN)];
            let ready = poll(&mut fds, Some(&second)).expect("poll");
            let mut buffer = [0; 4096];
            if ready > 0 {
                let count = self.screen.read(&mut buffer).expect("the screen");
                self.seen += &String::from_utf8_lossy(&buffer[..count]);
            }
        }
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(self.terminal.as_fd()).expect("a terminal");
        !modes.local_modes.contains(LocalModes::ICANON)
    }

    fn wait(&mut self) -> std::process::ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(began.elapsed() < LIMIT, "chardevctl does not end");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn commands_print_what_they_did_and_what_to_do_about_errors() {
    let daemon = Daemon::start();
    assert!(
        daemon
            .succeed(&["change", "con0", "pty"])
            .starts_with("/dev/pts/")
    );
    assert_eq!(daemon.succeed(&["add", "null,id=spare"]), "");
    assert!(daemon.succeed(&["list"]).contains("spare"));
    assert_eq!(daemon.succeed(&["remove", "spare"]), "");
    assert!(
        daemon
            .succeed(&["qmp", "query-version"])
            .contains("\"major\": 10")
    );
    for (arguments, error) in [
        (
            &["change", "con0", "file,path=/nonexistent/x"][..],
            "create the directory",
        ),
        (&["change", "nobody", "null"], "'chardevctl list' shows"),
        (&["add", "null,id=con0"], "choose another id"),
        (&["attach", "nobody"], "does not exist"),
        (
            &["--host", "127.0.0.1:1", "list"],
            "no chardevd at 127.0.0.1:1",
        ),
    ] {
        let output = daemon.ctl(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(
            text(&output.stderr).contains(error),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn a_terminal_is_attached_and_given_back() {
    let daemon = Daemon::start();
    let mut attached = Attached::new(&daemon);
    attached.type_in(b"stty size\r");
    attached.wait_for("37 91");
    assert!(attached.is_raw());
    // The monitor is free while a terminal is attached.
    assert!(daemon.succeed(&["list"]).contains("con0"));
    attached.type_in(b"\x1d?");
    attached.wait_for("b break");
    attached.type_in(b"\x1dq");
    attached.wait_for("[con0: left]");
    assert!(attached.wait().success());
    assert!(!attached.is_raw());
    assert!(daemon.succeed(&["list"]).contains("ringbuf"));
}

#[test]
fn a_signal_or_the_end_of_the_daemon_gives_the_terminal_back() {
    let mut daemon = Daemon::start();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let mut attached = Attached::new(&daemon);
        assert!(attached.is_raw());
        let pid = Pid::from_child(&attached.child);
        kill_process(pid, signal).expect("a process");
        assert!(!attached.wait().success());
        assert!(!attached.is_raw(), "{signal:?}");
    }
    let mut attached = Attached::new(&daemon);
    daemon.child.kill().expect("a process");
    attached.wait_for("[con0: the console ended]");
    attached.wait();
    assert!(!attached.is_raw());
}

#[test]
fn without_a_terminal_input_and_output_are_copied() {
    let daemon = Daemon::start();
    let mut child = daemon
        .command()
        .args(["attach", "con0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("chardevctl runs");
    let mut keys = child.stdin.take().expect("a pipe");
    keys.write_all(b"echo $((6 * 7))x\n").expect("a pipe");
    drop(keys);
    let output = child.wait_with_output().expect("chardevctl ends");
    assert!(output.status.success());
    assert!(
        text(&output.stdout).contains("42x"),
        "{}",
        text(&output.stdout)
    );
}
