//! `chardevctl send` and `chardevctl expect`: scripts at a console that miss nothing and disturb
//! nobody.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Output;

use chardev_qapi::Json;

use crate::ctl_rig::{Attached, Daemon, LIMIT, text, until};

/// A daemon with a shell behind `con0`, of whose output 64 KiB are kept.
fn with_shell(backend: &str) -> Daemon {
    let backend = format!("{backend},id=con0,x-history=65536");
    let device = "exec,chardev=con0,command=PS1=ready: exec sh";
    Daemon::with(&["--chardev", &backend, "--device", device])
}

/// `chardevctl expect con0` with a time-out that only a mistake reaches.
fn expect(daemon: &Daemon, arguments: &[&str]) -> Output {
    let common = ["expect", "con0", "--timeout", "20"];
    daemon.ctl(&[&common, arguments].concat())
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// The offset that a line begins with.
fn offset(line: &str) -> &str {
    line.split(' ').next().expect("a word")
}

#[test]
fn patterns_and_answers_take_turns_and_no_output_is_missed_between_calls() {
    let daemon = with_shell("ringbuf");
    let first = printed(&expect(&daemon, &["--from", "0", "ready:"]));
    assert_eq!(first, "6 ready:\n");
    // Everything has been printed before it is looked for.
    let sent = daemon.succeed(&["send", "con0", r"echo $((6 * 7))x $((6 * 8))y\r"]);
    assert_eq!(sent, "6 sent 29 bytes\n");
    let next = printed(&expect(&daemon, &["--from", offset(&sent), "[0-9]+x"]));
    assert!(next.ends_with(" 42x\n"), "{next}");
    let next = printed(&expect(
        &daemon,
        &["--from", offset(&next), "[0-9]+y", "^ready:"],
    ));
    let lines: Vec<&str> = next.lines().collect();
    assert!(
        lines[0].ends_with(" 48y") && lines[1].ends_with(" ready:"),
        "{next}"
    );

    let steps = [
        "--send",
        r"echo $((5 * 5))x\r",
        "(2.)x",
        "--send",
        r"exit 3\r",
    ];
    let said = printed(&expect(&daemon, &[&steps[..], &["--json"]].concat()));
    let found = Json::parse(&said).expect("JSON");
    let text_of = |name| found.get(name).and_then(Json::as_str);
    assert_eq!(
        (text_of("pattern"), text_of("match")),
        (Some("(2.)x"), Some("25x"))
    );
    assert_eq!(
        found.get("groups").map(Json::to_string).as_deref(),
        Some(r#"["25"]"#)
    );
    let ends =
        ["offset", "next"].map(|name| found.get(name).and_then(Json::as_u64).expect("a number"));
    assert_eq!(ends[1] - ends[0], 3);
}

#[test]
fn what_is_waited_for_in_vain_is_said_with_its_status() {
    let daemon = with_shell("ringbuf");
    printed(&expect(&daemon, &["--from", "0", "ready:"]));
    let failed = |arguments: &[&str], status: i32, words: &str| {
        let output = daemon.ctl(&[&["expect", "con0"], arguments].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert_eq!(text(&output.stdout), "");
    };
    failed(
        &["--timeout", "0.1", "never"],
        4,
        "nothing matched 'never' within 0.1 s (--timeout); there was no output after offset 6",
    );
    failed(
        &["--timeout", "1", "--from", "oldest", "-F", "(x"],
        4,
        "the output from offset 0 to 6 ends in 'ready:'",
    );
    failed(
        &["--from", "99", "x"],
        1,
        "has no output at offset 99 yet: its output ends at 6",
    );
    failed(&["(x"], 2, "with -F patterns are plain text");
    failed(&["x*"], 2, "'x*' matches nothing at all");
    failed(&["x", "--send", r"\q"], 2, r"'\q' is no escape");
    // More than is kept, all of which has been printed by then.
    let line = r"i=0; while test $i -lt 20000; do echo $i; i=$((i + 1)); done; echo e''nd\r";
    daemon.succeed(&["send", "con0", line]);
    let mut end = String::new();
    until("it is printed", || {
        let last = [
            "expect",
            "con0",
            "--timeout",
            "1",
            "--from",
            "-1000",
            "end\r\n",
        ];
        let output = daemon.ctl(&last);
        end = text(&output.stdout);
        output.status.success()
    });
    failed(&["--from", "0", "x"], 1, "the output from offset 0 to ");
    failed(
        &["--from", "0", "x"],
        1,
        "keep more with the option x-history=SIZE",
    );
    printed(&expect(&daemon, &["--from", offset(&end), "ready:"]));
    // Whoever waits is told of the end, and what came before it counts.
    let exit = ["--send", r"echo l''ast; exit 3\r", "last", "never"];
    let output = expect(&daemon, &exit);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    assert!(text(&output.stdout).ends_with(" last\n"));
    let output = expect(&daemon, &["--send", "x", "x"]);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
}

#[test]
fn the_peer_is_not_disturbed_and_loses_nothing_it_types() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("peer");
    let backend = format!("socket,path={},server=on,wait=off", path.display());
    let backend = format!("{backend},id=con0,x-history=65536");
    let device = "exec,chardev=con0,command=stty raw -echo; echo begin; exec cat";
    let daemon = Daemon::with(&["--chardev", &backend, "--device", device]);
    let mut peer = UnixStream::connect(&path).expect("a peer");
    peer.set_read_timeout(Some(LIMIT)).expect("a time-out");
    printed(&expect(&daemon, &["--from", "0", "begin\r?\n"]));
    // What both type comes back, each in its order.
    let mut typing = peer.try_clone().expect("a descriptor");
    let typist = std::thread::spawn(move || {
        for _ in 0..2000 {
            typing.write_all(b"ABCDEFGHIJ").expect("the peer types");
        }
    });
    for _ in 0..20 {
        daemon.succeed(&["send", "con0", "0123456789"]);
    }
    typist.join().expect("the peer has typed");
    daemon.succeed(&["send", "con0", "."]);
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while !all.ends_with(b".") && all.len() < 30_000 {
        let count = peer.read(&mut buffer).expect("the peer is still connected");
        assert!(count > 0, "the peer was disconnected");
        all.extend_from_slice(&buffer[..count]);
    }
    let all = text(&all);
    let only = |wanted: fn(&char) -> bool| all.chars().filter(wanted).collect::<String>();
    let letters = only(char::is_ascii_uppercase);
    assert!(letters == "ABCDEFGHIJ".repeat(2000), "what the peer typed");
    let digits = only(char::is_ascii_digit);
    assert_eq!(digits, "0123456789".repeat(20));
}

#[test]
fn what_is_sent_to_a_front_end_that_does_not_read_is_said_to_wait() {
    let daemon = Daemon::with(&["--chardev", "ringbuf,id=con0"]);
    let output = daemon.ctl(&["send", "con0", "--timeout", "2", "hello"]);
    assert_eq!(output.status.code(), Some(4));
    let said = text(&output.stderr);
    assert!(
        said.contains("con0: 5 bytes are queued that its front end has not read in time"),
        "{said}"
    );
    let output = daemon.ctl(&["send", "con0", "--timeout", "2", &"x".repeat(100_000)]);
    let said = text(&output.stderr);
    let mut left = 0;
    let rest = said
        .split("; for another ")
        .nth(1)
        .and_then(|it| it.split(' ').next());
    left += rest.and_then(|it| it.parse::<usize>().ok()).unwrap_or(0);
    assert!(left > 0, "{said}");
    // A front end that comes later gets all of it.
    let device = "exec,chardev=con0,command=stty raw -echo; head -c 5";
    daemon.succeed(&["device", "add", device]);
    until("it is read", || {
        daemon.succeed(&["qmp", "ringbuf-read", r#"{"device": "con0", "size": 5}"#])
            == "\"hello\"\n"
    });
}

#[test]
fn a_slow_typist_takes_its_time() {
    let daemon = with_shell("ringbuf");
    let began = std::time::Instant::now();
    let sent = daemon.succeed(&["send", "con0", "--pace", "20", "--json", r"echo ok\r"]);
    assert!(began.elapsed() >= std::time::Duration::from_millis(8 * 20));
    let sent = Json::parse(&sent).expect("JSON");
    assert_eq!(sent.get("sent").and_then(Json::as_u64), Some(8));
    printed(&expect(&daemon, &["--from", "oldest", "ok\r?\nready:"]));
}

#[test]
fn on_a_terminal_what_takes_long_says_how_far_it_is_and_leaves_no_trace() {
    let daemon = with_shell("ringbuf");
    let wait = ["expect", "con0", "--from", "0", "--timeout", "3", "never"];
    let mut waiting = Attached::begin(daemon.command().args(wait));
    waiting.wait_for("con0: waiting for 'never' (6 bytes so far: ready:)");
    waiting.wait_for("\r\x1b[Kchardevctl: con0: nothing matched 'never' within 3 s");
    assert_eq!(waiting.wait().code(), Some(4));
    let words = "x".repeat(60);
    let mut sending = Attached::begin(
        daemon
            .command()
            .args(["send", "con0", "--pace", "25", &words]),
    );
    sending.wait_for(" of 60 bytes sent");
    sending.wait_for("\r\x1b[K6 sent 60 bytes");
}
