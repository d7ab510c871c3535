//! What a fleet costs: the CPU of the daemon's part in it beside others that publish the same, and
//! how fast a console is that takes part.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use chardev_load::rig;
use chardev_qapi::{Json, Object};

use super::site::{LIMIT, Site};
use super::watched::{PACE, median, pass_on};
use super::{Programs, fleet_attach, publishers, report};
use crate::server::Server;
use crate::sh::{self, Result};
use crate::wait::within;

/// A console with a pace of its own, bytes a second.
const SPEED: u64 = 100_000_000;
const SPEED_WANTED: f64 = 0.95;
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
        publishers::table(chardevd, rounds)?,
        speed_table(chardevd, rounds)?,
        fleet_attach::table(chardevd, rounds)?,
    ]
    .concat())
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

fn said(site: &Site, what: &str) -> Result<Json> {
    let answer = rig::connect(&site.path("qmp"))?.execute("x-query-fleet", Object::new());
    let answer = answer.map_err(|error| error.to_string())?;
    Ok(answer.get(what).ok_or("x-query-fleet says less")?.clone())
}

/// How many bytes are not in the stream.
pub(super) fn behind(site: &Site) -> Result<u64> {
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
    pub(super) fn messages(&self) -> Result<f64> {
        let mut client = TcpStream::connect(("127.0.0.1", self.web))?;
        client.write_all(b"GET /jsz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        let said: serde_json::Value = serde_json::from_str(body)?;
        said["messages"].as_f64().ok_or_else(|| "no count".into())
    }
}
