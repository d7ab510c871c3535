//! What one console comes to: where it comes from, where it goes, and what is kept of it.

use std::sync::Arc;

use chardev::spec::{COMMON_OPTIONS, OptionValue, Options};
use chardev_qapi::opts::is_identifier;

use super::backend::{Backend, Reader};
use super::errors::{Place, meant};
use super::expand::Written;
use super::item::{About, Item, Part, Sort};
use super::keys::{SOURCES, size};
use super::log::set_log;
use super::source::{Source, read_source};
use super::values::{Data, Value};

/// How much of a console waits for its first peer.
const KEPT: i64 = 64 << 10;

/// Makes an item of a console.
pub(super) fn item(written: &Written, reader: &mut Reader<'_>) -> Option<Item> {
    let name = &written.name;
    check_name(name, &written.place, reader);
    let source = read_source(written, reader);
    let to = read_to(written, reader);
    let (source, to) = (source?, to?);
    let mut chardevs = parts(name, to.options, to.mux);
    let mut held = to.waits;
    let device = match source {
        Source::Device { line, .. } => line,
        Source::Far { ref backend, .. } => {
            let far = format!("{name}-line");
            held |= backend.waits;
            chardevs.extend(parts(&far, backend.options.clone(), backend.mux));
            format!("null-modem,chardev={name},peer={far}")
        }
    };
    Some(Item {
        sort: Sort::Console,
        name: name.clone(),
        place: written.place.clone(),
        chardevs,
        device: Some(device),
        held,
        ports: Arc::default(),
        about: about(written),
    })
}

/// The chardevs of a back end: with `mux=on`, a multiplexer over it.
pub(super) fn parts(id: &str, options: Options, mux: bool) -> Vec<Part> {
    let part = |id: &str, options| Part {
        id: id.to_owned(),
        options,
    };
    if !mux {
        return vec![part(id, options)];
    }
    let base = format!("{id}-base");
    let over = Options::new("mux").with("chardev", OptionValue::Str(base.clone()));
    vec![part(&base, options), part(id, over)]
}

/// What has a name in QEMU's terms has one that QEMU would take.
pub(super) fn check_name(name: &str, place: &Place, reader: &mut Reader<'_>) {
    if !is_identifier(name) {
        let hint = "names have letters, digits, '-', '.' and '_', and begin with a letter";
        let what = format!("'{name}' cannot be a name");
        reader.mistakes.add_hint(place, what, hint.to_owned());
    }
}

fn read_to(written: &Written, reader: &mut Reader<'_>) -> Option<Backend> {
    let given = written.keys.get("to").map(|value| reader.backend(value));
    let is_good = given.as_ref().is_none_or(Option::is_some);
    // What else is wrong is told, too.
    let mut to = given.flatten().unwrap_or_else(|| Backend {
        options: Options::new("ringbuf").with("size", OptionValue::Int(KEPT)),
        mux: false,
        waits: false,
    });
    if let Some(log) = written.keys.get("log") {
        set_log(&mut to.options, log, reader);
    }
    if let Some(policy) = written.keys.get("policy") {
        set_policy(&mut to.options, policy, reader);
    }
    let history = match written.keys.get("history").map(|value| &value.data) {
        Some(Data::Number(bytes)) => Some(*bytes),
        Some(Data::Text(text)) => size(text),
        // As much as the daemon keeps of any chardev, and for viewers no less than of others.
        _ => None,
    };
    if let (Some(bytes), None) = (history, to.options.get("x-history")) {
        to.options.set("x-history", OptionValue::Int(bytes));
    }
    if let Err(error) = to.options.policy() {
        let place = ["history", "policy"]
            .iter()
            .find_map(|key| written.keys.get(key));
        let place = place.map_or(&written.place, |value| &value.place);
        reader.mistakes.add(place, error.to_string());
    }
    Some(to).filter(|_| is_good)
}

/// Those options of all chardevs that are about the policy, unless the back end has said them.
fn set_policy(options: &mut Options, policy: &Value, reader: &mut Reader<'_>) {
    let Some(table) = policy.table() else { return };
    for entry in &table.0 {
        let mut known = COMMON_OPTIONS
            .iter()
            .filter(|option| option.policy.is_some());
        let names = known.clone().map(|option| option.name);
        let Some(option) = known.find(|option| option.name == entry.key) else {
            let what = format!("there is no key '{}' in 'policy'", entry.key);
            let hint = meant(&entry.key, names);
            reader.mistakes.add_hint(&entry.place, what, hint);
            continue;
        };
        let value = match &entry.value.data {
            Data::Text(text) if option.name == "x-history" => size(text).map(OptionValue::Int),
            Data::Text(text) => Some(OptionValue::Str(text.clone())),
            Data::Number(number) => Some(OptionValue::Int(*number)),
            _ => None,
        };
        let single = value
            .clone()
            .map(|value| Options::new("null").with(option.name, value));
        match single.map(|single| single.policy()) {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                reader.mistakes.add(&entry.value.place, error.to_string());
                continue;
            }
            None => {
                let what = format!("'{}' is {}", entry.key, entry.value.kind());
                reader.mistakes.add(&entry.value.place, what);
                continue;
            }
        }
        if let (Some(value), None) = (value, options.get(option.name)) {
            options.set(option.name, value);
        }
    }
}

fn about(written: &Written) -> About {
    let from = SOURCES.iter().find_map(|key| {
        let value = written.keys.get(key)?;
        let said = match &value.data {
            Data::Table(table) => {
                let first = ["path", "socket", "host", "kind"];
                let first = first.iter().find_map(|key| table.text(key));
                first.unwrap_or("…").to_owned()
            }
            _ => {
                let words: Vec<&str> = value.texts().iter().map(|(text, _)| *text).collect();
                words.join(" ")
            }
        };
        Some(format!("{key} {said}"))
    });
    let groups = written
        .keys
        .get("groups")
        .map(Value::texts)
        .unwrap_or_default();
    About {
        from: from.unwrap_or_default(),
        groups: groups
            .iter()
            .map(|(group, _)| (*group).to_owned())
            .collect(),
        description: written.keys.text("description").map(str::to_owned),
    }
}
