//! How long the start takes, from the program's to the first byte that a client reads, and what of
//! memory is used when nothing happens after it. Ours beside QEMU.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Programs, report};
use crate::sh::{self, Result};

const STARTS: usize = 51;
const LIMIT: Duration = Duration::from_secs(20);
/// How soon a client tries again to connect.
const AGAIN: Duration = Duration::from_micros(50);
/// After that, threads that have nothing to do are gone.
const REST: Duration = Duration::from_secs(4);
/// What is wanted, in milliseconds and MB.
const WANTED_MS: f64 = 4.0;
const WANTED_MB: f64 = 4.5;

pub(super) fn table(programs: &Programs) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    eprintln!("xtask: {STARTS} starts");
    let qemu = || {
        let mut command = programs.qemu.command();
        command.args(["-M", "none", "-qmp"]);
        command
    };
    let ours = || {
        let mut command = Command::new(chardevd);
        command.args(["--no-default-monitor", "--qmp"]);
        command
    };
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..STARTS {
        times[0].push(start(qemu())?.took);
        times[1].push(start(ours())?.took);
    }
    let times = times.map(|mut times| {
        times.sort();
        [0.5, 0.99].map(|share| report::percentile(&times, share).as_secs_f64() * 1e3)
    });
    let uses = [memory(qemu())?, memory(ours())?];
    let size = stripped(chardevd)? as f64 / f64::from(1 << 20);
    let rows = [
        row(
            "ms to the greeting, p50",
            times.map(|shares| shares[0]),
            Some(WANTED_MS),
        ),
        row(
            "ms to the greeting, p99",
            times.map(|shares| shares[1]),
            None,
        ),
        row(
            "MB resident, idle",
            uses.map(|uses| uses.resident),
            Some(WANTED_MB),
        ),
        row("MB of its own, idle", uses.map(|uses| uses.private), None),
        row("threads, idle", uses.map(|uses| uses.threads), None),
        [
            String::from("MiB of the program as it was measured, without symbols"),
            String::new(),
            format!("{size:.1}"),
            String::new(),
            String::new(),
        ],
    ];
    let rows = rows.map(Vec::from);
    let title = format!("Start, and what it leaves, {STARTS} times in turn");
    let header = ["what", "QEMU", "chardevd", "wanted", "kept"];
    Ok(report::table(&title, &header, &rows))
}

/// What QEMU and ours need, and how much is wanted of ours at most.
fn row(what: &str, [theirs, own]: [f64; 2], wanted: Option<f64>) -> [String; 5] {
    [
        what.to_owned(),
        format!("{theirs:.1}"),
        format!("{own:.1}"),
        wanted.map_or_else(String::new, |wanted| format!("{wanted:.1}")),
        wanted.map_or_else(String::new, |wanted| report::verdict(own <= wanted)),
    ]
}

/// A program that has greeted.
struct Started {
    took: Duration,
    child: Child,
    /// Who was greeted is still there.
    _client: UnixStream,
    _dir: tempfile::TempDir,
}

impl Drop for Started {
    fn drop(&mut self) {
        // Either call fails only if it has ended already, which is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(mut command: Command) -> Result<Started> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("qmp");
    let listening = format!("unix:{},server=on,wait=off", socket.display());
    command.arg(listening).stdin(Stdio::null());
    let begun = Instant::now();
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut client = loop {
        if let Ok(client) = UnixStream::connect(&socket) {
            break client;
        }
        if begun.elapsed() > LIMIT {
            return Err("it does not listen".into());
        }
        thread::sleep(AGAIN);
    };
    let mut first = [0];
    client.read_exact(&mut first)?;
    Ok(Started {
        took: begun.elapsed(),
        child,
        _client: client,
        _dir: dir,
    })
}

/// What is used of memory, in MB, and how many threads there are.
#[derive(Clone, Copy)]
struct Uses {
    resident: f64,
    private: f64,
    threads: f64,
}

fn memory(command: Command) -> Result<Uses> {
    let started = start(command)?;
    thread::sleep(REST);
    let path = format!("/proc/{}/smaps_rollup", started.child.id());
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let mb = |wanted: &str| {
        let lines = text.lines().filter(|line| line.starts_with(wanted));
        let kib = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u32>().ok());
        kib.map(f64::from).sum::<f64>() * 1024.0 / 1e6
    };
    let threads = fs::read_dir(format!("/proc/{}/task", started.child.id()))?;
    Ok(Uses {
        resident: mb("Rss:"),
        private: mb("Private_"),
        threads: threads.count() as f64,
    })
}

/// How large the program is without symbols.
fn stripped(program: &Path) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join("stripped");
    sh::output(Command::new("strip").arg("-o").arg(&copy).arg(program))?;
    Ok(fs::metadata(copy)?.len())
}
