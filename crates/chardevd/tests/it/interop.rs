//! Unmodified Python clients of QEMU against a running daemon, one test for each script of
//! tests/interop. `./setup` installs what they need.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ended::Ended;

const PEERS: [&str; 8] = [
    "commands",
    "descriptors",
    "errors",
    "examples",
    "incus",
    "shell",
    "shutdown",
    "websocket",
];

#[test]
fn qemu_qmp_runs_every_command() {
    check("commands");
}

#[test]
fn qemu_qmp_passes_descriptors() {
    check("descriptors");
}

#[test]
fn qemu_qmp_sees_the_errors_of_qemu() {
    check("errors");
}

#[test]
fn the_examples_of_qemus_documentation_get_their_answers() {
    check("examples");
}

#[test]
fn the_sequence_of_incus_loses_nothing_under_load() {
    check("incus");
}

#[test]
fn qmp_shell_runs_every_command() {
    check("shell");
}

#[test]
fn qemu_qmp_reads_events_until_quit() {
    check("shutdown");
}

#[test]
fn python_websockets_talks_to_a_monitor() {
    check("websocket");
}

#[test]
fn every_peer_has_a_test() {
    let dir = root().join("tests/interop");
    let mut found: Vec<_> = dir
        .read_dir()
        .expect("the folder of the peers")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter_map(|name| name.strip_suffix(".py").map(str::to_owned))
        .filter(|name| !name.starts_with('_'))
        .collect();
    found.sort();
    assert_eq!(found, PEERS);
}

/// Runs one script with a daemon of its own. The script waits until the daemon listens.
fn check(peer: &str) {
    let daemon = env!("CARGO_BIN_EXE_chardevd");
    let dir = tempfile::tempdir().expect("a directory for the monitor");
    let socket = dir.path().join("qmp.sock");
    let child = Command::new(daemon)
        .arg("--qmp")
        .arg(format!("unix:{},server=on,wait=off", socket.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the daemon starts");
    let _daemon = Ended(child);
    let output = Command::new(python())
        .arg("-B")
        .arg(root().join("tests/interop").join(format!("{peer}.py")))
        .arg(&socket)
        .arg(daemon)
        .output()
        .expect("the interpreter starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{peer}.py: {}\n{said}\n{complained}",
        output.status
    );
}

pub(crate) fn python() -> PathBuf {
    let venv = env::var_os("CHARDEV_INTEROP_VENV")
        .map_or_else(|| root().join("target/interop-venv"), PathBuf::from);
    let python = venv.join("bin/python");
    assert!(
        python.is_file(),
        "{} is missing: run ./setup",
        python.display()
    );
    python
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
