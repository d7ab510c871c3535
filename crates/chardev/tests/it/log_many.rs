//! Thousands of logs: a few threads write them all, and one that hangs is felt by no other.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use crate::common::{DEADLINE, OneSet, text, wait_for};
use chardev::back::{FdSource, NoFds};
use chardev::spec::{OptionValue, Options};
use chardev::{BlockingFrontEnd, Chardevs, FrontEnd};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

const LOGS: usize = 1000;
/// Threads for all of them, whatever else goes on in this process.
const FEW: usize = 50;

fn logged(log: &Path) -> Options {
    Options::new("null")
        .with("logfile", text(log))
        .with("logappend", OptionValue::Bool(true))
}

fn console(chardevs: &Chardevs, id: &str, log: &Path, fds: Arc<dyn FdSource>) -> FrontEnd {
    chardevs
        .block_on(chardevs.add_with(id, &logged(log), fds))
        .unwrap();
    chardevs.front_end(id, Arc::new(())).unwrap()
}

fn consoles(chardevs: &Chardevs, dir: &Path) -> Vec<FrontEnd> {
    let console = |number: usize| {
        let log = dir.join(number.to_string());
        console(chardevs, &format!("con{number}"), &log, Arc::new(NoFds))
    };
    (0..LOGS).map(console).collect()
}

fn print(front: &FrontEnd, text: &str) {
    let taken = front.write_all(text.as_bytes(), Some(DEADLINE)).unwrap();
    assert_eq!(taken, text.len());
}

/// The threads that write files.
fn writers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let is_writer = |task: &fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm"));
        name.is_ok_and(|name| name.starts_with("chardev-disk"))
    };
    tasks.map(Result::unwrap).filter(is_writer).count()
}

#[test]
fn a_log_that_hangs_is_felt_by_none_of_a_thousand_others() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let fronts = consoles(&chardevs, dir.path());
    let (_reader, writer) = rustix::pipe::pipe().unwrap();
    let set = Arc::new(OneSet(File::from(writer)));
    let fds = Arc::clone(&set);
    let hung = console(&chardevs, "hung", Path::new("/dev/fdset/1"), fds);
    // Writing to the same descriptor waits from now on, as on a disk that has gone.
    let flags = fcntl_getfl(&set.0).unwrap();
    fcntl_setfl(&set.0, flags - OFlags::NONBLOCK).unwrap();
    // More than the pipe holds, and less than the queue.
    print(&hung, &"=".repeat(1 << 18));
    for (number, front) in fronts.iter().enumerate() {
        print(front, &format!("{number}\n"));
    }
    for number in 0..LOGS {
        wait_for("a log", || {
            let content = fs::read_to_string(dir.path().join(number.to_string())).unwrap();
            (content == format!("{number}\n")).then_some(())
        });
    }
    assert!(chardevs.details("hung").unwrap().log_pending > 0);
    assert!(writers() < FEW, "{} threads", writers());
}

#[test]
fn every_byte_of_a_thousand_logs_is_there_in_order_and_no_thread_stays() {
    const LINES: usize = 50;
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let fronts = consoles(&chardevs, dir.path());
    let line = |number: usize| format!("{number} {}\n", "=".repeat(number * 7 % 100));
    let mut most = 0;
    for number in 0..LINES {
        fronts.iter().for_each(|front| print(front, &line(number)));
        most = most.max(writers());
    }
    let all: String = (0..LINES).map(line).collect();
    for number in 0..LOGS {
        let content = wait_for("a log", || {
            let content = fs::read_to_string(dir.path().join(number.to_string())).unwrap();
            (content.len() >= all.len()).then_some(content)
        });
        assert!(content == all, "log {number} is not what was printed");
    }
    assert!(most < FEW, "{most} threads");
    wait_for("the end of the threads", || (writers() == 0).then_some(()));
}
