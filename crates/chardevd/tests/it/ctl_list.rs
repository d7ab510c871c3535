//! `chardevctl list`: what there is, in columns, once and again and again.

use std::io::{BufRead, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use chardev::screen::{Screen, Size};
use chardev_qapi::Json;

use crate::config_start::Configured;
use crate::ctl_rig::{Attached, Daemon, blank, chardevctl, text, until, wait};

fn row<'a>(list: &'a str, id: &str) -> &'a str {
    let row = list.lines().find(|line| line.starts_with(id));
    row.unwrap_or_else(|| panic!("no {id} in {list}"))
}

#[test]
fn a_row_says_where_it_goes_who_is_there_what_was_dropped_and_what_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("控制台");
    let socket = format!("socket,id=wide,path={},server=on,wait=off", path.display());
    let daemon = Daemon::with(&[
        "--chardev",
        &socket,
        "--chardev",
        "null,id=con0",
        "--chardev",
        "pty,id=lost",
        "--device",
        "exec,chardev=con0,command=exec cat",
        "--device",
        "exec,chardev=lost,command=printf 12345; exit 3",
    ]);
    let _peer = UnixStream::connect(&path).expect("a peer");
    let attached = Attached::new(&daemon);
    until("all is there", || {
        let list = daemon.succeed(&["list"]);
        list.contains("status 3 (printf 12345; exit 3)") && row(&list, "wide").contains("pid ")
    });
    let list = daemon.succeed(&["list"]);
    let con0 = row(&list, "con0");
    assert!(
        con0.contains(&format!("pid {},", attached.child.id())),
        "{list}"
    );
    assert!(con0.ends_with("open: exec cat"), "{list}");
    let lost: Vec<&str> = row(&list, "lost").split_whitespace().collect();
    assert_eq!(lost[3..8], ["-", "0", "5", "0", "5"], "{list}");
    // The columns begin where their names do, as a terminal counts columns.
    let mut shown = Screen::new(Size::new(400, 10).expect("a size"));
    shown.feed_all(list.replace('\n', "\r\n").as_bytes());
    let shown = shown.snapshot();
    let column = |row: usize, wanted: &str| {
        let cells: Vec<char> = shown.row(row).map(|cell| cell.ch).collect();
        let wanted: Vec<char> = wanted.chars().collect();
        cells
            .windows(wanted.len())
            .position(|cells| cells == wanted)
    };
    let number = list.lines().position(|line| line.starts_with("wide"));
    let number = number.expect("a row");
    assert_eq!(column(number, "yes"), column(0, "OPEN"), "{list}");
}

#[test]
fn parts_of_a_console_are_listed_when_they_are_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let far = UnixListener::bind(dir.path().join("far")).expect("a socket");
    let configured = Configured::start_in(
        dir,
        "[console.board]\nsocket = 'unix:far'\nto = { kind = 'ringbuf', mux = true }\n\
         [console.shell]\nexec = 'exec cat'\n",
    );
    let run = |arguments: &[&str]| {
        let mut command = chardevctl();
        let command = command.arg("--socket").arg(configured.path("qmp"));
        let output = command.args(arguments).output().expect("chardevctl runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let ids = |list: &str| {
        let rows = list.lines().skip(1).map(str::split_whitespace);
        let ids = rows.filter_map(|mut row| row.next().map(str::to_owned));
        let mut ids: Vec<_> = ids.filter(|id| !id.starts_with("monitor")).collect();
        ids.sort();
        ids
    };
    let (peer, _) = far.accept().expect("the daemon connects");
    until("it is connected", || {
        row(&run(&["list"]), "board").ends_with("open: socket unix:far")
    });
    assert_eq!(ids(&run(&["list"])), ["board", "shell"]);
    let all = ["board", "board-base", "board-line", "shell"];
    assert_eq!(ids(&run(&["list", "--parts"])), all);
    let json = Json::parse(&run(&["list", "--json"])).expect("JSON");
    for entry in json.as_array().expect("a list") {
        let said = |name| entry.get(name).and_then(Json::as_str);
        let label = said("label").expect("a label");
        let part = ["board-base", "board-line"].contains(&label);
        assert_eq!(said("part-of"), part.then_some("board"), "{label}");
    }
    // Whoever looks at the console alone sees that its line is gone.
    drop((peer, far));
    until("it is not connected", || {
        row(&run(&["list"]), "board").ends_with("open: socket unix:far (not connected)")
    });
}

#[test]
fn a_long_list_fits_on_the_terminal_and_follows_what_happens() {
    let daemon = Daemon::with(&["--chardev", "null,id=con0"]);
    for number in 0..50 {
        let line = format!(
            "socket,id=c{number},path={},server=on,wait=off",
            daemon
                .dir()
                .join(format!("a-long-name-of-a-socket-{number}"))
                .display()
        );
        daemon.succeed(&["add", &line]);
    }
    let mut listing = Attached::begin(daemon.command().args(["list", "--watch=0.05"]));
    let mut shown = blank();
    listing.show(&mut shown, "the list", |shown| {
        shown.row_text(0).starts_with("ID") && shown.row_text(36).starts_with("… and ")
    });
    assert!(
        shown.snapshot().row_text(5).contains('…'),
        "{:?}",
        shown.snapshot()
    );
    daemon.succeed(&["change", "con0", "ringbuf"]);
    listing.show(&mut shown, "the change", |shown| {
        (0..36).any(|row| {
            shown.row_text(row).starts_with("con0") && shown.row_text(row).contains("ringbuf")
        })
    });
    listing.signal(rustix::process::Signal::INT);
    assert_eq!(listing.wait().code(), None);
}

#[test]
fn programs_follow_the_list_as_json_and_end_it_by_leaving() {
    let daemon = Daemon::with(&["--chardev", "null,id=con0"]);
    let mut child = daemon
        .command()
        .args(["list", "--json", "--watch=0.05"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("chardevctl runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || Json::parse(&lines.next().expect("a line").expect("text")).expect("JSON");
    let kind = |list: &Json| {
        let first = list.as_array().and_then(|all| all.first());
        first.and_then(|one| one.get("filename")?.as_str().map(str::to_owned))
    };
    assert_eq!(kind(&next()).as_deref(), Some("null"));
    daemon.succeed(&["change", "con0", "ringbuf"]);
    while kind(&next()).as_deref() != Some("ringbuf") {}
    drop(lines);
    assert!(wait(&mut child).success());
}
