//! Completion, in bash and zsh on a terminal, and by fish.

use std::path::Path;
use std::process::Command;

use chardev::screen::{Screen, Snapshot};

use crate::ctl_rig::{Attached, Daemon, blank, text};

/// A shell on a terminal that completes.
struct Shell {
    terminal: Attached,
    shown: Screen,
}

impl Shell {
    fn bash(daemon: &Daemon) -> Self {
        let mut command = command(daemon, "bash");
        command.args(["--norc", "--noprofile", "-i"]);
        Shell::start(command, "source <(chardevctl completions bash)")
    }

    fn zsh(daemon: &Daemon) -> Self {
        let mut command = command(daemon, "zsh");
        command.args(["-f", "-i"]);
        let begin = "autoload -U compinit; compinit -u -D; source <(chardevctl completions zsh)";
        Shell::start(command, begin)
    }

    fn start(mut command: Command, begin: &str) -> Self {
        let mut shell = Shell {
            terminal: Attached::begin(&mut command),
            shown: blank(),
        };
        shell.run(&format!("{begin}; echo sour''ced"));
        shell.until("sourced", |shown| line(shown, "sourced").is_some());
        shell
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

/// `shell` where chardevctl is found, and asks this daemon.
fn command(daemon: &Daemon, shell: &str) -> Command {
    let programs = Path::new(env!("CARGO_BIN_EXE_chardevctl")).parent();
    let programs = programs.expect("a directory").display();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(shell);
    command
        .current_dir(daemon.dir())
        .env("CHARDEVD_SOCKET", daemon.socket())
        .env_remove("CHARDEV")
        .env("HOME", daemon.dir())
        .env("PATH", format!("{programs}:{path}"))
        .env("PS1", "$ ")
        .env("TERM", "xterm")
        .env("INPUTRC", "/dev/null");
    command
}

/// The row that is this text.
fn line(shown: &Snapshot, wanted: &str) -> Option<usize> {
    (0..usize::from(shown.size().rows())).find(|row| shown.row_text(*row) == wanted)
}

/// What is typed, and what becomes of it by a tab; a blank at its end says that it is whole.
const CASES: &[(&str, &str)] = &[
    ("chardevctl atta", "chardevctl attach "),
    ("chardevctl attach con", "chardevctl attach con0 "),
    ("chardevctl send mo", "chardevctl send modem "),
    // A monitor's id, compat_monitor0, begins so as well.
    ("chardevctl attach com", "chardevctl attach com-console "),
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
];

/// A daemon with ids and devices, and a folder beside it.
fn daemon() -> Daemon {
    let daemon = Daemon::with(&[
        "--chardev",
        "ringbuf,id=con0",
        "--chardev",
        "null,id=modem",
        "--device",
        "exec,id=prog,chardev=con0,command=exec cat",
        "--chardev",
        "null,id=com-console",
    ]);
    std::fs::create_dir(daemon.dir().join("folder")).expect("a directory");
    daemon
}

#[test]
fn bash_completes_ids_kinds_options_values_and_paths() {
    let daemon = daemon();
    completes_all(Shell::bash(&daemon));
}

#[test]
fn zsh_completes_ids_kinds_options_values_and_paths() {
    let daemon = daemon();
    completes_all(Shell::zsh(&daemon));
}

fn completes_all(mut shell: Shell) {
    for (typed, wanted) in CASES {
        shell.completes(typed, wanted);
    }
    // Where there are several, all are shown.
    shell.terminal.type_in(b"\x15clear\rchardevctl watch \t\t");
    shell.until("both ids", |shown| {
        let rows: String = (1..12).map(|row| shown.row_text(row)).collect();
        rows.contains("con0") && rows.contains("modem")
    });
}

#[test]
fn zsh_offers_options_where_no_id_is_meant() {
    let daemon = daemon();
    let mut shell = Shell::zsh(&daemon);
    let rows = |shown: &Snapshot| (1..37).map(|row| shown.row_text(row)).collect::<String>();
    shell.terminal.type_in(b"\x15clear\rchardevctl watch \t");
    shell.until("the ids", |shown| rows(shown).contains("modem"));
    let shown = shell.shown.snapshot();
    assert!(!rows(&shown).contains("--from"), "{shown:?}");
    shell.terminal.type_in(b"\x15clear\rchardevctl watch --\t");
    shell.until("the options", |shown| rows(shown).contains("--from"));
}

/// Fish says what it would complete without a terminal.
#[test]
fn fish_completes_ids_kinds_options_values_and_paths() {
    let daemon = daemon();
    let all: String = CASES
        .iter()
        .map(|(typed, _)| format!("; complete -C '{typed}'; echo"))
        .collect();
    let output = command(&daemon, "fish")
        .args(["--no-config", "-c"])
        .arg(format!("chardevctl completions fish | source{all}"))
        .output()
        .expect("fish is installed by ./setup");
    let said = text(&output.stdout);
    let found: Vec<&str> = said
        .split("\n\n")
        .map(|one| one.split('\t').next().unwrap_or_default())
        .collect();
    let wanted: Vec<&str> = CASES
        .iter()
        .map(|(_, wanted)| wanted.split_whitespace().last().unwrap_or_default())
        .chain([""])
        .collect();
    assert_eq!(found, wanted, "{}", text(&output.stderr));
}

#[test]
fn the_scripts_of_other_shells_are_read_by_them() {
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
        let checked = Command::new(shell).arg("-n").arg(&file).output();
        let checked = checked.expect("zsh and fish are installed by ./setup");
        assert!(checked.status.success(), "{}", text(&checked.stderr));
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
