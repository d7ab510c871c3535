//! The back end `file` and the log, with real files.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{DEADLINE, add, change, read_until, ring, text, wait_for};
use chardev::spec::{OptionValue, Options};
use chardev::{Answers, BlockingFrontEnd, Chardevs, Event, FrontEndHooks};

fn wait_content(path: &std::path::Path, content: &str) {
    wait_for(content, || {
        (fs::read_to_string(path).ok()? == content).then_some(())
    });
}

#[test]
fn a_file_is_truncated_or_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    fs::write(&path, "old ").unwrap();
    let chardevs = Chardevs::new().unwrap();
    let options = Options::new("file").with("out", text(&path));
    add(
        &chardevs,
        "con0",
        &options.clone().with("append", OptionValue::Bool(true)),
    );
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    front.write(b"more");
    wait_content(&path, "old more");
    change(&chardevs, "con0", &options).unwrap();
    front.write(b"new");
    wait_content(&path, "new");
}

/// Writes to a file while a change to it is decided.
struct Meddles(PathBuf);

impl FrontEndHooks for Meddles {
    fn backend_change(&self, _: &Answers) -> Result<(), String> {
        fs::write(&self.0, "of somebody else, and longer").map_err(|error| error.to_string())
    }
}

#[test]
fn what_somebody_writes_before_the_change_is_made_is_not_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    fs::write(&path, "").unwrap();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &Options::new("null"));
    let hooks = Arc::new(Meddles(path.clone()));
    let front = chardevs.front_end("con0", hooks).unwrap();
    let to_file = Options::new("file").with("out", text(&path));
    change(&chardevs, "con0", &to_file).unwrap();
    front.write_all(b"ours", Some(DEADLINE)).unwrap();
    wait_content(&path, "ours");
}

#[test]
fn changes_of_a_file_to_itself_keep_everything_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let options = Options::new("file")
        .with("out", text(&path))
        .with("append", OptionValue::Bool(true));
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let mut expected = String::new();
    for round in 0..50 {
        let text = format!("{round:07}\n").repeat(2000);
        assert_eq!(
            front.write_all(text.as_bytes(), Some(DEADLINE)).unwrap(),
            text.len()
        );
        expected.push_str(&text);
        change(&chardevs, "con0", &options).unwrap();
    }
    chardevs.block_on(chardevs.shut_down(DEADLINE));
    wait_for("the file", || {
        (fs::metadata(&path).unwrap().len() >= expected.len() as u64).then_some(())
    });
    assert!(
        fs::read_to_string(&path).unwrap() == expected,
        "bytes moved or are missing"
    );
}

#[test]
fn input_comes_from_another_file_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("in"), "typed").unwrap();
    let options = Options::new("file")
        .with("out", text(dir.path().join("out")))
        .with("in", text(dir.path().join("in")));
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);
    assert_eq!(read_until(&front, 5), b"typed");
    assert_eq!(front.read(&mut [0; 8]), 0);
    assert_eq!(wait_for("closed", || front.next_event()), Event::Closed);
    assert_eq!(front.write(b"goes on"), 7);
    wait_content(&dir.path().join("out"), "goes on");
}

#[test]
fn a_failed_change_creates_and_truncates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &ring(64));
    let options = Options::new("file")
        .with("out", text(dir.path().join("new")))
        .with("logfile", text(dir.path().join("log")))
        .with("in", text(dir.path().join("missing")));
    change(&chardevs, "con0", &options).unwrap_err();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_log_goes_on_through_changes_and_holds_each_byte_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &ring(64).with("logfile", text(&log)));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    front.write(b"one ");
    change(&chardevs, "con0", &Options::new("null")).unwrap();
    front.write(b"two ");
    change(&chardevs, "con0", &Options::new("pty")).unwrap();
    front.write(b"three");
    wait_content(&log, "one two three");
    let other = dir.path().join("other");
    change(&chardevs, "con0", &ring(64).with("logfile", text(&other))).unwrap();
    front.write(b"four");
    wait_content(&other, "four");
    wait_content(&log, "one two three");
}

#[test]
fn a_full_disk_holds_the_device_and_loses_nothing_silently() {
    let chardevs = Chardevs::new().unwrap();
    add(
        &chardevs,
        "con0",
        &Options::new("file").with("out", text("/dev/full")),
    );
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    front
        .write_all(b"refused", Some(Duration::from_millis(100)))
        .unwrap();
    let stats = front.stats();
    assert_eq!(
        stats.output_accepted,
        stats.output_delivered + stats.output_discarded
    );
    change(&chardevs, "con0", &ring(64)).unwrap();
    assert_eq!(front.write(b"ok"), 2);
}

fn make_fifo(path: &std::path::Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn fifos_as_out_and_in_need_nobody_at_the_other_end() {
    let dir = tempfile::tempdir().unwrap();
    let (out, input) = (dir.path().join("out"), dir.path().join("in"));
    make_fifo(&out);
    make_fifo(&input);
    let chardevs = Chardevs::new().unwrap();
    let options = Options::new("file")
        .with("out", text(&out))
        .with("in", text(&input));
    add(&chardevs, "con0", &options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);
    assert_eq!(front.write(b"early"), 5);
    assert_eq!(front.read(&mut [0; 8]), 0);
    assert_eq!(
        front.next_event(),
        None,
        "no writer yet is not the end of the input"
    );
    fs::write(&input, "typed").unwrap();
    assert_eq!(read_until(&front, 5), b"typed");
    assert_eq!(front.read(&mut [0; 8]), 0);
    assert_eq!(wait_for("closed", || front.next_event()), Event::Closed);

    // Its reader comes after the change and still gets everything, then the end.
    change(&chardevs, "con0", &ring(64)).unwrap();
    assert_eq!(fs::read(&out).unwrap(), b"early");
}

#[test]
fn input_not_read_before_a_change_comes_before_anything_later() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    make_fifo(&first);
    make_fifo(&second);
    let null = Options::new("file").with("out", text("/dev/null"));
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &null.clone().with("in", text(&first)));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let mut peer = fs::OpenOptions::new().write(true).open(&first).unwrap();
    std::io::Write::write_all(&mut peer, b"one ").unwrap();
    change(&chardevs, "con0", &null.with("in", text(&second))).unwrap();
    fs::write(&second, "two").unwrap();
    assert_eq!(read_until(&front, 7), b"one two");
}
