//! The commands that are one request and its answer: list, add, change, remove, break.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use chardev::text::shown;
use chardev_qapi::{Json, Object};

use super::backend::{backend_json, chardev_json};
use super::connect::Target;
use super::failure::Failure;

/// Prints all chardevs.
pub(super) fn list(target: &Target, json: bool) -> Result<(), Failure> {
    let mut monitor = target.connect()?;
    let list = monitor
        .execute("query-chardev", Object::new())
        .map_err(|error| target.failed(&error))?;
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
pub(super) fn add(target: &Target, line: &str) -> Result<(), Failure> {
    let (id, backend) = chardev_json(line)?;
    let pty = target.connect()?.chardev_add(&id, backend);
    print_pty(pty.map_err(|error| target.failed(&error))?)
}

/// Changes a chardev's back end.
pub(super) fn change(target: &Target, id: &str, line: &str) -> Result<(), Failure> {
    let backend = backend_json(line)?;
    let pty = target.connect()?.chardev_change(id, backend);
    print_pty(pty.map_err(|error| target.failed(&error))?)
}

/// Removes a chardev.
pub(super) fn remove(target: &Target, id: &str) -> Result<(), Failure> {
    target
        .connect()?
        .chardev_remove(id)
        .map_err(|error| target.failed(&error))
}

/// Sends a break.
pub(super) fn send_break(target: &Target, id: &str) -> Result<(), Failure> {
    target
        .connect()?
        .chardev_send_break(id)
        .map_err(|error| target.failed(&error))
}

/// Prints to standard output; a reader that left early, such as `head`, is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes()).map(drop)
}

/// Prints at once; `false` when the reader has left.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<bool, Failure> {
    let mut stdout = io::stdout();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(format!("standard output: {error}").into()),
    }
}

fn print_pty(pty: Option<String>) -> Result<(), Failure> {
    match pty {
        Some(pty) => print(&format!("{}\n", shown(pty))),
        None => Ok(()),
    }
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
    use super::{merge, table};
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
}
