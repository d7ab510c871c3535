//! Books over files as chardevs write them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use chardev_core::LandmarkKind;

use crate::{Book, Piece, Printed, Shelf};

/// Files with these lines: offset, seconds, text or the size of a hole.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Files(tempfile::tempdir().expect("a directory"))
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("log")
    }

    fn index(&self) -> PathBuf {
        self.0.path().join("idx")
    }

    fn write(&self, end: &str, lines: &[(u64, u64, Result<&str, u64>)]) {
        let (mut log, mut index) = (String::new(), String::new());
        for (offset, seconds, what) in lines {
            let place = log.len();
            let _ = write!(index, "{offset} {seconds}.000000 {place}");
            match what {
                Ok(text) => log += text,
                Err(hole) => _ = write!(index, " hole {hole}"),
            }
            index += "\n";
        }
        let name = |path: PathBuf| format!("{}{end}", path.display());
        fs::write(name(self.log()), log).expect("a log");
        fs::write(name(self.index()), index).expect("an index");
    }

    fn open(&self) -> Book {
        Book::open(&self.log(), &self.index(), 2).expect("a book")
    }
}

fn piece(start: u64, text: &str) -> Piece {
    Piece {
        start,
        bytes: text.as_bytes().to_vec(),
    }
}

fn printed(offset: u64, seconds: u64) -> Printed {
    Printed {
        offset,
        time: Duration::from_secs(seconds),
    }
}

#[test]
fn what_was_rotated_is_read_as_one_with_holes_told() {
    let files = Files::new();
    files.write(".2", &[(100, 1, Ok("one\n")), (104, 2, Ok("two\n"))]);
    files.write(".1", &[(108, 3, Ok("three\n")), (114, 4, Err(6))]);
    files.write("", &[(120, 5, Ok("four\n")), (125, 6, Ok("fi"))]);
    let book = files.open();
    assert_eq!(book.span(), Some((100, 127)));
    assert_eq!(book.holes().collect::<Vec<_>>(), [(114, 120)]);
    let read = |from, most| book.read(from, most).expect("it is read");
    assert_eq!(read(100, 100), piece(100, "one\ntwo\n"));
    assert_eq!(read(102, 3), piece(102, "e\nt"));
    assert_eq!(read(0, 4), piece(100, "one\n"));
    assert_eq!(read(108, 100), piece(108, "three\n"));
    assert_eq!(read(114, 100), piece(120, "four\nfi"));
    assert_eq!(read(117, 3), piece(120, "fou"));
    assert_eq!(read(126, 100), piece(126, "i"));
    assert_eq!(read(127, 100), piece(127, ""));
    let lines = book.printed(105, 121).expect("they are read");
    let expected = [
        printed(104, 2),
        printed(108, 3),
        printed(114, 4),
        printed(120, 5),
    ];
    assert_eq!(lines, expected);
    let times = book.times(100);
    assert_eq!(
        (times.first(), times.last()),
        (Some(&printed(100, 1)), Some(&printed(125, 6)))
    );
}

#[test]
fn what_was_before_the_chardev_was_made_anew_is_left_out() {
    let files = Files::new();
    files.write(".1", &[(0, 1, Ok("old\n")), (4, 2, Ok("old\n"))]);
    files.write(
        "",
        &[
            (8, 3, Ok("old\n")),
            (0, 4, Ok("new\n")),
            (4, 5, Ok("newer\n")),
        ],
    );
    let book = files.open();
    assert_eq!(book.span(), Some((0, 10)));
    assert_eq!(
        book.read(0, 100).expect("it is read"),
        piece(0, "new\nnewer\n")
    );
}

#[test]
fn long_logs_are_read_from_anywhere() {
    let files = Files::new();
    let texts: Vec<String> = (0..5000).map(|number| format!("line {number}\n")).collect();
    let mut lines = Vec::new();
    let mut offset = 7;
    for (number, text) in texts.iter().enumerate() {
        lines.push((offset, number as u64, Ok(text.as_str())));
        offset += text.len() as u64;
    }
    files.write("", &lines);
    let book = files.open();
    let all = texts.concat();
    for from in (0..all.len()).step_by(997) {
        let read = book.read(7 + from as u64, 100).expect("it is read");
        let text = &all[from..all.len().min(from + 100)];
        assert_eq!(read, piece(7 + from as u64, text));
        let first = book
            .printed(7 + from as u64, u64::MAX)
            .expect("they are read")[0];
        let number =
            all[..=from].matches('\n').count() - usize::from(all.as_bytes()[from] == b'\n');
        assert_eq!(first.time, Duration::from_secs(number as u64));
    }
    assert!(book.times(10).len() <= 11);
}

#[test]
fn without_files_there_is_nothing() {
    let book = Files::new().open();
    assert_eq!(book.span(), None);
    assert_eq!(book.read(0, 100).expect("it is read"), piece(0, ""));
    assert_eq!(book.printed(0, 100).expect("none"), []);
    assert_eq!(book.times(10), []);
}

#[test]
fn landmarks_are_told_and_are_no_lines() {
    let files = Files::new();
    files.write(".1", &[(0, 1, Ok("one\n"))]);
    fs::write(files.log(), "two\nthree\n").expect("a log");
    let index =
        "4 2.000000 0\n6 2.500000 2 mark in two\tme\n8 3.000000 4 change null\n8 3.000000 4\n";
    fs::write(files.index(), index).expect("an index");
    let book = files.open();
    let mark = LandmarkKind::Mark {
        text: "in two".to_owned(),
        by: "me".to_owned(),
    };
    let to = "null".to_owned();
    let told: Vec<_> = book.landmarks().map(|it| (it.offset, &it.what)).collect();
    assert_eq!(told, [(6, &mark), (8, &LandmarkKind::Change { to })]);
    let read = |from, most| book.read(from, most).expect("it is read");
    assert_eq!(read(5, 100), piece(5, "wo\nthree\n"));
    assert_eq!(read(8, 3), piece(8, "thr"));
    let lines = book.printed(0, 100).expect("they are read");
    assert_eq!(lines, [printed(0, 1), printed(4, 2), printed(8, 3)]);
    assert_eq!(book.times(100), lines);
    assert_eq!(book.span(), Some((0, 14)));
}

#[test]
fn what_is_longer_than_a_line_is_none() {
    let files = Files::new();
    files.write("", &[(0, 1, Ok("one\n"))]);
    let long = format!("{}9 9.000000 9\n4 2.000000 4\n", "x".repeat(256));
    let index = fs::read_to_string(files.index()).expect("an index") + &long;
    fs::write(files.index(), index).expect("an index");
    let lines = files.open().printed(0, 100).expect("they are read");
    assert_eq!(lines, [printed(0, 1), printed(4, 2)]);
}

#[test]
fn what_was_read_is_known_again_by_the_file() {
    let files = Files::new();
    let shelf = Shelf::default();
    let open = || shelf.open(&files.log(), &files.index(), 2).expect("a book");
    let first: Vec<_> = (0..10_000).map(|at| (at * 2, at, Ok("x\n"))).collect();
    files.write("", &first);
    assert_eq!(open().span(), Some((0, 20_000)));
    // What has come since is read; what was there before is not read again.
    let index = fs::read_to_string(files.index()).expect("an index");
    let last = index.rfind("19998 ").expect("the last line");
    let hidden = "#".repeat(last) + &index[last..] + "20000 10000.000000 20000\n";
    fs::write(files.index(), hidden).expect("an index");
    let log = "x\n".repeat(10_001);
    fs::write(files.log(), &log).expect("a log");
    assert_eq!(open().span(), Some((0, 20_002)));
    // A file that is rotated is the same.
    for path in [files.log(), files.index()] {
        let older = format!("{}.1", path.display());
        fs::rename(path, older).expect("it is renamed");
    }
    files.write("", &[(20_002, 10_001, Ok("y\n"))]);
    let book = open();
    assert_eq!(book.span(), Some((0, 20_004)));
    assert_eq!(
        book.read(20_000, 9).expect("it is read"),
        piece(20_000, "x\n")
    );
    // One that was emptied and written anew is not.
    files.write("", &[(0, 1, Ok("new\n"))]);
    assert_eq!(open().span(), Some((0, 4)));
}

#[test]
fn what_is_remembered_has_a_bound() {
    let files = Files::new();
    let lines: Vec<_> = (0..100_000).map(|at| (at * 2, at, Ok("x\n"))).collect();
    files.write("", &lines);
    let book = files.open();
    assert!(book.times(usize::MAX).len() <= 2049);
    let at = book.printed(123_457, 123_458).expect("they are read");
    assert_eq!(at, [printed(123_456, 61_728)]);
}
