//! How long a start with many chardevs takes, all of them from a configuration, until a client has
//! been greeted and is told of each. Ours beside QEMU.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::logs::median;
use super::{Programs, report};
use crate::qmp::Client;
use crate::server::Server;
use crate::sh::Result;
use crate::wait::within;

const COUNT: usize = 10_000;
/// A file system in memory.
const MEMORY: &str = "/dev/shm";
/// A server that does not listen then is given up.
const LIMIT: Duration = Duration::from_secs(120);
/// What is wanted of each kind.
const WANTED_S: f64 = 1.0;

/// A kind, and how a chardev number so and so of it is written in QEMU's file and in ours.
struct Kind {
    name: &'static str,
    qemu: fn(&mut String, usize),
    ours: fn(&mut String, usize),
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "null",
        qemu: |text, at| {
            put(
                text,
                format_args!("[chardev \"c{at}\"]\nbackend = \"null\"\n"),
            )
        },
        ours: |text, at| put(text, format_args!("[chardev.c{at}]\nline = \"null\"\n")),
    },
    Kind {
        name: "ring buffer",
        qemu: |text, at| {
            let of = format_args!("[chardev \"c{at}\"]\nbackend = \"ringbuf\"\nsize = \"4096\"\n");
            put(text, of);
        },
        ours: |text, at| {
            put(
                text,
                format_args!("[chardev.c{at}]\nline = \"ringbuf,size=4096\"\n"),
            );
        },
    },
    Kind {
        name: "Unix socket that listens",
        qemu: |text, at| {
            put(
                text,
                format_args!("[chardev \"c{at}\"]\nbackend = \"socket\"\npath = \"c{at}\"\n"),
            );
            text.push_str("server = \"on\"\nwait = \"off\"\n");
        },
        ours: |text, at| {
            put(
                text,
                format_args!("[chardev.c{at}]\nline = \"socket,path=c{at},server=on,wait=off\"\n"),
            );
        },
    },
];

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    let _ = text.write_fmt(what);
}

pub(super) fn table(programs: &Programs, rounds: usize) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let mut rows = Vec::new();
    for kind in &KINDS {
        eprintln!("xtask: a start with {COUNT} chardevs: {}", kind.name);
        let (mut theirs, mut own) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            theirs.push(start(kind.qemu, |dir, file| {
                fs::write(dir.join("qemu.conf"), file)?;
                let mut command = programs.qemu.command();
                command.args(["-M", "none", "-readconfig", "qemu.conf"]);
                command.args(["-qmp", "unix:qmp,server=on,wait=off"]);
                Ok(command)
            })?);
            own.push(start(kind.ours, |dir, file| {
                // The monitor of a configuration is there when all else is.
                let monitor = "[[monitor]]\nlisten = \"unix:qmp,server=on,wait=off\"\n";
                fs::write(dir.join("chardevd.toml"), file + monitor)?;
                let mut command = Command::new(chardevd);
                command.args(["--config", "chardevd.toml"]);
                Ok(command)
            })?);
        }
        let ratios = theirs.iter().zip(&own).map(|(theirs, own)| own / theirs);
        let ratio = median(ratios);
        let [theirs, own] = [theirs, own].map(|all| median(all.into_iter()));
        rows.push(vec![
            kind.name.to_owned(),
            format!("{theirs:.2}"),
            format!("{own:.2}"),
            format!("{ratio:.2}"),
            format!("{WANTED_S:.1}"),
            report::verdict(own <= WANTED_S),
        ]);
    }
    let title = format!("Start with {COUNT} chardevs, median of {rounds} rounds, in s");
    let header = ["each", "QEMU", "chardevd", "QEMU = 1", "wanted", "kept"];
    Ok(report::table(&title, &header, &rows))
}

/// How many seconds it takes, with `write` for each chardev.
fn start(
    write: fn(&mut String, usize),
    command: impl FnOnce(&Path, String) -> Result<Command>,
) -> Result<f64> {
    // As /run is: the time that a disk takes to make a file is nobody's here.
    let dir = tempfile::tempdir_in(MEMORY)?;
    let mut file = String::new();
    (0..COUNT).for_each(|at| write(&mut file, at));
    let mut command = command(dir.path(), file)?;
    command.current_dir(dir.path());
    let monitor = dir.path().join("qmp");
    let begun = Instant::now();
    let _server = Server::start(command, &[])?;
    let listens = || UnixStream::connect(&monitor).ok();
    let first = within(LIMIT, listens).ok_or("it does not listen")?;
    // A monitor of QEMU has one client at a time.
    drop(first);
    let mut client = Client::connect(&monitor)?;
    // A daemon that takes long tells of what it has meanwhile.
    loop {
        let all = client.execute("query-chardev", json!({}))?;
        let took = begun.elapsed();
        match all.as_array().map_or(0, Vec::len) {
            listed if listed >= COUNT => return Ok(took.as_secs_f64()),
            listed if took > LIMIT => {
                return Err(format!("{listed} chardevs are there of {COUNT}").into());
            }
            _ => {}
        }
    }
}
