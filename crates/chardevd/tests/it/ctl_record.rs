//! `chardevctl record`, `play`, `events`, `mark` and `logs`.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chardev_qapi::Json;
use rustix::process::{Pid, Signal, kill_process};

use crate::ctl_rig::{Attached, Daemon, text, until, wait};

/// `chardevctl record con0` to `file`, once it is there.
fn record(daemon: &Daemon, file: &Path) -> Child {
    let child = daemon
        .command()
        .args(["record", "con0", "--from", "0", "-o"])
        .arg(file)
        .stderr(Stdio::piped())
        .spawn()
        .expect("chardevctl runs");
    until("the recording has begun", || {
        std::fs::read(file).is_ok_and(|all| all.ends_with(b"\n"))
    });
    child
}

fn lines(file: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(file).expect("a recording");
    let lines = text.lines().map(|line| Json::parse(line).expect("JSON"));
    lines.collect()
}

/// What happened, as `CODE DATA`, output that follows output in one piece.
fn events(file: &Path) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in &lines(file)[1..] {
        let part = |at: usize| line.as_array().and_then(|parts| parts[at].as_str());
        let (code, data) = (part(1).expect("a code"), part(2).expect("data"));
        match all
            .last_mut()
            .filter(|last| code == "o" && last.starts_with("o "))
        {
            Some(last) => *last += data,
            None => all.push(format!("{code} {data}")),
        }
    }
    all
}

fn play(file: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevctl"));
    let output = command.arg("play").arg(file).args(arguments).output();
    let output = output.expect("chardevctl runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn output_sizes_and_markers_are_recorded_in_their_order_and_played() {
    let daemon = Daemon::running("stty raw -echo; printf 'begin\\303\\244'; exec cat");
    let file = daemon.dir().join("a.cast");
    let mut child = record(&daemon, &file);
    let wanted = |wanted: &str| until(wanted, || events(&file).concat().ends_with(wanted));
    wanted("begin\u{e4}");
    daemon.succeed(&["mark", "con0", "here \"we\" are"]);
    wanted("here \"we\" are");
    daemon.succeed(&["send", "con0", r"\xe2\x82"]);
    daemon.succeed(&["send", "con0", r"\xac\xff\e[31mred"]);
    wanted("red");
    let attached = Attached::new(&daemon);
    wanted("r 91x37");
    drop(attached);
    kill_process(Pid::from_child(&child), Signal::INT).expect("a process");
    wait(&mut child);
    assert_eq!(
        events(&file),
        [
            "o begin\u{e4}",
            "m here \"we\" are",
            "o \u{20ac}\u{fffd}\u{1b}[31mred",
            "r 91x37"
        ]
    );
    let head = &lines(&file)[0];
    let number = |name| head.get(name).and_then(Json::as_i64);
    assert_eq!(number("version"), Some(3));
    let term = head.get("term").expect("a terminal");
    assert_eq!(term.get("cols").and_then(Json::as_i64), Some(80));
    let all = "begin\u{e4}\u{20ac}\u{fffd}\u{1b}[31mred";
    assert_eq!(play(&file, &["--speed", "100"]), all);
    assert_eq!(play(&file, &["--from", "1:00:00"]), all);
    // What is there is not replaced by mistake.
    let path = file.display().to_string();
    let output = daemon.ctl(&["record", "con0", "-o", &path]);
    assert!(text(&output.stderr).contains("is there already; choose another file"));
}

#[test]
fn a_recording_that_finds_no_room_ends_after_a_whole_event_and_says_so() {
    let daemon = Daemon::running("exec cat");
    let file = daemon.dir().join("a.cast");
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" record con0 -o \"$1\"";
    let mut child = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_chardevctl")])
        .arg(&file)
        .env("CHARDEVD_SOCKET", daemon.socket())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh runs");
    until("the recording has begun", || file.exists());
    let mut stderr = child.stderr.take().expect("a pipe");
    let mut status = None;
    until("the file is full", || {
        // The first may come before it looks.
        daemon.succeed(&["send", "con0", &format!(r"{}\n", "x".repeat(50))]);
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(1));
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("text");
    assert!(
        said.contains("the recording ends here, after its last whole event"),
        "{said}"
    );
    // Every line that is there is JSON.
    assert!(events(&file).concat().contains("xxx"));
    let full = daemon.ctl(&["record", "con0", "--overwrite", "-o", "/dev/full"]);
    assert_eq!(full.status.code(), Some(1));
    // What is no file is not taken away.
    let device = std::fs::metadata("/dev/full").expect("the device");
    assert!(device.file_type().is_char_device());
}

#[test]
fn recordings_of_others_and_their_mistakes() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("a.cast");
    let write = |text: &str| std::fs::write(&file, text).expect("a file");
    write(
        "{\"version\": 2, \"width\": 80, \"height\": 24}\n[0.1, \"o\", \"one \"]\n[0.2, \"i\", \"x\"]\n[30.5, \"o\", \"two \\ud83d\\ude00\"]\n",
    );
    assert_eq!(play(&file, &["--idle-limit", "0.1"]), "one two \u{1f600}");
    let began = Instant::now();
    assert_eq!(play(&file, &["--speed", "100"]), "one two \u{1f600}");
    assert!(began.elapsed() >= Duration::from_millis(300));
    for (content, wanted) in [
        (
            "{\"version\": 1}\n",
            "line 1: an asciicast of version 1; 2 and 3 can be played",
        ),
        ("{\"version\": 3}\n# fine\nno\n", "line 3: "),
        ("{\"version\": 3}\n[1]\n", "line 2: no event: it is like"),
        ("plain\n", "is no asciicast, and no index is beside it"),
    ] {
        write(content);
        let mut command = Command::new(env!("CARGO_BIN_EXE_chardevctl"));
        let output = command
            .arg("play")
            .arg(&file)
            .output()
            .expect("chardevctl runs");
        let said = text(&output.stderr);
        assert!(said.contains(wanted), "{content:?}: {said}");
    }
}

#[test]
fn a_log_is_found_followed_through_rotation_and_played_by_its_index() {
    let backend = "null,id=con0,logfile=log,x-logindex=log.index";
    let daemon = Daemon::with(&[
        "--chardev",
        backend,
        "--chardev",
        "null,id=bare",
        "--device",
        "exec,chardev=con0,command=stty raw -echo; exec cat",
    ]);
    for word in ["one", "two", "three"] {
        daemon.succeed(&["send", "con0", &format!(r"{word}\n")]);
    }
    let log = daemon.dir().join("log");
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    until("it is logged", || logged() == "one\ntwo\nthree\n");
    let index = daemon.dir().join("log.index");
    until("the index is there", || {
        std::fs::read_to_string(&index)
            .unwrap_or_default()
            .lines()
            .count()
            == 3
    });
    assert_eq!(play(&log, &["--speed", "1000"]), "one\ntwo\nthree\n");
    assert_eq!(
        play(&log, &["--speed", "1000", "--from", "@4"]),
        "two\nthree\n"
    );
    // As others name it.
    let (vm, beside) = (daemon.dir().join("vm.log"), daemon.dir().join("vm.index"));
    std::fs::copy(&log, &vm).expect("a copy");
    std::fs::copy(&index, &beside).expect("a copy");
    assert_eq!(play(&vm, &["--speed", "1000"]), "one\ntwo\nthree\n");
    let paths = daemon.succeed(&["logs", "con0", "--path"]);
    assert_eq!(paths, format!("{}\n{}\n", log.display(), index.display()));
    assert_eq!(daemon.succeed(&["logs", "con0", "-n", "2"]), "two\nthree\n");
    assert_eq!(daemon.succeed(&["logs", "con0"]), "one\ntwo\nthree\n");
    daemon.succeed(&["mark", "con0", "after three"]);
    let marks = || daemon.succeed(&["logs", "con0", "--marks"]);
    until("the mark is in the index", || {
        marks().contains("Z  mark after three (by ")
    });
    assert!(marks().trim_start().starts_with("14  20"), "{}", marks());
    assert_eq!(play(&log, &["--speed", "1000"]), "one\ntwo\nthree\n");
    let output = daemon.ctl(&["logs", "bare", "--marks"]);
    assert!(text(&output.stderr).contains("bare has no log"));
    let output = daemon.ctl(&["logs", "bare"]);
    assert!(text(&output.stderr).contains("bare has no log\nadd logfile=PATH"));

    let mut child = daemon
        .command()
        .args(["logs", "con0", "-f", "-n", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("chardevctl runs");
    let mut follow = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || follow.next().expect("a line").expect("text");
    assert_eq!(next(), "three");
    std::fs::rename(&log, daemon.dir().join("old")).expect("a rename");
    daemon.succeed(&["qmp", "x-chardev-reopen-log"]);
    daemon.succeed(&["send", "con0", r"four\n"]);
    assert_eq!(next(), "four");
    drop(follow);
    assert!(wait(&mut child).success());
}

#[test]
fn a_marker_that_the_index_has_no_room_for_is_told_to_who_sets_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let index = dir.path().join("index");
    let con0 = format!(
        "null,id=con0,logfile=/dev/full,logappend=on,x-logindex={}",
        index.display()
    );
    let daemon = Daemon::with(&[
        "--chardev",
        &con0,
        "--device",
        "exec,id=e0,chardev=con0,command=echo printed; exec cat",
    ]);
    let waits = || daemon.succeed(&["qmp", "x-query-chardev-stats", r#"{"id": "con0"}"#]);
    until("the log has something to wait for", || {
        waits().contains("\"log-pending\"") && !waits().contains("\"log-pending\": 0")
    });
    let set = || daemon.ctl(&["mark", "con0", "again"]);
    let told = (0..300)
        .map(|_| set())
        .find(|output| !output.stderr.is_empty());
    let told = told.expect("no marker is refused a place");
    assert!(told.status.success());
    let words = text(&told.stderr);
    assert!(words.contains("but not in the index of the log"), "{words}");
}

#[test]
fn events_are_followed_by_people_and_programs() {
    let daemon = Daemon::with(&["--chardev", "null,id=con0", "--chardev", "null,id=other"]);
    let follow = |arguments: &[&str]| {
        let mut command = daemon.command();
        let mut child = command
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        (child, lines)
    };
    let (mut people, mut lines) = follow(&["events", "con0"]);
    let (mut program, mut objects) = follow(&["events", "--json"]);
    until("both listen", || {
        let monitors = daemon.succeed(&["qmp", "x-query-monitors"]);
        monitors.matches("chardevctl").count() >= 3
    });
    daemon.succeed(&["mark", "other", "no"]);
    daemon.succeed(&["mark", "con0", "yes"]);
    let line = lines.next().expect("a line").expect("text");
    assert!(
        line.contains("Z chardev-marked con0 offset=0 by=") && line.ends_with("text=yes"),
        "{line}"
    );
    let object = loop {
        let line = objects.next().expect("a line").expect("text");
        let object = Json::parse(&line).expect("JSON");
        if object.get("event").and_then(Json::as_str) == Some("X_CHARDEV_MARKED") {
            break object;
        }
    };
    let data = object.get("data").expect("data");
    assert_eq!(data.get("id").and_then(Json::as_str), Some("other"));
    for child in [&mut people, &mut program] {
        kill_process(Pid::from_child(child), Signal::INT).expect("a process");
        wait(child);
    }
}
