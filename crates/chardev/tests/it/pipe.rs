//! The back end `pipe`, with real FIFOs.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::common::{add, change, read_until, ring, text, wait_for};
use chardev::spec::{OptionValue, Options};
use chardev::{Chardevs, FrontEnd};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

fn make_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

fn fifos(dir: &Path, name: &str) -> Options {
    make_fifo(&dir.join(format!("{name}.in")));
    make_fifo(&dir.join(format!("{name}.out")));
    Options::new("pipe").with("device", text(dir.join(name)))
}

#[test]
fn bytes_pass_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &fifos(dir.path(), "p"));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.write(b"out"), 3);
    let mut reader = OpenOptions::new()
        .read(true)
        .open(dir.path().join("p.out"))
        .unwrap();
    let mut got = [0; 3];
    reader.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"out");
    let mut writer = OpenOptions::new()
        .write(true)
        .open(dir.path().join("p.in"))
        .unwrap();
    writer.write_all(b"in").unwrap();
    assert_eq!(read_until(&front, 2), b"in");
}

#[test]
fn one_file_serves_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("both");
    make_fifo(&path);
    let chardevs = Chardevs::new().unwrap();
    add(
        &chardevs,
        "con0",
        &Options::new("pipe").with("device", text(&path)),
    );
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.write(b"round"), 5);
    assert_eq!(read_until(&front, 5), b"round");
}

#[test]
fn a_full_pipe_holds_the_device_and_a_change_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &fifos(dir.path(), "p"));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let mut accepted = 0;
    loop {
        let count = front.write(&[b'x'; 10000]);
        if count == 0 {
            break;
        }
        accepted += count;
    }
    let mut writer = OpenOptions::new()
        .write(true)
        .open(dir.path().join("p.in"))
        .unwrap();
    writer.write_all(&[b'i'; 30000]).unwrap();
    change(&chardevs, "con0", &ring(64)).unwrap();
    assert_eq!(front.write(b"goes on"), 7);
    assert_eq!(read_until(&front, 30000), [b'i'; 30000]);

    // The reader comes only now, and gets everything and then its end-of-file.
    let mut reader = OpenOptions::new()
        .read(true)
        .open(dir.path().join("p.out"))
        .unwrap();
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), accepted);
}

/// How the books of a FIFO must balance: what its reader got and what is counted as lost.
fn balances(front: &FrontEnd, got: usize, what: &str) {
    let stats = front.stats();
    let counted = got as u64 + stats.output_undrained + front_end_pending(front);
    assert_eq!(counted, stats.output_accepted, "{what}: {stats:?}");
}

fn front_end_pending(front: &FrontEnd) -> u64 {
    let stats = front.stats();
    stats.output_accepted - stats.output_delivered
}

/// How many descriptors of `path` this process has.
fn open_fds(path: &Path) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    all.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target == path))
        .count()
}

fn soon(options: Options) -> Options {
    options.with("x-drain-ms", OptionValue::Int(300))
}

fn reader(path: &Path) -> std::fs::File {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .unwrap()
}

/// What is in the FIFO now.
fn read_now(reader: &mut std::fs::File) -> usize {
    let mut all = Vec::new();
    let _ = reader.read_to_end(&mut all);
    all.len()
}

#[test]
fn pipes_replaced_on_one_fifo_keep_one_set_of_books() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let pipe = soon(fifos(dir.path(), "p"));
    add(&chardevs, "con0", &pipe);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let fifo = dir.path().join("p.out");
    for _ in 0..5 {
        assert_eq!(front.write(&[b'x'; 1000]), 1000);
        change(&chardevs, "con0", &pipe).unwrap();
    }
    wait_for("the replaced descriptors", || {
        (open_fds(&fifo) == 1).then_some(())
    });
    // The reader comes late.
    let got = read_now(&mut reader(&dir.path().join("p.out")));
    assert_eq!(got, 5000);
    balances(&front, got, "a late reader");
}

#[test]
fn a_fifo_that_nobody_reads_is_counted_once_though_others_come_between() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let pipe = soon(fifos(dir.path(), "p"));
    add(&chardevs, "con0", &pipe);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let fifo = dir.path().join("p.out");
    let file = Options::new("file").with("out", text(dir.path().join("file")));
    for _ in 0..3 {
        assert_eq!(front.write(&[b'x'; 1000]), 1000);
        change(&chardevs, "con0", &file).unwrap();
        change(&chardevs, "con0", &pipe).unwrap();
    }
    change(&chardevs, "con0", &ring(64)).unwrap();
    wait_for("the end of the drains", || {
        (open_fds(&fifo) == 0).then_some(())
    });
    assert_eq!(front.stats().output_undrained, 3000);
    balances(&front, 0, "no reader");
}

#[test]
fn a_reader_that_leaves_in_the_middle_is_charged_with_the_rest_once() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let pipe = soon(fifos(dir.path(), "p"));
    add(&chardevs, "con0", &pipe);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let fifo = dir.path().join("p.out");
    for _ in 0..4 {
        assert_eq!(front.write(&[b'x'; 1000]), 1000);
        change(&chardevs, "con0", &pipe).unwrap();
    }
    change(&chardevs, "con0", &ring(64)).unwrap();
    let mut leaves = reader(&dir.path().join("p.out"));
    let mut some = [0; 1500];
    leaves.read_exact(&mut some).unwrap();
    drop(leaves);
    wait_for("the end of the drain", || {
        (open_fds(&fifo) == 0).then_some(())
    });
    assert_eq!(front.stats().output_undrained, 2500);
    balances(&front, 1500, "half a reader");
}

#[test]
fn what_a_slow_reader_still_has_when_we_give_up_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let pipe = soon(fifos(dir.path(), "p"));
    add(&chardevs, "con0", &pipe);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let fifo = dir.path().join("p.out");
    let mut slow = reader(&fifo);
    assert_eq!(front.write(&[b'x'; 1000]), 1000);
    change(&chardevs, "con0", &ring(64)).unwrap();
    wait_for("the end of the drain", || {
        (open_fds(&fifo) == 1).then_some(())
    });
    let got = read_now(&mut slow);
    assert_eq!(got, 1000);
    balances(&front, got, "a slow reader");
}

#[test]
fn a_refused_change_does_not_relieve_who_holds_the_fifo() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let pipe = soon(fifos(dir.path(), "p"));
    add(&chardevs, "con0", &pipe);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.write(&[b'x'; 1000]), 1000);
    change(&chardevs, "con0", &ring(64)).unwrap();
    let bad = pipe.clone().with("x-handover", OptionValue::Bool(true));
    change(&chardevs, "con0", &bad).unwrap_err();
    let got = read_now(&mut reader(&dir.path().join("p.out")));
    assert_eq!(got, 1000);
    balances(&front, got, "after a refusal");
}
