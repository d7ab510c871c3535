//! `chardevctl` against a running daemon: what it prints, and a terminal that is attached.

use std::io::Write;
use std::process::Stdio;

use rustix::process::Signal;

use crate::ctl_rig::{Attached, Daemon, text};

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
        (&["add", "nosuch,id=c"], "'chardevd --chardev help' lists"),
        (
            &["change", "con0", "null,foo=1"],
            "'chardevd --chardev KIND,help' lists",
        ),
        (&["remove", "con0"], "a front end is using it"),
        (&["remove", "con"], "did you mean 'con0'?"),
        (&["attach", "nobody"], "does not exist"),
    ] {
        let output = daemon.ctl(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(
            text(&output.stderr).contains(error),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
    let nobody = daemon.ctl(&["--host", "127.0.0.1:1", "list"]);
    assert_eq!(nobody.status.code(), Some(3));
    assert!(text(&nobody.stderr).contains("no chardevd at 127.0.0.1:1"));
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
fn what_is_typed_ahead_finds_the_size_of_the_terminal() {
    let daemon = Daemon::start();
    for turn in 0..20_u16 {
        let mut attached = Attached::begin(daemon.command().args(["attach", "con0"]));
        attached.resize(60 + turn, 37);
        attached.type_in(b"stty size\r");
        attached.wait_for(&format!("37 {}\r\n", 60 + turn));
        attached.type_in(b"\x1dq");
        attached.wait_for("[con0: left]");
        assert!(attached.wait().success());
    }
}

#[test]
fn a_signal_or_the_end_of_the_daemon_gives_the_terminal_back() {
    let mut daemon = Daemon::start();
    for signal in [
        Signal::TERM,
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::ABORT,
        Signal::ALARM,
        Signal::USR1,
        Signal::USR2,
        Signal::XCPU,
    ] {
        let mut attached = Attached::new(&daemon);
        assert!(attached.is_raw());
        attached.signal(signal);
        assert!(!attached.wait().success());
        assert!(!attached.is_raw(), "{signal:?}");
    }
    let mut attached = Attached::new(&daemon);
    daemon.child.kill().expect("a process");
    attached.wait_for("[con0: the daemon is gone]");
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
