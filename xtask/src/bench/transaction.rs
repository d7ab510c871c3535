//! How long it takes to change many chardevs in one transaction.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::report;
use crate::qmp::Client;
use crate::server::Server;
use crate::sh::Result;

const COUNT: usize = 1000;
const TIMES: usize = 11;
/// How long it may take.
const LIMIT: Duration = Duration::from_millis(50);

pub(super) fn table(chardevd: &Path) -> Result<String> {
    eprintln!("xtask: transactions of {COUNT} changes");
    let dir = tempfile::tempdir()?;
    let monitor = dir.path().join("qmp");
    let mut command = Command::new(chardevd);
    command
        .args(["--no-default-monitor", "--qmp"])
        .arg(format!("unix:{},server=on,wait=off", monitor.display()));
    let _server = Server::start(command, &[&monitor])?;
    let mut client = Client::connect(&monitor)?;
    for at in 0..COUNT {
        let backend = json!({ "type": "null", "data": {} });
        client.execute("chardev-add", json!({ "id": id(at), "backend": backend }))?;
    }
    let kinds: [(&str, &dyn Fn(usize) -> Value); 3] = [
        ("ringbuf", &|_| json!({ "type": "ringbuf", "data": {} })),
        ("null", &|_| json!({ "type": "null", "data": {} })),
        ("file", &|at| {
            let out = dir.path().join(id(at));
            json!({ "type": "file", "data": { "out": out } })
        }),
    ];
    let mut rows = Vec::new();
    let mut times = kinds.map(|_| Vec::new());
    for _ in 0..TIMES {
        for ((_, backend), times) in kinds.iter().zip(&mut times) {
            times.push(change_all(&mut client, backend)?);
        }
    }
    for ((kind, _), mut times) in kinds.iter().zip(times) {
        times.sort();
        let [half, most] = [0.5, 1.0].map(|share| report::percentile(&times, share));
        rows.push(vec![
            format!("{COUNT} to {kind}"),
            format!("{:.1}", half.as_secs_f64() * 1e3),
            format!("{:.1}", most.as_secs_f64() * 1e3),
            report::verdict(half <= LIMIT),
        ]);
    }
    let title = format!("{COUNT} chardevs changed in one transaction, of {TIMES}");
    let header = ["change of", "p50, ms", "max, ms", "50 ms kept at p50"];
    Ok(report::table(&title, &header, &rows))
}

fn change_all(client: &mut Client, backend: &dyn Fn(usize) -> Value) -> Result<Duration> {
    let action = |at| {
        let data = json!({ "id": id(at), "backend": backend(at) });
        json!({ "type": "chardev-change", "data": data })
    };
    let actions: Vec<_> = (0..COUNT).map(action).collect();
    let arguments = json!({ "actions": actions });
    let (took, answered) = client.time("x-chardev-transaction", arguments)?;
    match answered.as_array().map_or(0, Vec::len) {
        COUNT => Ok(took),
        done => Err(format!("{done} changes were answered of {COUNT}").into()),
    }
}

fn id(at: usize) -> String {
    format!("c{at}")
}
