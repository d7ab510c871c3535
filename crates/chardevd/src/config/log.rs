//! The log of a console: a file, or a table.

use chardev::spec::{OptionValue, Options};

use super::backend::Reader;
use super::keys::size;
use super::values::{Data, Table, Value};

/// What each key of the table is called in the options of all chardevs.
const NAMES: [(&str, &str); 6] = [
    ("file", "logfile"),
    ("append", "logappend"),
    ("size", "x-logsize"),
    ("count", "x-logcount"),
    ("index", "x-logindex"),
    ("full", "x-log-full"),
];

/// Sets the options of a log, unless the back end has said which one it has.
pub(super) fn set_log(options: &mut Options, log: &Value, reader: &mut Reader<'_>) {
    if options.get("logfile").is_some() {
        return;
    }
    // A daemon that is started again goes on with the log.
    options.set("logappend", OptionValue::Bool(true));
    match &log.data {
        Data::Text(file) => options.set("logfile", OptionValue::Str(file.clone())),
        Data::Table(table) => set_all(options, table, log, reader),
        _ => {}
    }
}

fn set_all(options: &mut Options, table: &Table, log: &Value, reader: &mut Reader<'_>) {
    if table.get("file").is_none() {
        let hint = "add file = \"…\", or write log = \"FILE\"".to_owned();
        reader
            .mistakes
            .add_hint(&log.place, "the log has no file", hint);
    }
    for (key, name) in NAMES {
        let Some(value) = table.get(key) else {
            continue;
        };
        let set = match &value.data {
            Data::Text(text) if key == "size" => size(text).map(OptionValue::Int),
            Data::Text(text) => Some(OptionValue::Str(text.clone())),
            Data::Number(number) => Some(OptionValue::Int(*number)),
            Data::Switch(switch) => Some(OptionValue::Bool(*switch)),
            _ => None,
        };
        if key == "full" {
            let word = value.text().unwrap_or_default();
            if !["hole", "hold"].contains(&word) {
                let what = format!("'full' does not accept '{word}'");
                let hint = "there are: hole, hold".to_owned();
                reader.mistakes.add_hint(&value.place, what, hint);
                continue;
            }
        }
        if let Some(set) = set {
            options.set(name, set);
        }
    }
}
