//! A log that cannot be written: its console goes on, and what the log misses is counted exactly.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::common::{self, DEADLINE, OneSet, text, wait_for};
use chardev::back::{FdSource, NoFds};
use chardev::spec::{OptionValue, Options};
use chardev::{BlockingFrontEnd, Chardevs, FrontEnd, LogFull, Notice, Observed, PolicyChange};

/// More than a log's queue and any pipe hold.
const MUCH: u32 = 60_000;

struct Console {
    chardevs: Chardevs,
    front: FrontEnd,
    /// Everything that was printed.
    printed: String,
}

impl Console {
    fn new(options: &Options) -> Self {
        Console::with_fds(options, Arc::new(NoFds))
    }

    fn with_fds(options: &Options, fds: Arc<dyn FdSource>) -> Self {
        let chardevs = Chardevs::new().unwrap();
        chardevs
            .block_on(chardevs.add_with("con0", options, fds))
            .unwrap();
        let front = chardevs.front_end("con0", Arc::new(())).unwrap();
        Console {
            chardevs,
            front,
            printed: String::new(),
        }
    }

    fn print(&mut self, lines: std::ops::Range<u32>) {
        for number in lines {
            let line = format!("{number} {}\n", "=".repeat(number as usize * 7 % 100));
            let taken = self.front.write_all(line.as_bytes(), Some(DEADLINE));
            assert_eq!(taken.unwrap(), line.len(), "the console is held");
            self.printed += &line;
        }
    }

    fn lost(&self) -> u64 {
        self.chardevs.stats("con0").unwrap().log_lost
    }

    fn pending(&self) -> u64 {
        self.chardevs.details("con0").unwrap().log_pending
    }

    /// Waits until a hole can be seen.
    fn print_until_lost(&mut self) {
        let mut from = self.printed.lines().count() as u32;
        wait_for("a hole", || {
            self.print(from..from + 2000);
            from += 2000;
            (self.lost() > 0).then_some(())
        });
    }

    /// Waits until the log goes on and has everything that it does not miss.
    fn wait_written(&self, log: &Path) -> String {
        let whole = self.printed.len() as u64;
        wait_for("the rest of the log", || {
            let content = fs::read_to_string(log).ok()?;
            (self.pending() == 0 && content.len() as u64 + self.lost() == whole).then_some(content)
        })
    }
}

fn logged(log: &Path) -> Options {
    Options::new("null")
        .with("logfile", text(log))
        .with("logappend", OptionValue::Bool(true))
}

/// A log on a full disk, by a link that can be turned elsewhere.
fn full(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    symlink("/dev/full", &path).unwrap();
    path
}

fn mend(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn pipe() -> (File, Arc<OneSet>) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (File::from(reader), Arc::new(OneSet(File::from(writer))))
}

/// `content` is `whole` without the pieces of `holes`, each an offset and a length.
fn assert_misses(content: &str, whole: &str, holes: &[(u64, u64)]) {
    let (mut expected, mut at) = (String::new(), 0);
    for (from, bytes) in holes {
        expected += &whole[at..*from as usize];
        at = (from + bytes) as usize;
    }
    expected += &whole[at..];
    assert!(content == expected, "the log is not what the holes leave");
}

#[test]
fn a_full_disk_leaves_a_hole_that_is_counted_marked_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let (log, index) = (full(dir.path(), "log"), dir.path().join("index"));
    let mut console = Console::new(&logged(&log).with("x-logindex", text(&index)));
    let mut observer = console.chardevs.observe();
    console.print(0..MUCH);
    assert!(console.lost() > 0);
    let details = console.chardevs.details("con0").unwrap();
    assert!(details.log_pending <= 1 << 20, "{}", details.log_pending);
    let trouble = details.log_trouble.unwrap();
    assert_eq!(trouble, "No space left on device");
    mend(&log);
    let reopened = console.chardevs.reopen_logs(None);
    console.chardevs.block_on(reopened).unwrap();
    // It goes on by itself, without further output.
    let lost = console.lost();
    wait_for("the end of the hole", || {
        (console.pending() == 0).then_some(())
    });
    console.print(MUCH..MUCH + 100);
    let content = console.wait_written(&log);
    assert_eq!(console.lost(), lost);
    assert_eq!(console.chardevs.stats("con0").unwrap().log_holes, 1);
    let from = content
        .bytes()
        .zip(console.printed.bytes())
        .take_while(|(logged, printed)| logged == printed)
        .count();
    let mark = wait_for("the mark in the index", || {
        let index = fs::read_to_string(&index).ok()?;
        let mark = index.lines().find(|line| line.contains("hole"))?;
        Some(mark.to_owned())
    });
    let fields: Vec<&str> = mark.split(' ').collect();
    let number = |at: usize| fields[at].parse::<u64>().unwrap();
    assert_eq!((fields.len(), fields[3], number(4)), (5, "hole", lost));
    // A hole is cut where a line ends, so the lines around it may begin alike.
    assert!(number(0) <= from as u64 && number(0) == number(2));
    assert_misses(&content, &console.printed, &[(number(0), lost)]);
    check_index(&index, &content, &console.printed);
    let told = wait_for("the events", || {
        let told = holes_told(&mut observer);
        (!told.is_empty()).then_some(told)
    });
    assert_eq!(told.last().unwrap(), &(number(0), Some(lost)));
}

fn holes_told(observer: &mut chardev::Observer) -> Vec<(u64, Option<u64>)> {
    let mut told = Vec::new();
    loop {
        match observer.poll(Waker::noop(), Duration::ZERO) {
            Observed::Notice(_, _, Notice::LogHole { offset, bytes, .. }) => {
                told.push((offset, bytes));
            }
            Observed::Nothing(_) => return told,
            _ => {}
        }
    }
}

/// Every line of the index names a true offset and place.
fn check_index(index: &Path, content: &str, printed: &str) {
    let lines = fs::read_to_string(index).unwrap();
    for line in lines.lines().filter(|line| !line.contains("hole")) {
        let fields: Vec<&str> = line.split(' ').collect();
        let (offset, place): (usize, usize) =
            (fields[0].parse().unwrap(), fields[2].parse().unwrap());
        let end = printed[offset..].find('\n').unwrap();
        assert!(content[place..].starts_with(&printed[offset..=offset + end]));
    }
}

#[test]
fn a_pipe_without_a_reader_as_a_log_is_given_up_and_the_console_goes_on() {
    let (reader, set) = pipe();
    let mut console = Console::with_fds(&logged(Path::new("/dev/fdset/1")), set);
    drop(reader);
    console.print(0..MUCH);
    wait_for("the count of all that is missing", || {
        let lost = console.lost();
        // Nothing is kept for a dead log.
        (console.pending() == 0 && lost == console.printed.len() as u64).then_some(())
    });
    let stats = console.chardevs.stats("con0").unwrap();
    assert_eq!(stats.output_accepted, console.printed.len() as u64);
    assert_eq!(stats.log_holes, 1);
}

#[test]
fn a_pipe_as_a_log_whose_reader_stalls_goes_on_when_it_reads_again() {
    let (mut reader, set) = pipe();
    let mut console = Console::with_fds(&logged(Path::new("/dev/fdset/1")), set);
    console.print(0..MUCH);
    let log = Arc::<Mutex<Vec<u8>>>::default();
    let reading = Arc::clone(&log);
    std::thread::spawn(move || {
        let mut buf = vec![0; 1 << 16];
        while let Ok(count @ 1..) = reader.read(&mut buf) {
            reading.lock().unwrap().extend(&buf[..count]);
        }
    });
    wait_for("the reader", || (console.pending() == 0).then_some(()));
    console.print(MUCH..MUCH + 1000);
    let whole = console.printed.len() as u64;
    wait_for("the rest of the log", || {
        (log.lock().unwrap().len() as u64 + console.lost() == whole).then_some(())
    });
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    let holes = console.chardevs.stats("con0").unwrap().log_holes as usize;
    // Only the line before a hole may be cut.
    let printed: std::collections::HashSet<&str> = console.printed.lines().collect();
    let cut = log.lines().filter(|line| !printed.contains(line)).count();
    assert!(cut <= holes, "{cut} lines are cut by {holes} holes");
    assert!(console.lost() > 0 && holes > 0);
}

#[test]
fn a_fifo_as_a_log_that_nobody_ever_reads_holds_up_nothing() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let mut console = Console::new(&logged(&fifo));
    console.print(0..MUCH);
    assert!(console.lost() > 0);
    // Nor does it hold up the end.
    let began = Instant::now();
    let end = console.chardevs.shut_down(DEADLINE * 3);
    console.chardevs.block_on(end);
    assert!(began.elapsed() < DEADLINE);
}

#[test]
fn a_rotation_that_is_refused_leaves_the_log_going_on_and_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    // Nothing can be renamed to a directory, whoever asks for it.
    let obstacle = dir.path().join("log.1");
    fs::create_dir(&obstacle).unwrap();
    let options = logged(&log).with("x-logsize", OptionValue::Int(4096));
    let mut console = Console::new(&options);
    console.print(0..2000);
    assert_eq!(console.wait_written(&log), console.printed);
    fs::remove_dir(&obstacle).unwrap();
    let mut from = 2000;
    wait_for("a rotation", || {
        console.print(from..from + 1);
        from += 1;
        obstacle.is_file().then_some(())
    });
    assert_eq!(console.lost(), 0);
}

#[test]
fn a_refused_rotation_pushes_no_old_file_out() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let numbered = |number| PathBuf::from(format!("{}.{number}", log.display()));
    fs::create_dir(numbered(1)).unwrap();
    fs::write(numbered(2), "the oldest").unwrap();
    let options = logged(&log).with("x-logsize", OptionValue::Int(4096));
    let options = options.with("x-logcount", OptionValue::Int(2));
    let mut console = Console::new(&options);
    console.print(0..2000);
    console.wait_written(&log);
    assert_eq!(fs::read_to_string(numbered(2)).unwrap(), "the oldest");
}

#[test]
fn an_index_that_cannot_be_written_holds_up_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let (log, index) = (dir.path().join("log"), full(dir.path(), "index"));
    let options = logged(&log).with("x-logindex", text(&index));
    let mut console = Console::new(&options);
    console.print(0..20_000);
    assert_eq!(console.wait_written(&log), console.printed);
    assert_eq!(console.lost(), 0);
    mend(&index);
    let reopened = console.chardevs.reopen_logs(None);
    console.chardevs.block_on(reopened).unwrap();
    console.print(20_000..20_001);
    // The lines that are missing are told, in the index itself.
    wait_for("the index", || {
        let lines = fs::read_to_string(&index).ok()?;
        let first = lines.lines().next()?;
        let fields: Vec<&str> = first.split(' ').collect();
        let told = fields.get(3..) == Some(&["unindexed", "20000"]);
        (told && lines.lines().count() == 2).then_some(())
    });
}

#[test]
fn a_console_that_waits_for_its_log_is_let_go_by_another_policy() {
    let dir = tempfile::tempdir().unwrap();
    let log = full(dir.path(), "log");
    let hold = OptionValue::Str("hold".to_owned());
    let options = logged(&log).with("x-log-full", hold);
    let mut console = Console::new(&options);
    let block = vec![b'x'; 1 << 21];
    let moment = Some(Duration::from_millis(200));
    let taken = console.front.write_all(&block, moment).unwrap();
    assert!(taken < block.len(), "it does not hold");
    // A change keeps it, as every policy.
    common::change(&console.chardevs, "con0", &common::ring(64)).unwrap();
    assert_eq!(console.front.write_all(b"x", moment).unwrap(), 0);
    let change = PolicyChange {
        log_full: Some(LogFull::Hole),
        ..PolicyChange::default()
    };
    console.chardevs.set_policy("con0", change).unwrap();
    console.print(0..100);
    assert_eq!(console.lost(), console.printed.len() as u64);
}

#[test]
fn a_log_that_is_replaced_while_it_is_full_is_counted_to_the_last_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (log, other) = (full(dir.path(), "log"), dir.path().join("other"));
    let mut console = Console::new(&logged(&log));
    console.print_until_lost();
    let before = console.printed.len() as u64;
    common::change(&console.chardevs, "con0", &logged(&other)).unwrap();
    console.print(0..10);
    wait_for("the count", || (console.lost() == before).then_some(()));
    wait_for("the other log", || {
        let content = fs::read_to_string(&other).unwrap();
        (content == console.printed[before as usize..]).then_some(())
    });
}
