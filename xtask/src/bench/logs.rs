//! Many consoles that are logged: our daemon beside conserver, with the same lines to each console
//! in turn, in alternation. Every line is looked for in the logs afterwards.

mod feed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use self::feed::{Feed, LINE};
use super::{Programs, report};
use crate::server::Server;
use crate::sh::{self, Result};
use crate::wait::within;

/// As many as conserver takes in one process, and as many as 20,000 descriptors are enough for.
pub(super) const FEW: usize = 200;
const MANY: usize = 9_900;
/// What is written in a round.
const BYTES: usize = 256_000_000;
/// A daemon that moves nothing for this long is stuck.
const STALL: Duration = Duration::from_secs(30);
/// After that, threads and buffers that have nothing to do are gone.
const REST: Duration = Duration::from_secs(5);
const KIB: u64 = 1024;

pub(crate) fn table(programs: &Programs, rounds: usize) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let conserver = sh::need("conserver", "install Debian's conserver-server")?;
    let mut few = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        eprintln!("xtask: logs of {FEW} consoles, round {round} of {rounds}");
        let theirs = measure(FEW, |bed| start_conserver(&conserver, bed))?;
        let ours = measure(FEW, |bed| start_chardevd(chardevd, bed, &[]))?;
        ratios.push(ours.cpu_s_per_gb / theirs.cpu_s_per_gb);
        few[0].push(theirs);
        few[1].push(ours);
    }
    eprintln!("xtask: logs of {MANY} consoles");
    let many = measure(MANY, |bed| start_chardevd(chardevd, bed, &[]))?;
    let [theirs, ours] = few;
    let ratio = median(ratios.into_iter());
    let rows = [
        row("conserver, 200 consoles", &theirs, Some(1.0)),
        row("chardevd, 200 consoles", &ours, Some(ratio)),
        row("chardevd, 9,900 consoles", &[many], None),
    ];
    let title = format!("Logs of lines of {LINE} bytes, median of {rounds} rounds");
    let header = [
        "who, and how many",
        "MB/s",
        "CPU s per GB",
        "CPU, conserver = 1",
        "threads",
        "KiB a console at rest",
    ];
    Ok(report::table(&title, &header, &rows))
}

pub(super) struct Sample {
    pub(super) mb_per_s: f64,
    pub(super) cpu_s_per_gb: f64,
    threads: usize,
    kib_each: f64,
}

fn row(name: &str, samples: &[Sample], ratio: Option<f64>) -> Vec<String> {
    let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value));
    vec![
        name.to_owned(),
        format!("{:.0}", of(|sample| sample.mb_per_s)),
        format!("{:.1}", of(|sample| sample.cpu_s_per_gb)),
        ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        format!("{:.0}", of(|sample| sample.threads as f64)),
        format!("{:.1}", of(|sample| sample.kib_each)),
    ]
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    report::percentile(&values, 0.5)
}

/// Where the sockets and the logs of so many consoles are.
pub(super) struct Bed {
    dir: tempfile::TempDir,
    consoles: usize,
}

impl Bed {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn socket(&self, console: usize) -> PathBuf {
        self.path(&format!("c{console}"))
    }

    fn log(&self, console: usize) -> PathBuf {
        self.path(&format!("c{console}.log"))
    }
}

pub(super) fn measure(
    consoles: usize,
    start: impl FnOnce(&Bed) -> Result<Server>,
) -> Result<Sample> {
    let dir = tempfile::tempdir()?;
    let bed = Bed { dir, consoles };
    let sockets: Vec<PathBuf> = (0..consoles).map(|console| bed.socket(console)).collect();
    let feed = Feed::listen(&sockets)?;
    let server = start(&bed)?;
    let mut feed = feed.accept(STALL)?;
    let lines = BYTES / LINE / consoles;
    let bytes = lines * consoles * LINE;
    let before = cpu(&server)?;
    let began = Instant::now();
    feed.send(lines)?;
    wait_for_logs(&bed, lines * LINE)?;
    let (took, after) = (began.elapsed(), cpu(&server)?);
    let threads = family(server.id()).map(|id| tasks(id).len()).sum();
    for console in 0..consoles {
        feed::check(&fs::read(bed.log(console))?, lines)
            .map_err(|error| format!("the log of console {console}: {error}"))?;
    }
    std::thread::sleep(REST);
    let memory: u64 = family(server.id()).map(private_memory).sum();
    Ok(Sample {
        mb_per_s: bytes as f64 / 1e6 / took.as_secs_f64(),
        cpu_s_per_gb: (after - before).as_secs_f64() / (bytes as f64 / 1e9),
        threads,
        kib_each: memory as f64 / KIB as f64 / consoles as f64,
    })
}

/// Until each log has at least `bytes` bytes.
fn wait_for_logs(bed: &Bed, bytes: usize) -> Result {
    for console in 0..bed.consoles {
        let path = bed.log(console);
        let size = || fs::metadata(&path).map_or(0, |file| file.len());
        let full = within(STALL, || (size() >= bytes as u64).then_some(()));
        full.ok_or_else(|| format!("{} has {} of {bytes} bytes", path.display(), size()))?;
    }
    Ok(())
}

/// One process for all consoles: it would start one for each 16.
fn start_conserver(program: &Path, bed: &Bed) -> Result<Server> {
    let (config, passwords) = (bed.path("conserver.cf"), bed.path("conserver.passwd"));
    let dir = bed.dir.path().display();
    let mut text =
        format!("default * {{ rw *; master localhost; type uds; logfile {dir}/&.log; }}\n");
    for console in 0..bed.consoles {
        text += &format!("console c{console} {{ uds {dir}/c{console}; }}\n");
    }
    fs::write(&config, text)?;
    fs::write(&passwords, "")?;
    let mut command = Command::new(program);
    command.args(["-M", "127.0.0.1", "-p", "0", "-m"]);
    command.arg(bed.consoles.to_string());
    command.arg("-C").arg(config).arg("-P").arg(passwords);
    // It tells of each console that goes down at the end.
    command.stderr(Stdio::null());
    Server::start(command, &[])
}

/// Without a scrollback, which conserver does not have.
pub(super) fn start_chardevd(program: &Path, bed: &Bed, more: &[&str]) -> Result<Server> {
    let config = bed.path("chardevd.toml");
    let dir = bed.dir.path().display();
    let mut text =
        format!("[defaults]\nlog = \"{dir}/{{name}}.log\"\nto = \"null\"\nhistory = 0\n");
    for console in 0..bed.consoles {
        text += &format!("[console.c{console}]\nsocket = \"{dir}/c{console}\"\n");
    }
    fs::write(&config, text)?;
    let mut command = Command::new(program);
    command.arg("--config").arg(config).args(more);
    Server::start(command, &[])
}

/// A process and all that it has started.
fn family(id: u32) -> impl Iterator<Item = u32> {
    let mut found = vec![id];
    let mut at = 0;
    while let Some(&id) = found.get(at) {
        for task in tasks(id) {
            let children = fs::read_to_string(format!("/proc/{id}/task/{task}/children"));
            let children = children.unwrap_or_default();
            found.extend(children.split_whitespace().flat_map(str::parse::<u32>));
        }
        at += 1;
    }
    found.into_iter()
}

fn tasks(id: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{id}/task"))
        .into_iter()
        .flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.into_string().ok()).collect()
}

pub(super) fn cpu(server: &Server) -> Result<Duration> {
    family(server.id()).map(crate::server::cpu_of).sum()
}

/// Bytes that the process has for itself.
fn private_memory(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
    let private = text.lines().filter(|line| line.starts_with("Private_"));
    let kib = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.sum::<u64>() * KIB
}
