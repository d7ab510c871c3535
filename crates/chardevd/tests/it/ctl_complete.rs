//! Completion, in a real bash on a terminal; other shells where they are installed.

use std::path::Path;
use std::process::Command;

use chardev::screen::{Screen, Snapshot};

use crate::ctl_rig::{Attached, Daemon, blank, text};

struct Bash {
    terminal: Attached,
    shown: Screen,
}

impl Bash {
    fn start(daemon: &Daemon) -> Self {
        let programs = Path::new(env!("CARGO_BIN_EXE_chardevctl"))
            .parent()
            .expect("a directory");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command
            .args(["--norc", "--noprofile", "-i"])
            .current_dir(daemon.dir());
        command
            .env("CHARDEVD_SOCKET", daemon.socket())
            .env_remove("CHARDEV");
        command.env("PATH", format!("{}:{path}", programs.display()));
        command
            .env("PS1", "$ ")
            .env("TERM", "xterm")
            .env("INPUTRC", "/dev/null");
        let mut bash = Bash {
            terminal: Attached::begin(&mut command),
            shown: blank(),
        };
        bash.run("source <(chardevctl completions bash); echo sour''ced");
        bash.until("sourced", |shown| line(shown, "sourced").is_some());
        bash
    }

    fn run(&mut self, line: &str) {
        self.terminal.type_in(format!("{line}\r").as_bytes());
    }

    fn until(&mut self, what: &str, done: impl FnMut(&Snapshot) -> bool) {
        self.terminal.show(&mut self.shown, what, done);
    }

    /// What becomes of `typed` by a tab.
    fn completes(&mut self, typed: &str, wanted: &str) {
        self.terminal
            .type_in(format!("\x15clear\r{typed}\t").as_bytes());
        let wanted = format!("$ {wanted}");
        self.until(&wanted, |shown| shown.row_text(0) == wanted.trim_end());
        let col = self.shown.snapshot().cursor().col;
        assert_eq!(
            col,
            wanted.chars().count(),
            "{wanted:?} ends in a blank or does not"
        );
    }
}

/// The row that is this text.
fn line(shown: &Snapshot, wanted: &str) -> Option<usize> {
    (0..usize::from(shown.size().rows())).find(|row| shown.row_text(*row) == wanted)
}

#[test]
fn bash_completes_ids_kinds_options_values_and_paths() {
    let daemon = Daemon::with(&[
        "--chardev",
        "ringbuf,id=con0",
        "--chardev",
        "null,id=modem",
        "--device",
        "exec,id=prog,chardev=con0,command=exec cat",
    ]);
    std::fs::create_dir(daemon.dir().join("folder")).expect("a directory");
    let mut bash = Bash::start(&daemon);
    for (typed, wanted) in [
        ("chardevctl atta", "chardevctl attach "),
        ("chardevctl attach con", "chardevctl attach con0 "),
        ("chardevctl send mo", "chardevctl send modem "),
        (
            "chardevctl change con0 ringb",
            "chardevctl change con0 ringbuf ",
        ),
        (
            "chardevctl change con0 pty,pa",
            "chardevctl change con0 pty,path=",
        ),
        (
            "chardevctl change con0 pty,path=./fol",
            "chardevctl change con0 pty,path=./folder/",
        ),
        (
            "chardevctl change con0 socket,path=x,server=of",
            "chardevctl change con0 socket,path=x,server=off ",
        ),
        (
            "chardevctl change con0 null,x-closed=his",
            "chardevctl change con0 null,x-closed=history ",
        ),
        (
            "chardevctl add mux,id=m,chardev=mo",
            "chardevctl add mux,id=m,chardev=modem ",
        ),
        (
            "chardevctl device restart pr",
            "chardevctl device restart prog ",
        ),
        (
            "chardevctl device add exec,chardev=con",
            "chardevctl device add exec,chardev=con0 ",
        ),
        ("chardevctl list --js", "chardevctl list --json "),
        (
            "chardevctl record con0 -o fol",
            "chardevctl record con0 -o folder/",
        ),
        (
            "chardevctl qmp query-chardev-",
            "chardevctl qmp query-chardev-backends ",
        ),
    ] {
        bash.completes(typed, wanted);
    }
    // Where there are several, all are shown.
    bash.terminal.type_in(b"\x15clear\rchardevctl watch \t\t");
    bash.until("both ids", |shown| {
        let rows: String = (1..5).map(|row| shown.row_text(row)).collect();
        rows.contains("con0") && rows.contains("modem")
    });
}

#[test]
fn the_scripts_of_other_shells_are_there() {
    let daemon = Daemon::with(&["--chardev", "null,id=con0"]);
    for (shell, part) in [
        ("zsh", "#compdef chardevctl"),
        ("fish", "complete --keep-order"),
    ] {
        let script = daemon.succeed(&["completions", shell]);
        assert!(
            script.contains(part) && script.contains("CHARDEVCTL_COMPLETE"),
            "{script}"
        );
        let file = daemon.dir().join(shell);
        std::fs::write(&file, &script).expect("a file");
        match Command::new(shell).arg("-n").arg(&file).output() {
            Ok(checked) => assert!(checked.status.success(), "{}", text(&checked.stderr)),
            Err(_) => {
                eprintln!("SKIPPED: {shell} is not installed, so its script was not read by it")
            }
        }
    }
    // Without a daemon there is nothing to offer, and nothing is said.
    let mut command = daemon.command();
    command
        .env("CHARDEVD_SOCKET", "/no/such")
        .env("CHARDEVCTL_COMPLETE", "bash");
    command
        .env("_CLAP_COMPLETE_INDEX", "2")
        .env("_CLAP_IFS", " ");
    let output = command
        .args(["--", "chardevctl", "remove", "c"])
        .output()
        .expect("it runs");
    assert_eq!(
        (text(&output.stdout), text(&output.stderr)),
        (String::new(), String::new())
    );
}
