//! How long `chardev-change` takes over QMP, with nothing behind the chardev and with a program
//! that prints at full speed: a guest of QEMU on its 16550A, `yes` on a terminal of ours.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::bed::{Bed, Kind, Load};
use super::{Programs, report};
use crate::qmp::Client;
use crate::server::Server;
use crate::sh::Result;

/// Between two changes, so that the program prints into every back end.
const DWELL: Duration = Duration::from_millis(2);
const BOOT_TIMEOUT: Duration = Duration::from_secs(10);
/// Every ordered pair of two different kinds, as one closed walk.
const WALK: [Kind; 12] = {
    use Kind::{File, Null, Ringbuf, Unix};
    [
        File, Ringbuf, File, Null, File, Unix, Null, Ringbuf, Null, Unix, Ringbuf, Unix,
    ]
};

pub(crate) fn table(programs: &Programs, changes: usize) -> Result<String> {
    let mut rows = Vec::new();
    for load in [Load::Idle, Load::FullSpeed] {
        eprintln!("xtask: {changes} changes of QEMU, {}", load.name());
        let mut columns = vec![measure(load, changes, |bed| {
            bed.qemu(&programs.qemu, load)
        })?];
        if let Some(chardevd) = &programs.chardevd {
            eprintln!("xtask: {changes} changes of chardevd, {}", load.name());
            columns.push(measure(load, changes, |bed| bed.chardevd(chardevd, load))?);
        }
        rows.extend(load_rows(load, &columns));
    }
    let title = format!("chardev-change over QMP, {changes} changes each, p50 / p99 / max in ms");
    let mut header = vec!["load, change to", "QEMU"];
    if programs.chardevd.is_some() {
        header.extend(["chardevd", "p50, QEMU = 1"]);
    }
    Ok(report::table(&title, &header, &rows))
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
    let start = Instant::now();
    client.execute("chardev-change", arguments)?;
    Ok(start.elapsed())
}

/// One row for each kind, one for all, and under load one for what was printed meanwhile.
fn load_rows(load: Load, columns: &[Times]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for kind in Kind::ALL.map(Some).into_iter().chain([None]) {
        let what = kind.map_or("all", Kind::name);
        let mut row = vec![format!("{}: {what}", load.name())];
        let sorted: Vec<_> = columns.iter().map(|times| sorted(times, kind)).collect();
        row.extend(sorted.iter().map(|times| spread(times)));
        if let [reference, ours] = &sorted[..]
            && !reference.is_empty()
        {
            let p50 = |times: &[Duration]| report::percentile(times, 0.5).as_secs_f64();
            row.push(format!("{:.2}", p50(ours) / p50(reference)));
        }
        rows.push(row);
    }
    if matches!(load, Load::FullSpeed) {
        let mut row = vec![format!(
            "{}: MiB at the socket / times silent for good",
            load.name()
        )];
        row.extend(columns.iter().map(received));
        row.extend((columns.len() == 2).then(String::new));
        rows.push(row);
    }
    rows
}

fn sorted(times: &Times, kind: Option<Kind>) -> Vec<Duration> {
    let wanted = times
        .by_kind
        .iter()
        .filter(|(to, _)| kind.is_none_or(|kind| kind == *to));
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

fn received(times: &Times) -> String {
    let mib = times.received as f64 / f64::from(1 << 20);
    format!("{mib:.1} / {}", times.stopped)
}
