//! The back end `pipe`, with real FIFOs.

mod common;

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use chardev::Chardevs;
use chardev::spec::Options;
use common::{add, change, read_until, ring, text};
use rustix::fs::{CWD, FileType, Mode, mknodat};

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
