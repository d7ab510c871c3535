//! `chardevctl attach` and the terminal it runs on: job control, sizes, hang-ups, stuck outputs.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Signal;

use crate::ctl_rig::{Attached, Daemon, until, wait};

/// The state of a process, a letter.
fn state(attached: &Attached) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", attached.child.id()));
    let stat = stat.expect("a process");
    let (_, after) = stat.rsplit_once(')').expect("a name in brackets");
    after.trim_start().chars().next().expect("a state")
}

#[test]
fn a_stopped_client_gives_the_terminal_back_until_it_goes_on() {
    let daemon =
        Daemon::running(r"printf '\033[?2004h\033[?25l'; exec sh -c 'stty -echo; exec cat'");
    let mut attached = Attached::new(&daemon);
    attached.wait_for("\x1b[?25l");
    for by_key in [true, false] {
        match by_key {
            true => attached.type_in(b"\x1dz"),
            false => attached.signal(Signal::TSTP),
        }
        attached.wait_for("\x1b[?25h\x1b[?2004l");
        until("it is stopped", || state(&attached) == 'T');
        assert!(!attached.is_raw());
        attached.signal(Signal::CONT);
        attached.wait_for("\x1b[?25l\x1b[?2004h");
        until("it has the terminal", || attached.is_raw());
        attached.type_in(b"still here\r");
        attached.wait_for("still here");
    }
    attached.type_in(b"\x1d.");
    attached.wait_for("\x1b[?25h\x1b[?2004l");
    attached.wait_for("[con0: left]");
    assert!(attached.wait().success());
}

#[test]
fn the_size_of_the_terminal_is_the_console_s() {
    let daemon = Daemon::start();
    let mut attached = Attached::new(&daemon);
    for (columns, rows) in [(100, 30), (120, 40)] {
        attached.resize(columns, rows);
        attached.signal(Signal::WINCH);
        let wanted = format!("{rows} {columns}");
        attached.type_in(b"until stty size | grep '");
        attached.type_in(wanted.as_bytes());
        attached.type_in(b"'; do :; done\r");
        attached.wait_for("done\r\n");
        attached.wait_for(&wanted);
    }
}

#[test]
fn a_terminal_that_hangs_up_ends_the_attachment() {
    let daemon = Daemon::running("cat");
    let mut attached = Attached::new(&daemon);
    attached.hang_up();
    // Without a session of its own there is no SIGHUP; the end of the terminal is enough.
    assert_eq!(attached.wait().code(), Some(0));
    drop(Attached::new(&daemon));
}

#[test]
fn outputs_that_are_full_hold_up_neither_signals_nor_other_clients() {
    let daemon = Daemon::running("yes");
    // Or there is nothing that history would have to say.
    daemon.succeed(&[
        "qmp",
        "x-chardev-set",
        "{\"id\": \"con0\", \"x-history\": 65536}",
    ]);
    // On a busy machine the program may not have printed anything since.
    until("there is history", || {
        !daemon.succeed(&["history", "con0"]).is_empty()
    });
    for command in ["attach", "watch", "history", "list"] {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let mut full = File::from(writer.try_clone().expect("a descriptor"));
        fcntl_setfl(&full, OFlags::NONBLOCK).expect("a pipe");
        let filled = std::iter::repeat_with(|| full.write(&[0; 4096])).find_map(Result::err);
        assert_eq!(
            filled.map(|error| error.kind()),
            Some(ErrorKind::WouldBlock)
        );
        fcntl_setfl(&full, OFlags::empty()).expect("a pipe");
        let mut command_line = daemon.command();
        command_line.arg(command).stdin(Stdio::piped());
        if command != "list" {
            command_line.arg("con0");
        }
        let errors = writer.try_clone().expect("a descriptor");
        let mut child = command_line
            .stdout(writer)
            .stderr(errors)
            .spawn()
            .expect("chardevctl runs");
        let there = match command {
            "attach" => "\"attached\"",
            "watch" => "\"viewers\": 1",
            _ => "",
        };
        let stats = ["qmp", "x-query-chardev-stats", "{\"id\": \"con0\"}"];
        // What waits for its reader keeps nobody from the monitor, which takes one client.
        until("it is there", || daemon.succeed(&stats).contains(there));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::TERM).expect("a process");
        let status = wait(&mut child);
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{command}");
        drop(reader);
    }
}
