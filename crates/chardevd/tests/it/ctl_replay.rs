//! `chardevctl attach` shows the console's last screen again, and what its menu does.

use chardev::screen::Snapshot;

use crate::ctl_rig::{Attached, Daemon, blank, text, until};

fn attach(daemon: &Daemon, arguments: &[&str]) -> Attached {
    Attached::begin(daemon.command().args(["attach", "con0"]).args(arguments))
}

fn has(shown: &Snapshot, wanted: &str) -> bool {
    rows(shown).iter().any(|row| row.contains(wanted))
}

fn rows(shown: &Snapshot) -> Vec<String> {
    (0..usize::from(shown.size().rows()))
        .map(|row| shown.row_text(row))
        .collect()
}

fn leave(mut attached: Attached) {
    attached.type_in(b"\x1d.");
    attached.wait_for("[con0: left]");
    assert!(attached.wait().success());
}

#[test]
fn the_lines_of_a_shell_are_shown_again_wherever_the_output_went_meanwhile() {
    for backend in ["ringbuf", "null", "pty"] {
        let backend = format!("{backend},id=con0");
        let device = "exec,chardev=con0,command=echo kept; printf '\\033[1;31mred\\033[m '; PS1=ready: exec sh";
        let daemon = Daemon::with(&["--chardev", &backend, "--device", device]);
        daemon.expect("ready:");
        for arguments in [&[][..], &["--share"], &["--read-only"]] {
            let mut attached = attach(&daemon, arguments);
            let mut shown = blank();
            attached.show(&mut shown, "the prompt", |shown| has(shown, "red ready:"));
            let all = rows(&shown.snapshot());
            let count = |wanted: &str| all.iter().filter(|row| row.contains(wanted)).count();
            assert_eq!((count("kept"), count("ready:")), (1, 1), "{all:?}");
            let row = all
                .iter()
                .position(|row| row.contains("ready:"))
                .expect("a row");
            assert_eq!(shown.snapshot().cursor().row, row);
            assert!(shown.snapshot().runs(row).iter().any(|run| run.style.bold));
            leave(attached);
        }
    }
}

#[test]
fn vim_is_shown_again_as_it_was() {
    let daemon = Daemon::with(&[
        "--chardev",
        "ringbuf,id=con0",
        "--device",
        "exec,chardev=con0,command=TERM=xterm-256color exec vim -u NONE -N text",
    ]);
    std::fs::write(daemon.dir().join("other"), "").expect("a file");
    let mut first = attach(&daemon, &[]);
    let mut shown = blank();
    // The size is given first, for which vim draws anew.
    first.show(&mut shown, "vim", |shown| {
        has(shown, "~") && !shown.row_text(35).is_empty()
    });
    first.type_in(b":set number\rione line\rand another\x1b1G");
    first.show(&mut shown, "the text", |shown| {
        has(shown, "  1 one line") && has(shown, "  2 and another") && shown.cursor().row == 0
    });
    let before = shown.snapshot();
    leave(first);
    let mut second = attach(&daemon, &[]);
    let mut shown = blank();
    second.show(&mut shown, "the same screen", |shown| {
        rows(shown) == rows(&before) && shown.cursor() == before.cursor()
    });
    second.type_in(b"x");
    second.show(&mut shown, "one letter less", |shown| {
        has(shown, "  1 ne line")
    });
    second.type_in(b":q!\r");
    second.wait_for("the program ended");
}

#[test]
fn there_is_no_seam_between_what_was_and_what_comes() {
    let count = "i=0; while :; do i=$((i + 1)); echo line $i; done";
    for arguments in [&[][..], &["--share"]] {
        let daemon = Daemon::running(count);
        until("it has printed much", || {
            let end = daemon.succeed(&["send", "con0", ""]);
            let end = end
                .split(' ')
                .next()
                .and_then(|end| end.parse::<u64>().ok());
            end.is_some_and(|end| end > 100_000)
        });
        let mut attached = attach(&daemon, arguments);
        let head = attached.wait_for("line ");
        assert!(head.contains("? for help"), "{head}");
        let mut last = None;
        for _ in 0..2000 {
            let number = attached.wait_for("\r\n");
            let number: u64 = number
                .trim_start_matches("line ")
                .parse()
                .expect("a number");
            assert!(
                last.is_none_or(|last| number == last + 1),
                "{number} after {last:?}"
            );
            last = Some(number);
        }
    }
}

#[test]
fn nothing_is_shown_again_where_nothing_is_kept_or_it_is_not_wanted() {
    let device = "exec,chardev=con0,command=echo begun; exec cat";
    let daemon = Daemon::with(&["--chardev", "null,id=con0", "--device", device]);
    daemon.expect("begun");
    let mut attached = attach(&daemon, &["--no-replay"]);
    attached.type_in(b"more\r");
    assert!(!attached.wait_for("more").contains("begun"));
    let daemon = Daemon::with(&[
        "--history",
        "0",
        "--chardev",
        "null,id=con0",
        "--device",
        device,
    ]);
    let mut attached = attach(&daemon, &[]);
    attached.type_in(b"more\r");
    attached.wait_for("more");
    let output = daemon.ctl(&["history", "con0"]);
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn the_menu_says_who_is_here_makes_read_only_and_marks() {
    let daemon = Daemon::start();
    let mut first = Attached::new(&daemon);
    let mut second = attach(&daemon, &["--share"]);
    second.wait_for("shared with others");
    first.type_in(b"\x1dw");
    let name = format!("pid {},", second.child.id());
    first.wait_for(&name);
    first.wait_for("share, for ");
    first.wait_for("viewers: 1]");
    first.type_in(b"\x1dr");
    first.wait_for("read only: what you type is not sent");
    first.type_in(b"echo $((6 * 7))x\r\x1dr");
    first.wait_for("what you type is sent again");
    first.type_in(b"echo $((6 * 8))y\r");
    assert!(!first.wait_for("48y").contains("42x"));
    first.type_in(b"\x1dm");
    first.wait_for("[con0] marker: ");
    first.type_in(b"herx\x7fe we are\r");
    for attached in [&mut first, &mut second] {
        attached.wait_for(": here we are]");
    }
    first.type_in(b"\x1dc");
    first.wait_for("change to KIND");
    first.type_in(b"ringbuf\x1b");
    first.wait_for("cancelled");
    first.type_in(b"\x1dcnosuch\r");
    first.wait_for("'chardevd --chardev help' lists the kinds");
    first.type_in(b"\x1dcringbuf,size=65536\r");
    first.wait_for("[con0: moved to ringbuf]");
    assert_eq!(first.wait().code(), Some(6));
}

#[test]
fn the_menu_sends_a_file_at_its_pace_and_says_how_far_it_is() {
    let daemon = Daemon::running("stty raw -echo; echo begun; exec cat");
    let mut attached = Attached::new(&daemon);
    attached.wait_for("begun");
    let path = daemon.dir().join("file");
    std::fs::write(&path, format!("{}end\n", "0123456789\n".repeat(500))).expect("a file");
    let path = path.display();
    attached.type_in(format!("\x1ds{path} 3000\r").as_bytes());
    attached.wait_for("5504 bytes; the escape key and s stop it]");
    attached.wait_for(" of 5504 bytes sent (");
    attached.wait_for("end");
    attached.wait_for(&format!("[con0: sent {path}, 5504 bytes]"));
    attached.type_in(format!("\x1ds{path} 10\r").as_bytes());
    attached.wait_for("stop it]");
    attached.type_in(b"\x1ds");
    attached.wait_for("[con0: stopped after ");
    attached.type_in(b"\x1ds/no/such\r");
    attached.wait_for("/no/such: No such file");
    leave(attached);
}
