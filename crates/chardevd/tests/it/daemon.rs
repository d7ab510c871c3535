//! The real daemon: how it starts, what it refuses, how it ends, and what runs on its consoles.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::daemon_rig::{self, DEADLINE, Daemon, chardevd, console, read_until, until};
use chardev_qapi::{Json, Object};

#[test]
fn mistakes_name_the_argument_and_exit_1() {
    let cases: &[(&[&str], &str)] = &[
        (
            &["-chardev", "file,id=a"],
            "-chardev file,id=a: chardev: file: no filename given",
        ),
        (
            &["--chardev", "null"],
            "-chardev null: chardev: no id specified",
        ),
        (
            &["-chardev", "nosuch,id=a"],
            "'nosuch' is not a valid char driver name",
        ),
        (&["-chardev", "ptty,id=a"], "did you mean 'pty'?"),
        (
            &["-chardev", "pty,id=a,x-hstory=1M"],
            "did you mean 'x-history'?",
        ),
        (
            &["-chardev", "file,id=a,path=/nonexistent/x"],
            "-chardev file,id=a,path=/nonexistent/x: Could not open '/nonexistent/x': \
             No such file or directory",
        ),
        (
            &["-chardev", "null,id=a", "-chardev", "null,id=a"],
            "-chardev null,id=a: Duplicate ID 'a' for chardev",
        ),
        (
            &["-device", "e1000"],
            "-device e1000: 'e1000' is not a valid device model name",
        ),
        (
            &["-device", "exec,chardev=x,command=true"],
            "Property 'exec.chardev' can't find value 'x'",
        ),
        (
            &[
                "-chardev",
                "null,id=a",
                "-device",
                "null-modem,chardev=a,peer=a",
            ],
            "chardev 'a' is already in use",
        ),
        (
            &["-mon", "chardev=x,mode=control"],
            "chardev \"x\" not found",
        ),
        (
            &["-chardev", "null,id=x", "-mon", "chardev=x,pretty=on"],
            "'pretty' is not compatible with HMP monitors",
        ),
        (
            &["-qmp", "ringbuf"],
            "-qmp ringbuf: 'ringbuf' is not a valid char driver",
        ),
    ];
    for (arguments, text) in cases {
        let output = chardevd(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.starts_with("chardevd: "), "{arguments:?}: {said}");
        assert!(said.contains(text), "{arguments:?}: {said}");
    }
}

#[test]
fn help_lists_and_version_exit_0() {
    let cases: &[(&[&str], &str)] = &[
        (&["-chardev", "help"], "ringbuf"),
        (&["-chardev", "?"], "socket"),
        (&["-chardev", "file,help"], "append=on|off"),
        (&["-device", "help"], "null-modem"),
        (&["-device", "exec,help"], "command"),
        (&["-version"], "chardevd "),
        (&["--help"], "--qmp-pretty"),
    ];
    for (arguments, text) in cases {
        let output = chardevd(arguments);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{arguments:?}");
        assert!(said.contains(text), "{arguments:?}: {said}");
    }
}

#[test]
fn warnings_are_in_the_form_of_qemu() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let line = format!("socket,id=a,path={},server,nowait", path.display());
    let mut daemon = Daemon::start(&["-chardev", &line]);
    let (_, said) = daemon.terminate();
    for word in ["server", "nowait"] {
        let text = format!("chardevd: warning: short-form boolean option '{word}' deprecated");
        assert!(said.contains(&text), "{said}");
    }
}

#[test]
fn quit_answers_tells_everybody_and_exits_0() {
    let mut daemon = Daemon::start(&[]);
    let second = daemon.dir().join("second.sock");
    let line = format!("socket,id=m2,path={},server=on,wait=off", second.display());
    drop(daemon.terminate());
    let mut daemon = Daemon::start(&[
        "-chardev",
        &line,
        "-mon",
        "chardev=m2,mode=control",
        "-name",
        "vm",
    ]);
    let mut other = daemon_rig::connect(&second);
    let mut client = daemon.client();
    let name = client.execute("query-name", Object::new()).unwrap();
    assert_eq!(name.to_string(), r#"{"name": "vm"}"#);
    assert_eq!(
        client.execute("quit", Object::new()).unwrap(),
        Json::empty()
    );
    for client in [&mut client, &mut other] {
        let event = client.next_event().unwrap();
        assert_eq!(event.name, "SHUTDOWN");
        let data = r#"{"guest": false, "reason": "host-qmp-quit"}"#;
        assert_eq!(event.data.to_string(), data);
    }
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(!second.exists(), "the socket is gone");
}

#[test]
fn whoever_quits_hears_of_the_end_before_the_answer() {
    let mut daemon = Daemon::start(&[]);
    let mut monitor = UnixStream::connect(daemon.monitor()).unwrap();
    monitor.set_read_timeout(Some(DEADLINE)).unwrap();
    let commands = b"{'execute': 'qmp_capabilities'}{'execute': 'quit', 'id': 1}";
    monitor.write_all(commands).unwrap();
    let mut said = String::new();
    monitor.read_to_string(&mut said).unwrap();
    let said: Vec<&str> = said.split("\r\n").collect();
    let [_greeting, "{\"return\": {}}", event, answer, ""] = said[..] else {
        panic!("{said:?}");
    };
    assert!(event.contains("\"event\": \"SHUTDOWN\""), "{said:?}");
    assert_eq!(answer, "{\"return\": {}, \"id\": 1}");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_signal_ends_everything_in_good_order() {
    let dir = tempfile::tempdir().unwrap();
    let (out, pidfile) = (dir.path().join("out"), dir.path().join("pid"));
    let chardev = format!("file,id=c,path={}", out.display());
    let trap = "exec,chardev=c,command=trap 'echo hung up; exit' HUP; echo ready; \
                while :; do sleep 0.05; done";
    let pid_argument = pidfile.display().to_string();
    let arguments = [
        "-chardev",
        &chardev,
        "-device",
        trap,
        "-pidfile",
        &pid_argument,
    ];
    let mut daemon = Daemon::start(&arguments);
    until("the program runs", || {
        fs::read_to_string(&out)
            .unwrap_or_default()
            .contains("ready")
    });
    assert_eq!(
        fs::read_to_string(&pidfile).unwrap().trim(),
        daemon.id().to_string()
    );
    let mut client = daemon.client();
    let (status, _) = daemon.terminate();
    assert_eq!(status.code(), Some(0));
    assert_eq!(client.next_event().unwrap().name, "SHUTDOWN");
    // The shell may report that its own child was hung up, too.
    let said = fs::read_to_string(&out).unwrap();
    assert!(
        said.starts_with("ready\r\n") && said.ends_with("hung up\r\n"),
        "{said:?}"
    );
    assert!(!pidfile.exists() && !daemon.monitor().exists());
}

#[test]
fn the_last_words_of_a_program_are_delivered_and_it_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.sock");
    let chardev = format!("socket,id=c,path={},server=on,wait=on", path.display());
    let command = "exec,chardev=c,restart=on,command=seq 20000; echo $CHARDEV; tty; echo end";
    let mut daemon = Daemon::start(&["-chardev", &chardev, "-device", command]);
    let mut viewer = console(&path);
    for _ in 0..2 {
        let said = read_until(&mut viewer, "end\r\n");
        let mut lines = said.lines();
        for number in 1..=20000 {
            assert_eq!(lines.next(), Some(number.to_string().as_str()));
        }
        assert_eq!(lines.next(), Some("c"));
        assert!(
            lines.next().is_some_and(|tty| tty.starts_with("/dev/pts/")),
            "{said:.0}"
        );
    }
    let (_, said) = daemon.terminate();
    assert!(said.contains("chardevd: info: ") && said.contains("waiting for connection on: "));
}

#[test]
fn a_terminal_has_a_size_and_a_break_interrupts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.sock");
    let chardev = format!("socket,id=c,path={},server=on,wait=on", path.display());
    let command = "exec,chardev=c,command=trap 'echo winch; stty size' WINCH; \
                   trap 'echo broken' INT; echo ready; while :; do sleep 0.05; done";
    let daemon = Daemon::start(&["-chardev", &chardev, "-device", command]);
    let mut viewer = console(&path);
    read_until(&mut viewer, "ready\r\n");
    let mut client = daemon.client();
    let size = Object::new()
        .with("id", "c")
        .with("cols", 101u16)
        .with("rows", 37u16);
    client.execute("x-chardev-set-winsize", size).unwrap();
    read_until(&mut viewer, "winch\r\n37 101\r\n");
    client
        .execute("chardev-send-break", Object::new().with("id", "c"))
        .unwrap();
    read_until(&mut viewer, "broken\r\n");
}

#[test]
fn a_null_modem_carries_bytes_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| dir.path().join(name));
    let line = |id: &str, path: &Path| {
        format!(
            "socket,id={id},path={},server=on,wait=off,x-closed=hold",
            path.display()
        )
    };
    let (a, b) = (line("a", &paths[0]), line("b", &paths[1]));
    let _daemon = Daemon::start(&[
        "-chardev",
        &a,
        "-chardev",
        &b,
        "-device",
        "null-modem,chardev=a,peer=b",
    ]);
    let [left, right] = paths.map(|path| console(&path));
    let sent: Vec<u8> = (0..8 << 20).map(|at: u32| (at % 251) as u8).collect();
    std::thread::scope(|scope| {
        for (mut from, mut to) in [(&left, &right), (&right, &left)] {
            let sent = &sent;
            scope.spawn(move || from.write_all(sent).unwrap());
            scope.spawn(move || {
                let mut got = vec![0; sent.len()];
                to.read_exact(&mut got).unwrap();
                assert!(
                    got == *sent,
                    "the bytes that came are not those that were sent"
                );
            });
        }
    });
}

#[test]
fn without_arguments_there_is_a_shell_and_a_private_monitor() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
        command
            .env("HOME", dir.path())
            .env("XDG_RUNTIME_DIR", dir.path())
            .env("SHELL", "/bin/sh");
        command
    };
    let socket = dir.path().join("chardevd/qmp.sock");
    // A daemon that was killed leaves its socket behind, which must not be in the way.
    fs::create_dir(socket.parent().unwrap()).unwrap();
    fs::set_permissions(socket.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    let mut daemon = Daemon::adopt(start(), &socket);
    assert_eq!(
        fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let second = start().output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(socket.to_str().unwrap()), "{said}");

    let mut client = daemon.client();
    let pty = daemon_rig::change(&mut client, "con0", r#"{"type": "pty", "data": {}}"#);
    let pty = pty.get("pty").and_then(Json::as_str).unwrap().to_owned();
    let mut terminal = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(pty)
        .unwrap();
    terminal.write_all(b"echo $((6*7)) $CHARDEV\n").unwrap();
    read_until(&mut terminal, "42 con0");
    drop(client);
    let (status, _) = daemon.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(daemon.said().contains("attach con0"), "{}", daemon.said());
    assert!(!socket.exists());
}

#[test]
fn a_descriptor_given_at_the_start_becomes_a_chardev() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    // The shell keeps its standard input open under another number, which only a child inherits.
    let daemon = env!("CARGO_BIN_EXE_chardevd");
    let line = format!(
        "exec '{daemon}' -chardev socket,id=c,fd=7 -device 'exec,chardev=c,command=echo hello' 7<&0 0</dev/null"
    );
    let mut child = Command::new("/bin/sh")
        .args(["-c", &line])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    let mut said = [0; 7];
    let read = (&ours).read_exact(&mut said);
    // Whatever came of it, the daemon must not outlive the test.
    child.kill().unwrap();
    child.wait().unwrap();
    read.unwrap();
    assert_eq!(&said, b"hello\r\n");
}
