//! Marks and changes of the back end: kept in memory, and in the index of the log at true places.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use crate::common::{DEADLINE, text, wait_for};
use chardev::back::NoFds;
use chardev::backends::Null;
use chardev::spec::{OptionValue, Options};
use chardev::{BlockingFrontEnd, Chardevs, FrontEnd, LandmarkKind};

fn console(log: &Path, index: &Path) -> (Chardevs, FrontEnd) {
    console_with(log, index, ("logappend", OptionValue::Bool(true)))
}

fn console_with(
    log: &Path,
    index: &Path,
    (name, value): (&'static str, OptionValue),
) -> (Chardevs, FrontEnd) {
    let options = Options::new("null")
        .with("logfile", text(log))
        .with("x-logindex", text(index))
        .with(name, value);
    let chardevs = Chardevs::new().unwrap();
    let adding = chardevs.add_with("con0", &options, Arc::new(NoFds));
    chardevs.block_on(adding).unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    (chardevs, front)
}

fn print(front: &FrontEnd, words: &str) {
    let taken = front.write_all(words.as_bytes(), Some(DEADLINE));
    assert_eq!(taken.unwrap(), words.len());
}

/// The lines of the index without their times, once it has so many that say `what`.
fn wait_lines(index: &Path, what: &str, count: usize) -> Vec<(u64, u64, String)> {
    wait_for("the lines of the index", || {
        let content = fs::read_to_string(index).ok()?;
        let lines = content.lines().map(|line| {
            let mut words = line.splitn(4, ' ');
            let offset = words.next()?.parse().ok()?;
            let place = words.nth(1)?.parse().ok()?;
            Some((offset, place, words.next().unwrap_or_default().to_owned()))
        });
        let lines = lines.collect::<Option<Vec<_>>>()?;
        let found = lines.iter().filter(|(.., rest)| rest.starts_with(what));
        (found.count() == count).then_some(lines)
    })
}

#[test]
fn marks_and_changes_are_in_the_index_where_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let (log, index) = (dir.path().join("log"), dir.path().join("index"));
    let (chardevs, front) = console(&log, &index);
    let mark = |text: &str| {
        let marked = chardevs.mark("con0", text, "me").unwrap();
        assert_eq!(marked.is_indexed, Some(true));
        marked.offset
    };
    assert_eq!(mark("before\tall\n"), 0);
    print(&front, "one\ntw");
    assert_eq!(mark("in two"), 6);
    print(&front, "o\n");
    chardevs.blocking_change("con0", Null::new()).unwrap();
    print(&front, "three\n");
    assert_eq!(mark(&"long ".repeat(1000)), 14);
    assert_eq!(chardevs.mark("nosuch", "", "me"), None);
    let lines = wait_lines(&index, "mark", 3);
    let lines: Vec<_> = lines
        .iter()
        .map(|(offset, place, rest)| (*offset, *place, &rest[..rest.len().min(18)]))
        .collect();
    let expected = [
        (0, 0, "mark before all\tme"),
        (0, 0, ""),
        (4, 4, ""),
        (6, 6, "mark in two\tme"),
        (8, 8, "change null"),
        (8, 8, ""),
        (14, 14, "mark long long lon"),
    ];
    assert_eq!(lines, expected);
    let content = fs::read_to_string(&index).unwrap();
    assert!(content.lines().all(|line| line.len() < 255), "{content}");

    let kept = chardevs.landmarks("con0").unwrap();
    let offsets: Vec<_> = kept.iter().map(|it| it.offset).collect();
    assert_eq!(offsets, [0, 6, 8, 14]);
    assert!(kept.iter().map(|it| it.time).is_sorted());
    let (text, by) = ("in two".to_owned(), "me".to_owned());
    assert_eq!(kept[1].what, LandmarkKind::Mark { text, by });
    // The times are the same, to the microsecond.
    for landmark in kept {
        let time = landmark.time;
        let shown = format!(" {}.{:06} ", time.as_secs(), time.subsec_micros());
        assert!(content.contains(&shown), "{shown} in {content}");
    }
}

#[test]
fn a_mark_in_a_hole_of_the_log_is_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let (log, index) = (dir.path().join("log"), dir.path().join("index"));
    symlink("/dev/full", &log).unwrap();
    let (chardevs, front) = console(&log, &index);
    let line = format!("{}\n", "=".repeat(999));
    print(&front, &line);
    let first = chardevs.mark("con0", "queued", "me").unwrap().offset;
    let inside = wait_for("a hole", || {
        print(&front, &line.repeat(100));
        let lost = chardevs.stats("con0").unwrap().log_lost;
        (lost > 0).then(|| chardevs.mark("con0", "inside", "me").unwrap().offset)
    });
    print(&front, &line);
    fs::remove_file(&log).unwrap();
    chardevs.block_on(chardevs.reopen_logs(None)).unwrap();
    wait_for("the log", || {
        (chardevs.details("con0").unwrap().log_pending == 0).then_some(())
    });
    print(&front, &line);
    let lost = chardevs.stats("con0").unwrap().log_lost;
    let lines = wait_lines(&index, "mark", 2);
    let lines = if lines.last().unwrap().2.is_empty() {
        lines
    } else {
        // What was printed last comes after it.
        wait_for("the last line", || {
            let lines = wait_lines(&index, "mark", 2);
            lines.last().unwrap().2.is_empty().then_some(lines)
        })
    };
    assert!(lines.iter().map(|(offset, ..)| offset).is_sorted());
    let find = |what: &str| {
        lines
            .iter()
            .find(|(.., rest)| rest.starts_with(what))
            .unwrap()
    };
    let (hole, queued) = (find("hole"), find("mark queued"));
    assert_eq!((queued.0, queued.1), (first, line.len() as u64));
    let (offset, place, _) = find("mark inside");
    assert!((hole.0..hole.0 + lost).contains(&inside));
    assert_eq!((*offset, *place), (hole.0 + lost, hole.1));
}

#[test]
fn who_sets_a_mark_that_the_index_has_no_room_for_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (log, index) = (dir.path().join("log"), dir.path().join("index"));
    symlink("/dev/full", &log).unwrap();
    let (chardevs, front) = console(&log, &index);
    print(&front, "never written\n");
    let marked = || chardevs.mark("con0", "again", "me").unwrap();
    for _ in 0..256 {
        assert_eq!(marked().is_indexed, Some(true));
    }
    let told = marked();
    assert_eq!((told.offset, told.is_indexed), (14, Some(false)));
    // In memory there is room for the newest.
    assert_eq!(chardevs.landmarks("con0").unwrap().len(), 128);
    fs::remove_file(&log).unwrap();
    chardevs.block_on(chardevs.reopen_logs(None)).unwrap();
    wait_lines(&index, "mark", 256);
    assert_eq!(marked().is_indexed, Some(true));
    wait_lines(&index, "mark", 257);
}

#[test]
fn the_index_of_a_rotated_file_has_room_for_so_many_marks() {
    let dir = tempfile::tempdir().unwrap();
    let (log, index) = (dir.path().join("log"), dir.path().join("index"));
    let size = ("x-logsize", OptionValue::Int(4096));
    let (chardevs, front) = console_with(&log, &index, size);
    let mut set = 0;
    // Of 256 at a time none has to wait for the disk.
    while chardevs
        .mark("con0", "one of many", "me")
        .unwrap()
        .is_indexed
        == Some(true)
    {
        set += 1;
        if set % 256 == 0 {
            wait_lines(&index, "mark", set);
        }
    }
    assert_eq!(set, 4096);
    print(&front, &format!("{}\n", "=".repeat(4999)));
    print(&front, "in the next file\n");
    wait_for("the next file", || {
        let marked = chardevs.mark("con0", "there is room", "me").unwrap();
        (marked.is_indexed == Some(true)).then_some(())
    });
}
