//! `chardevctl device`: lists, adds and removes the devices behind consoles.

use std::fmt::Write as _;

use chardev::text::shown;
use chardev_qapi::opts::parse_opts;
use chardev_qapi::{Json, Object};
use clap::Subcommand;

use super::attach::how_it_ended;
use super::commands::print;
use super::connect::Target;
use super::failure::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List the devices
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a device; takes the same argument as -device ('chardevd --device help' lists them)
    Add {
        /// DRIVER[,id=ID][,OPTION=VALUE…]
        line: String,
    },
    /// Remove a device and release its chardevs
    Del {
        /// The device
        id: String,
    },
    /// Restart a device's program
    Restart {
        /// The device
        id: String,
    },
}

pub(super) fn run(target: &Target, action: &Action) -> Result<(), Failure> {
    match action {
        Action::List { json } => list(target, *json),
        Action::Add { line } => {
            let opts = parse_opts(line, "driver");
            let arguments = opts.pairs.iter();
            let arguments = arguments.fold(Object::new(), |mut all, (key, value)| {
                all.insert(key.as_str(), value.as_str());
                all
            });
            ask(target, "device_add", arguments).map(drop)
        }
        Action::Del { id } => ask(target, "device_del", named(id)).map(drop),
        Action::Restart { id } => ask(target, "x-device-restart", named(id)).map(drop),
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
