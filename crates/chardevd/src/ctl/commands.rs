//! The commands that are one request and its answer: list, add, change, remove, break.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use chardev_qapi::{Json, Object};
use chardev_qmp::client::ClientError;

use super::backend::{backend_json, chardev_json};
use super::connect::{Address, connect};

/// Prints all chardevs.
pub(super) fn list(address: &Address, json: bool) -> Result<(), String> {
    let mut monitor = connect(address)?;
    let list = monitor
        .execute("query-chardev", Object::new())
        .map_err(explain)?;
    // A server that is not ours has no counters; the list is of use without them.
    let stats = monitor
        .execute("x-query-chardev-stats", Object::new())
        .unwrap_or(Json::Null);
    let entries: Vec<Json> = list
        .as_array()
        .unwrap_or_default()
        .iter()
        .map(|entry| Json::Object(merge(entry, &stats)))
        .collect();
    match json {
        true => print(&format!("{}\n", Json::Array(entries).to_pretty_string())),
        false => print(&table(&entries)),
    }
}

/// Adds a chardev.
pub(super) fn add(address: &Address, line: &str) -> Result<(), String> {
    let (id, backend) = chardev_json(line)?;
    let pty = connect(address)?.chardev_add(&id, backend);
    print_pty(pty.map_err(explain)?)
}

/// Changes a chardev's back end.
pub(super) fn change(address: &Address, id: &str, line: &str) -> Result<(), String> {
    let backend = backend_json(line)?;
    let pty = connect(address)?.chardev_change(id, backend);
    print_pty(pty.map_err(explain)?)
}

/// Removes a chardev.
pub(super) fn remove(address: &Address, id: &str) -> Result<(), String> {
    connect(address)?.chardev_remove(id).map_err(explain)
}

/// Sends a break.
pub(super) fn send_break(address: &Address, id: &str) -> Result<(), String> {
    connect(address)?.chardev_send_break(id).map_err(explain)
}

/// Prints to standard output; a reader that left early, such as `head`, is no failure.
pub(super) fn print(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// The error for the user: what the daemon said, and what to do about it.
pub(super) fn explain(error: ClientError) -> String {
    let text = error.to_string();
    match remedy(&text) {
        Some(remedy) => format!("{text}\n{remedy}"),
        None => text,
    }
}

fn print_pty(pty: Option<String>) -> Result<(), String> {
    match pty {
        Some(pty) => print(&format!("{pty}\n")),
        None => Ok(()),
    }
}

/// What to do about an error, by the words it contains.
fn remedy(text: &str) -> Option<&'static str> {
    const REMEDIES: &[(&str, &str)] = &[
        (
            "does not support chardev hotswap",
            "its user, such as a monitor, needs its back end; add another chardev instead",
        ),
        (
            "does not exist",
            "'chardevctl list' shows the chardevs there are",
        ),
        (
            "not found",
            "'chardevctl list' shows the chardevs there are",
        ),
        (
            "already exists",
            "choose another id, or give it another back end with 'chardevctl change'",
        ),
        (
            "is busy",
            "a front end uses it: give it another back end with 'chardevctl change', or null",
        ),
        (
            "is being changed already",
            "the old back end stays until one of the changes has succeeded",
        ),
        (
            "not a valid char driver name",
            "'chardevd --chardev help' lists the kinds",
        ),
        (
            "Invalid parameter '",
            "'chardevd --chardev KIND,help' lists the options of a kind",
        ),
        (
            "Address already in use",
            "somebody listens there: choose another port or path, or end the other one",
        ),
        (
            "No such file or directory",
            "paths are the daemon's; create the directory, or start the peer, first",
        ),
        (
            "Connection refused",
            "nobody listens there: start the peer first, or add reconnect-ms=1000",
        ),
        ("Permission denied", "the daemon's user may not use it"),
        ("Is a directory", "name a file inside it"),
        ("File exists", "remove it, or choose another path"),
    ];
    REMEDIES
        .iter()
        .find(|(words, _)| text.contains(words))
        .map(|(_, remedy)| *remedy)
}

/// The entry of `query-chardev`, with the members of `x-query-chardev-stats` it lacks.
fn merge(entry: &Json, stats: &Json) -> Object {
    let mut merged = entry.as_object().cloned().unwrap_or_default();
    let mut all = stats.as_array().unwrap_or_default().iter();
    let own = all.find(|stats| stats.get("label") == entry.get("label"));
    for (name, value) in own
        .and_then(Json::as_object)
        .into_iter()
        .flat_map(Object::iter)
    {
        if merged.get(name).is_none() {
            merged.insert(name, value.clone());
        }
    }
    merged
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
                .unwrap_or("-")
                .to_owned()
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
            either("frontend-open", "open", "closed"),
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
    use super::{merge, remedy, table};
    use chardev_qapi::Json;

    #[test]
    fn a_table_lines_up_and_says_what_is_unknown() {
        let list =
            Json::parse("{'label': 'con0', 'filename': 'pty:/dev/pts/3', 'frontend-open': true}");
        let stats = Json::parse(
            "[{'label': 'x', 'open': false}, {'label': 'con0', 'open': true, 'output-accepted': 12345}]",
        );
        let (list, stats) = (list.expect("valid"), stats.expect("valid"));
        let text = table(&[Json::Object(merge(&list, &stats)), Json::empty()]);
        let expected = "\
ID    BACK END        OPEN  FRONT END    OUT  IN  DISCARDED
con0  pty:/dev/pts/3  yes   open       12345   -          -
-     -               -     -              -   -          -
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_common_mistakes_have_a_remedy() {
        for text in [
            "Chardev 'x' does not exist",
            "Could not open '/nosuch/x': No such file or directory",
            "Failed to find an available port: Address already in use",
            "Chardev user does not support chardev hotswap",
            "'nosuch' is not a valid char driver name",
        ] {
            assert!(remedy(text).is_some(), "{text}");
        }
    }
}
