//! What it costs to have a GB in a stream: the daemon's part in a fleet, and others that publish
//! the same bytes in messages as large at the same pace, in turn, with a server of its own each.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::fleet::{Nats, behind, until_connected};
use super::report;
use super::site::{LIMIT, Site};
use super::viewers::lines;
use super::watched::median;
use crate::sh::{self, Result};
use crate::wait::within;

const CONSOLES: usize = 8;
/// What they print in all, and how fast.
const PRINTED: u64 = 600_000_000;
const SPEED: u64 = 100_000_000;
/// As fast as it goes.
const UNBOUNDED: u64 = 1 << 40;
/// What a busy guest's driver writes at once.
const PIECE: u64 = 4096;
/// So much may be on its way into the stream.
const BEHIND: u64 = 64 << 20;
/// How often one looks whether it is time to print.
const TICK: Duration = Duration::from_millis(1);
const WANTED: f64 = 1.5;
/// The thread of the daemon that takes part.
const THREAD: &str = "fleet";
/// Where Debian has libraries for Go.
const GOPATH: &str = "/usr/share/gocode";

/// Who publishes; each is a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    RustBare,
    RustAnswered,
    GoBare,
    GoBareFast,
    GoAnswered,
    GoAnsweredFast,
    GoOne,
    Thread,
    Daemon,
}

/// Those that publish with NATS' library for Go, how, and whether they keep the pace.
const GO: [(Who, &str, u64); 5] = [
    (Who::GoBare, "bare", SPEED),
    (Who::GoBareFast, "bare", UNBOUNDED),
    (Who::GoAnswered, "answered", SPEED),
    (Who::GoAnsweredFast, "answered", UNBOUNDED),
    (Who::GoOne, "one", SPEED),
];

/// What it takes to have a GB in the stream.
struct Cost {
    /// In seconds.
    cpu: f64,
    /// In MB/s.
    speed: f64,
}

pub(super) fn table(chardevd: &Path, rounds: usize) -> Result<String> {
    let (rust, go) = (build_rust()?, build_go());
    let go = go.inspect_err(|error| {
        eprintln!(
            "xtask: NOT MEASURED: NATS' library for Go, on which `nats pub` stands ({error}); \
             apt-get install golang-go golang-github-nats-io-go-nats-dev"
        );
    });
    let mut costs: BTreeMap<Who, Vec<Cost>> = BTreeMap::new();
    let mut sizes = Vec::new();
    for round in 1..=rounds {
        eprintln!("xtask: a fleet, round {round} of {rounds}");
        let mut add = |who, cost| costs.entry(who).or_default().push(cost);
        let (thread, daemon, size) = by_daemon(chardevd)?;
        add(Who::Thread, thread);
        add(Who::Daemon, daemon);
        for (who, how) in [(Who::RustBare, "bare"), (Who::RustAnswered, "answered")] {
            add(who, published(&rust, &["1"], size, SPEED, how)?);
        }
        if let Ok(go) = &go {
            for (who, how, speed) in GO {
                add(who, published(go, &[], size, speed, how)?);
            }
        }
        sizes.push(size);
    }
    let title = format!(
        "What {CONSOLES} consoles cost on their way to a stream, in messages of {:.0} KB, median \
         of {rounds} rounds",
        median(sizes) / 1e3
    );
    let kept = format!("{WANTED} times kept");
    let header = [
        "who publishes",
        "MB/s",
        "CPU s per GB",
        "the daemon's thread, this = 1",
        &kept,
    ];
    let mut rows: Vec<_> = costs.keys().map(|who| row(*who, &costs)).collect();
    if go.is_err() {
        let skipped = "NATS' library for Go: not measured, as it is not there";
        rows.push([skipped, "", "", "", ""].map(str::to_owned).to_vec());
    }
    Ok(report::table(&title, &header, &rows))
}

fn row(who: Who, costs: &BTreeMap<Who, Vec<Cost>>) -> Vec<String> {
    let all = |of: fn(&Cost) -> f64| median(costs[&who].iter().map(of).collect());
    let pairs = costs[&Who::Thread].iter().zip(&costs[&who]);
    let ratio = median(pairs.map(|(ours, its)| ours.cpu / its.cpu).collect());
    let [ratio, verdict] = match who {
        Who::Thread | Who::Daemon => [String::new(), String::new()],
        _ => [format!("{ratio:.2}"), report::verdict(ratio <= WANTED)],
    };
    vec![
        who.name().to_owned(),
        format!("{:.0}", all(|it| it.speed)),
        format!("{:.2}", all(|it| it.cpu)),
        ratio,
        verdict,
    ]
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::RustBare => "a bare publisher in Rust",
            Who::RustAnswered => "the same with answers",
            Who::GoBare => "NATS' library for Go, as `nats pub`",
            Who::GoBareFast => "the same as fast as it can",
            Who::GoAnswered => "the same with answers, as `nats bench --js`",
            Who::GoAnsweredFast => "the same with answers, as fast as it can",
            Who::GoOne => "the same, each after the answer to the last",
            Who::Thread => "the daemon's thread",
            Who::Daemon => "the daemon, less one in no fleet",
        }
    }
}

/// What it costs the daemon's thread, what it costs the daemon more than without a fleet, and how
/// many bytes were in a message.
fn by_daemon(chardevd: &Path) -> Result<(Cost, Cost, f64)> {
    let gb = PRINTED as f64 / 1e9;
    let alone = Site::start(chardevd, &consoles())?;
    let before = spent(&alone, None)?;
    print(&alone, |_| Ok(()))?;
    let without = spent(&alone, None)? - before;
    drop(alone);

    let nats = Nats::start(19)?;
    let site = Site::start(chardevd, &(nats.section() + &consoles()))?;
    until_connected(&site)?;
    let (before, of_all) = (spent(&site, Some(THREAD))?, spent(&site, None)?);
    let began = Instant::now();
    print(&site, |site| {
        let is_near = within(LIMIT, || (behind(site).ok()? < BEHIND).then_some(()));
        is_near.ok_or_else(|| "the stream takes nothing".into())
    })?;
    let done = within(LIMIT, || (behind(&site).ok()? == 0).then_some(()));
    done.ok_or("the stream has not all of it")?;
    let speed = PRINTED as f64 / 1e6 / began.elapsed().as_secs_f64();
    let thread = spent(&site, Some(THREAD))? - before;
    let more = (spent(&site, None)? - of_all).saturating_sub(without);
    let cost = |time: Duration| Cost {
        cpu: time.as_secs_f64() / gb,
        speed,
    };
    Ok((cost(thread), cost(more), PRINTED as f64 / nats.messages()?))
}

fn consoles() -> String {
    let each = (0..CONSOLES).map(|console| {
        format!(
            "[console.c{console}]\nfrom = 'unix:DIR/c{console},server=on,wait=off'\n\
             to = 'null'\nhistory = '16M'\n"
        )
    });
    each.collect()
}

/// All consoles print, together as fast as that, while `look` from time to time lets them.
fn print(site: &Site, look: impl Fn(&Site) -> Result) -> Result {
    let mut consoles: Vec<UnixStream> = (0..CONSOLES)
        .map(|console| site.connect(&format!("c{console}")))
        .collect::<Result<_>>()?;
    let block = lines();
    let (mut sent, began) = (0, Instant::now());
    let mut turn = 0;
    while sent < PRINTED {
        let due = (SPEED as f64 * began.elapsed().as_secs_f64()) as u64;
        if due <= sent {
            thread::sleep(TICK);
            continue;
        }
        let count = (PRINTED - sent).min(PIECE);
        let at = turn % consoles.len();
        consoles[at].write_all(&block[..count as usize])?;
        sent += count;
        turn += 1;
        if turn % 2048 == 0 {
            look(site)?;
        }
    }
    Ok(())
}

/// CPU time of the daemon's thread of that name, or of all that it has.
fn spent(site: &Site, name: Option<&str>) -> Result<Duration> {
    let mut all = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{}/task", site.server.id()))? {
        let path = thread?.path();
        // One that has ended meanwhile is none of those that matter.
        let Ok(comm) = fs::read_to_string(path.join("comm")) else {
            continue;
        };
        if name.is_some_and(|name| name != comm.trim()) {
            continue;
        }
        let text = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        let nanos = text.split_whitespace().next().unwrap_or("0").parse()?;
        all += Duration::from_nanos(nanos);
    }
    Ok(all)
}

/// What it costs a program of the same arguments, after `more` of its own.
fn published(program: &Path, more: &[&str], size: f64, speed: u64, how: &str) -> Result<Cost> {
    let nats = Nats::start(19)?;
    let count = PRINTED / size as u64;
    let mut command = Command::new(program);
    command.args([&nats.address(), "PEER"]).args(more);
    command.args([CONSOLES as u64, size as u64, count, speed].map(|it| it.to_string()));
    let said = sh::output(command.arg(how))?;
    let (cpu, took) = said.trim().split_once(' ').ok_or("not two numbers")?;
    let (cpu, took): (f64, f64) = (cpu.parse()?, took.parse()?);
    let gb = (count * size as u64) as f64 / 1e9;
    Ok(Cost {
        cpu: cpu / 1e9 / gb,
        speed: gb * 1e3 / (took / 1e9),
    })
}

fn build_rust() -> Result<PathBuf> {
    sh::run(&mut sh::cargo(&[
        "build",
        "--release",
        "--package",
        "chardev-fleet",
        "--example",
        "plain",
    ]))?;
    Ok(sh::target_dir()?.join("release/examples/plain"))
}

fn build_go() -> Result<PathBuf> {
    let go = sh::need("go", "it is Debian's golang-go")?;
    let program = sh::target_dir()?.join("release/examples/publish-go");
    let mut build = Command::new(go);
    build.env("GO111MODULE", "off").env("GOPATH", GOPATH);
    build.args(["build", "-o"]).arg(&program);
    sh::run(build.arg(sh::root().join("xtask/src/bench/peers/publish.go")))?;
    Ok(program)
}
