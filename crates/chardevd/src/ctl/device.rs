//! `chardevctl device`: lists, adds and removes the devices behind consoles.

use std::fmt::Write as _;

use chardev::text::{from_os, shown, to_path};
use chardev_qapi::opts::{Opts, parse_opts};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::ClientError;
use clap::Subcommand;

use super::attach::how_it_ended;
use super::commands::print;
use super::complete;
use super::connect::Target;
use super::failure::Failure;
use super::meant;
use super::suggest::nearest;
use crate::devices::PATHS;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List the devices
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a device; takes the same argument as -device ('chardevd --device help' lists them)
    ///
    /// A command may be given after --, as it is, instead of with command=, where each comma is
    /// written twice: chardevctl device add exec,chardev=con0 -- sh -c 'echo a, b'
    /// Paths in socket= and cwd= start where you are; over --host, where the daemon is.
    Add {
        /// DRIVER[,id=ID][,OPTION=VALUE…]
        #[arg(add = complete::device())]
        line: String,
        /// The command of an exec and its arguments
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Remove a device and release its chardevs
    Del {
        /// The device
        #[arg(add = complete::devices())]
        id: String,
    },
    /// Restart a device's program
    Restart {
        /// The device
        #[arg(add = complete::devices())]
        id: String,
    },
}

pub(super) fn run(target: &Target, action: &Action) -> Result<(), Failure> {
    match action {
        Action::List { json } => list(target, *json),
        Action::Add { line, command } => {
            let mut opts = parse_opts(line, "driver");
            meant::check_device(&opts)?;
            if !command.is_empty() {
                let words = command.iter().map(|word| quoted(word));
                let words = words.collect::<Vec<_>>().join(" ");
                opts.pairs.push(("command".to_owned(), words));
            }
            start_paths(&mut opts, target);
            let driver = opts.get("driver").unwrap_or_default().to_owned();
            let arguments = opts.pairs.iter();
            let arguments = arguments.fold(Object::new(), |mut all, (key, value)| {
                all.insert(key.clone(), value.as_str());
                all
            });
            let added = ask(target, "device_add", arguments).map(drop);
            added.map_err(|failure| match meant::driver(&driver) {
                Some(hint) => failure.with_hint(&hint),
                None => failure,
            })
        }
        Action::Del { id } => about(target, "device_del", id),
        Action::Restart { id } => about(target, "x-device-restart", id),
    }
}

/// Makes paths start where this user is, if that is the daemon's host.
fn start_paths(opts: &mut Opts, target: &Target) {
    let Some(directory) = target.address.directory() else {
        return;
    };
    for (key, value) in &mut opts.pairs {
        if PATHS.contains(&key.as_str()) {
            let place = to_path(value, Some(&directory));
            *value = from_os(place.as_os_str()).to_string();
        }
    }
}

/// A command about device `id`, or the one that was meant if there is none.
fn about(target: &Target, command: &str, id: &str) -> Result<(), Failure> {
    let mut monitor = target.connect()?;
    let Err(error) = monitor.execute(command, named(id)) else {
        return Ok(());
    };
    let devices = monitor.execute("x-query-devices", Object::new());
    let devices = devices.as_ref().ok().and_then(Json::as_array);
    let ids = devices.unwrap_or_default().iter();
    let ids: Vec<&str> = ids
        .filter_map(|device| device.get("id")?.as_str())
        .collect();
    match nearest(id, ids.iter().copied()) {
        Some(meant) if !ids.contains(&id) => {
            let meant = shown(meant);
            Err(format!("{error}\ndid you mean '{meant}'?").into())
        }
        _ if !ids.contains(&id) && matches!(error, ClientError::Command(_)) => {
            let error = shown(&error);
            Err(format!("{error}\n'chardevctl device list' shows all devices").into())
        }
        _ => Err(target.failed(&error)),
    }
}

/// A word as the shell that runs a command reads it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./:=+@%".contains(letter);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => crate::default::quoted(word),
    }
}

fn named(id: &str) -> Object {
    Object::new().with("id", id)
}

fn ask(target: &Target, command: &str, arguments: Object) -> Result<Json, Failure> {
    let answer = target.connect()?.execute(command, arguments);
    answer.map_err(|error| target.failed(&error))
}

fn list(target: &Target, json: bool) -> Result<(), Failure> {
    let devices = ask(target, "x-query-devices", Object::new())?;
    if json {
        return print(&format!("{}\n", devices.to_pretty_string()));
    }
    let mut text = format!("{:<16} {:<18} {:<16} STATE\n", "ID", "DRIVER", "CHARDEV");
    for device in devices.as_array().unwrap_or_default() {
        let said = |name| device.get(name).and_then(Json::as_str).unwrap_or("-");
        let state = match said("state") {
            "ended" | "failed" => how_it_ended(device),
            state => state.to_owned(),
        };
        let _ = writeln!(
            text,
            "{:<16} {:<18} {:<16} {}",
            shown(said("id")).to_string(),
            said("driver"),
            shown(said("chardev")).to_string(),
            shown(state)
        );
    }
    print(&text)
}
