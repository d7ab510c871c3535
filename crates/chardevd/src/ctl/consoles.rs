//! `chardevctl consoles` and `chardevctl reload`: the configuration of a running daemon.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use chardev::text::{shown, shown_lines};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::ClientError;

use super::commands::print;
use super::connect::Target;
use super::failure::{Failure, Status};

/// Prints the consoles of the configuration and what else is in it, and how each is.
pub(super) fn consoles(target: &Target, json: bool) -> Result<(), Failure> {
    let answer = target.connect()?.execute("x-query-consoles", Object::new());
    let consoles = answer.map_err(|error| target.failed(&error))?;
    match json {
        true => print(&format!("{}\n", consoles.to_pretty_string())),
        false => {
            let consoles = consoles.as_array().unwrap_or_default();
            if consoles.is_empty() {
                // Who cannot hear it has an empty list all the same.
                let _ = writeln!(
                    io::stderr(),
                    "chardevctl: the daemon has no consoles of a configuration: it was started \
                     without --config, or nothing is in that\n\
                     'chardevctl list' shows all chardevs"
                );
            }
            print(&table(consoles))
        }
    }
}

/// Has the daemon read its configuration again, and prints what came of it.
pub(super) fn reload(target: &Target, json: bool) -> Result<(), Failure> {
    let answer = target.connect()?.execute("x-reload", Object::new());
    let report = answer.map_err(|error| match &error {
        // One line for each thing that is wrong.
        ClientError::Command(refusal) if refusal.desc.contains('\n') => {
            Failure::new(Status::Failed, shown_lines(&refusal.desc))
        }
        _ => target.failed(&error),
    })?;
    match json {
        true => print(&format!("{}\n", report.to_pretty_string())),
        false => print(&told(&report)),
    }
}

/// A line for each sort of change; those that did not change are many and only counted.
fn told(report: &Json) -> String {
    let list = |name| {
        report
            .get(name)
            .and_then(Json::as_array)
            .unwrap_or_default()
    };
    let mut text = String::new();
    for sort in ["added", "changed", "removed"] {
        let names = list(sort).iter().filter_map(Json::as_str);
        let names = names
            .map(|name| shown(name).to_string())
            .collect::<Vec<_>>();
        let colon = if names.is_empty() { "" } else { ": " };
        let _ = writeln!(text, "{} {sort}{colon}{}", names.len(), names.join(", "));
    }
    let _ = writeln!(text, "{} unchanged", list("unchanged").len());
    for failed in list("failed") {
        let word = |name| failed.get(name).and_then(Json::as_str).unwrap_or("?");
        let (name, reason) = (shown(word("name")), shown(word("reason")));
        let _ = writeln!(text, "failed: {name}: {reason}");
    }
    text
}

fn table(consoles: &[Json]) -> String {
    let head = ["CONSOLE", "STATE", "FROM", "TO", "GROUPS", "ABOUT"];
    let mut rows = vec![head.map(str::to_owned)];
    for console in consoles {
        let text = |name| {
            let text = console.get(name).and_then(Json::as_str);
            text.map_or("-".to_owned(), |text| shown(text).to_string())
        };
        let groups = console.get("groups").and_then(Json::as_array);
        let groups: Vec<_> = groups
            .unwrap_or_default()
            .iter()
            .filter_map(Json::as_str)
            .collect();
        // Why it failed matters more than what it is for.
        let about = match console.get("reason") {
            Some(_) => text("reason"),
            None => text("description"),
        };
        let groups = shown(groups.join(",")).to_string();
        let row = [
            text("name"),
            text("state"),
            text("from"),
            text("to"),
            groups,
            about,
        ];
        rows.push(row);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|at| width(at).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{table, told};
    use chardev_qapi::Json;

    #[test]
    fn a_failed_console_says_why() {
        let read = |text| Json::parse(text).expect("valid");
        let consoles = read(
            "[{'name': 'a', 'state': 'running', 'from': 'exec sh', 'to': 'pty:/dev/pts/1',
               'groups': ['x', 'y'], 'description': 'first'},
              {'name': 'b', 'state': 'failed', 'from': 'serial /dev/x', 'reason': 'no such file',
               'groups': [], 'description': 'second'}]",
        );
        let expected = "\
CONSOLE  STATE    FROM           TO              GROUPS  ABOUT
a        running  exec sh        pty:/dev/pts/1  x,y     first
b        failed   serial /dev/x  -                       no such file
";
        assert_eq!(table(consoles.as_array().unwrap()), expected);
    }

    #[test]
    fn a_reload_is_told_by_counts_and_names() {
        let report = "{'added': ['a', 'b'], 'changed': [], 'removed': ['c'], 'unchanged': ['d'],
                       'failed': [{'name': 'e', 'reason': 'why'}]}";
        let expected = "2 added: a, b\n0 changed\n1 removed: c\n1 unchanged\nfailed: e: why\n";
        assert_eq!(told(&Json::parse(report).expect("valid")), expected);
    }
}
