//! How many commands are answered in a second: `query-chardev`, several at a time on each
//! connection, beside QEMU; and how long one takes where there are many chardevs.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::json;

use super::{Programs, report};
use crate::qmp::Client;
use crate::server::Server;
use crate::sh::Result;

/// How many commands are on their way on a connection.
const AHEAD: usize = 50;
const COMMAND: &str = "{\"execute\": \"query-chardev\"}\n";
/// What is measured of QEMU and of ours, and how many times as fast as QEMU it is to be.
const LOADS: [(&str, Clients, Clients, Option<f64>); 3] = [
    ("1 client", ONE, ONE, Some(20.0)),
    (
        "200 clients of one monitor, QEMU's 200 monitors",
        EACH_ITS_OWN,
        TOGETHER,
        Some(20.0),
    ),
    (
        "200 monitors, which are all listed",
        EACH_ITS_OWN,
        EACH_ITS_OWN,
        None,
    ),
];
const ONE: Clients = Clients {
    count: 1,
    together: false,
};
const TOGETHER: Clients = Clients {
    count: 200,
    together: true,
};
/// QEMU's only way: a monitor, and with it a chardev, for each.
const EACH_ITS_OWN: Clients = Clients {
    count: 200,
    together: false,
};
/// How many commands a round has.
const OURS: usize = 100_000;
const QEMUS: usize = 10_000;
/// With so many chardevs, how long does one answer take?
const CHARDEVS: usize = 1000;
const QUERIES: usize = 21;

pub(super) fn table(programs: &Programs, rounds: usize) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let qemu = || {
        let mut command = programs.qemu.command();
        command.args(["-M", "none"]);
        command
    };
    let ours = || {
        let mut command = Command::new(chardevd);
        command.arg("--no-default-monitor");
        command
    };
    let mut rows = Vec::new();
    for (what, theirs, own, wanted) in LOADS {
        let mut rates = [Vec::new(), Vec::new()];
        for round in 1..=rounds {
            eprintln!("xtask: {what}, round {round} of {rounds}");
            rates[0].push(rate(qemu(), "-qmp", theirs, QEMUS)?);
            rates[1].push(rate(ours(), "--qmp", own, OURS)?);
        }
        let (medians, ratio) = compared(&rates);
        let mut row = vec![
            format!("answers a second, {what}"),
            format!("{:.0}", medians[0]),
            format!("{:.0}", medians[1]),
            format!("{ratio:.1}"),
        ];
        row.extend(match wanted {
            Some(wanted) => [format!("≥ {wanted}"), report::verdict(ratio >= wanted)],
            None => [String::new(), String::new()],
        });
        rows.push(row);
    }
    let mut times = [Vec::new(), Vec::new()];
    for round in 1..=rounds {
        eprintln!("xtask: {CHARDEVS} chardevs, round {round} of {rounds}");
        times[0].push(one_answer(qemu(), "-qmp")?);
        times[1].push(one_answer(ours(), "--qmp")?);
    }
    let (medians, ratio) = compared(&times);
    rows.push(vec![
        format!("ms for one answer, chardevs: {CHARDEVS}"),
        format!("{:.2}", medians[0]),
        format!("{:.2}", medians[1]),
        format!("{ratio:.2}"),
        String::from("≤ 1"),
        report::verdict(ratio <= 1.0),
    ]);
    let title = format!("query-chardev, {AHEAD} at a time, median of {rounds} rounds");
    let header = ["what", "QEMU", "chardevd", "QEMU = 1", "wanted", "kept"];
    Ok(report::table(&title, &header, &rows))
}

/// The medians of both, and that of the ratios within a round.
fn compared(both: &[Vec<f64>; 2]) -> ([f64; 2], f64) {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        report::percentile(&values, 0.5)
    };
    let ratios = both[1]
        .iter()
        .zip(&both[0])
        .map(|(ours, theirs)| ours / theirs);
    let ratio = median(ratios.collect());
    (both.clone().map(median), ratio)
}

/// How many clients there are.
#[derive(Clone, Copy)]
struct Clients {
    count: usize,
    /// Over one socket.
    together: bool,
}

/// How many answers come in a second over all of them.
fn rate(mut command: Command, option: &str, who: Clients, count: usize) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let sockets = if who.together { 1 } else { who.count };
    let sockets: Vec<_> = (0..sockets)
        .map(|at| dir.path().join(at.to_string()))
        .collect();
    for socket in &sockets {
        let many = if who.together { ",x-clients=0" } else { "" };
        command.arg(option).arg(listening(socket) + many);
    }
    let known: Vec<&Path> = sockets.iter().map(AsRef::as_ref).collect();
    let _server = Server::start(command, &known)?;
    let clients = (0..who.count).map(|at| Client::connect(known[at % known.len()]));
    let mut clients = clients.collect::<Result<Vec<_>>>()?;
    // All answers are as long as the first: all clients are there.
    clients[0].send(COMMAND)?;
    let length = clients[0].skip_line()?;
    let turns = (count / who.count / AHEAD).max(2);
    let request = COMMAND.repeat(AHEAD);
    let begun = Instant::now();
    for _ in 0..turns {
        for client in &mut clients {
            client.send(&request)?;
        }
        for client in &mut clients {
            client.skip(AHEAD * length)?;
        }
    }
    Ok((turns * who.count * AHEAD) as f64 / begun.elapsed().as_secs_f64())
}

/// How many milliseconds it takes to list many chardevs.
fn one_answer(mut command: Command, option: &str) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let monitor = dir.path().join("qmp");
    command.arg(option).arg(listening(&monitor));
    let _server = Server::start(command, &[&monitor])?;
    let mut client = Client::connect(&monitor)?;
    for at in 0..CHARDEVS {
        let backend = json!({ "type": "null", "data": {} });
        client.execute(
            "chardev-add",
            json!({ "id": format!("c{at}"), "backend": backend }),
        )?;
    }
    client.send(COMMAND)?;
    let length = client.skip_line()?;
    let mut times = Vec::with_capacity(QUERIES);
    for _ in 0..QUERIES {
        let begun = Instant::now();
        client.send(COMMAND)?;
        client.skip(length)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(report::percentile(&times, 0.5))
}

fn listening(socket: &Path) -> String {
    format!("unix:{},server=on,wait=off", socket.display())
}
