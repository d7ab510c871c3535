//! The daemon's own terminal is as it was, whatever ended or stopped the daemon.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use crate::daemon_rig::{read_until, until};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

/// A terminal, and a daemon with a console on it.
struct OnTerminal {
    screen: File,
    terminal: OwnedFd,
    daemon: Child,
    before: String,
}

impl OnTerminal {
    fn start(wrapper: &str) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let screen = openpt(flags).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let terminal = ioctl_tiocgptpeer(&screen, flags).unwrap();
        let before = settings(&terminal);
        let end = || Stdio::from(terminal.try_clone().unwrap());
        // `setsid -c` makes it the controlling terminal; the shell stands between the session's
        // leader and the daemon where job control is wanted.
        let daemon = Command::new("setsid")
            .args(["-c", "sh", "-c", wrapper, env!("CARGO_BIN_EXE_chardevd")])
            .args([
                "-chardev",
                "stdio,id=s",
                "-device",
                "exec,chardev=s,command=echo up; exec cat",
            ])
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let mut screen = File::from(screen);
        read_until(&mut screen, "up");
        let mut it = OnTerminal {
            screen,
            terminal,
            daemon,
            before,
        };
        it.until_raw();
        it
    }

    fn until_raw(&mut self) {
        until("the terminal is raw", || {
            let modes = tcgetattr(&self.terminal).unwrap().local_modes;
            !modes.contains(LocalModes::ICANON)
        });
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.daemon), signal).unwrap();
    }

    fn end(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        until("the daemon ends", || {
            status = self.daemon.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // It fails only if it has already ended.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Everything that a shell would find changed.
fn settings(terminal: impl AsFd) -> String {
    format!(
        "{:?} {:?}",
        tcgetattr(&terminal).unwrap(),
        fcntl_getfl(&terminal).unwrap() & OFlags::NONBLOCK
    )
}

const ITSELF: &str = "exec \"$0\" \"$@\"";

#[test]
fn whatever_signal_ends_it_the_terminal_is_as_before() {
    for (signal, number) in [
        (Signal::QUIT, 3),
        (Signal::ILL, 4),
        (Signal::TRAP, 5),
        (Signal::ABORT, 6),
        (Signal::BUS, 7),
        (Signal::FPE, 8),
        (Signal::USR1, 10),
        (Signal::SEGV, 11),
        (Signal::USR2, 12),
        (Signal::ALARM, 14),
        (Signal::VTALARM, 26),
        (Signal::PROF, 27),
        (Signal::XCPU, 24),
        (Signal::SYS, 31),
    ] {
        let mut it = OnTerminal::start(ITSELF);
        it.signal(signal);
        let status = it.end();
        assert_eq!(status.signal(), Some(number), "{status}");
        assert_eq!(settings(&it.terminal), it.before, "{signal:?}");
    }
    for signal in [Signal::TERM, Signal::INT] {
        let mut it = OnTerminal::start(ITSELF);
        it.signal(signal);
        assert_eq!(it.end().code(), Some(0));
        assert_eq!(settings(&it.terminal), it.before, "{signal:?}");
    }
}

#[test]
fn keys_that_end_it_leave_the_terminal_as_before() {
    for key in [b"\x03", b"\x1c"] {
        let mut it = OnTerminal::start(ITSELF);
        it.screen.write_all(key).unwrap();
        it.end();
        assert_eq!(settings(&it.terminal), it.before, "{key:?}");
    }
}

#[test]
fn a_daemon_that_is_stopped_gives_the_terminal_back_and_takes_it_again() {
    // The shell is told of the stop, looks at the terminal, and continues the daemon.
    let wrapper = "set -m; \"$0\" \"$@\"; echo stopped; read line; fg >/dev/null";
    let mut it = OnTerminal::start(wrapper);
    it.screen.write_all(b"\x1a").unwrap();
    read_until(&mut it.screen, "stopped\r\n");
    assert_eq!(settings(&it.terminal), it.before);
    it.screen.write_all(b"go on\r").unwrap();
    it.until_raw();
    // The console is there again.
    it.screen.write_all(b"hello\r").unwrap();
    read_until(&mut it.screen, "hello");
    it.screen.write_all(b"\x03").unwrap();
    it.end();
    assert_eq!(settings(&it.terminal), it.before);
}

#[test]
fn a_stop_that_the_kernel_ignores_changes_nothing() {
    // Nobody could continue the leader of a session, so its key does not stop it.
    let mut it = OnTerminal::start(ITSELF);
    it.screen.write_all(b"\x1a").unwrap();
    it.screen.write_all(b"hello\r").unwrap();
    read_until(&mut it.screen, "hello");
    it.until_raw();
    drop(it.daemon.stdin.take());
    it.signal(Signal::TERM);
    it.end();
    assert_eq!(settings(&it.terminal), it.before);
    let _ = it.screen.read(&mut [0; 64]);
}
