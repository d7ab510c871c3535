//! The monitor of the real daemon: QEMU's examples, bad input, and commands that wait.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::daemon_rig::{Daemon, console};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::ClientError;

/// The two examples of QEMU's documentation, as they are printed there.
const PTY: &str = r#"{ "execute" : "chardev-change",
     "arguments" : { "id" : "baz",
                     "backend" : { "type" : "pty", "data" : {} } } }"#;
const SOCKET: &str = r#"{"execute" : "chardev-change",
     "arguments" : {
         "id" : "charchannel2",
         "backend" : {
             "type" : "socket",
             "data" : {
                 "addr" : {
                     "type" : "unix" ,
                     "data" : {
                         "path" : "/tmp/charchannel2.socket"
                      }
                  },
                  "server" : true,
                  "wait" : false }}}}"#;

#[test]
fn the_documented_examples_get_the_documented_answers() {
    let daemon = Daemon::start(&[
        "-chardev",
        "null,id=baz",
        "-chardev",
        "ringbuf,id=charchannel2",
    ]);
    let mut raw = Raw::negotiated(daemon.monitor());
    let answer = raw.ask(PTY);
    let pty = answer
        .get("return")
        .and_then(|value| value.get("pty"))
        .and_then(Json::as_str);
    let pty = pty.unwrap_or_else(|| panic!("no pty in {answer}"));
    assert_eq!(
        answer.to_string(),
        format!(r#"{{"return": {{"pty": "{pty}"}}}}"#)
    );
    File::options().read(true).write(true).open(pty).unwrap();
    assert_eq!(raw.ask(SOCKET).to_string(), r#"{"return": {}}"#);
    let _viewer = console(Path::new("/tmp/charchannel2.socket"));
}

#[test]
fn bad_input_gets_an_error_and_the_next_command_works() {
    let daemon = Daemon::start(&[]);
    let deep = "[".repeat(100_000);
    let cases: [&[u8]; 5] = [
        b"{\"execute\": nonsense}\n",
        b"[1, 2]\n",
        b"{\"execute\": \"chardev-remove\", \"arguments\": {\"id\": 7}}\n",
        b"{\"execute\": \"\xc3\x28\"}\n",
        deep.as_bytes(),
    ];
    for case in cases {
        let mut raw = Raw::negotiated(daemon.monitor());
        raw.send(case);
        assert!(
            raw.line().get("error").is_some(),
            "{:.60}",
            String::from_utf8_lossy(case)
        );
        // A byte that is in no JSON starts the parser anew; there may be more errors before.
        raw.send(b"\xff{\"execute\": \"query-version\", \"id\": 1}\n");
        while raw.line().get("return").is_none() {}
    }
}

#[test]
fn a_string_of_64_mib_is_refused_in_bounded_memory() {
    let daemon = Daemon::start(&[]);
    let mut raw = Raw::negotiated(daemon.monitor());
    let began = Instant::now();
    raw.send(b"{\"execute\": \"");
    let block = vec![b'x'; 1 << 20];
    for _ in 0..65 {
        raw.send(&block);
    }
    assert!(raw.line().get("error").is_some());
    // Generous for a build without optimisation on a busy machine; QEMU needs two minutes.
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    raw.send(b"\"}\n\xff{\"execute\": \"query-version\"}\n");
    while raw.line().get("return").is_none() {}
}

#[test]
fn a_client_that_never_reads_stops_only_itself() {
    let (daemon, second, _dir) = with_second_monitor(&[]);
    let deaf = Raw::negotiated(&second);
    // Nothing taken for this long means that the daemon has stopped reading.
    deaf.stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let command = b"{\"execute\": \"query-commands\"}\n".repeat(1000);
    let mut sent = 0;
    while let Ok(count) = (&deaf.stream).write(&command) {
        sent += count;
        assert!(sent < 64 << 20, "the daemon goes on reading");
    }
    let mut client = daemon.client();
    client.execute("query-chardev", Object::new()).unwrap();
}

#[test]
fn what_is_missing_is_named_and_stats_are_counted() {
    let daemon = Daemon::start(&["-chardev", "ringbuf,id=c"]);
    let mut client = daemon.client();
    let null = Json::parse("{'type': 'null', 'data': {}}").unwrap();
    let change = |id: &str| Object::new().with("id", id).with("backend", null.clone());
    for (command, arguments, text) in [
        ("chardev-change", change("x"), "Chardev 'x' does not exist"),
        (
            "chardev-remove",
            Object::new().with("id", "x"),
            "Chardev 'x' not found",
        ),
        (
            "chardev-remove",
            Object::new().with("id", "compat_monitor0"),
            "Chardev 'compat_monitor0' is busy",
        ),
        (
            "ringbuf-read",
            Object::new().with("device", "x").with("size", 0i64),
            "Device 'x' not found",
        ),
        (
            "ringbuf-read",
            Object::new().with("device", "c").with("size", 0i64),
            "size must be greater than zero",
        ),
        (
            "x-query-chardev-stats",
            Object::new().with("id", "x"),
            "Chardev 'x' not found",
        ),
    ] {
        match client.execute(command, arguments) {
            Err(ClientError::Command(error)) => assert_eq!(error.desc, text),
            other => panic!("{command}: {other:?}"),
        }
    }
    client.execute("chardev-change", change("c")).unwrap();
    let stats = client
        .execute("x-query-chardev-stats", Object::new().with("id", "c"))
        .unwrap();
    let stats = &stats.as_array().unwrap()[0];
    assert_eq!(stats.get("changes"), Some(&Json::Int(1)), "{stats}");
}

#[test]
fn what_goes_on_in_the_background_is_listed() {
    let daemon = Daemon::start(&["-chardev", "socket,id=con0,path=never,reconnect-ms=50"]);
    let mut raw = Raw::negotiated(daemon.monitor());
    let answer = raw
        .ask(r#"{"execute": "x-query-chardev-tasks"}"#)
        .to_string();
    let begin = r#"{"return": [{"label": "con0", "kind": "connect", "age-ms": "#;
    assert!(answer.starts_with(begin), "{answer}");
    assert!(answer.ends_with("}]}"), "{answer}");
}

/// A daemon with a second monitor, and where that one listens.
fn with_second_monitor(arguments: &[&str]) -> (Daemon, std::path::PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let second = dir.path().join("second.sock");
    let line = format!("socket,id=m2,path={},server=on,wait=off", second.display());
    let more = ["-chardev", &line, "-mon", "chardev=m2,mode=control"];
    (Daemon::start(&[arguments, &more].concat()), second, dir)
}

/// A connection to a monitor, byte by byte.
struct Raw {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Raw {
    fn negotiated(path: &Path) -> Self {
        let stream = console(path);
        let lines = BufReader::new(stream.try_clone().unwrap());
        let mut raw = Raw { stream, lines };
        assert!(raw.line().get("QMP").is_some());
        assert_eq!(
            raw.ask("{'execute': 'qmp_capabilities'}").to_string(),
            r#"{"return": {}}"#
        );
        raw
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn line(&mut self) -> Json {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        Json::parse(line.trim_end()).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn ask(&mut self, text: &str) -> Json {
        self.send(text.as_bytes());
        self.line()
    }
}
