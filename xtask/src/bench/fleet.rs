//! What a fleet costs: the CPU of the daemon's part in it beside a bare publisher of the same
//! bytes, and how fast a console is that takes part.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use chardev_load::rig;
use chardev_qapi::{Json, Object};

use super::site::{LIMIT, Site};
use super::viewers::lines;
use super::watched::{PACE, median, pass_on};
use super::{Programs, fleet_attach, report};
use crate::server::Server;
use crate::sh::{self, Result};
use crate::wait::within;

const CONSOLES: usize = 8;
/// What they print in all, how fast, and in which pieces.
const PRINTED: u64 = 600_000_000;
const SPEED: u64 = 100_000_000;
/// So much may be on its way into the stream.
const BEHIND: u64 = 64 << 20;
/// How often one looks whether it is time to print.
const TICK: Duration = Duration::from_millis(1);
const CPU_WANTED: f64 = 1.5;
const SPEED_WANTED: f64 = 0.95;
/// The thread of the daemon that takes part.
const THREAD: &str = "fleet";
const RELAY: &str = "[console.relay]\nfrom = 'unix:DIR/in,server=on,wait=off,x-closed=hold'\n\
    to = 'unix:DIR/out,server=on,wait=off,x-closed=hold'\nhistory = '1M'\n";

pub(super) fn table(programs: &Programs, rounds: usize) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    if !has_fleet(chardevd)? {
        eprintln!(
            "xtask: NOT MEASURED: this daemon takes part in no fleet; build one with \
             --features chardevd/fleet, and give it with --chardevd"
        );
        return Ok(String::new());
    }
    Ok([
        cpu_table(chardevd, rounds)?,
        speed_table(chardevd, rounds)?,
        fleet_attach::table(chardevd, rounds)?,
    ]
    .concat())
}

fn cpu_table(chardevd: &Path, rounds: usize) -> Result<String> {
    let plain = build_plain()?;
    let (mut ours, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut speed, mut size) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        eprintln!("xtask: a fleet, round {round} of {rounds}");
        let cost = by_daemon(chardevd)?;
        ours.push(cost.cpu);
        speed.push(cost.speed);
        size.push(cost.size);
        bare.push(by_plain(&plain, cost.size)?);
        ratios.push(ours[round - 1] / bare[round - 1]);
    }
    let ratio = median(ratios);
    let rows = [
        vec![
            "a bare publisher".to_owned(),
            String::new(),
            format!("{:.2}", median(bare)),
            "1.00".to_owned(),
            String::new(),
        ],
        vec![
            "the daemon's thread".to_owned(),
            format!("{:.0}", median(speed)),
            format!("{:.2}", median(ours)),
            format!("{ratio:.2}"),
            report::verdict(ratio <= CPU_WANTED),
        ],
    ];
    let title = format!(
        "What {CONSOLES} consoles cost on their way to a stream, in messages of {:.0} KB, median \
         of {rounds} rounds",
        median(size) / 1e3
    );
    let kept = format!("{CPU_WANTED} times kept");
    let header = ["who publishes", "MB/s", "CPU s per GB", "bare = 1", &kept];
    Ok(report::table(&title, &header, &rows))
}

fn speed_table(chardevd: &Path, rounds: usize) -> Result<String> {
    let server = Nats::start(19)?;
    let with = format!("{}{RELAY}", server.section());
    let sites = [Site::start(chardevd, RELAY)?, Site::start(chardevd, &with)?];
    until_connected(&sites[1])?;
    let mut rows = Vec::new();
    let paces = [
        ("as fast as it can", None),
        ("100 MB/s", Some(SPEED)),
        ("20 MiB/s", Some(PACE)),
    ];
    for (how, pace) in paces {
        let mut speeds = [Vec::new(), Vec::new()];
        for round in 1..=rounds {
            eprintln!("xtask: a console of a fleet, {how}, round {round} of {rounds}");
            for (site, speeds) in sites.iter().zip(&mut speeds) {
                let mut ends = [site.connect("in")?, site.connect("out")?];
                speeds.push(pass_on(&mut ends, pace)?);
            }
            within(LIMIT, || (behind(&sites[1]).ok()? == 0).then_some(()));
        }
        let [without, with] = &speeds;
        let ratio = median(with.iter().zip(without).map(|(a, b)| a / b).collect());
        for (who, speeds, ratio) in [("without", without, 1.0), ("in a fleet", with, ratio)] {
            rows.push(vec![
                format!("{how}: {who}"),
                format!("{:.0}", median(speeds.clone())),
                format!("{ratio:.2}"),
                report::verdict(ratio >= SPEED_WANTED),
            ]);
        }
    }
    let title = format!("A console's own output in a fleet, median of {rounds} rounds");
    let kept = format!("{SPEED_WANTED} kept");
    let header = ["console", "MiB/s", "without = 1", &kept];
    Ok(report::table(&title, &header, &rows))
}

/// What it takes to have a GB in the stream.
struct Cost {
    cpu: f64,
    speed: f64,
    /// Of a message, in bytes.
    size: f64,
}

fn by_daemon(chardevd: &Path) -> Result<Cost> {
    let nats = Nats::start(19)?;
    let mut text = nats.section();
    for console in 0..CONSOLES {
        text += &format!(
            "[console.c{console}]\nfrom = 'unix:DIR/c{console},server=on,wait=off'\n\
             to = 'null'\nhistory = '16M'\n"
        );
    }
    let site = Site::start(chardevd, &text)?;
    until_connected(&site)?;
    let mut consoles = Vec::new();
    for console in 0..CONSOLES {
        consoles.push(site.connect(&format!("c{console}"))?);
    }
    let (before, began) = (spent(&site)?, Instant::now());
    print(&site, &mut consoles)?;
    let done = within(LIMIT, || (behind(&site).ok()? == 0).then_some(()));
    done.ok_or("the stream has not all of it")?;
    let (took, gb) = (began.elapsed().as_secs_f64(), PRINTED as f64 / 1e9);
    Ok(Cost {
        cpu: (spent(&site)? - before).as_secs_f64() / gb,
        speed: gb * 1e3 / took,
        size: PRINTED as f64 / nats.messages()?,
    })
}

/// All consoles print, together as fast as that, while the stream has most of it.
fn print(site: &Site, consoles: &mut [UnixStream]) -> Result {
    let block = lines();
    let (mut sent, began) = (0, Instant::now());
    let mut turn = 0;
    while sent < PRINTED {
        let due = (SPEED as f64 * began.elapsed().as_secs_f64()) as u64;
        if due <= sent {
            thread::sleep(TICK);
            continue;
        }
        // What a busy guest's driver writes at once.
        let count = (PRINTED - sent).min(4096);
        let at = turn % consoles.len();
        consoles[at].write_all(&block[..count as usize])?;
        sent += count;
        turn += 1;
        if turn % 2048 == 0 {
            within(LIMIT, || (behind(site).ok()? < BEHIND).then_some(()));
        }
    }
    Ok(())
}

/// CPU seconds per GB of a program that only publishes.
fn by_plain(plain: &Path, size: f64) -> Result<f64> {
    let nats = Nats::start(19)?;
    let count = PRINTED / size as u64;
    let mut command = Command::new(plain);
    command.args([&nats.address(), "BARE", "1", &CONSOLES.to_string()]);
    command.args([size as u64, count, SPEED].map(|it| it.to_string()));
    let nanos: f64 = sh::output(&mut command)?.trim().parse()?;
    Ok(nanos / 1e9 / (count as f64 * size / 1e9))
}

/// CPU time of the thread that takes part.
fn spent(site: &Site) -> Result<Duration> {
    for thread in fs::read_dir(format!("/proc/{}/task", site.server.id()))? {
        let path = thread?.path();
        if fs::read_to_string(path.join("comm"))?.trim() == THREAD {
            let text = fs::read_to_string(path.join("schedstat"))?;
            let nanos = text.split_whitespace().next().unwrap_or("0").parse()?;
            return Ok(Duration::from_nanos(nanos));
        }
    }
    Err("the daemon has no such thread".into())
}

fn said(site: &Site, what: &str) -> Result<Json> {
    let answer = rig::connect(&site.path("qmp"))?.execute("x-query-fleet", Object::new());
    let answer = answer.map_err(|error| error.to_string())?;
    Ok(answer.get(what).ok_or("x-query-fleet says less")?.clone())
}

/// How many bytes are not in the stream.
fn behind(site: &Site) -> Result<u64> {
    Ok(said(site, "behind")?.as_u64().unwrap_or(0))
}

pub(super) fn until_connected(site: &Site) -> Result {
    let connected = || (said(site, "connected").ok()? == Json::from(true)).then_some(());
    within(LIMIT, connected).ok_or_else(|| "the daemon does not come to the servers".into())
}

fn has_fleet(chardevd: &Path) -> Result<bool> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("fleet.toml");
    fs::write(&file, "[fleet]\nservers = ['nats://127.0.0.1:4222']\n")?;
    let mut check = Command::new(chardevd);
    check.arg("--config").arg(file).arg("--check");
    let check = check.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(check.status()?.success())
}

fn build_plain() -> Result<PathBuf> {
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

/// A server of its own. One that leaves the CPUs to others is as if it were on another machine.
pub(super) struct Nats {
    _server: Server,
    port: u16,
    web: u16,
    _dir: tempfile::TempDir,
}

impl Nats {
    pub(super) fn start(nice: u8) -> Result<Self> {
        let files = match std::env::var_os("CHARDEV_GUEST_DIR") {
            Some(dir) => sh::root().join(dir),
            None => sh::root().join("target/linux"),
        };
        let program = files.join("nats/usr/sbin/nats-server");
        if !program.exists() {
            return Err(format!("no {}: run ./setup", program.display()).into());
        }
        let free = || -> Result<u16> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
        let (port, web, dir) = (free()?, free()?, tempfile::tempdir()?);
        let file = dir.path().join("nats.conf");
        let store = dir.path().join("store");
        fs::write(
            &file,
            format!(
                "listen: '127.0.0.1:{port}'\nhttp: '127.0.0.1:{web}'\n\
                 jetstream {{ store_dir: '{}', max_file: 8G }}\n",
                store.display()
            ),
        )?;
        let mut command = Command::new("nice");
        command
            .arg(format!("-n{nice}"))
            .arg(program)
            .arg("--config")
            .arg(file);
        command.arg("--log").arg(dir.path().join("log"));
        let mut server = Server::start(command, &[])?;
        server.wait_for("it listened", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        })?;
        Ok(Nats {
            _server: server,
            port,
            web,
            _dir: dir,
        })
    }

    pub(super) fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(super) fn section(&self) -> String {
        let address = self.address();
        format!("[fleet]\nservers = ['{address}']\nhost = 'bench'\n")
    }

    /// How many messages it has stored.
    fn messages(&self) -> Result<f64> {
        let mut client = TcpStream::connect(("127.0.0.1", self.web))?;
        client.write_all(b"GET /jsz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        let said: serde_json::Value = serde_json::from_str(body)?;
        said["messages"].as_f64().ok_or_else(|| "no count".into())
    }
}
