//! `cargo xtask soak`: the demo for minutes or days. Every byte is accounted for, and the daemon
//! must not grow: neither its memory nor its descriptors, threads or children.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::server;
use crate::sh::Result;
use crate::wait::within;

/// Until then what is kept for good has been made: buffers, threads, the allocator's arenas.
const WARM_UP: Duration = Duration::from_secs(60);
/// What the daemon may have more of at any time after that. Memory varies with what is in flight.
const SPARE_MEMORY_KIB: u64 = 32 << 10;
const SPARE: u64 = 32;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long, of which the first is for warming up
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(2..))]
    minutes: u64,
    /// Seed for the order of changes
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(args: &Args) -> Result {
    let chardevd = server::build_chardevd("release")?;
    let time = Duration::from_secs(60 * args.minutes);
    let mut command = Command::new(chardevd.with_file_name("chardevctl"));
    command.args(["demo", "--keep-going", "--seconds"]);
    command.arg(time.as_secs().to_string());
    if let Some(seed) = args.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    let mut demo = Demo(command.spawn()?);
    let began = Instant::now();
    let daemon = within(WARM_UP, || demo.daemon()).ok_or("the demo has started no daemon")?;
    let mut base: Option<Use> = None;
    loop {
        let status = within(Duration::from_secs(10), || demo.0.try_wait().transpose());
        if let Some(status) = status.transpose()? {
            if !status.success() {
                return Err(format!("the demo: {status}").into());
            }
            let base = base.ok_or("it ended before it was warm")?;
            println!("nothing has grown since the first minute: {base}");
            return Ok(());
        }
        let Some(now) = Use::of(&daemon) else {
            continue;
        };
        eprintln!("xtask: after {} s: {now}", began.elapsed().as_secs());
        match &base {
            None if began.elapsed() >= WARM_UP => base = Some(now),
            Some(base) if now.has_grown(base) => {
                return Err(format!("the daemon has grown: {base}; now {now}").into());
            }
            _ => {}
        }
    }
}

/// The demo; it and its daemon end with this.
struct Demo(Child);

impl Demo {
    /// The daemon's directory in /proc.
    fn daemon(&self) -> Option<PathBuf> {
        children(&PathBuf::from(format!("/proc/{}", self.0.id())))
            .into_iter()
            .map(|id| PathBuf::from(format!("/proc/{id}")))
            .find(|process| {
                let name = fs::read_to_string(process.join("comm"));
                name.is_ok_and(|name| name.trim_end() == "chardevd")
            })
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Either call fails only if it has already ended; its daemon ends with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process has.
struct Use {
    memory_kib: u64,
    descriptors: u64,
    threads: u64,
    children: u64,
}

impl Use {
    /// `None` if it is gone.
    fn of(process: &Path) -> Option<Use> {
        let status = fs::read_to_string(process.join("status")).ok()?;
        let value = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        Some(Use {
            memory_kib: value("VmRSS:")?,
            descriptors: fs::read_dir(process.join("fd")).ok()?.count() as u64,
            threads: value("Threads:")?,
            children: children(process).len() as u64,
        })
    }

    fn has_grown(&self, since: &Use) -> bool {
        self.memory_kib > since.memory_kib + SPARE_MEMORY_KIB
            || self.descriptors > since.descriptors + SPARE
            || self.threads > since.threads + SPARE
            || self.children > since.children + SPARE
    }
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1} MiB, {} descriptors, {} threads, {} children",
            self.memory_kib as f64 / 1024.0,
            self.descriptors,
            self.threads,
            self.children
        )
    }
}

/// The processes that a process has started, by all of its threads.
fn children(process: &Path) -> Vec<u32> {
    let threads = fs::read_dir(process.join("task")).into_iter().flatten();
    let listed = threads.flatten().map(|thread| {
        let list = fs::read_to_string(thread.path().join("children"));
        list.unwrap_or_default()
    });
    let all: Vec<String> = listed.collect();
    let ids = all.iter().flat_map(|list| list.split_whitespace());
    ids.filter_map(|id| id.parse().ok()).collect()
}
