//! System calls of the daemon for pieces of work, each of which is over before the next begins, so
//! that their number depends on nothing but the work. strace counts them.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chardev_load::rig::{self, Monitor};
use chardev_qapi::{Json, Object};

use crate::server::Server;
use crate::sh::{self, Result};
use crate::wait::within;

/// How long anything may take; strace makes every call slow.
const LIMIT: Duration = Duration::from_secs(60);
/// So much comes to a reader at once, and not in parts with time between them.
const PIECE: usize = 16 << 10;
/// How many pieces are a mebibyte.
const PIECES: usize = (1 << 20) / PIECE;
const LINE: &[u8] = &[b'x'; 100];

/// What depends on when a thread wakes, or on what an allocator and the pools of threads have left.
/// What is read and written by these names are wake-ups, how busy the machine is (`pread64`), and
/// what the start reads; bytes go by others.
const NOT_COUNTED: [&str; 24] = [
    "brk",
    "clock_nanosleep",
    "clone3",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_wait",
    "exit",
    "futex",
    "gettid",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "poll",
    "ppoll",
    "prctl",
    "pread64",
    "read",
    "rseq",
    "rt_sigprocmask",
    "sched_getaffinity",
    "set_robust_list",
    "sigaltstack",
    "write",
];

/// A piece of work, how often it is done, and for how many of them the cost is told.
struct Work {
    name: &'static str,
    count: usize,
    per: usize,
    run: fn(&mut Bed, usize) -> Result,
}

const ALL: [Work; 9] = [
    Work {
        name: "relay: 1 MiB from socket to socket, in pieces of 16 KiB",
        count: 200,
        per: PIECES,
        run: |bed, count| bed.relay(PIECE, count),
    },
    Work {
        name: "relay: a byte from socket to socket",
        count: 200,
        per: 1,
        run: |bed, count| bed.relay(1, count),
    },
    Work {
        name: "log: a line by itself",
        count: 40,
        per: 1,
        run: Bed::log,
    },
    Work {
        name: "viewer: 1 MiB to one, in pieces of 16 KiB, and the reading of it",
        count: 200,
        per: PIECES,
        run: Bed::view,
    },
    Work {
        name: "change: null for null",
        count: 50,
        per: 1,
        run: |bed, count| bed.change(count, |_| ("null", Object::new())),
    },
    Work {
        name: "change: ringbuf for ringbuf",
        count: 50,
        per: 1,
        run: |bed, count| bed.change(count, |_| ("ringbuf", Object::new().with("size", 4096_i64))),
    },
    Work {
        name: "change: file for file",
        count: 50,
        per: 1,
        run: |bed, count| {
            bed.change(count, |dir| {
                let path = dir.join("file").display().to_string();
                ("file", Object::new().with("out", path))
            })
        },
    },
    Work {
        name: "change: listening Unix socket for the same",
        count: 50,
        per: 1,
        run: |bed, count| {
            bed.change(count, |dir| {
                let path = dir.join("listens").display().to_string();
                let address = Object::new().with("type", "unix");
                let address = address.with("data", Object::new().with("path", path));
                let data = Object::new().with("addr", address);
                ("socket", data.with("server", true).with("wait", false))
            })
        },
    },
    Work {
        name: "query-chardev",
        count: 100,
        per: 1,
        run: |bed, count| {
            (0..count).try_for_each(|_| bed.execute("query-chardev", Object::new()).map(drop))
        },
    },
];

/// Each piece of work with its calls: what so many more cost more, by which the start is no part.
pub(super) fn measure(chardevd: &Path) -> Result<Vec<(String, f64)>> {
    let strace = sh::need("strace", "run ./setup")?;
    let mut all = Vec::new();
    for work in &ALL {
        let once = count(&strace, chardevd, work, work.count)?;
        let thrice = count(&strace, chardevd, work, 3 * work.count)?;
        let each = thrice.saturating_sub(once) as f64 / (2 * work.count) as f64;
        all.push((work.name.to_owned(), each * work.per as f64));
    }
    Ok(all)
}

/// All calls of a daemon that does the work so often, from its start to its end.
fn count(strace: &Path, chardevd: &Path, work: &Work, times: usize) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    fs::write(path("config"), configuration(dir.path()))?;
    let mut command = Command::new(strace);
    command.args(["--follow-forks", "--summary-only"]);
    command.arg(format!("--trace=!{}", NOT_COUNTED.join(",")));
    command.arg("--output");
    command.arg(path("calls")).arg(chardevd);
    command.args(["--no-default-monitor", "--qmp"]);
    command.arg(format!("unix:{},server=on,wait=off", path("qmp").display()));
    command.arg("--config").arg(path("config"));
    let sockets = ["qmp", "a", "b", "l", "v"].map(path);
    let sockets: Vec<&Path> = sockets.iter().map(PathBuf::as_path).collect();
    let mut server = Server::start(command, &sockets)?;
    let mut bed = Bed {
        dir: dir.path().to_owned(),
        monitor: rig::connect(&path("qmp"))?,
    };
    (work.run)(&mut bed, times)?;
    bed.execute("quit", Object::new())?;
    server.wait_end()?;
    total(&fs::read_to_string(path("calls"))?)
}

/// The calls in strace's last line, which sums them up.
fn total(summary: &str) -> Result<u64> {
    let line = summary.lines().rev().find(|line| line.ends_with(" total"));
    let calls = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    calls.ok_or_else(|| format!("strace summed up nothing: {summary}").into())
}

/// Nothing kept for viewers and no log but where that is the work.
fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "[defaults]\nhistory = 0\n\
         [console.relay]\nfrom = 'unix:{dir}/a,server=on,wait=off'\n\
         to = 'unix:{dir}/b,server=on,wait=off,x-closed=hold'\n\
         [console.logged]\nfrom = 'unix:{dir}/l,server=on,wait=off'\nto = 'null'\nlog = '{dir}/log'\n\
         [console.viewed]\nfrom = 'unix:{dir}/v,server=on,wait=off'\nto = 'null'\nhistory = '256K'\n\
         [console.changed]\nfrom = 'null'\nto = 'null'\n"
    )
}

/// A daemon under strace.
struct Bed {
    dir: PathBuf,
    monitor: Monitor,
}

impl Bed {
    fn connect(&self, name: &str) -> Result<UnixStream> {
        let stream = UnixStream::connect(self.dir.join(name))?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    fn execute(&mut self, command: &str, arguments: Object) -> Result<Json> {
        let answer = self.monitor.execute(command, arguments);
        answer.map_err(|error| format!("{command}: {error}").into())
    }

    fn relay(&mut self, size: usize, count: usize) -> Result {
        let (mut from, mut to) = (self.connect("a")?, self.connect("b")?);
        let (piece, mut got) = (vec![b'x'; size], vec![0; size]);
        for _ in 0..count {
            from.write_all(&piece)?;
            to.read_exact(&mut got)?;
        }
        Ok(())
    }

    fn log(&mut self, count: usize) -> Result {
        let (mut from, log) = (self.connect("l")?, self.dir.join("log"));
        for number in 1..=count {
            from.write_all(LINE)?;
            let size = (number * LINE.len()) as u64;
            let there = || (fs::metadata(&log).is_ok_and(|log| log.len() == size)).then_some(());
            within(LIMIT, there).ok_or("a line is not in the log")?;
        }
        Ok(())
    }

    fn view(&mut self, count: usize) -> Result {
        let mut from = self.connect("v")?;
        let arguments = Object::new().with("id", "viewed");
        let viewer = rig::with_stream(&mut self.monitor, "x-chardev-watch", arguments);
        let mut viewer = viewer?.0;
        viewer.set_read_timeout(Some(LIMIT))?;
        let (piece, mut got) = (vec![b'x'; PIECE], vec![0; PIECE]);
        for _ in 0..count {
            from.write_all(&piece)?;
            viewer.read_exact(&mut got)?;
        }
        Ok(())
    }

    fn change(&mut self, count: usize, to: fn(&Path) -> (&'static str, Object)) -> Result {
        for _ in 0..count {
            let (kind, data) = to(&self.dir);
            let backend = Object::new().with("type", kind).with("data", data);
            let arguments = Object::new().with("id", "changed");
            self.execute("chardev-change", arguments.with("backend", backend))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sum_is_read_with_and_without_errors() {
        let with = "  1.00    0.000001           1        12         3 read\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.000001           1      1234        56 total\n";
        assert_eq!(super::total(with).unwrap(), 1234);
        let without = "100.00    0.000001           1      1234           total\n";
        assert_eq!(super::total(without).unwrap(), 1234);
        assert!(super::total("strace: no such process\n").is_err());
    }
}
