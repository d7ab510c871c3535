//! The log: rotated, renamed, truncated, reopened and indexed while it is written.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::{self, DEADLINE, add, change, text, wait_for};
use chardev::spec::{OptionValue, Options};
use chardev::{BlockingFrontEnd, ChangeError, Chardevs, FrontEnd, ReopenError};

fn logged(kind: &'static str, log: &Path) -> Options {
    Options::new(kind)
        .with("logfile", text(log))
        .with("logappend", OptionValue::Bool(true))
}

fn rotated(log: &Path, size: i64, count: i64) -> Options {
    logged("null", log)
        .with("x-logsize", OptionValue::Int(size))
        .with("x-logcount", OptionValue::Int(count))
}

fn console(options: &Options) -> (Chardevs, FrontEnd) {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    (chardevs, front)
}

fn print(front: &FrontEnd, text: &str) {
    let taken = front.write_all(text.as_bytes(), Some(DEADLINE)).unwrap();
    assert_eq!(taken, text.len());
}

/// Numbered lines of different lengths.
fn lines(numbers: std::ops::Range<u32>) -> String {
    let line = |number: u32| format!("{number} {}\n", "=".repeat(number as usize * 7 % 120));
    numbers.map(line).collect()
}

fn numbered(log: &Path, number: usize) -> PathBuf {
    PathBuf::from(format!("{}.{number}", log.display()))
}

/// The content of the newest file and of all older ones, oldest first.
fn files(log: &Path) -> Vec<String> {
    let older = (1..).map(|number| fs::read_to_string(numbered(log, number)));
    let mut files: Vec<String> = older.map_while(Result::ok).collect();
    files.reverse();
    files.push(fs::read_to_string(log).unwrap_or_default());
    files
}

fn wait_files(log: &Path, content: &str) -> Vec<String> {
    wait_for("the log", || {
        (files(log).concat() == content).then(|| files(log))
    })
}

fn reopen(chardevs: &Chardevs) -> Result<(), ReopenError> {
    chardevs.block_on(chardevs.reopen_logs(Some("con0")))
}

#[test]
fn a_log_is_never_larger_than_its_limit_and_is_cut_between_lines() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let (chardevs, front) = console(&rotated(&log, 4096, 100));
    for round in 0..50 {
        print(&front, &lines(round * 40..round * 40 + 40));
        if round % 10 == 5 {
            // The log stays with the chardev.
            change(&chardevs, "con0", &common::ring(64)).unwrap();
        }
    }
    let all = lines(0..2000);
    let files = wait_files(&log, &all);
    assert!(files.len() > all.len() / 4096);
    for file in &files {
        assert!(
            file.len() <= 4096 && file.ends_with('\n'),
            "{} bytes",
            file.len()
        );
    }
}

#[test]
fn a_line_longer_than_the_limit_is_cut_and_old_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let (_chardevs, front) = console(&rotated(&log, 4096, 2));
    let long: String = (0..3000).map(|number| format!("{number:09} ")).collect();
    print(&front, &long);
    let whole = long.len() / 4096;
    let kept = &long[(whole - 2) * 4096..];
    let files = wait_files(&log, kept);
    let sizes: Vec<usize> = files.iter().map(String::len).collect();
    assert_eq!(sizes, [4096, 4096, long.len() % 4096]);
    assert!(!numbered(&log, 3).exists());
}

#[test]
fn with_no_old_files_the_log_is_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let (_chardevs, front) = console(&rotated(&log, 4096, 0));
    print(&front, &lines(0..500));
    let all = lines(0..500);
    wait_for("the last lines", || {
        let content = fs::read_to_string(&log).unwrap();
        let ends = !content.is_empty() && content.len() <= 4096 && all.ends_with(&content);
        ends.then_some(())
    });
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_renamed_log_goes_on_until_it_is_reopened_and_no_byte_moves() {
    let dir = tempfile::tempdir().unwrap();
    let (log, old) = (dir.path().join("log"), dir.path().join("old"));
    let (chardevs, front) = console(&logged("null", &log));
    for round in 0..50u32 {
        let (before, after) = (lines(round..round + 20), lines(round + 20..round + 60));
        let already = fs::read_to_string(&log).unwrap();
        print(&front, &before);
        fs::rename(&log, &old).unwrap();
        print(&front, &after);
        reopen(&chardevs).unwrap();
        print(&front, "new\n");
        let expected = already + &before + &after;
        wait_for("the old log", || {
            (fs::read_to_string(&old).unwrap() == expected).then_some(())
        });
        wait_for("the new log", || {
            (fs::read_to_string(&log).unwrap() == "new\n").then_some(())
        });
    }
}

#[test]
fn a_log_that_was_copied_and_truncated_has_no_hole() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let (_chardevs, front) = console(&rotated(&log, 1 << 20, 1));
    print(&front, &lines(0..100));
    wait_files(&log, &lines(0..100));
    fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&log)
        .unwrap();
    print(&front, &lines(100..200));
    wait_files(&log, &lines(100..200));
}

#[test]
fn reopening_says_what_is_wrong_and_the_old_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let log = folder.join("log");
    let (chardevs, front) = console(&logged("null", &log));
    let moved = dir.path().join("moved");
    fs::rename(&folder, &moved).unwrap();
    let error = reopen(&chardevs).unwrap_err().to_string();
    let expected = format!(
        "Could not reopen log file '{}': No such file or directory; still writing to the old \
         file, will retry",
        log.display()
    );
    assert_eq!(error, expected);
    print(&front, "goes on\n");
    wait_files(&moved.join("log"), "goes on\n");
    // It is tried again until it works, without anybody asking.
    fs::create_dir(&folder).unwrap();
    wait_for("the new log", || log.exists().then_some(()));
    let old = fs::read_to_string(moved.join("log")).unwrap();
    let mut all = old.clone();
    wait_for("a line in the new log", || {
        print(&front, "line\n");
        all += "line\n";
        (fs::metadata(&log).unwrap().len() > 0).then_some(())
    });
    wait_for("all of it", || {
        let old = fs::read_to_string(moved.join("log")).unwrap();
        (old + &fs::read_to_string(&log).unwrap() == all).then_some(())
    });
    add(&chardevs, "con1", &Options::new("null"));
    for (id, expected) in [
        ("none", "Chardev 'none' not found"),
        (
            "con1",
            "Chardev 'con1' has no log file with a path; give it one with 'logfile' in a chardev-change",
        ),
    ] {
        let error = chardevs
            .block_on(chardevs.reopen_logs(Some(id)))
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_successor_with_the_same_log_waits_and_follows_its_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let options = rotated(&log, 8192, 500);
    let (chardevs, front) = console(&options);
    let mut all = String::new();
    for round in 0..40 {
        let text = lines(round * 500..round * 500 + 500);
        print(&front, &text);
        all += &text;
        change(&chardevs, "con0", &options).unwrap();
    }
    let files = wait_files(&log, &all);
    assert!(files.iter().all(|file| file.len() <= 8192));
}

#[test]
fn an_index_tells_offset_time_and_place_of_each_line() {
    check_index(false);
}

/// Whoever prints a line in pieces may find it cut by a full file; its rest is a line of the next
/// one.
#[test]
fn an_index_tells_of_the_rest_of_a_line_that_was_cut() {
    check_index(true);
}

/// The lines of an index that stand for lines of the log: the change to it has one as well.
fn entries(index: &str) -> impl Iterator<Item = &str> {
    index.lines().filter(|line| !line.contains(" change "))
}

fn check_index(in_pieces: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (log, index) = (dir.path().join("log"), dir.path().join("index"));
    let options = rotated(&log, 4096, 3).with("x-logindex", text(&index));
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &Options::new("null"));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    // What comes before the log counts for the offsets.
    print(&front, "unlogged");
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    change(&chardevs, "con0", &options).unwrap();
    let all = lines(0..100);
    let mut printed = 0;
    for piece in all.as_bytes().chunks(37) {
        print(&front, std::str::from_utf8(piece).unwrap());
        printed += piece.len();
        if in_pieces {
            wait_files(&log, &all[..printed]);
        }
    }
    let parts = wait_files(&log, &all);
    assert!(parts.len() > 1);
    let is_cut = parts.iter().any(|part| !part.ends_with('\n'));
    assert!(is_cut || !in_pieces, "no line is cut");
    let count: usize = parts
        .iter()
        .map(|part| part.split_inclusive('\n').count())
        .sum();
    let indexes = wait_for("the index", || {
        let indexes = files(&index);
        (entries(&indexes.concat()).count() == count).then_some(indexes)
    });
    let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (mut offset, mut last_time) = (8, began.as_secs_f64() - 0.001);
    for (part, index) in parts.iter().zip(&indexes) {
        let mut place = 0;
        for (line, entry) in part.split_inclusive('\n').zip(entries(index)) {
            let fields: Vec<&str> = entry.split(' ').collect();
            let time: f64 = fields[1].parse().unwrap();
            assert_eq!(
                (fields[0], fields[2]),
                (&*offset.to_string(), &*place.to_string())
            );
            assert!(time >= last_time && time <= ended.as_secs_f64(), "{entry}");
            last_time = time;
            offset += line.len();
            place += line.len();
        }
    }
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let (chardevs, _front) = console(&Options::new("null"));
    let number = OptionValue::Int;
    let null = || Options::new("null");
    for (options, expected) in [
        (
            null().with("x-logsize", number(4096)),
            "Parameter 'x-logsize' needs a log; add 'logfile'",
        ),
        (
            null().with("x-logindex", text(&log)),
            "Parameter 'x-logindex' needs a log; add 'logfile'",
        ),
        (
            logged("null", &log).with("x-logcount", number(2)),
            "Parameter 'x-logcount' needs a size; add 'x-logsize'",
        ),
        (
            rotated(&log, 4095, 1),
            "Parameter 'x-logsize' expects a number from 4096 to 9223372036854775807",
        ),
        (
            rotated(&log, 4096, 1001),
            "Parameter 'x-logcount' expects a number from 0 to 1000",
        ),
        (
            logged("null", &log).with("x-logindex", text(dir.path().join("no/index"))),
            &format!(
                "Could not create '{}/no/index': No such file or directory",
                dir.path().display()
            ),
        ),
    ] {
        let error = change(&chardevs, "con0", &options).unwrap_err();
        assert_eq!(error, ChangeError::Open(expected.into()));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_log_that_holds_on_a_full_disk_holds_the_console_until_another_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let hold = OptionValue::Str("hold".to_owned());
    let options = logged("null", Path::new("/dev/full")).with("x-log-full", hold);
    let (chardevs, front) = console(&options);
    let block = "x".repeat(1 << 16);
    let mut taken = 0;
    let moment = Some(Duration::from_millis(300));
    let end = std::time::Instant::now() + DEADLINE;
    loop {
        let count = front.write_all(block.as_bytes(), moment).unwrap();
        taken += count as u64;
        if count < block.len() {
            break;
        }
        assert!(std::time::Instant::now() < end, "a full log holds nobody");
    }
    let stats = chardevs.stats("con0").unwrap();
    assert_eq!(stats.output_accepted, taken);
    change(&chardevs, "con0", &logged("null", &log)).unwrap();
    print(&front, "on\n");
    wait_files(&log, "on\n");
}

#[test]
fn a_fifo_as_a_log_gives_its_late_reader_everything() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    // Limits mean nothing to it.
    let (chardevs, front) = console(&rotated(&fifo, 4096, 1));
    let all = lines(0..3000);
    print(&front, &all);
    reopen(&chardevs).unwrap();
    print(&front, "reopened\n");
    let mut reader = fs::File::open(&fifo).unwrap();
    let mut got = vec![0; all.len() + 9];
    reader.read_exact(&mut got).unwrap();
    assert!(got == (all + "reopened\n").into_bytes());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_terminal_as_a_log_gets_every_byte_and_may_stall() {
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
    let (mut cable, name) = common::terminal();
    let mut settings = tcgetattr(&cable).unwrap();
    settings.make_raw();
    tcsetattr(&cable, OptionalActions::Now, &settings).unwrap();
    let (chardevs, front) = console(&logged("null", Path::new(&name)));
    // More than a terminal holds: the log's queue has the rest, and nobody waits for the reader.
    let all = lines(0..300);
    print(&front, &all);
    change(&chardevs, "con0", &common::ring(64)).unwrap();
    print(&front, "after a change\n");
    let mut got = vec![0; all.len() + 15];
    cable.read_exact(&mut got).unwrap();
    assert!(got == (all + "after a change\n").into_bytes());
}
