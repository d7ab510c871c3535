//! A monitor changes the very chardev it talks over: the answer arrives whole on the old
//! connection, and whoever is at the new one is greeted.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::daemon_rig::{self, Daemon, connect, console, read_until};
use chardev_qapi::Json;

/// A connection on which lines are read one by one.
struct Raw(BufReader<UnixStream>);

impl Raw {
    fn negotiated(path: &Path) -> Self {
        let mut raw = Raw(BufReader::new(console(path)));
        let greeting = raw.line();
        assert!(greeting.contains("QMP"), "{greeting:?}");
        raw.send(r#"{"execute": "qmp_capabilities"}"#);
        assert_eq!(raw.line(), "{\"return\": {}}\r\n");
        raw
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    fn rest(mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }
}

fn to_path(path: &Path, id: &str, more: &str) -> String {
    format!(
        r#"{{"execute": "chardev-change", "id": 7, "arguments": {{"id": "{id}", "backend": {{"type": "socket",
            "data": {{"addr": {{"type": "unix", "data": {{"path": "{}"}}}}, "server": true{more}}}}}}}}}"#,
        path.display()
    )
}

const OWN: &str = "compat_monitor0";

#[test]
fn the_answer_arrives_on_the_old_connection_and_the_new_one_is_greeted() {
    let daemon = Daemon::start(&[]);
    let mut path = daemon.monitor().to_owned();
    for round in 0..50 {
        let mut raw = Raw::negotiated(&path);
        let next = match round % 3 {
            // The same path is a change as well.
            0 => path.clone(),
            _ => daemon.dir().join(format!("monitor{round}")),
        };
        // What was asked after the change is not answered to somebody else.
        let command = to_path(&next, OWN, "") + r#"{"execute": "query-name", "id": 8}"#;
        raw.send(&command);
        assert_eq!(raw.rest(), "{\"return\": {}, \"id\": 7}\r\n", "{round}");
        path = next;
    }
    Raw::negotiated(&path);
}

#[test]
fn a_pty_is_told_on_the_old_connection() {
    let daemon = Daemon::start(&[]);
    let mut raw = Raw::negotiated(daemon.monitor());
    raw.send(&format!(
        r#"{{"execute": "chardev-change", "arguments": {{"id": "{OWN}", "backend": {{"type": "pty", "data": {{}}}}}}}}"#
    ));
    let answer = Json::parse(raw.rest().trim()).unwrap();
    let pty = answer.get("return").and_then(|value| value.get("pty"));
    let pty = pty.and_then(Json::as_str).unwrap();
    let mut pty = std::fs::File::options()
        .read(true)
        .write(true)
        .open(pty)
        .unwrap();
    read_until(&mut pty, "QMP");
    pty.write_all(b"{'execute': 'qmp_capabilities'}").unwrap();
    read_until(&mut pty, "return");
}

#[test]
fn a_refused_change_is_answered_and_the_conversation_goes_on() {
    let daemon = Daemon::start(&[]);
    let mut raw = Raw::negotiated(daemon.monitor());
    raw.send(&to_path(Path::new("/nonexistent/path"), OWN, ""));
    assert!(raw.line().contains("No such file or directory"));
    // With hand-over the client stays where it is.
    raw.send(&to_path(daemon.monitor(), OWN, r#", "x-handover": true"#));
    assert_eq!(raw.line(), "{\"return\": {}, \"id\": 7}\r\n");
    raw.send(r#"{"execute": "query-name"}"#);
    assert_eq!(raw.line(), "{\"return\": {}}\r\n");
}

#[test]
fn another_monitor_may_move_this_one() {
    let daemon = Daemon::start(&[
        "-chardev",
        "socket,id=mon,path=MON,server=on,wait=off",
        "-mon",
        "chardev=mon,mode=control",
    ]);
    let first = daemon.dir().join("MON");
    let raw = Raw::negotiated(&first);
    let mut other = daemon.client();
    let next = daemon.dir().join("NEXT");
    let answer = daemon_rig::change(
        &mut other,
        "mon",
        &format!(
            r#"{{"type": "socket", "data": {{"addr": {{"type": "unix", "data": {{"path": "{}"}}}}, "server": true}}}}"#,
            next.display()
        ),
    );
    assert_eq!(answer, Json::empty());
    assert_eq!(raw.rest(), "");
    connect(&next);
}

#[test]
fn a_person_may_move_the_human_monitor() {
    let daemon = Daemon::start(&[
        "-chardev",
        "socket,id=hmp,path=HMP,server=on,wait=off",
        "-mon",
        "chardev=hmp,mode=readline",
    ]);
    let mut terminal = console(&daemon.dir().join("HMP"));
    read_until(&mut terminal, "(qemu) ");
    let next = daemon.dir().join("NEXT");
    let command = format!(
        "chardev-change hmp socket,path={},server=on,wait=off\r",
        next.display()
    );
    terminal.write_all(command.as_bytes()).unwrap();
    let mut rest = String::new();
    terminal.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\r\n(qemu) "), "{rest:?}");
    let mut terminal = console(&next);
    read_until(&mut terminal, "(qemu) ");
}
