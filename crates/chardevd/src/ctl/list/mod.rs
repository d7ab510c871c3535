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
/// DROPPED counts all bytes of output and input that nobody got; --json says why. On a terminal,
/// long texts are cut to fit.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show it anew every so many seconds, until Ctrl-C
    #[arg(long, short, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
          require_equals = true, value_parser = super::waiting::parse_timeout)]
    watch: Option<std::time::Duration>,
}

/// Prints all chardevs.
pub(super) fn list(target: &Target, args: &Args) -> Result<(), Failure> {
    if let Some(pause) = args.watch {
        return watch::watch(target, args.json, pause);
    }
    let mut monitor = target.connect()?;
    let entries = entries(target, &mut monitor)?;
    // Whoever reads what we print may take their time; the monitor is for others meanwhile.
    drop(monitor);
    match args.json {
        true => print(&format!("{}\n", Json::Array(entries).to_pretty_string())),
        false => print(&table(&entries).text(terminal_width())),
    }
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
    Ok(merge(&list, &stats, &devices))
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
