//! `chardevctl` where the monitor does not answer: it says why, and can be ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::ctl_rig::{Attached, Daemon, chardevctl, text, until, wait};

/// Each command, with arguments that would do.
const COMMANDS: [&[&str]; 10] = [
    &["list"],
    &["add", "null,id=x"],
    &["change", "con0", "null"],
    &["remove", "con0"],
    &["break", "con0"],
    &["attach", "con0"],
    &["watch", "con0"],
    &["history", "con0"],
    &["qmp", "query-version"],
    &["qmp"],
];

/// Starts `command` and returns it with the first line it says on standard error.
fn begin(command: &mut Command) -> (Child, BufReader<ChildStderr>, String) {
    let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("chardevctl runs");
    let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    errors.read_line(&mut line).expect("a line");
    (child, errors, line)
}

fn end(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("a process");
}

fn rest(mut errors: impl Read) -> String {
    let mut rest = String::new();
    errors.read_to_string(&mut rest).expect("text");
    rest
}

/// The monitor's client is this process until the stream is dropped.
fn take_monitor(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.socket()).expect("a monitor");
    let mut greeting = String::new();
    let mut reader = BufReader::new(&stream);
    reader.read_line(&mut greeting).expect("a greeting");
    stream
}

fn timed(mut command: Command) -> Output {
    let command = command.args(["--timeout", "0.2"]).stdin(Stdio::null());
    command.output().expect("chardevctl runs")
}

#[test]
fn a_taken_monitor_is_explained_once_and_signals_end_the_wait() {
    let daemon = Daemon::running("cat");
    let _taken = take_monitor(&daemon);
    let us = format!(
        "(pid {}) is connected; waiting (Ctrl-C gives up)",
        std::process::id()
    );
    let waiting = COMMANDS.map(|arguments| {
        let mut command = daemon.command();
        // A session that has not ended is the one that waits for the monitor's first word.
        command.args(arguments).stdin(Stdio::piped());
        let begun = std::thread::spawn(move || begin(&mut command));
        (arguments, begun)
    });
    for (number, (arguments, begun)) in waiting.into_iter().enumerate() {
        let (mut child, errors, line) = begun.join().expect("it waits");
        assert!(line.contains(&us), "{arguments:?}: {line}");
        let signal = [Signal::INT, Signal::TERM, Signal::HUP][number % 3];
        end(&child, signal);
        let status = wait(&mut child);
        assert_eq!(status.signal(), Some(signal.as_raw()), "{arguments:?}");
        assert_eq!(rest(errors), "", "{arguments:?}");
    }
}

#[test]
fn whoever_waits_is_served_when_the_other_has_left() {
    let daemon = Daemon::running("cat");
    let taken = take_monitor(&daemon);
    let (mut child, errors, line) = begin(daemon.command().arg("list"));
    assert!(line.contains("is connected"), "{line}");
    drop(taken);
    assert!(wait(&mut child).success());
    assert_eq!(rest(errors), "");
}

#[test]
fn scripts_wait_for_as_long_as_they_say() {
    let daemon = Daemon::running("cat");
    let _taken = take_monitor(&daemon);
    for arguments in COMMANDS {
        let mut command = daemon.command();
        command.args(arguments).args(["--timeout", "0.2"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("chardevctl runs");
        let mut keys = child.stdin.take().expect("a pipe");
        keys.write_all(b"{}").expect("a pipe");
        drop(keys);
        let output = child.wait_with_output().expect("chardevctl ends");
        assert_eq!(output.status.code(), Some(4), "{arguments:?}");
        let errors = text(&output.stderr);
        let wanted = "is connected; gave up after 0.2 s (--timeout)\n";
        assert!(errors.ends_with(wanted), "{arguments:?}: {errors}");
    }
    let output = daemon.ctl(&["list", "--timeout", "soon"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("give seconds"));
}

#[test]
fn keys_end_the_wait_and_what_was_typed_ahead_is_not_lost() {
    let daemon = Daemon::start();
    let taken = take_monitor(&daemon);
    for keys in [&b"\x1d."[..], b"\x1dq"] {
        let mut attached = Attached::begin(daemon.command().args(["attach", "con0"]));
        attached.wait_for("is connected; waiting (Ctrl-C or Ctrl-] . gives up)\r\n");
        attached.type_in(keys);
        attached.wait_for("con0 was not attached");
        assert_eq!(attached.wait().code(), Some(1));
        assert!(!attached.is_raw());
    }
    let mut attached = Attached::begin(daemon.command().args(["attach", "con0"]));
    attached.wait_for("is connected; waiting");
    attached.type_in(b"echo $((6 * 7))x\r\x1d\x1d\r");
    drop(taken);
    attached.wait_for("[con0: attached; Ctrl-] ? for help]");
    attached.wait_for("42x");
    attached.type_in(b"\x1d.");
    assert!(attached.wait().success());
}

#[test]
fn a_stopped_daemon_is_named_and_waited_for() {
    let daemon = Daemon::running("cat");
    end(&daemon.child, Signal::STOP);
    let (mut child, errors, line) = begin(daemon.command().arg("list"));
    let pid = daemon.child.id();
    let wanted = format!("is stopped; 'kill -CONT {pid}' resumes it; waiting");
    assert!(line.contains(&wanted), "{line}");
    let mut command = daemon.command();
    command.arg("list");
    assert_eq!(timed(command).status.code(), Some(4));
    end(&daemon.child, Signal::CONT);
    assert!(wait(&mut child).success());
    assert_eq!(rest(errors), "");
}

#[test]
fn an_answer_that_takes_long_is_spoken_of() {
    let daemon = Daemon::running("cat");
    let path = daemon.dir().join("other");
    let at = path.display();
    let backend = format!("socket,path={at},server=on");
    let (mut child, errors, line) = begin(daemon.command().args(["change", "con0", &backend]));
    let wanted = format!(
        "chardevctl: waiting for the first client at {at}; add wait=off to go on without; Ctrl-C leaves con0 as it was\n"
    );
    assert_eq!(line, wanted);
    let other = UnixStream::connect(&path).expect("it waits");
    assert!(wait(&mut child).success());
    assert_eq!(rest(errors), "");
    drop(other);
    // What waits for nobody else is the daemon's to answer.
    let path = daemon.dir().join("third");
    let backend = format!("socket,path={},server=on", path.display());
    end(&daemon.child, Signal::STOP);
    let (mut child, errors, line) = begin(daemon.command().args(["change", "con0", &backend]));
    end(&daemon.child, Signal::CONT);
    assert!(line.contains("is stopped; 'kill -CONT"), "{line}");
    until("it waits", || UnixStream::connect(&path).is_ok());
    assert!(wait(&mut child).success());
    drop(rest(errors));
}

#[test]
fn a_wait_for_the_first_client_that_is_given_up_has_changed_nothing() {
    let daemon = Daemon::running("echo before; exec cat");
    daemon.expect("before");
    let place = daemon.dir().join("other");
    let at = place.display();
    let list = || daemon.succeed(&["qmp", "query-chardev"]);
    let (listed, kept) = (list(), daemon.succeed(&["history", "con0"]));
    for (signal, arguments, escape) in [
        (
            Signal::INT,
            ["change", "con0", &format!("socket,path={at},server=on")],
            "Ctrl-C leaves con0 as it was",
        ),
        (
            Signal::TERM,
            [
                "change",
                "con0",
                &format!("socket,path={at},server=on,wait=on,telnet=on"),
            ],
            "Ctrl-C leaves con0 as it was",
        ),
        (
            Signal::INT,
            [
                "add",
                &format!("socket,id=x,path={at},server=on"),
                "--timeout=60",
            ],
            "Ctrl-C adds nothing",
        ),
        (
            Signal::INT,
            [
                "add",
                "socket,id=x,host=localhost,port=0,server=on",
                "--timeout=60",
            ],
            "Ctrl-C adds nothing",
        ),
    ] {
        let (mut child, _errors, line) = begin(daemon.command().args(arguments));
        assert!(line.contains("waiting for the first client at "), "{line}");
        assert!(line.contains(escape), "{line}");
        end(&child, signal);
        assert_eq!(wait(&mut child).signal(), Some(signal.as_raw()));
        until("it is as it was", || list() == listed && !place.exists());
        assert_eq!(daemon.succeed(&["history", "con0"]), kept);
    }
    let mut command = daemon.command();
    command.args(["change", "con0", &format!("socket,path={at},server=on")]);
    let output = timed(command);
    assert_eq!(output.status.code(), Some(4));
    let wanted = format!("waiting for the first client at {at}; gave up after 0.2 s (--timeout)\n");
    assert!(
        text(&output.stderr).ends_with(&wanted),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn what_takes_connections_and_says_nothing_is_told_from_a_busy_monitor() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("mute");
    let listener = UnixListener::bind(&path).expect("a socket");
    let mut command = chardevctl();
    let (mut child, _errors, line) = begin(command.arg("list").arg("--socket").arg(&path));
    assert!(line.contains("has not sent a greeting"), "{line}");
    let accepted = listener.accept().expect("a client");
    let mut command = chardevctl();
    let (mut other, _errors, line) = begin(command.arg("list").arg("--socket").arg(&path));
    let first = format!("(pid {}) is connected", child.id());
    assert!(line.contains(&first), "{line}");
    drop(accepted);
    assert_eq!(wait(&mut child).code(), Some(3));
    let accepted = listener.accept().expect("a client");
    let mut command = chardevctl();
    command.arg("list").arg("--socket").arg(&path);
    drop(accepted);
    assert_eq!(wait(&mut other).code(), Some(3));
    let accept = std::thread::spawn(move || listener.accept());
    let errors = text(&timed(command).stderr);
    assert!(errors.contains("accepted the connection"), "{errors}");
    accept.join().expect("no panic").expect("a client");
}

#[test]
fn what_is_no_monitor_for_programs_is_said_to_be_none() {
    for greeting in ["SSH-2.0-OpenSSH_9.2\r\n", "{\"hello\": 1}\n", "$ "] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address").to_string();
        let serving = std::thread::spawn(move || {
            let (mut client, _) = listener.accept()?;
            client.write_all(greeting.as_bytes())?;
            // Its end comes when the client has heard enough.
            std::io::copy(&mut client, &mut std::io::sink())
        });
        let mut command = chardevctl();
        command.args(["--host", &address, "list"]);
        let output = timed(command);
        let errors = text(&output.stderr);
        let told = errors.contains("does not speak QMP") || errors.contains("no QMP");
        assert!(told, "{greeting:?}: {errors}");
        assert!(matches!(output.status.code(), Some(1 | 4)), "{greeting:?}");
        serving.join().expect("no panic").expect("a client");
    }
}

#[test]
fn a_taken_monitor_over_tcp_is_explained_too() {
    let daemon = Daemon::running("cat");
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address").port()
    };
    let device = format!("socket,host=127.0.0.1,port={port},server=on,wait=off,id=net");
    daemon.succeed(&["add", &device]);
    // What is not served by a monitor serves as well to be taken.
    let address = format!("127.0.0.1:{port}");
    let mut taken = None;
    until("the port accepts", || {
        taken = std::net::TcpStream::connect(&address).ok();
        taken.is_some()
    });
    until("it is taken", || {
        daemon
            .succeed(&["qmp", "x-query-chardev-stats", "{\"id\": \"net\"}"])
            .contains("peer")
    });
    let mut command = chardevctl();
    let (mut child, errors, line) = begin(command.args(["--host", &address, "list"]));
    let us = format!("(pid {}) is connected; waiting", std::process::id());
    assert!(line.contains(&us), "{line}");
    end(&child, Signal::INT);
    wait(&mut child);
    assert_eq!(rest(errors), "");
}
