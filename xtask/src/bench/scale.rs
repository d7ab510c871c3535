//! Many chardevs, each a listening Unix socket with a peer: what one costs in memory, how long it
//! takes to add a further one and to list them all, and how often the process wakes up when nothing
//! happens. Ours beside QEMU.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Programs, report};
use crate::qmp::Client;
use crate::server::Server;
use crate::sh::Result;
use crate::wait::within;

/// The last is what 20,000 descriptors allow, of which each takes two.
const COUNTS: [usize; 5] = [10, 100, 1000, 4000, 9000];
/// QEMU asks the kernel about all of them each time it does anything: with more it takes minutes.
const QEMU_COUNT: usize = 4000;
const FURTHER: usize = 50;
const QUERIES: usize = 11;
/// How long it rests before it is looked at, and how long it is looked at.
const SETTLES: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn table(programs: &Programs) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let mut rows = Vec::new();
    for count in COUNTS {
        eprintln!("xtask: {count} chardevs");
        if count <= QEMU_COUNT {
            let qemu = measure(count, |monitor| {
                let mut command = programs.qemu.command();
                command.args(["-M", "none", "-qmp", monitor]);
                command
            })?;
            rows.push(row(count, "QEMU", &qemu));
        }
        let ours = measure(count, |monitor| {
            let mut command = Command::new(chardevd);
            command.arg("--qmp").arg(monitor);
            command
        })?;
        rows.push(row(count, "chardevd", &ours));
    }
    let header = [
        "chardevs with a peer",
        "KiB each",
        "add a further one, µs",
        "query-chardev, ms",
        "wake-ups a second, idle",
    ];
    Ok(report::table("Many chardevs", &header, &rows))
}

struct Sample {
    kib_each: f64,
    add_us: f64,
    query_ms: f64,
    wakes_per_s: f64,
}

fn row(count: usize, whose: &str, sample: &Sample) -> Vec<String> {
    vec![
        format!("{count}: {whose}"),
        format!("{:.1}", sample.kib_each),
        format!("{:.0}", sample.add_us),
        format!("{:.2}", sample.query_ms),
        format!("{:.1}", sample.wakes_per_s),
    ]
}

fn measure(count: usize, command: impl FnOnce(&str) -> Command) -> Result<Sample> {
    let dir = tempfile::tempdir()?;
    let monitor = dir.path().join("qmp");
    let listen = format!("unix:{},server=on,wait=off", monitor.display());
    let server = Server::start(command(&listen), &[&monitor])?;
    let mut client = Client::connect(&monitor)?;
    // What is needed once, by whatever comes first, is not to count for those that are measured.
    client.execute("chardev-add", arguments(dir.path(), "first"))?;
    client.execute("query-chardev", json!({}))?;
    let before = memory(&server)?;
    let mut peers = Vec::with_capacity(count);
    for at in 0..count {
        add(&mut client, dir.path(), &at.to_string())?;
        peers.push(connect(&dir.path().join(at.to_string()))?);
    }
    thread::sleep(SETTLES);
    let grown = memory(&server)?.saturating_sub(before);
    let before = wakes(&server)?;
    thread::sleep(IDLE);
    let since = |(id, count): (_, u64)| count - before.get(&id).unwrap_or(&0).min(&count);
    let woken: u64 = wakes(&server)?.into_iter().map(since).sum();
    let further = |at| -> Result<Duration> {
        let id = format!("further{at}");
        let took = add(&mut client, dir.path(), &id)?;
        client.execute("chardev-remove", json!({ "id": id }))?;
        Ok(took)
    };
    let further = (0..FURTHER).map(further).collect::<Result<Vec<_>>>()?;
    let query = |_| -> Result<Duration> {
        let asked = Instant::now();
        let all = client.execute("query-chardev", json!({}))?;
        let took = asked.elapsed();
        match all.as_array().map_or(0, Vec::len) {
            listed if listed > count => Ok(took),
            listed => Err(format!("{listed} chardevs are listed of {count}").into()),
        }
    };
    let queries = (0..QUERIES).map(query).collect::<Result<Vec<_>>>()?;
    Ok(Sample {
        kib_each: grown as f64 / count as f64,
        add_us: median(further).as_secs_f64() * 1e6,
        query_ms: median(queries).as_secs_f64() * 1e3,
        wakes_per_s: woken as f64 / IDLE.as_secs_f64(),
    })
}

fn arguments(dir: &Path, id: &str) -> Value {
    let address = json!({ "type": "unix", "data": { "path": dir.join(id) } });
    let data = json!({ "addr": address, "server": true, "wait": false });
    json!({ "id": id, "backend": { "type": "socket", "data": data } })
}

fn add(client: &mut Client, dir: &Path, id: &str) -> Result<Duration> {
    let arguments = arguments(dir, id);
    let asked = Instant::now();
    client.execute("chardev-add", arguments)?;
    Ok(asked.elapsed())
}

/// QEMU's queue of those that wait to be taken may be full.
fn connect(path: &Path) -> Result<UnixStream> {
    let peer = within(LIMIT, || UnixStream::connect(path).ok());
    peer.ok_or_else(|| format!("{} takes no peer", path.display()).into())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    report::percentile(&times, 0.5)
}

/// What is its own of its memory, in KiB.
fn memory(server: &Server) -> Result<u64> {
    number(&format!("/proc/{}/status", server.id()), "RssAnon:")
}

/// How often each of its threads has gone to sleep, and so will have been woken.
fn wakes(server: &Server) -> Result<HashMap<OsString, u64>> {
    let mut all = HashMap::new();
    for thread in fs::read_dir(format!("/proc/{}/task", server.id()))? {
        let thread = thread?;
        let path = thread.path().join("status");
        let count = number(&path.to_string_lossy(), "voluntary_ctxt_switches:");
        // One that has ended meanwhile does not wake up any more.
        all.extend(count.ok().map(|count| (thread.file_name(), count)));
    }
    Ok(all)
}

fn number(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path)?;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next());
    let number = number.ok_or_else(|| format!("{path}: no {name}"))?;
    Ok(number.parse()?)
}
