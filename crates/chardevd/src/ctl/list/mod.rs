//! `chardevctl list`: all chardevs in a table, or as JSON, once or again and again.

mod shown;
mod watch;

use std::collections::HashMap;

use chardev_qapi::{Json, Object};
use chardev_qmp::client::ClientError;

use super::commands::print;
use super::connect::{Monitor, Target};
use super::failure::Failure;
use super::table::terminal_width;
use shown::table;
pub(super) use shown::{attached, dropped, front_end};

/// Lists the chardevs: where each goes, who uses it, what came and went, and what is behind it
///
/// A console of the configuration that comes from a serial line, a socket or the like has a chardev
/// for that side too, NAME-line: it is part of the console, and listed only with --parts. DROPPED
/// counts all bytes of output and input that nobody got; --json says why. On a terminal, long texts
/// are cut to fit. With --fleet, it lists all consoles of the cluster that are there or
/// have printed: as HOST/CONSOLE, whether they are up, how much they have printed in their newest
/// life, when the servers got its last message, and whether it is over. A host without consoles
/// stands there alone.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// List the parts of consoles, too; --json does so anyway, and says which they are (part-of)
    #[arg(long)]
    pub(super) parts: bool,
    /// Show it anew every so many seconds, until Ctrl-C
    #[arg(long, short, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
          require_equals = true, value_parser = super::waiting::parse_timeout)]
    pub(super) watch: Option<std::time::Duration>,
}

/// Prints all chardevs.
pub(super) fn list(target: &Target, args: &Args) -> Result<(), Failure> {
    if let Some(pause) = args.watch {
        return watch::watch(target, args, pause);
    }
    let mut monitor = target.connect()?;
    let entries = entries(target, &mut monitor)?;
    // Whoever reads what we print may take their time; the monitor is for others meanwhile.
    drop(monitor);
    match args.json {
        true => print(&format!("{}\n", Json::Array(entries).to_pretty_string())),
        false => print(&table(&shown_of(entries, args)).text(terminal_width())),
    }
}

/// Those that a table has.
fn shown_of(entries: Vec<Json>, args: &Args) -> Vec<Json> {
    match args.parts {
        true => entries,
        false => without_parts(entries),
    }
}

/// Those that are no part of another.
pub(in crate::ctl) fn without_parts(mut entries: Vec<Json>) -> Vec<Json> {
    entries.retain(|entry| entry.get("part-of").is_none());
    entries
}

/// All that is known of the chardevs.
pub(in crate::ctl) fn entries(
    target: &Target,
    monitor: &mut Monitor,
) -> Result<Vec<Json>, Failure> {
    let list = monitor.execute("query-chardev", Object::new());
    let list = list.map_err(|error| target.failed(&error))?;
    let stats = ask(target, monitor, "x-query-chardev-stats")?;
    let devices = ask(target, monitor, "x-query-devices")?;
    let consoles = ask(target, monitor, "x-query-consoles")?;
    let mut entries = merge(&list, &stats, &devices);
    mark_parts(&mut entries, &consoles);
    Ok(entries)
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
                merged.insert(name.to_owned(), value.clone());
            }
        }
        if let Some(device) = label.and_then(|label| devices.get(label)) {
            merged.insert("device", (*device).clone());
        }
        Json::Object(merged)
    });
    merged.collect()
}

/// Says which chardevs are parts of a console, and of the console how it is with its line.
fn mark_parts(entries: &mut [Json], consoles: &Json) {
    let consoles = consoles.as_array().unwrap_or_default().iter();
    let consoles = consoles.filter_map(|console| {
        let parts = console.get("parts")?.as_array()?.iter();
        let parts: Vec<&str> = parts.filter_map(Json::as_str).collect();
        Some((console.get("name")?.as_str()?, console.get("from")?, parts))
    });
    let labels = entries.iter().enumerate();
    let labels = labels.filter_map(|(at, one)| Some((one.get("label")?.as_str()?.to_owned(), at)));
    let places: HashMap<String, usize> = labels.collect();
    for (name, from, parts) in consoles {
        let mut line = None;
        for label in parts {
            let entry = places.get(label).and_then(|at| entries.get_mut(*at));
            let Some(Json::Object(entry)) = entry else {
                continue;
            };
            entry.insert("part-of", name);
            if label == format!("{name}-line") {
                line = entry.get("open").and_then(Json::as_bool);
            }
        }
        let Some(open) = line else { continue };
        let own = places.get(name).and_then(|at| entries.get_mut(*at));
        if let Some(Json::Object(own)) = own {
            let line = Object::new().with("from", from.clone()).with("open", open);
            own.insert("line", line);
        }
    }
}

/// The objects of a list by the text of one of their members.
fn by<'a>(list: &'a Json, member: &str) -> HashMap<&'a str, &'a Json> {
    let objects = list.as_array().unwrap_or_default().iter();
    objects
        .filter_map(|object| Some((object.get(member)?.as_str()?, object)))
        .collect()
}
