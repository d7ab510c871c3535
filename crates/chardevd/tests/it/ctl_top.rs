//! `chardevctl top` on a terminal, with a terminal's screen as the judge.

use chardev::screen::Snapshot;
use rustix::process::Signal;

use crate::ctl_rig::{Attached, Daemon, blank, text};

fn has(shown: &Snapshot, wanted: &str) -> bool {
    rows(shown).iter().any(|row| row.contains(wanted))
}

fn rows(shown: &Snapshot) -> Vec<String> {
    let rows = 0..usize::from(shown.size().rows());
    rows.map(|row| shown.row_text(row)).collect()
}

/// The row that is chosen.
fn chosen(shown: &Snapshot) -> Option<String> {
    let rows = 0..usize::from(shown.size().rows());
    let mut reversed = rows.filter(|row| shown.runs(*row).iter().any(|run| run.style.reverse));
    reversed.next().map(|row| shown.row_text(row))
}

fn top(daemon: &Daemon) -> Attached {
    Attached::begin(daemon.command().args(["top", "--delay", "0.1"]))
}

fn daemon() -> Daemon {
    let busy = "exec,chardev=busy,command=while :; do echo xxxxxxxxxxxxxxxxxxxx; done";
    let quiet = "exec,chardev=con0,command=PS1=ready: exec sh";
    Daemon::with(&[
        "--chardev",
        "null,id=busy",
        "--chardev",
        "ringbuf,id=con0",
        "--device",
        busy,
        "--device",
        quiet,
    ])
}

#[test]
fn it_shows_rates_is_resized_takes_keys_and_leaves_the_terminal_as_it_was() {
    let daemon = daemon();
    let mut attached = top(&daemon);
    let mut shown = blank();
    attached.show(&mut shown, "the consoles and a rate", |shown| {
        let rows = rows(shown);
        let busy = rows.iter().find(|row| row.starts_with("busy"));
        rows[0].starts_with("3 consoles")
            && busy.is_some_and(|row| row.contains('k') || row.contains('M'))
    });
    assert!(attached.is_raw());
    // The chosen one, and the choice moves.
    assert!(chosen(&shown.snapshot()).is_some_and(|row| row.starts_with("busy")));
    attached.type_in(b"\x1b[B");
    attached.show(&mut shown, "the next", |shown| {
        chosen(shown).is_some_and(|row| row.starts_with("con0"))
    });
    // The console's last output.
    attached.type_in(b"l");
    attached.show(&mut shown, "its output", |shown| has(shown, "ready:"));
    // Another back end, after a mistake.
    attached.type_in(b"cnosuch\r");
    attached.show(&mut shown, "the mistake", |shown| {
        has(shown, "is not a valid char driver name")
    });
    attached.type_in(b"cnulx\x7fl\r");
    attached.show(&mut shown, "the change", |shown| {
        has(shown, "con0: changed") && chosen(shown).is_some_and(|row| row.contains(" null "))
    });
    // Another size.
    attached.resize(60, 12);
    attached.signal(Signal::WINCH);
    let size = chardev::screen::Size::new(60, 12).expect("a size");
    let mut small = chardev::screen::Screen::new(size);
    small.feed_all(b"\x1b[?1049h");
    attached.show(&mut small, "the smaller one", |shown| {
        shown.row_text(0).starts_with("3 consoles") && shown.row_text(11).contains("con0: changed")
    });
    attached.type_in(b"q");
    assert!(attached.wait().success());
    assert!(!attached.is_raw());
    attached.show(&mut small, "the screen as it was", |shown| {
        shown.cursor().visible && shown.row_text(0).is_empty()
    });
}

/// QEMU's `wait=on`: the screen goes on, and so does the console until somebody comes.
#[test]
fn a_server_that_waits_for_its_first_client_does_not_hold_up_the_screen() {
    let daemon = daemon();
    let mut attached = top(&daemon);
    let mut shown = blank();
    attached.show(&mut shown, "the consoles", |shown| has(shown, "con0"));
    let path = daemon.dir().join("first");
    let change = format!("csocket,path={},server=on\r", path.display());
    let waits = |shown: &Snapshot| has(shown, "con0: waits for the first client at ");
    attached.type_in(b"j");
    attached.type_in(change.as_bytes());
    attached.show(&mut shown, "what is waited for", waits);
    attached.type_in(b"l");
    attached.show(&mut shown, "its output meanwhile", |shown| {
        has(shown, "ready:")
    });
    attached.type_in(b"l\x1b");
    attached.show(&mut shown, "it is given up", |shown| {
        has(shown, "con0: given up") && chosen(shown).is_some_and(|row| row.contains("ringbuf"))
    });
    attached.type_in(change.as_bytes());
    attached.show(&mut shown, "what is waited for", waits);
    let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    attached.show(&mut shown, "the change", |shown| {
        has(shown, "con0: changed") && chosen(shown).is_some_and(|row| row.contains("unix:"))
    });
    attached.type_in(b"q");
    assert!(attached.wait().success());
}

#[test]
fn it_attaches_and_comes_back() {
    let daemon = daemon();
    let mut attached = top(&daemon);
    let mut shown = blank();
    attached.show(&mut shown, "the consoles", |shown| has(shown, "con0"));
    attached.type_in(b"j\r");
    attached.show(&mut shown, "the console", |shown| {
        has(shown, "[con0: attached; Ctrl-] ? for help]")
    });
    attached.type_in(b"echo $((6 * 7))x\r");
    attached.show(&mut shown, "an answer", |shown| has(shown, "42x"));
    attached.type_in(b"\x1d.");
    attached.show(&mut shown, "top again", |shown| {
        shown.row_text(0).starts_with("3 consoles") && !has(shown, "42x")
    });
    assert!(chosen(&shown.snapshot()).is_some_and(|row| row.starts_with("con0")));
    attached.signal(Signal::TERM);
    assert_eq!(attached.wait().code(), None);
    assert!(!attached.is_raw());
}

#[test]
fn without_a_terminal_it_says_so() {
    let daemon = daemon();
    let output = daemon.ctl(&["top"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("top needs a terminal\n"));
}
