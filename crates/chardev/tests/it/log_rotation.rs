//! A log that is rotated while others look at it and write it: there is always a log at its path,
//! and every byte is in one file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::common::{DEADLINE, add, text, wait_for};
use chardev::spec::{OptionValue, Options};
use chardev::{BlockingFrontEnd, Chardevs, FrontEnd};

fn rotated(log: &Path, count: i64) -> Options {
    Options::new("null")
        .with("logfile", text(log))
        .with("logappend", OptionValue::Bool(true))
        .with("x-logsize", OptionValue::Int(4096))
        .with("x-logcount", OptionValue::Int(count))
}

fn console(chardevs: &Chardevs, id: &str, options: &Options) -> FrontEnd {
    add(chardevs, id, options);
    chardevs.front_end(id, Arc::new(())).unwrap()
}

fn print(front: &FrontEnd, text: &str) {
    let taken = front.write_all(text.as_bytes(), Some(DEADLINE)).unwrap();
    assert_eq!(taken, text.len());
}

/// Numbered lines of different lengths that begin with `name`.
fn lines(name: &str, numbers: std::ops::Range<u32>) -> String {
    let line = |number: u32| {
        format!(
            "{name} {number} {}\n",
            "=".repeat(number as usize * 7 % 120)
        )
    };
    numbers.map(line).collect()
}

fn numbered(log: &Path, number: usize) -> PathBuf {
    PathBuf::from(format!("{}.{number}", log.display()))
}

/// The content of all files, oldest first.
fn files(log: &Path) -> Vec<String> {
    let older = (1..).map(|number| fs::read_to_string(numbered(log, number)));
    let mut files: Vec<String> = older.map_while(Result::ok).collect();
    files.reverse();
    files.push(fs::read_to_string(log).unwrap());
    files
}

fn names(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn there_is_always_a_log_at_its_path() {
    for count in [1, 1000] {
        let dir = tempfile::tempdir().unwrap();
        let (log, index) = (dir.path().join("log"), dir.path().join("index"));
        let chardevs = Chardevs::new().unwrap();
        let options = rotated(&log, count).with("x-logindex", text(&index));
        let front = console(&chardevs, "con0", &options);
        let end = Instant::now() + DEADLINE;
        let done = AtomicBool::new(false);
        let all = lines("con0", 0..6000);
        std::thread::scope(|scope| {
            let look = |path: &Path| {
                let mut missing = 0;
                while !done.load(Ordering::Relaxed) && Instant::now() < end {
                    missing += usize::from(File::open(path).is_err());
                }
                missing
            };
            let lookers = [&log, &index].map(|path| scope.spawn(move || look(path)));
            for part in all.as_bytes().chunks(1 << 15) {
                print(&front, std::str::from_utf8(part).unwrap());
            }
            wait_for("the end of the log", || {
                let end = fs::read_to_string(&log).unwrap();
                (!end.is_empty() && all.ends_with(&end)).then_some(())
            });
            done.store(true, Ordering::Relaxed);
            let missing = lookers.map(|looker| looker.join().unwrap());
            assert_eq!(missing, [0, 0], "log and index, with {count} old files");
        });
        let found = files(&log);
        let kept = if count == 1 { 2 } else { found.len() };
        assert_eq!(found.len(), kept);
        assert!(count == 1 || (found.len() > 80 && found.concat() == all));
        assert!(all.ends_with(&found.concat()));
        wait_for("nothing else", || {
            (names(dir.path()) == 2 * kept).then_some(())
        });
    }
}

#[test]
fn those_who_share_a_log_rotate_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let chardevs = Chardevs::new().unwrap();
    let ids = ["con0", "con1", "con2", "con3"];
    let fronts = ids.map(|id| console(&chardevs, id, &rotated(&log, 1000)));
    std::thread::scope(|scope| {
        for (front, id) in fronts.iter().zip(ids) {
            // A piece at a time, so that all of them write all the time.
            scope.spawn(move || (0..5000).for_each(|at| print(front, &lines(id, at..at + 1))));
        }
    });
    let whole: usize = ids.map(|id| lines(id, 0..5000).len()).iter().sum();
    let found = wait_for("the rest of the log", || {
        let found = files(&log);
        (found.concat().len() == whole).then_some(found)
    });
    let (_, old) = found.split_last().unwrap();
    // Nobody rotates what somebody else has just begun.
    let smallest = old.iter().map(String::len).min().unwrap();
    assert!(smallest > 3072, "one is pushed out with {smallest} bytes");
    for id in ids {
        let own: String = found
            .iter()
            .flat_map(|file| file.split_inclusive('\n'))
            .filter(|line| line.starts_with(id))
            .collect();
        assert_eq!(own.len(), lines(id, 0..5000).len());
    }
}

#[test]
fn who_shares_a_log_and_was_silent_does_not_write_to_an_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let chardevs = Chardevs::new().unwrap();
    let silent = console(&chardevs, "silent", &rotated(&log, 1));
    let front = console(&chardevs, "con0", &rotated(&log, 1));
    let all = lines("con0", 0..1000);
    print(&front, &all);
    wait_for("the end", || {
        let found = files(&log).concat();
        (!found.is_empty() && all.ends_with(&found)).then_some(())
    });
    print(&silent, "silent\n");
    wait_for("a line", || {
        files(&log).concat().contains("silent").then_some(())
    });
}
