//! How long `chardev-change` takes over QMP, with nothing behind the chardev and with a program
//! that prints at full speed: a guest of QEMU on its 16550A, `yes` on a terminal of ours.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::bed::{Bed, Kind, Load};
use super::{Programs, pause, report, transaction};
use crate::qmp::Client;
use crate::server::Server;
use crate::sh::Result;

/// Between two changes, so that the program prints into every back end.
const DWELL: Duration = Duration::from_millis(2);
const BOOT_TIMEOUT: Duration = Duration::from_secs(10);
/// Every ordered pair of two different kinds, as one closed walk.
const WALK: [Kind; 20] = {
    use Kind::{File, Null, Pty, Ringbuf, Unix};
    [
        Pty, Unix, File, Pty, File, Unix, Ringbuf, Pty, Ringbuf, Unix, Null, Pty, Null, File,
        Ringbuf, File, Null, Ringbuf, Null, Unix,
    ]
};

pub(crate) fn table(programs: &Programs, changes: usize, rounds: usize) -> Result<String> {
    let mut rows = Vec::new();
    let in_a_round = changes.div_ceil(rounds);
    for load in [Load::Idle, Load::FullSpeed] {
        let mut all = Vec::new();
        for round in 1..=rounds {
            eprintln!("xtask: changes, {}, round {round} of {rounds}", load.name());
            let mut columns = vec![measure(load, in_a_round, |bed| {
                bed.qemu(&programs.qemu, load)
            })?];
            if let Some(chardevd) = &programs.chardevd {
                let command = |bed: &Bed| bed.chardevd(chardevd, load);
                columns.push(measure(load, in_a_round, command)?);
            }
            all.push(columns);
        }
        rows.extend(load_rows(load, &all));
    }
    let title = format!("chardev-change over QMP, {changes} changes each, p50 / p99 / max in ms");
    let mut header = vec!["load, change to", "QEMU"];
    if programs.chardevd.is_some() {
        header.extend([
            "chardevd",
            "p50, QEMU = 1, median of rounds",
            "wanted",
            "kept",
        ]);
    }
    let mut tables = report::table(&title, &header, &rows);
    if let Some(chardevd) = &programs.chardevd {
        tables += &transaction::table(chardevd)?;
        tables += &pause::table()?;
    }
    Ok(tables)
}

/// Times of one server under one load, by the kind that was changed to.
struct Times {
    by_kind: Vec<(Kind, Duration)>,
    /// What the unix peer got meanwhile.
    received: u64,
    /// How often the program fell silent and had to be started again.
    stopped: usize,
}

/// Walks until enough changes are timed. QEMU's 16550A can fall silent for good when a change hits
/// a blocked socket; timing a silent program would flatter, so such a walk does not count.
fn measure(load: Load, changes: usize, command: impl Fn(&Bed) -> Result<Command>) -> Result<Times> {
    let mut times = Times {
        by_kind: Vec::new(),
        received: 0,
        stopped: 0,
    };
    let mut session = Session::start(load, &command)?;
    while times.by_kind.len() < changes {
        let walk = session.walk()?;
        if matches!(load, Load::Idle) || session.bed.prints() {
            times.by_kind.extend(walk);
            continue;
        }
        times.stopped += 1;
        if times.stopped > changes {
            return Err("the program behind the chardev stops too often to be measured".into());
        }
        times.received += session.bed.received();
        session = Session::start(load, &command)?;
    }
    times.received += session.bed.received();
    Ok(times)
}

/// A server with its chardev on the unix peer, printing if it has a load.
struct Session {
    client: Client,
    bed: Bed,
    /// Ends with the session.
    _server: Server,
}

impl Session {
    fn start(load: Load, command: impl Fn(&Bed) -> Result<Command>) -> Result<Self> {
        let bed = Bed::new()?;
        let server = Server::start(command(&bed)?, &[&bed.path("qmp.sock")])?;
        let client = Client::connect(&bed.path("qmp.sock"))?;
        let deadline = Instant::now() + BOOT_TIMEOUT;
        while matches!(load, Load::FullSpeed) && !bed.prints() {
            if Instant::now() > deadline {
                return Err("the program behind the chardev printed nothing".into());
            }
        }
        Ok(Session {
            client,
            bed,
            _server: server,
        })
    }

    fn walk(&mut self) -> Result<Vec<(Kind, Duration)>> {
        let mut times = Vec::with_capacity(WALK.len());
        for kind in WALK {
            thread::sleep(DWELL);
            times.push((kind, change(&mut self.client, &self.bed, kind)?));
        }
        Ok(times)
    }
}

fn change(client: &mut Client, bed: &Bed, kind: Kind) -> Result<Duration> {
    let arguments = json!({ "id": "c0", "backend": bed.backend(kind) });
    Ok(client.time("chardev-change", arguments)?.0)
}

/// One row for each kind, one for all, and under load one for what was printed meanwhile. Of each
/// round there are the times of QEMU, then ours.
fn load_rows(load: Load, rounds: &[Vec<Times>]) -> Vec<Vec<String>> {
    let servers = rounds.first().map_or(0, Vec::len);
    let mut rows = Vec::new();
    for kind in Kind::ALL.map(Some).into_iter().chain([None]) {
        let what = kind.map_or("all", Kind::name);
        let mut row = vec![format!("{}: {what}", load.name())];
        for server in 0..servers {
            let times = rounds.iter().map(|columns| &columns[server]);
            row.push(spread(&sorted(times, kind)));
        }
        if servers == 2 {
            row.extend(verdict(load, rounds, kind));
        }
        rows.push(row);
    }
    if matches!(load, Load::FullSpeed) {
        let mut row = vec![format!(
            "{}: MiB at the socket / times silent for good",
            load.name()
        )];
        row.extend((0..servers).map(|server| received(rounds, server)));
        row.extend(vec![String::new(); if servers == 2 { 3 } else { 0 }]);
        rows.push(row);
    }
    rows
}

/// How our median compares, what is wanted of each kind, and whether it is so.
fn verdict(load: Load, rounds: &[Vec<Times>], kind: Option<Kind>) -> [String; 3] {
    let p50 = |times: &Times| {
        let sorted = sorted([times], kind);
        (!sorted.is_empty()).then(|| report::percentile(&sorted, 0.5).as_secs_f64())
    };
    let ratio = |columns: &Vec<Times>| Some(p50(&columns[1])? / p50(&columns[0])?);
    let mut ratios: Vec<f64> = rounds.iter().filter_map(ratio).collect();
    if ratios.is_empty() {
        return [String::new(), String::new(), String::new()];
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = report::percentile(&ratios, 0.5);
    let wanted = match load {
        Load::Idle => 0.2,
        Load::FullSpeed => 0.5,
    };
    match kind {
        Some(_) => [
            format!("{ratio:.2}"),
            format!("{wanted}"),
            report::verdict(ratio <= wanted),
        ],
        None => [format!("{ratio:.2}"), String::new(), String::new()],
    }
}

fn sorted<'a>(all: impl IntoIterator<Item = &'a Times>, kind: Option<Kind>) -> Vec<Duration> {
    let all = all.into_iter().flat_map(|times| &times.by_kind);
    let wanted = all.filter(|(to, _)| kind.is_none_or(|kind| kind == *to));
    let mut times: Vec<_> = wanted.map(|(_, time)| *time).collect();
    times.sort();
    times
}

fn spread(sorted: &[Duration]) -> String {
    if sorted.is_empty() {
        return String::from("none");
    }
    let ms = |share| report::percentile(sorted, share).as_secs_f64() * 1e3;
    format!("{:.2} / {:.2} / {:.2}", ms(0.5), ms(0.99), ms(1.0))
}

fn received(rounds: &[Vec<Times>], server: usize) -> String {
    let times = || rounds.iter().map(|columns| &columns[server]);
    let bytes: u64 = times().map(|times| times.received).sum();
    let stopped: usize = times().map(|times| times.stopped).sum();
    let mib = bytes as f64 / f64::from(1 << 20);
    format!("{mib:.1} / {stopped}")
}
