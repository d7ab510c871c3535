//! Logs that are rotated from outside: by logrotate, a signal and a command.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use crate::daemon_rig::{Daemon, console, until};
use chardev_qapi::Object;
use rustix::process::{Pid, Signal, kill_process};

/// A daemon whose console logs what is written to the socket `feed`.
fn start(dir: &Path) -> (Daemon, UnixStream) {
    let feed = dir.join("feed");
    let feed_line = format!("socket,id=feed,path={},server=on,wait=off", feed.display());
    let console_line = format!("null,id=con,logfile={}", dir.join("log").display());
    let daemon = Daemon::start(&[
        "-chardev",
        &feed_line,
        "-chardev",
        &console_line,
        "-device",
        "null-modem,chardev=feed,peer=con",
    ]);
    (daemon, console(&feed))
}

fn wait_content(path: &Path, content: &str) {
    until(&format!("{content:?} in {}", path.display()), || {
        fs::read_to_string(path).is_ok_and(|found| found == content)
    });
}

/// Runs logrotate on the log with these directives.
fn logrotate(dir: &Path, directives: &str) {
    let config = dir.join("logrotate.conf");
    let log = dir.join("log");
    fs::write(&config, format!("{} {{\n{directives}\n}}\n", log.display())).unwrap();
    let program = [
        "/usr/sbin/logrotate",
        "/sbin/logrotate",
        "/usr/bin/logrotate",
    ];
    let program = program.into_iter().find(|path| Path::new(path).exists());
    let program = program.expect("logrotate is not installed; run ./setup");
    let mut command = Command::new(program);
    command
        .arg("--force")
        .arg("--state")
        .arg(dir.join("state"))
        .arg(&config);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "logrotate: {said}");
}

#[test]
fn logrotate_may_rename_and_send_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, mut feed) = start(dir.path());
    let log = dir.path().join("log");
    let numbered = |number: u32| dir.path().join(format!("log.{number}"));
    feed.write_all(b"first\n").unwrap();
    wait_content(&log, "first\n");
    for round in 0..3 {
        let signal = format!(
            "rotate 9\nnocreate\npostrotate\nkill -HUP {}\nendscript",
            daemon.id()
        );
        logrotate(dir.path(), &signal);
        until("the log is opened anew", || log.exists());
        feed.write_all(format!("{round}\n").as_bytes()).unwrap();
        wait_content(&log, &format!("{round}\n"));
    }
    wait_content(&numbered(1), "1\n");
    wait_content(&numbered(2), "0\n");
    wait_content(&numbered(3), "first\n");
}

#[test]
fn logrotate_may_copy_and_truncate() {
    let dir = tempfile::tempdir().unwrap();
    let (_daemon, mut feed) = start(dir.path());
    let log = dir.path().join("log");
    feed.write_all(b"before\n").unwrap();
    wait_content(&log, "before\n");
    logrotate(dir.path(), "rotate 2\ncopytruncate");
    feed.write_all(b"after\n").unwrap();
    wait_content(&log, "after\n");
    wait_content(&dir.path().join("log.1"), "before\n");
}

#[test]
fn a_command_reopens_the_log_and_a_hang_up_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut daemon, mut feed) = start(dir.path());
    let (log, old) = (dir.path().join("log"), dir.path().join("old"));
    fs::rename(&log, &old).unwrap();
    feed.write_all(b"old\n").unwrap();
    wait_content(&old, "old\n");
    let mut client = daemon.client();
    let command = "x-chardev-reopen-log";
    client
        .execute(command, Object::new().with("id", "con"))
        .unwrap();
    feed.write_all(b"new\n").unwrap();
    wait_content(&log, "new\n");
    let error = client
        .execute(command, Object::new().with("id", "feed"))
        .unwrap_err();
    assert!(
        error.to_string().contains("Chardev 'feed' has no log file"),
        "{error}"
    );
    // All that have one.
    client.execute(command, Object::new()).unwrap();

    let pid = Pid::from_raw(i32::try_from(daemon.id()).unwrap()).unwrap();
    fs::remove_file(&log).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    until("the log is opened anew", || log.exists());
    drop(client);
    let (status, _) = daemon.terminate();
    assert!(status.success());
}
