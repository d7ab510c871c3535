//! `chardevctl demo` from outside: its exit status, its table and its JSON.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevctl"));
    command
        .arg("demo")
        .args(["--daemon", env!("CARGO_BIN_EXE_chardevd")])
        .args(arguments);
    command.output().expect("chardevctl runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn twenty_changes_lose_nothing() {
    let output = demo(&["--changes", "20", "--seed", "7"]);
    let (table, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{table}{errors}");
    assert!(table.contains("20 changes in"), "{table}");
    assert!(
        table.ends_with("every byte arrived once and in order\n"),
        "{table}"
    );
}

#[test]
fn a_machine_gets_json() {
    let output = demo(&["--changes", "5", "--seed", "8", "--json"]);
    let (json, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{json}{errors}");
    let json = chardev_qapi::Json::parse(&json).expect("one value");
    assert_eq!(
        json.get("clean").and_then(chardev_qapi::Json::as_bool),
        Some(true)
    );
    assert_eq!(
        json.get("changes").and_then(chardev_qapi::Json::as_u64),
        Some(5)
    );
}

#[test]
fn what_cannot_be_set_up_is_said() {
    let output = Command::new(env!("CARGO_BIN_EXE_chardevctl"))
        .args(["demo", "--daemon", "/nonexistent/chardevd"])
        .output()
        .expect("chardevctl runs");
    assert_eq!(output.status.code(), Some(2));
    let errors = text(&output.stderr);
    assert!(
        errors.contains("cannot start /nonexistent/chardevd"),
        "{errors}"
    );
}

#[test]
fn nobody_is_pointed_to_the_program_behind_its_console() {
    let chardevctl = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chardevctl"));
        command.args(arguments).output().expect("chardevctl runs")
    };
    for mistake in [
        &["demo-progra"][..],
        &["emo-program", "x"],
        &["demo-", "x"],
        &["demoo", "x"],
        &["help", "demo-prog"],
    ] {
        let output = chardevctl(mistake);
        assert_eq!(output.status.code(), Some(2), "{mistake:?}");
        let errors = text(&output.stderr);
        assert!(errors.contains("unrecognized subcommand"), "{errors}");
        assert!(!errors.contains("demo-program"), "{errors}");
    }
    assert!(!text(&chardevctl(&["help"]).stdout).contains("demo-program"));
    // A mistake is still told from what it was meant to be.
    let errors = text(&chardevctl(&["demoo"]).stderr);
    assert!(errors.contains("'demo'"), "{errors}");
}

#[test]
fn a_signal_ends_it_with_a_table_and_nothing_stays_behind() {
    let dir = tempfile::tempdir().unwrap();
    for signal in ["INT", "TERM"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_chardevctl"))
            .args(["demo", "--daemon", env!("CARGO_BIN_EXE_chardevd")])
            .args(["--changes", "1000000"])
            .env("TMPDIR", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut progress = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        progress.read_line(&mut line).unwrap();
        assert!(line.contains("changes"), "{line}");
        let kill = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(child.id().to_string())
            .status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        let table = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{signal}: {table}");
        assert!(
            table.ends_with("every byte arrived once and in order\n"),
            "{signal}: {table}"
        );
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "{signal}");
    }
}

#[test]
fn a_signal_that_is_to_be_ignored_is() {
    let daemon = env!("CARGO_BIN_EXE_chardevd");
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .args([env!("CARGO_BIN_EXE_chardevctl"), "demo"])
        .args(["--daemon", daemon, "--changes", "1000000"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap());
    progress.read_line(&mut String::new()).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    };
    const HANG_UP: u64 = 1 << 0;
    const INTERRUPT: u64 = 1 << 1;
    assert_eq!(mask("SigIgn:") & (HANG_UP | INTERRUPT), HANG_UP);
    assert_eq!(mask("SigCgt:") & (HANG_UP | INTERRUPT), INTERRUPT);
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    assert!(child.wait().unwrap().success());
}
