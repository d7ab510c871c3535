//! The real daemon with multiplexers, hubs and transactions, over QMP.

use std::io::Write;
use std::os::unix::net::UnixStream;

use crate::daemon_rig::{Daemon, change, console, read_until, until};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::Client;

fn execute(
    client: &mut Client<UnixStream>,
    command: &str,
    arguments: &str,
) -> Result<Json, String> {
    let arguments = Json::parse(arguments).unwrap();
    let arguments: &Object = arguments.as_object().unwrap();
    client
        .execute(command, arguments.clone())
        .map_err(|error| error.to_string())
}

fn filename(client: &mut Client<UnixStream>, id: &str) -> Option<String> {
    let all = execute(client, "query-chardev", "{}").unwrap();
    let found = all
        .as_array()
        .unwrap()
        .iter()
        .find(|info| info.get("label").and_then(Json::as_str) == Some(id))?;
    found
        .get("filename")
        .and_then(Json::as_str)
        .map(str::to_owned)
}

#[test]
fn two_programs_share_a_terminal_and_a_key_moves_between_them() {
    let daemon = Daemon::start(&[
        "-chardev",
        "socket,id=mux0,mux=on,path=SOCK,server=on,wait=off,x-closed=hold",
        "-device",
        "exec,chardev=mux0,command=echo first; while read x; do echo first $x; done",
        "-device",
        "exec,chardev=mux0,command=echo second; while read x; do echo second $x; done",
    ]);
    let mut terminal = console(&daemon.dir().join("SOCK"));
    let both = read_until(&mut terminal, "second\r\n");
    if !both.contains("first") {
        // Which program speaks first is for the scheduler to say.
        read_until(&mut terminal, "first\r\n");
    }
    terminal.write_all(b"a\n").unwrap();
    read_until(&mut terminal, "second a");
    terminal.write_all(b"\x01cb\n").unwrap();
    read_until(&mut terminal, "first b");
    terminal.write_all(b"\x01h").unwrap();
    read_until(&mut terminal, "C-a C-a");
    let mut client = daemon.client();
    assert_eq!(filename(&mut client, "mux0").as_deref(), Some("mux"));
    let busy = execute(&mut client, "chardev-remove", r#"{"id": "mux0"}"#).unwrap_err();
    assert_eq!(busy, "Chardev 'mux0' is busy");
    // The chardev below is changed, and both go on.
    let answer = change(&mut client, "mux0-base", r#"{"type": "pty", "data": {}}"#);
    let pty = answer.get("pty").and_then(Json::as_str).unwrap().to_owned();
    let mut pty = std::fs::File::options()
        .read(true)
        .write(true)
        .open(pty)
        .unwrap();
    pty.write_all(b"c\n").unwrap();
    read_until(&mut pty, "first c");
    pty.write_all(b"\x01cd\n").unwrap();
    read_until(&mut pty, "second d");
}

#[test]
fn the_key_that_ends_the_program_ends_the_daemon() {
    let mut daemon = Daemon::start(&[
        "-chardev",
        "socket,id=mux0,mux=on,path=SOCK,server=on,wait=off,x-closed=hold",
        "-device",
        "exec,chardev=mux0,command=echo ready; cat",
        "-echr",
        "0x14",
    ]);
    let mut terminal = console(&daemon.dir().join("SOCK"));
    read_until(&mut terminal, "ready");
    terminal.write_all(b"\x14x").unwrap();
    read_until(&mut terminal, "Terminated");
    assert!(daemon.wait().success());
}

#[test]
fn a_hub_takes_members_and_lets_them_go() {
    let daemon = Daemon::start(&[
        "-chardev",
        "ringbuf,id=log,size=65536",
        "-chardev",
        "socket,id=screen,path=SOCK,server=on,wait=off,x-closed=hold",
        "-chardev",
        "hub,id=hub0,chardevs.0=log,chardevs.1=screen",
        "-device",
        "exec,chardev=hub0,command=echo ready; while read x; do echo got $x; done",
        "-chardev",
        "ringbuf,id=late,size=65536",
    ]);
    let mut screen = console(&daemon.dir().join("SOCK"));
    read_until(&mut screen, "ready");
    let mut client = daemon.client();
    let member = r#"{"id": "hub0", "chardev": "late"}"#;
    execute(&mut client, "x-chardev-hub-add", member).unwrap();
    let again = execute(&mut client, "x-chardev-hub-add", member).unwrap_err();
    assert_eq!(again, "chardev 'late' is already in use");
    screen.write_all(b"one\n").unwrap();
    read_until(&mut screen, "got one");
    let read = |client: &mut Client<UnixStream>, id: &str| {
        let arguments = format!(r#"{{"device": "{id}", "size": 65536}}"#);
        let text = execute(client, "ringbuf-read", &arguments).unwrap();
        text.as_str().unwrap().to_owned()
    };
    let log = read(&mut client, "log");
    assert!(log.contains("ready") && log.contains("got one"), "{log}");
    // A hub serves its members in turn, and this one comes after the screen.
    let mut late = String::new();
    until("the late member's output", || {
        late += &read(&mut client, "late");
        late.contains("got one\r\n")
    });
    assert!(!late.contains("ready"), "{late}");
    execute(&mut client, "x-chardev-hub-remove", member).unwrap();
    screen.write_all(b"two\n").unwrap();
    read_until(&mut screen, "got two");
    assert_eq!(read(&mut client, "late"), "");
    let none = execute(&mut client, "x-chardev-hub-remove", member).unwrap_err();
    assert_eq!(none, "Chardev 'late' is not a member of hub 'hub0'");
    let none = execute(
        &mut client,
        "x-chardev-hub-add",
        r#"{"id": "log", "chardev": "late"}"#,
    );
    assert_eq!(none.unwrap_err(), "Chardev 'log' is not a hub");
}

#[test]
fn a_transaction_happens_whole_or_not_at_all() {
    let daemon = Daemon::start(&["-chardev", "ringbuf,id=a", "-chardev", "null,id=b"]);
    let mut client = daemon.client();
    let dir = daemon.dir().display().to_string();
    let actions = |last: &str| {
        format!(
            r#"{{"actions": [
                {{"type": "chardev-add", "data": {{"id": "c", "backend": {{"type": "pty", "data": {{}}}}}}}},
                {{"type": "chardev-change", "data": {{"id": "a", "backend": {{"type": "mux", "data": {{"chardev": "c"}}}}}}}},
                {{"type": "chardev-remove", "data": {{"id": "b"}}}},
                {last}]}}"#
        )
    };
    let socket = |path: &str| {
        format!(
            r#"{{"type": "chardev-add", "data": {{"id": "d", "backend": {{"type": "socket", "data":
                {{"addr": {{"type": "unix", "data": {{"path": "{path}"}}}}, "server": true}}}}}}}}"#
        )
    };
    let bad = actions(&socket("/nonexistent/socket"));
    let refused = execute(&mut client, "x-chardev-transaction", &bad).unwrap_err();
    assert_eq!(
        refused,
        "action 3: Failed to add chardev 'd': Failed to bind socket to /nonexistent/socket: No such file or directory"
    );
    assert_eq!(filename(&mut client, "a").as_deref(), Some("ringbuf"));
    assert_eq!(filename(&mut client, "b").as_deref(), Some("null"));
    assert_eq!(filename(&mut client, "c"), None);
    let good = actions(&socket(&format!("{dir}/d")));
    let answer = execute(&mut client, "x-chardev-transaction", &good).unwrap();
    let answers = answer.as_array().unwrap();
    assert!(
        answers[0].get("pty").is_some() && answers.len() == 4,
        "{answer}"
    );
    assert_eq!(filename(&mut client, "a").as_deref(), Some("mux"));
    assert_eq!(filename(&mut client, "b"), None);
    until("the socket", || {
        UnixStream::connect(format!("{dir}/d")).is_ok()
    });
    let unknown = r#"{"actions": [{"type": "chardev-swap", "data": {}}]}"#;
    assert_eq!(
        execute(&mut client, "x-chardev-transaction", unknown).unwrap_err(),
        "Parameter 'type' does not accept value 'chardev-swap'"
    );
}

#[test]
fn a_policy_is_set_while_the_program_waits() {
    let daemon = Daemon::start(&[
        "-chardev",
        "socket,id=con0,path=SOCK,server=on,wait=off,x-closed=hold",
        "-device",
        "exec,chardev=con0,command=seq -w 100000; echo done; sleep 1000",
    ]);
    let mut client = daemon.client();
    let set = r#"{"id": "con0", "x-closed": "history", "x-history": 100}"#;
    execute(&mut client, "x-chardev-set", set).unwrap();
    let dropped = |client: &mut Client<UnixStream>| {
        let stats = execute(client, "x-query-chardev-stats", r#"{"id": "con0"}"#).unwrap();
        let of_this = &stats.as_array().unwrap()[0];
        of_this
            .get("output-overwritten")
            .and_then(Json::as_i64)
            .unwrap()
    };
    // Six digits and CR LF for each number, and the last word, less what is kept.
    until("all of it", || {
        dropped(&mut client) == 100_000 * 8 + 6 - 100
    });
    let mut late = console(&daemon.dir().join("SOCK"));
    let end = read_until(&mut late, "done");
    assert!(end.contains("099999\r\n100000\r\ndone"), "{end}");
    for (arguments, error) in [
        (
            r#"{"id": "none", "x-closed": "hold"}"#,
            "Chardev 'none' not found",
        ),
        (
            r#"{"id": "con0", "x-closed": "maybe"}"#,
            "Parameter 'x-closed' does not accept value 'maybe', only discard, hold, history",
        ),
        (
            r#"{"id": "con0", "x-history": -1}"#,
            "Parameter 'x-history' expects a number from 0 to 1073741824",
        ),
    ] {
        let refused = execute(&mut client, "x-chardev-set", arguments).unwrap_err();
        assert_eq!(refused, error);
    }
}
