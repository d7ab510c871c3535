//! `chardevctl attach` among others, and why it ends: in words, and as an exit status.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::ctl_rig::{Attached, Daemon, text, until, wait};

fn attach(daemon: &Daemon, arguments: &[&str]) -> Attached {
    Attached::begin(daemon.command().args(["attach", "con0"]).args(arguments))
}

/// The terminal of `attached` is as it was, and the exit status says why.
fn ended(mut attached: Attached, words: &str, status: i32) {
    attached.wait_for(words);
    assert_eq!(attached.wait().code(), Some(status), "{words}");
    assert!(!attached.is_raw(), "{words}");
}

#[test]
fn whoever_is_there_is_named_and_not_pushed_out_by_mistake() {
    let daemon = Daemon::start();
    let mut first = Attached::new(&daemon);
    let name = format!("pid {},", first.child.id());
    let output = daemon.ctl(&["attach", "con0"]);
    assert_eq!(output.status.code(), Some(5));
    let errors = text(&output.stderr);
    let told = errors.contains(&name) && errors.contains("--share or --read-only");
    assert!(told, "{errors}");
    first.type_in(b"echo $((6 * 7))x\r");
    first.wait_for("42x");

    let mut second = attach(&daemon, &["--force"]);
    second.wait_for("[con0: attached; Ctrl-] ? for help]");
    assert!(second.wait_for("]\r\n").contains(&name), "taken from whom");
    let by = format!("pid {},", second.child.id());
    ended(first, &by, 5);
    second.type_in(b"echo $((6 * 7))y\r");
    second.wait_for("42y");
    second.type_in(b"\x1d.");
    ended(second, "[con0: left]", 0);
}

#[test]
fn at_a_terminal_the_user_says_what_to_do_about_who_is_there() {
    let daemon = Daemon::start();
    let first = Attached::new(&daemon);
    let asked = || {
        let mut other = attach(&daemon, &[]);
        other.wait_for(&format!("pid {},", first.child.id()));
        other.wait_for("any other key to leave: ");
        other
    };
    let mut left = asked();
    left.type_in(b"q");
    left.wait_for("joins with --share");
    assert_eq!(left.wait().code(), Some(5));
    assert!(!left.is_raw());
    let mut beside = asked();
    beside.type_in(b"s");
    beside.wait_for("[con0: attached, shared with others;");
    beside.type_in(b"echo $((6 * 7))x\r");
    beside.wait_for("42x");
    let mut taking = asked();
    taking.type_in(b"f");
    taking.wait_for("[con0: attached; Ctrl-] ? for help]");
    let by = format!("taken by chardevctl (pid {},", taking.child.id());
    ended(first, &by, 5);
    ended(beside, &by, 5);
    taking.type_in(b"\x1d.");
    ended(taking, "[con0: left]", 0);
}

#[test]
fn several_share_a_console() {
    let daemon = Daemon::start();
    let mut first = Attached::new(&daemon);
    let mut second = attach(&daemon, &["--share"]);
    second.wait_for("[con0: attached, shared with others; Ctrl-] ? for help]");
    second.wait_for(&format!("pid {},", first.child.id()));
    let mut third = attach(&daemon, &["--read-only"]);
    third.wait_for("[con0: attached, read only; Ctrl-] ? for help]");
    second.type_in(b"echo $((6 * 7))x\r");
    for attached in [&mut first, &mut second, &mut third] {
        attached.wait_for("42x");
    }
    third.type_in(b"echo $((6 * 8))y\r\x1d?");
    third.wait_for("b break");
    third.type_in(b"\x1db");
    third.wait_for("no break");
    first.type_in(b"echo $((6 * 9))z\r");
    for attached in [&mut first, &mut second, &mut third] {
        let before = attached.wait_for("54z");
        assert!(!before.contains("48y"), "{before}");
    }
    for mut attached in [third, second, first] {
        attached.type_in(b"\x1d.");
        ended(attached, "[con0: left]", 0);
    }
}

#[test]
fn each_end_has_its_reason_and_its_status() {
    let daemon = Daemon::start();
    let attached = Attached::new(&daemon);
    let pty = daemon.succeed(&["change", "con0", "pty"]);
    ended(attached, &format!("[con0: moved to {}]", pty.trim()), 6);

    let mut attached = Attached::new(&daemon);
    attached.type_in(b"exit 3\r");
    ended(attached, "[con0: the program ended, status 3;", 7);

    let daemon = Daemon::start();
    let attached = Attached::new(&daemon);
    kill_process(Pid::from_child(&daemon.child), Signal::TERM).expect("a process");
    ended(attached, "[con0: the daemon is gone]", 3);
}

#[test]
fn a_console_with_nobody_behind_it_says_so_at_once() {
    let daemon = Daemon::running("echo last words; exit 3");
    until("it has ended", || {
        daemon
            .succeed(&["qmp", "x-query-devices"])
            .contains("ended")
    });
    let mut attached = attach(&daemon, &[]);
    attached.wait_for("last words");
    ended(attached, "[con0: the program ended, status 3;", 7);
    // Without a terminal the reason is on standard error, and what there was is printed.
    let output = daemon.ctl(&["attach", "con0"]);
    assert_eq!(output.status.code(), Some(7));
    let errors = text(&output.stderr);
    let wanted = "chardevctl: con0: the program ended, status 3; 'chardevctl restart con0' starts it again\n";
    assert!(errors.ends_with(wanted), "{errors}");

    let daemon = Daemon::with(&["--chardev", "ringbuf,id=con0"]);
    let mut attached = attach(&daemon, &[]);
    attached.wait_for("[con0: nothing is connected behind it");
    attached.type_in(b"\x1d.");
    ended(attached, "[con0: left]", 0);
}

#[test]
fn a_program_that_has_ended_is_listed_so_and_can_be_started_again() {
    let daemon = Daemon::running("test -e once || { touch once; exit 3; }; echo again; cat");
    until("it has ended", || {
        daemon
            .succeed(&["list"])
            .contains("closed: the program ended, status 3")
    });
    daemon.succeed(&["restart", "con0"]);
    let mut attached = Attached::new(&daemon);
    attached.wait_for("again");
    assert!(!daemon.succeed(&["list"]).contains("ended"));
    let output = daemon.ctl(&["restart", "con1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("con1 runs no program"));
}

#[test]
fn a_mistyped_id_is_recognized() {
    let daemon = Daemon::running("cat");
    for arguments in [
        &["attach", "con"][..],
        &["watch", "cno0"],
        &["history", "con9"],
        &["remove", "con"],
        &["break", "Con0"],
        &["change", "con00", "null"],
    ] {
        let output = daemon.ctl(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let errors = text(&output.stderr);
        let told = errors.ends_with("did you mean 'con0'?\n");
        assert!(told && errors.contains(arguments[1]), "{errors}");
    }
}

#[test]
fn a_program_that_is_started_again_keeps_its_console() {
    let device = "exec,chardev=con0,restart=on,command=echo ready; read x";
    let daemon = Daemon::with(&["--chardev", "ringbuf,id=con0", "--device", device]);
    let mut attached = Attached::new(&daemon);
    attached.wait_for("ready");
    attached.type_in(b"x\r");
    attached.wait_for("[con0: the program ended, status 0; it starts again]");
    attached.wait_for("ready");
    attached.type_in(b"\x1d.");
    ended(attached, "[con0: left]", 0);
}

#[test]
fn who_is_attached_stays_when_the_program_is_restarted_by_hand() {
    let daemon = Daemon::running("echo ready; cat");
    let mut attached = Attached::new(&daemon);
    attached.wait_for("ready");
    daemon.succeed(&["restart", "con0"]);
    attached.wait_for("[con0: the program ended, signal 1; it starts again]");
    attached.wait_for("ready");
    attached.type_in(b"\x1d.");
    ended(attached, "[con0: left]", 0);
}

#[test]
fn a_console_is_not_attached_inside_itself() {
    let daemon = Daemon::start();
    let mut attached = Attached::new(&daemon);
    let program = env!("CARGO_BIN_EXE_chardevctl");
    let socket = daemon.socket();
    let inner = format!(
        "{program} --socket {} attach con0 --force",
        socket.display()
    );
    for line in [
        inner.clone(),
        // Neither a new session nor a forgotten environment hides it.
        format!("setsid -w {inner}"),
        format!("env -i {inner}"),
        format!("setsid -w sh -c 'env -u CHARDEVD_PID {inner}; true'"),
    ] {
        attached.type_in(format!("{line}; echo st=$?.\r").as_bytes());
        attached.wait_for("runs inside con0");
        attached.wait_for("st=");
    }
    // Another one may be.
    daemon.succeed(&["add", "ringbuf,id=other"]);
    attached.type_in(format!("{program} --socket {} attach other\r", socket.display()).as_bytes());
    attached.wait_for("[other: attached");
    attached.type_in(b"\x1d\x1d.");
    attached.wait_for("[other: left]");
    attached.type_in(b"\x1d.");
    ended(attached, "[con0: left]", 0);
}

#[test]
fn two_consoles_are_not_shown_to_each_other() {
    let daemon = Daemon::with(&[
        "-chardev",
        "ringbuf,id=con0",
        "-device",
        "exec,chardev=con0,command=exec sh",
        "-chardev",
        "ringbuf,id=con1",
        "-device",
        "exec,chardev=con1,command=exec sh",
    ]);
    let mut attached = Attached::new(&daemon);
    let program = env!("CARGO_BIN_EXE_chardevctl");
    let socket = daemon.socket();
    let attach = |id| format!("{program} --socket {} attach {id}", socket.display());
    attached.type_in(format!("{}\r", attach("con1 --escape none")).as_bytes());
    attached.wait_for("[con1: attached");
    for manner in ["--force", "--share", "--read-only"] {
        let line = format!("{} {manner}; echo st=$?.\r", attach("con0"));
        attached.type_in(line.as_bytes());
        attached.wait_for("runs inside con1, which is attached inside con0");
        attached.wait_for("st=1.");
    }
}

#[test]
fn a_terminal_that_takes_nothing_does_not_keep_us() {
    let daemon = Daemon::running("yes");
    for signal in [None, Some(Signal::TERM)] {
        // Nobody reads what this one shows.
        let mut attached = Attached::new(&daemon);
        match signal {
            None => attached.type_in(b"\x1d."),
            Some(signal) => attached.signal(signal),
        }
        assert!(attached.wait().code() == signal.map_or(Some(0), |_| None));
    }
}

#[test]
fn the_end_of_the_reader_is_noticed_without_output() {
    let daemon = Daemon::running("cat");
    for command in ["attach", "watch"] {
        let mut child = Command::new(daemon.command().get_program())
            .args([command, "con0", "--socket"])
            .arg(daemon.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("chardevctl runs");
        let mut keys = child.stdin.take().expect("a pipe");
        if command == "attach" {
            keys.write_all(b"x\n").expect("a pipe");
            let mut echo = [0];
            let mut output = child.stdout.take().expect("a pipe");
            output.read_exact(&mut echo).expect("an echo");
        }
        drop(child.stdout.take());
        assert!(wait(&mut child).success(), "{command}");
    }
}

#[test]
fn a_viewer_from_the_start_sees_what_was_printed_before_it_came() {
    let daemon = Daemon::with(&[
        "--chardev",
        "null,id=con0,x-history=4096",
        "--device",
        "exec,chardev=con0,command=echo ready; cat",
    ]);
    daemon.expect("ready");
    let mut command = daemon.command();
    command.args(["watch", "con0", "--from-start"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("chardevctl");
    let mut seen = [0; 5];
    let mut output = child.stdout.take().expect("a pipe");
    output.read_exact(&mut seen).expect("what was printed");
    assert_eq!(&seen, b"ready");
    drop(output);
    assert!(wait(&mut child).success());
}

#[test]
fn a_viewer_is_told_why_it_ends() {
    let mut daemon = Daemon::with(&["--chardev", "ringbuf,id=con0", "--chardev", "null,id=x"]);
    let watch = |id: &str| {
        let mut command = daemon.command();
        command.args(["watch", id]).stderr(Stdio::piped());
        let child = command.stdout(Stdio::piped()).spawn();
        child.expect("chardevctl runs")
    };
    let viewers = |id: &str| {
        let id = format!("{{\"id\": \"{id}\"}}");
        daemon.succeed(&["qmp", "x-query-chardev-stats", &id])
    };
    let (removed, killed) = (watch("x"), watch("con0"));
    for id in ["x", "con0"] {
        until("it is watched", || viewers(id).contains("\"viewers\": 1"));
    }
    daemon.succeed(&["remove", "x"]);
    let output = removed.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(8));
    assert_eq!(text(&output.stderr), "chardevctl: x was removed\n");
    daemon.child.kill().expect("a process");
    let output = killed.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        text(&output.stderr),
        "chardevctl: con0: the daemon is gone\n"
    );
}
