//! `chardevctl watch` and `history`, and the commands behind them, on a running daemon.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::daemon_rig::{Daemon, Viewer, change, console, read_until, until};
use chardev_qapi::{Json, Object};

/// A daemon whose console `con` prints what is written to the socket `feed`.
fn start() -> (Daemon, UnixStream) {
    let dir = tempfile::tempdir().unwrap();
    let feed = dir.path().join("feed");
    let chardev = format!("socket,id=feed,path={},server=on,wait=off", feed.display());
    let daemon = Daemon::start(&[
        "--history",
        "0",
        "-chardev",
        &chardev,
        "-chardev",
        "null,id=con",
        "-device",
        "null-modem,chardev=feed,peer=con",
    ]);
    (daemon, console(&feed))
}

fn ctl(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevctl"));
    command.arg("--socket").arg(daemon.monitor());
    command.args(arguments).stdin(Stdio::null());
    command
}

struct Watching(Child, Output);

struct Output(ChildStdout);

impl std::io::Read for Output {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl std::os::fd::AsFd for Output {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Viewer for Output {}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch(daemon: &Daemon, arguments: &[&str]) -> Watching {
    let viewers = || stat(daemon, "viewers");
    let before = viewers();
    let mut command = ctl(daemon, &["watch", "con"]);
    let mut child = command
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = Output(child.stdout.take().unwrap());
    until("the viewer is there", || viewers() == before + 1);
    Watching(child, output)
}

fn stat(daemon: &Daemon, name: &str) -> u64 {
    let id = Object::new().with("id", "con");
    let stats = daemon
        .client()
        .execute("x-query-chardev-stats", id)
        .unwrap();
    stats.as_array().unwrap()[0]
        .get(name)
        .and_then(Json::as_u64)
        .unwrap()
}

#[test]
fn a_watched_console_is_printed_through_changes_and_kept_while_watched() {
    let (daemon, mut feed) = start();
    feed.write_all(b"unseen\n").unwrap();
    until("it is printed", || stat(&daemon, "output-accepted") == 7);
    let mut plain = watch(&daemon, &[]);
    let mut framed = watch(&daemon, &["--framed", "--from", "7"]);
    feed.write_all(b"one\n").unwrap();
    assert_eq!(read_until(&mut plain.1, "one\n"), "one\n");
    assert_eq!(read_until(&mut framed.1, "one\n"), "data 7 4\none\n");
    change(
        &mut daemon.client(),
        "con",
        "{'type': 'ringbuf', 'data': {}}",
    );
    change(&mut daemon.client(), "con", "{'type': 'pty', 'data': {}}");
    feed.write_all(b"two\n").unwrap();
    assert_eq!(read_until(&mut plain.1, "two\n"), "two\n");

    let print = |arguments: &[&str]| {
        let output = ctl(&daemon, &["history", "con"])
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (String::from_utf8(output.stdout).unwrap(), said)
    };
    assert_eq!(print(&[]), ("one\ntwo\n".to_owned(), String::new()));
    assert_eq!(print(&["--from", "-4"]).0, "two\n");
    let (text, said) = print(&["--from", "2"]);
    assert_eq!(text, "one\ntwo\n");
    assert_eq!(said, "chardevctl: the first 5 bytes are no longer kept\n");
    let (_, said) = print(&["--from", "16"]);
    assert!(
        said.contains("has no output at offset 16 yet: its output ends at 15"),
        "{said}"
    );

    // A killed viewer is forgotten; the other one goes on.
    drop(framed);
    until("the viewer is forgotten", || stat(&daemon, "viewers") == 1);
    feed.write_all(b"three\n").unwrap();
    assert_eq!(read_until(&mut plain.1, "three\n"), "three\n");
    drop(plain);
    until("nobody watches", || stat(&daemon, "viewers") == 0);
    assert_eq!(print(&[]).0, "");
}

#[test]
fn history_is_paged_as_text_or_base64_with_true_offsets() {
    let (daemon, mut feed) = start();
    let _keeps = watch(&daemon, &[]);
    feed.write_all("Grüße\0!".as_bytes()).unwrap();
    until("it is printed", || stat(&daemon, "output-accepted") == 9);
    let ask = |from: i64, size: u32, format: &str| {
        let arguments = Object::new()
            .with("id", "con")
            .with("from", from)
            .with("size", size)
            .with("format", format);
        let answer = daemon
            .client()
            .execute("x-chardev-history", arguments)
            .unwrap();
        let number = |name| answer.get(name).and_then(Json::as_u64).unwrap();
        let text = answer.get("contents").and_then(Json::as_str).unwrap();
        (text.to_owned(), number("start"), number("next"))
    };
    for (from, size, format, text, start, next) in [
        // The ü has two bytes, so it does not fit.
        (0, 3, "utf8", "Gr", 0, 2),
        (2, 99, "utf8", "üße\0!", 2, 9),
        (-1, 99, "utf8", "!", 8, 9),
        (9, 99, "utf8", "", 9, 9),
        (0, 3, "base64", "R3LD", 0, 3),
    ] {
        let expected = (text.to_owned(), start, next);
        assert_eq!(ask(from, size, format), expected, "{from} {size} {format}");
    }
    let wrong = Object::new().with("id", "con").with("size", 0u32);
    let error = daemon
        .client()
        .execute("x-chardev-history", wrong)
        .unwrap_err();
    assert!(
        error.to_string().contains("size must be greater than zero"),
        "{error}"
    );
    let wrong = Object::new().with("id", "con").with("fdname", "none");
    let error = daemon
        .client()
        .execute("x-chardev-watch", wrong)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("named 'none' has not been found"),
        "{error}"
    );
}
