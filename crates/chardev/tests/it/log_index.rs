//! An index whose writing hangs: neither the console nor the log waits for it.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::common::{DEADLINE, OneSet, text, wait_for};
use chardev::spec::{OptionValue, Options};
use chardev::{BlockingFrontEnd, Chardevs, FrontEnd};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

fn indexed(log: &Path) -> Options {
    Options::new("null")
        .with("logfile", text(log))
        .with("logappend", OptionValue::Bool(true))
        .with("x-logindex", OptionValue::Str("/dev/fdset/1".to_owned()))
}

/// A console whose index is a pipe, the reader of that, and the set with its other end.
fn console(options: &Options) -> (Chardevs, FrontEnd, File, Arc<OneSet>) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let set = Arc::new(OneSet(File::from(writer)));
    let chardevs = Chardevs::new().unwrap();
    let fds = Arc::clone(&set);
    chardevs
        .block_on(chardevs.add_with("con0", options, fds))
        .unwrap();
    // Writing to the same descriptor waits from now on, as on a disk that has gone.
    let flags = fcntl_getfl(&set.0).unwrap();
    fcntl_setfl(&set.0, flags - OFlags::NONBLOCK).unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    (chardevs, front, File::from(reader), set)
}

fn print(front: &FrontEnd, count: u32) -> String {
    let line = |number: u32| format!("{number} {}\n", "=".repeat(number as usize * 7 % 100));
    let all: String = (0..count).map(line).collect();
    for piece in all.as_bytes().chunks(1 << 12) {
        let taken = front.write_all(piece, Some(DEADLINE)).unwrap();
        assert_eq!(taken, piece.len(), "the console is held");
    }
    all
}

fn wait_content(log: &Path, content: &str) {
    wait_for("the log", || {
        (fs::read_to_string(log).unwrap() == content).then_some(())
    });
}

#[test]
fn an_index_that_hangs_holds_up_neither_log_nor_console() {
    const LINES: u32 = 60_000;
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let hold = OptionValue::Str("hold".to_owned());
    // A log that holds would hold the console.
    let options = indexed(&log).with("x-log-full", hold);
    let (chardevs, front, mut reader, set) = console(&options);
    let all = print(&front, LINES);
    wait_content(&log, &all);
    assert_eq!(chardevs.stats("con0").unwrap().log_lost, 0);
    // When it goes on, every line is in it, or told as left out.
    let mut index = String::new();
    let mut buf = vec![0; 1 << 16];
    let mut told = 0;
    while told < LINES {
        let count = reader.read(&mut buf).unwrap();
        index += std::str::from_utf8(&buf[..count]).unwrap();
        let whole = index.rfind('\n').map_or(0, |end| end + 1);
        let lines = index[..whole].lines();
        told = lines
            .map(|line| match line.split_once(" unindexed ") {
                Some((_, count)) => count.parse().unwrap(),
                None => 1,
            })
            .sum();
    }
    assert_eq!(told, LINES);
    drop(set);
}

#[test]
fn an_index_that_hangs_does_not_delay_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let (chardevs, front, _reader, _set) = console(&indexed(&log));
    // All of it finds room in front of the log; its index does not.
    let all = print(&front, 15_000);
    assert!(all.len() < 1 << 20);
    let began = Instant::now();
    chardevs.block_on(chardevs.shut_down(DEADLINE * 3));
    assert!(began.elapsed() < DEADLINE);
    assert_eq!(fs::read_to_string(&log).unwrap(), all);
}

#[test]
fn an_index_that_takes_its_lines_has_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (log, index) = (dir.path().join("log"), dir.path().join("index"));
    let options = indexed(&log).with("x-logindex", text(&index));
    let (chardevs, front, ..) = console(&options);
    // Far more than wait for it at a time.
    let all = "\n".repeat(100_000);
    for piece in all.as_bytes().chunks(1 << 14) {
        assert_eq!(front.write_all(piece, Some(DEADLINE)).unwrap(), piece.len());
    }
    chardevs.block_on(chardevs.shut_down(DEADLINE));
    let lines = fs::read_to_string(&index).unwrap();
    assert_eq!(lines.lines().count(), all.len());
    assert!(!lines.contains("unindexed"));
}
