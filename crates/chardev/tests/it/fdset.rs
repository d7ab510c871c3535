//! Descriptors out of a set (`add-fd`) by the path `/dev/fdset/SET`: as a file, a log, a device.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use crate::common::{DEADLINE, read_until, terminal, text, wait_for};
use chardev::back::{Access, FdSource};
use chardev::spec::{OptionValue, Options};
use chardev::{BlockingFrontEnd, Chardevs, FrontEnd, OpenError};

/// Set 4 can be written, set 7 is a terminal, and there is no other.
struct Sets {
    out: File,
    device: File,
}

impl Sets {
    fn new(out: &Path) -> (Arc<Self>, File) {
        let (cable, device) = terminal();
        let both = File::options().read(true).write(true).open(device);
        let sets = Sets {
            out: File::create(out).unwrap(),
            device: both.unwrap(),
        };
        (Arc::new(sets), cable)
    }
}

impl FdSource for Sets {
    fn take(&self, name: &str) -> Result<OwnedFd, OpenError> {
        Err(format!("no descriptor is called {name}").into())
    }

    fn open_set(&self, set: i64, access: Access) -> io::Result<OwnedFd> {
        let file = match (set, access) {
            (4, Access::Write) => &self.out,
            (7, Access::Both) => &self.device,
            (4 | 7, _) => return Err(io::ErrorKind::PermissionDenied.into()),
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(file.try_clone()?.into())
    }
}

fn logged(path: &str) -> Options {
    Options::new("null").with("logfile", text(path))
}

fn add(chardevs: &Chardevs, id: &str, options: &Options, sets: &Arc<Sets>) -> FrontEnd {
    let fds = Arc::clone(sets) as Arc<dyn FdSource>;
    chardevs
        .block_on(chardevs.add_with(id, options, fds))
        .unwrap();
    chardevs.front_end(id, Arc::new(())).unwrap()
}

fn print(front: &FrontEnd, text: &str) {
    let taken = front.write_all(text.as_bytes(), Some(DEADLINE)).unwrap();
    assert_eq!(taken, text.len());
}

#[test]
fn what_a_path_of_a_set_opens_and_what_is_said_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let (sets, _cable) = Sets::new(&dir.path().join("out"));
    let chardevs = Chardevs::new().unwrap();
    let file = |set: &str| Options::new("file").with("out", text(format!("/dev/fdset/{set}")));
    let log = |set: &str| logged(&format!("/dev/fdset/{set}"));
    let device =
        |kind, set: &str| Options::new(kind).with("device", text(format!("/dev/fdset/{set}")));
    let on = |options: Options, name| options.with(name, OptionValue::Bool(true));
    let limited = |name, value| log("4").with(name, OptionValue::Int(value));
    let rotated = "Log file '/dev/fdset/4' cannot be renamed; add 'x-logcount=0' \
                   to empty it at its limit";
    let cases = [
        (file("4"), ""),
        (file(" +04"), ""),
        (on(file("4"), "append"), ""),
        (
            file("7"),
            "Could not open '/dev/fdset/7': Permission denied",
        ),
        (
            file("9"),
            "Could not open '/dev/fdset/9': No such file or directory",
        ),
        (
            file("-1"),
            "Could not open '/dev/fdset/-1': Invalid argument",
        ),
        (
            file("4x"),
            "Could not open '/dev/fdset/4x': Invalid argument",
        ),
        (log("4"), ""),
        (log(" +04"), ""),
        (on(log("4"), "logappend"), ""),
        (
            log("7"),
            "Failed to find file descriptor with matching flags=0x241",
        ),
        (
            on(log("7"), "logappend"),
            "Failed to find file descriptor with matching flags=0x441",
        ),
        (log("9"), "Failed to find fdset /dev/fdset/9"),
        (log("x"), "Could not parse fdset /dev/fdset/x"),
        (
            log("99999999999"),
            "Could not parse fdset /dev/fdset/99999999999",
        ),
        (limited("x-logsize", 4096), rotated),
        (
            limited("x-logsize", 4096).with("x-logcount", OptionValue::Int(0)),
            "",
        ),
        (device("serial", "7"), ""),
        (
            device("serial", "4"),
            "Could not open '/dev/fdset/4': Permission denied",
        ),
        (
            device("serial", "x"),
            "Could not open '/dev/fdset/x': Invalid argument",
        ),
        (device("pipe", "7"), ""),
        (
            device("pipe", "4"),
            "Could not open '/dev/fdset/4': Permission denied",
        ),
    ];
    for (number, (options, expected)) in cases.into_iter().enumerate() {
        let fds = Arc::clone(&sets) as Arc<dyn FdSource>;
        let added = chardevs.block_on(chardevs.add_with(&format!("c{number}"), &options, fds));
        let said = added.map_or_else(|error| error.to_string(), |_| String::new());
        let what = format!("{number}: {options:?}: {said}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{what}");
        assert!(said.ends_with(expected), "{what}");
    }
}

#[test]
fn a_log_that_was_given_open_is_written_limited_and_left_alone_by_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let (sets, _cable) = Sets::new(&out);
    let chardevs = Chardevs::new().unwrap();
    fs::write(&out, "from before\n").unwrap();
    let options = logged("/dev/fdset/4").with("logappend", OptionValue::Bool(true));
    let front = add(&chardevs, "con0", &options, &sets);
    print(&front, "one\n");
    let is = |content: &str| {
        wait_for(content, || {
            (fs::read_to_string(&out).unwrap() == content).then_some(())
        });
    };
    is("from before\none\n");
    let error = chardevs.block_on(chardevs.reopen_logs(Some("con0")));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("no log file with a path"),
        "a descriptor cannot be opened anew"
    );
    // Whoever rotates the logs of all others is not told of it.
    chardevs.block_on(chardevs.reopen_logs(None)).unwrap();
    print(&front, "two\n");
    is("from before\none\ntwo\n");

    // The next one takes the same descriptor, and empties the file only after the old one's bytes.
    let limited = logged("/dev/fdset/4")
        .with("x-logsize", OptionValue::Int(4096))
        .with("x-logcount", OptionValue::Int(0));
    print(&front, "three\n");
    let fds = Arc::clone(&sets) as Arc<dyn FdSource>;
    let changed = chardevs.block_on(chardevs.change_with("con0", &limited, fds));
    changed.unwrap();
    print(&front, "four\n");
    is("four\n");
    let line = format!("{}\n", "=".repeat(4090));
    print(&front, &line);
    is(&format!("four\n{line}"));
    print(&front, "five\n");
    is("five\n");
}

#[test]
fn a_device_that_was_given_open_is_a_serial_port() {
    let dir = tempfile::tempdir().unwrap();
    let (sets, mut cable) = Sets::new(&dir.path().join("out"));
    let chardevs = Chardevs::new().unwrap();
    let options = Options::new("serial").with("device", text("/dev/fdset/7"));
    let front = add(&chardevs, "con0", &options, &sets);
    print(&front, "to the device");
    let mut heard = [0; 13];
    cable.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"to the device");
    cable.write_all(b"from it").unwrap();
    assert_eq!(read_until(&front, 7), b"from it");
}
