//! `chardevctl list`: all chardevs in a table, or as JSON.

use std::collections::HashMap;
use std::fmt::Write as _;

use chardev::text::shown;
use chardev_qapi::{Json, Object};
use chardev_qmp::client::ClientError;

use super::attach::how_it_ended;
use super::commands::print;
use super::connect::{Monitor, Target};
use super::failure::Failure;

/// Prints all chardevs.
pub(super) fn list(target: &Target, json: bool) -> Result<(), Failure> {
    let mut monitor = target.connect()?;
    let list = monitor.execute("query-chardev", Object::new());
    let list = list.map_err(|error| target.failed(&error))?;
    let stats = ask(target, &mut monitor, "x-query-chardev-stats")?;
    let devices = ask(target, &mut monitor, "x-query-devices")?;
    // Whoever reads what we print may take their time; the monitor is for others meanwhile.
    drop(monitor);
    let entries = merge(&list, &stats, &devices);
    match json {
        true => print(&format!("{}\n", Json::Array(entries).to_pretty_string())),
        false => print(&table(&entries)),
    }
}

/// What a server that is not ours cannot tell; the list is of use without it.
fn ask(target: &Target, monitor: &mut Monitor, command: &str) -> Result<Json, Failure> {
    match monitor.execute(command, Object::new()) {
        Err(ClientError::Command(_)) => Ok(Json::Null),
        answer => answer.map_err(|error| target.failed(&error)),
    }
}

/// The entries of `query-chardev`, with the members of `x-query-chardev-stats` they lack, and the
/// device that uses each.
fn merge(list: &Json, stats: &Json, devices: &Json) -> Vec<Json> {
    let (stats, devices) = (by(stats, "label"), by(devices, "chardev"));
    let entries = list.as_array().unwrap_or_default().iter();
    let merged = entries.map(|entry| {
        let mut merged = entry.as_object().cloned().unwrap_or_default();
        let label = entry.get("label").and_then(Json::as_str);
        let own = label.and_then(|label| stats.get(label)?.as_object());
        for (name, value) in own.into_iter().flat_map(Object::iter) {
            if merged.get(name).is_none() {
                merged.insert(name, value.clone());
            }
        }
        if let Some(device) = label.and_then(|label| devices.get(label)) {
            merged.insert("device", (*device).clone());
        }
        Json::Object(merged)
    });
    merged.collect()
}

/// The objects of a list by the text of one of their members.
fn by<'a>(list: &'a Json, member: &str) -> HashMap<&'a str, &'a Json> {
    let objects = list.as_array().unwrap_or_default().iter();
    objects
        .filter_map(|object| Some((object.get(member)?.as_str()?, object)))
        .collect()
}

/// Whether the front end is open, and what became of its program.
fn front_end(entry: &Json) -> String {
    let open = match entry.get("frontend-open").and_then(Json::as_bool) {
        Some(true) => "open",
        Some(false) => "closed",
        None => "-",
    };
    let device = entry.get("device");
    let state = device.and_then(|device| device.get("state")?.as_str());
    match (device, state) {
        (Some(device), Some("ended" | "failed")) => {
            format!("{open}: {}", shown(how_it_ended(device)))
        }
        _ => open.to_owned(),
    }
}

fn table(entries: &[Json]) -> String {
    let head = [
        "ID",
        "BACK END",
        "OPEN",
        "FRONT END",
        "OUT",
        "IN",
        "DISCARDED",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for entry in entries {
        let text = |name| {
            entry
                .get(name)
                .and_then(Json::as_str)
                .map_or("-".to_owned(), |text| shown(text).to_string())
        };
        let number = |name| {
            entry
                .get(name)
                .and_then(Json::as_u64)
                .map_or("-".to_owned(), |value| value.to_string())
        };
        let either = |name, yes: &str, no: &str| match entry.get(name).and_then(Json::as_bool) {
            Some(true) => yes.to_owned(),
            Some(false) => no.to_owned(),
            None => "-".to_owned(),
        };
        rows.push([
            text("label"),
            text("filename"),
            either("open", "yes", "no"),
            front_end(entry),
            number("output-accepted"),
            number("input-delivered"),
            number("output-discarded"),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Numbers are compared by their last digits.
            let _ = match column {
                0..4 => write!(line, "{cell:<width$}  "),
                _ => write!(line, "{cell:>width$}  "),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{merge, table};
    use chardev_qapi::Json;

    #[test]
    fn a_table_lines_up_and_says_what_is_unknown() {
        let read = |text| Json::parse(text).expect("valid");
        let list = read(
            "[{'label': 'con0', 'filename': 'pty:/dev/pts/3', 'frontend-open': true},
              {'label': 'dead', 'filename': 'null', 'frontend-open': false}, {}]",
        );
        let stats = read(
            "[{'label': 'x', 'open': false}, {'label': 'con0', 'open': true, 'output-accepted': 12345}]",
        );
        let devices = read(
            "[{'id': 'd', 'chardev': 'dead', 'state': 'ended', 'status': 3},
              {'chardev': 'con0', 'state': 'running'}]",
        );
        let expected = "\
ID    BACK END        OPEN  FRONT END                              OUT  IN  DISCARDED
con0  pty:/dev/pts/3  yes   open                                 12345   -          -
dead  null            -     closed: the program ended, status 3      -   -          -
-     -               -     -                                        -   -          -
";
        assert_eq!(table(&merge(&list, &stats, &devices)), expected);
    }
}
