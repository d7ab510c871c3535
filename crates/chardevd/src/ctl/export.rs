//! `chardevctl export`: everything that runs, as arguments of chardevd or as JSON.

use std::fmt::Write as _;

use chardev::text::shown;
use chardev_qapi::{Json, Object};

use super::commands::print;
use super::connect::Target;
use super::failure::Failure;

/// Prints what runs. What could not be said is named on standard error, and the status tells.
pub(super) fn export(target: &Target, json: bool) -> Result<(), Failure> {
    let answer = target.connect()?.execute("x-export", Object::new());
    let all = answer.map_err(|error| target.failed(&error))?;
    let list = |name| all.get(name).and_then(Json::as_array).unwrap_or_default();
    if json {
        let actions = list("chardevs").iter().map(action).collect::<Vec<_>>();
        let arguments = Json::from(Object::new().with("actions", actions));
        return print(&format!("{}\n", arguments.to_pretty_string()));
    }
    let (chardevs, unsaid) = lines(list("chardevs"), list("devices"), list("monitors"));
    let objects = list("objects").iter().filter_map(Json::as_str);
    let objects: String = objects
        .map(|line| format!("-object {}\n", quoted(line)))
        .collect();
    let text = objects + &chardevs;
    print(&text)?;
    match unsaid.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{unsaid}'chardevctl export --json' has all chardevs, for x-chardev-transaction"
        )
        .into()),
    }
}

/// A line for each argument, and what could not be said as one.
fn lines(chardevs: &[Json], devices: &[Json], monitors: &[Json]) -> (String, String) {
    let (mut text, mut unsaid) = (String::new(), String::new());
    let mut add = |option: &str, value: &str| {
        let _ = writeln!(text, "{option} {}", quoted(value));
    };
    for chardev in chardevs {
        let said = |name| chardev.get(name).and_then(Json::as_str);
        match said("line") {
            Some(line) => add("-chardev", line),
            None => {
                let (id, why) = (said("id").unwrap_or("?"), said("why").unwrap_or("?"));
                let _ = writeln!(unsaid, "chardev {}: {}", shown(id), shown(why));
            }
        }
    }
    for (option, values) in [("-device", devices), ("-mon", monitors)] {
        for value in values.iter().filter_map(Json::as_str) {
            add(option, value);
        }
    }
    (text, unsaid)
}

/// The action of `x-chardev-transaction` that makes a chardev.
fn action(chardev: &Json) -> Json {
    let mut data = Object::new();
    for name in ["id", "backend"] {
        if let Some(value) = chardev.get(name) {
            data.insert(name.to_owned(), value.clone());
        }
    }
    Object::new()
        .with("type", "chardev-add")
        .with("data", data)
        .into()
}

/// A word for the shell.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.,:=/@+%".contains(&byte);
    match !text.is_empty() && text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
