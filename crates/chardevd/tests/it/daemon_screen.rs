//! What consoles show, and their keys, over QMP, HMP and `chardevctl screen`.

use std::process::{Command, Output};

use chardev_qapi::{Json, Object};
use chardev_qmp::client::ClientError;

use crate::daemon_rig::{Daemon, until};

fn screen(daemon: &Daemon, id: &str) -> Json {
    let arguments = Object::new().with("id", id).with("attributes", true);
    daemon.client().execute("x-screen", arguments).unwrap()
}

fn rows(shown: &Json) -> Vec<&str> {
    let rows = shown.get("text").and_then(Json::as_array).unwrap();
    rows.iter().map(|row| row.as_str().unwrap()).collect()
}

/// The class and the words of an error.
fn refused(daemon: &Daemon, command: &str, arguments: &str) -> String {
    let arguments = Json::parse(arguments).unwrap();
    let arguments = arguments.as_object().unwrap().clone();
    match daemon.client().execute(command, arguments).unwrap_err() {
        ClientError::Command(error) => format!("{}: {}", error.class.as_str(), error.desc),
        other => panic!("{command}: {other}"),
    }
}

fn do_it(daemon: &Daemon, command: &str, arguments: &str) {
    let arguments = Json::parse(arguments).unwrap();
    let arguments = arguments.as_object().unwrap().clone();
    daemon.client().execute(command, arguments).unwrap();
}

fn human(daemon: &Daemon, line: &str) -> String {
    let arguments = Object::new().with("command-line", line);
    let said = daemon.client().execute("human-monitor-command", arguments);
    said.unwrap().as_str().unwrap().to_owned()
}

/// The program knows the console's size, asks where the cursor is, and shows what it is answered
/// and what is typed.
#[test]
fn a_program_on_a_vc_is_seen_and_typed_to() {
    let command = "stty raw -echo; printf '\\033]2;a title\\007\\033[31;1mred\\033[m '; stty size; \
                   printf '\\033[6n'; exec cat -v";
    let device = format!("exec,chardev=con0,command={}", command.replace(',', ",,"));
    let daemon = Daemon::start(&["-chardev", "vc,id=con0,cols=40,rows=5", "-device", &device]);
    until("the program was answered", || {
        rows(&screen(&daemon, "con0"))
            .iter()
            .any(|row| row.contains("^[[2;9R"))
    });
    let shown = screen(&daemon, "con0");
    assert_eq!(rows(&shown), ["red 5 40", "        ^[[2;9R", "", "", ""]);
    assert_eq!(shown.get("title").and_then(Json::as_str), Some("a title"));
    let expected = r#"[{"row": 0, "col": 0, "width": 3, "fg": "1", "bold": true}]"#;
    assert_eq!(
        shown.get("attributes"),
        Some(&Json::parse(expected).unwrap())
    );
    let expected = r#"{"col": 15, "row": 1, "visible": true}"#;
    assert_eq!(shown.get("cursor"), Some(&Json::parse(expected).unwrap()));
    let keys = r#"{"keys": [{"type": "qcode", "data": "shift"}, {"type": "number", "data": 30}]}"#;
    do_it(&daemon, "send-key", keys);
    assert_eq!(human(&daemon, "sendkey ctrl-up 10"), "");
    until("the keys have come", || {
        rows(&screen(&daemon, "con0"))[1].ends_with("RA^[[1;5A")
    });
}

/// As people have it with QEMU: a monitor on a text console, which only a screen can show.
#[test]
fn a_human_monitor_on_a_vc_is_typed_to() {
    let daemon = Daemon::start(&["-monitor", "vc:60Cx10C", "-chardev", "vc,id=other"]);
    let prompt = |count| {
        until("the prompt", || {
            let shown = screen(&daemon, "compat_monitor0");
            rows(&shown)
                .iter()
                .filter(|row| row.starts_with("(qemu)"))
                .count()
                == count
        });
    };
    prompt(1);
    for key in ["h", "e", "l", "p", "spc", "q", "ret"] {
        let key = format!(r#"{{"type": "qcode", "data": "{key}"}}"#);
        let keys = format!(r#"{{"keys": [{key}], "x-device": "compat_monitor0"}}"#);
        do_it(&daemon, "send-key", &keys);
    }
    prompt(2);
    let shown = screen(&daemon, "compat_monitor0");
    assert_eq!(rows(&shown).len(), 10);
    let rows = rows(&shown).join("\n");
    assert!(rows.contains("(qemu) help q\nquit|q"), "{rows}");
    let several = refused(
        &daemon,
        "send-key",
        r#"{"keys": [{"type": "number", "data": 30}]}"#,
    );
    assert!(
        several.contains("name one of other, compat_monitor0"),
        "{several}"
    );
}

#[test]
fn what_cannot_be_is_refused_in_qemus_words() {
    let daemon = Daemon::start(&["-chardev", "null,id=plain,x-history=0"]);
    let dir = daemon.dir().display();
    let vc = r#"{"id": "v", "backend": {"type": "vc", "data": {}}}"#;
    let file = format!(r#"{{"filename": "{dir}/x"}}"#);
    let none = "There is no console to take a screendump from";
    assert_eq!(
        refused(&daemon, "screendump", &file),
        format!("GenericError: {none}")
    );
    let key = r#"{"keys": [{"type": "qcode", "data": "a"}]}"#;
    let none = "GenericError: There is no console to send keys to";
    assert_eq!(refused(&daemon, "send-key", key), none);
    do_it(&daemon, "chardev-add", vc);
    for (command, arguments, words) in [
        (
            "screendump",
            "{}",
            "GenericError: Parameter 'filename' is missing",
        ),
        (
            "screendump",
            r#"{"filename": "/nosuch/a"}"#,
            "GenericError: failed to open file '/nosuch/a': No such file or directory",
        ),
        (
            "screendump",
            r#"{"filename": "x", "head": 0}"#,
            "GenericError: 'head' must be specified together with 'device'",
        ),
        (
            "screendump",
            r#"{"filename": "x", "device": "nosuch", "head": 1}"#,
            "DeviceNotFound: Device 'nosuch' not found",
        ),
        (
            "screendump",
            r#"{"filename": "x", "format": "jpg"}"#,
            "GenericError: Parameter 'format' does not accept value 'jpg'",
        ),
        (
            "screendump",
            r#"{"filename": "x", "device": "plain"}"#,
            "GenericError: 'plain' has no screen: it is no 'vc' and keeps no output, as with x-history=1M",
        ),
        (
            "x-screen",
            r#"{"id": "nosuch"}"#,
            "DeviceNotFound: Device 'nosuch' not found",
        ),
        (
            "x-screen",
            r#"{"id": "v", "cols": 0}"#,
            "GenericError: Parameter 'cols' expects a number from 1 to 512",
        ),
        (
            "send-key",
            r#"{"keys": [{"type": "qcode", "data": "nosuch"}]}"#,
            "GenericError: Parameter 'data' does not accept value 'nosuch'",
        ),
        (
            "send-key",
            "{}",
            "GenericError: Parameter 'keys' is missing",
        ),
        (
            "send-key",
            r#"{"keys": [], "x-device": 1}"#,
            "GenericError: Invalid parameter type for 'x-device', expected: string",
        ),
    ] {
        assert_eq!(
            refused(&daemon, command, arguments),
            words,
            "{command} {arguments}"
        );
    }
    for (line, said) in [
        (
            "screendump",
            "screendump: filename expected\nTry \"help screendump\" for more information\n",
        ),
        (
            "screendump /nosuch/x",
            "Error: failed to open file '/nosuch/x': No such file or directory\n",
        ),
        (
            "screendump x -f foo",
            "Error: invalid parameter value: foo\n",
        ),
        ("screendump x dev 0", "Error: Device 'dev' not found\n"),
        (
            "sendkey",
            "sendkey: string expected\nTry \"help sendkey\" for more information\n",
        ),
        ("sendkey a-nosuch?-b", "invalid parameter: nosuch?\n"),
        ("sendkey ctrl-alt-f1", ""),
        ("sendkey 0x1e", ""),
        ("sendkey a 10", ""),
    ] {
        assert_eq!(human(&daemon, line), said.replace('\n', "\r\n"), "{line}");
    }
}

#[test]
fn screens_are_dumped_to_files_and_to_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let monitor = dir.path().join("qmp.sock");
    let mut command = Command::new("sh");
    let words = "exec \"$0\" -chardev vc,id=v,width=100,height=50 -add-fd fd=9,set=3 \
                 -qmp unix:qmp.sock,server=on,wait=off 9>fd.ppm";
    command.args(["-c", words, env!("CARGO_BIN_EXE_chardevd")]);
    command.current_dir(dir.path());
    let daemon = Daemon::adopt_in(command, dir, &monitor);
    let dir = daemon.dir().to_owned();
    // A relative path is in the daemon's directory.
    do_it(&daemon, "screendump", r#"{"filename": "a.ppm"}"#);
    let ppm = std::fs::read(dir.join("a.ppm")).unwrap();
    assert!(ppm.starts_with(b"P6\n100 50\n255\n"));
    assert_eq!(human(&daemon, "screendump a.png -f png v 0"), "");
    assert!(
        std::fs::read(dir.join("a.png"))
            .unwrap()
            .starts_with(b"\x89PNG\r\n")
    );
    let dump = Object::new().with("filename", "/dev/fdset/3");
    daemon.client().execute("screendump", dump).unwrap();
    assert!(std::fs::read(dir.join("fd.ppm")).unwrap() == ppm);
}

fn ctl(daemon: &Daemon, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chardevctl"))
        .arg("--socket")
        .arg(daemon.monitor())
        .arg("screen")
        .args(arguments)
        .current_dir(daemon.dir())
        .output()
        .unwrap()
}

#[test]
fn chardevctl_shows_the_screen_of_any_history() {
    let device = "exec,chardev=con0,command=printf 'one\\033[32m two\\033[5;;1Hfive'; exec cat";
    let daemon = Daemon::start(&["-chardev", "null,id=con0,x-history=64k", "-device", device]);
    until("the program has written", || {
        rows(&screen(&daemon, "con0")).contains(&"five")
    });
    let output = ctl(&daemon, &["con0"]);
    assert_eq!(text(&output.stdout), "one two\n\n\n\nfive\n");
    let output = ctl(&daemon, &["con0", "--size", "5x3"]);
    assert_eq!(text(&output.stdout), "one t\nwo\nfive\n");
    let output = ctl(&daemon, &["con0", "--ansi"]);
    let mut again = chardev::screen::Screen::new(chardev::screen::Size::DEFAULT);
    again.feed_all(&output.stdout);
    assert_eq!(again.snapshot().row_text(4), "five");
    assert_eq!(again.snapshot().runs(0).len(), 1);
    let output = ctl(&daemon, &["con0", "--png", "own.png"]);
    assert!(output.status.success() && output.stdout.is_empty());
    let png = std::fs::read(daemon.dir().join("own.png")).unwrap();
    let drawn = chardev::screen::Picture::of(&again.snapshot())
        .png()
        .unwrap();
    assert!(png == drawn);
    // The daemon draws it, too.
    let dump = r#"{"filename": "dumped.png", "device": "con0", "format": "png"}"#;
    do_it(&daemon, "screendump", dump);
    assert!(std::fs::read(daemon.dir().join("dumped.png")).unwrap() == png);
    for (arguments, words) in [
        (
            &["con1"][..],
            "Device 'con1' not found\ndid you mean 'con0'?",
        ),
        (
            &["con0", "--png", "/nosuch/x"],
            "/nosuch/x: No such file or directory",
        ),
        (&["con0", "--size", "80"], "it is like 80x24"),
    ] {
        let output = ctl(&daemon, arguments);
        assert!(!output.status.success());
        let said = text(&output.stderr);
        assert!(said.contains(words), "{said}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
