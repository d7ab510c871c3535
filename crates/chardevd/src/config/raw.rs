//! What is said in QEMU's own terms: chardevs, devices, objects, monitors.

use std::path::PathBuf;
use std::sync::Arc;

use chardev::IO_THREADS_LIMIT;
use chardev::spec::OptionValue;
use chardev_monitor::Mode;
use chardev_qapi::{Device, Json, parse_device};

use super::access::role;
use super::auth::{self, Way};
use super::backend::Reader;
use super::check::check_table;
use super::console::{check_name, parts};
use super::device::json;
use super::errors::{Place, meant};
use super::item::{About, Item, Monitor, Sort, Wanted};
use super::keys::{DAEMON, METRICS, MONITOR, TOKENS, kind_key};
use super::values::{Entry, Table, Value};
use crate::metrics::Address;

/// `[chardev.ID]`: a `line`, or a table with `kind`.
pub(super) fn chardev(entry: &Entry, reader: &mut Reader<'_>) -> Option<Item> {
    let Entry {
        key: id,
        place,
        value,
    } = entry;
    check_name(id, place, reader);
    let table = value.table()?;
    let backend = match line_of(table, reader)? {
        Some((line, place)) => reader.backend_text(line, place)?,
        None => {
            let kind = reader.kind_of(table, kind_key("chardev"), place)?;
            reader.backend_table(&kind, table, place)?
        }
    };
    Some(Item {
        sort: Sort::Chardev,
        name: id.clone(),
        place: place.clone(),
        chardevs: parts(id, backend.options, backend.mux),
        device: None,
        held: false,
        ports: Arc::default(),
        about: About::default(),
    })
}

/// `[[device]]`: a `line`, or a table with `driver`. It is called like its id, or its line.
pub(super) fn device(value: &Value, reader: &mut Reader<'_>) -> Option<Item> {
    let table = value.table()?;
    let line = match line_of(table, reader)? {
        Some((line, place)) => reader.device_line(line.to_owned(), place)?,
        None => {
            let driver = reader.kind_of(table, kind_key("device"), &value.place)?;
            reader.device(&driver, table, &[], &value.place)?
        }
    };
    let id = crate::devices::read(&line).ok()?.id;
    Some(Item {
        sort: Sort::Device,
        name: id.unwrap_or_else(|| line.clone()),
        place: value.place.clone(),
        chardevs: Vec::new(),
        device: Some(line),
        held: false,
        ports: Arc::default(),
        about: About::default(),
    })
}

/// `[[object]]`: a `line`, or a table with `qom-type`.
pub(super) fn object(value: &Value, wanted: &mut Wanted, reader: &mut Reader<'_>) -> Option<()> {
    let table = value.table()?;
    let line = match line_of(table, reader)? {
        Some((line, _)) => line.to_owned(),
        None => {
            reader.kind_of(table, kind_key("object"), &value.place)?;
            Json::from(json(table)).to_string()
        }
    };
    match chardev_monitor::object_id(&line) {
        Ok(id) if wanted.objects.contains_key(&id) => {
            let what = format!("object '{id}' is there twice");
            reader.mistakes.add(&value.place, what);
        }
        Ok(id) => _ = wanted.objects.insert(id, line),
        Err(error) => {
            let hint = "'chardevd --help' shows how -object is written".to_owned();
            reader
                .mistakes
                .add_hint(&value.place, error.to_string(), hint);
        }
    }
    Some(())
}

/// `[[monitor]]`, the `number`th, beside the rest of `wanted`.
pub(super) fn monitor(
    value: &Value,
    number: usize,
    wanted: &Wanted,
    reader: &mut Reader<'_>,
) -> Option<Monitor> {
    check_table(value, &[MONITOR], "[[monitor]]", reader.mistakes);
    let table = value.table()?;
    let role = role(table, "role", reader.mistakes)?;
    let pretty = table.get("pretty").and_then(Value::switch).unwrap_or(false);
    let mode = match table.text("mode") {
        None | Some("control") => Mode::Control { pretty },
        Some("readline") => Mode::Readline,
        Some(other) => {
            let place = table.get("mode").map_or(&value.place, |mode| &mode.place);
            let hint = meant(other, ["control", "readline"].into_iter());
            let what = format!("there is no mode '{other}'");
            reader.mistakes.add_hint(place, what, hint);
            return None;
        }
    };
    let Some(listen) = table.get("listen") else {
        let hint = "add listen = \"unix:/run/chardevd/qmp.sock\"".to_owned();
        let what = "nothing says where the monitor listens";
        reader.mistakes.add_hint(&value.place, what, hint);
        return None;
    };
    let device = listen.text().map(|text| parse_device(text, reader.kinds));
    if let Some(Ok(Device::Existing(chardev))) = device {
        let parts = wanted.items.iter().flat_map(|item| &item.chardevs);
        let part = parts.clone().find(|part| part.id == chardev);
        let way = Way::of(part.map(|part| &part.options), wanted);
        return Some(Monitor {
            place: value.place.clone(),
            terms: auth::terms(value, (mode, role), &way, wanted, reader.mistakes)?,
            chardev,
            options: None,
            mode,
        });
    }
    let mut options = reader.backend(listen)?.options;
    let says_server = match listen.table() {
        Some(table) => table.get("server").is_some(),
        None => listen.text().is_some_and(|text| text.contains("server")),
    };
    // Nobody means a monitor that connects to somewhere who does not say so.
    if options.kind() == "socket" && !says_server {
        options.set("server", OptionValue::Bool(true));
        options.set("wait", OptionValue::Bool(false));
    }
    let way = Way::of(Some(&options), wanted);
    let terms = auth::terms(value, (mode, role), &way, wanted, reader.mistakes)?;
    // One who does not say who he is must not keep out the others.
    if (terms.known_only || way == Way::Verified) && way.may_have_several(&options) {
        options.set("x-clients", OptionValue::Int(0));
    }
    Some(Monitor {
        place: value.place.clone(),
        chardev: format!("monitor{number}"),
        options: Some(options),
        mode,
        terms,
    })
}

/// `[metrics]`.
pub(super) fn metrics(value: &Value, reader: &mut Reader<'_>) -> Option<Address> {
    check_table(value, &[METRICS], "[metrics]", reader.mistakes);
    let Some(listen) = value.table()?.get("listen") else {
        let hint = "add listen = \"127.0.0.1:9450\"".to_owned();
        let what = "nothing says where metrics are served";
        reader.mistakes.add_hint(&value.place, what, hint);
        return None;
    };
    match Address::parse(listen.text()?) {
        Ok(address) => Some(address),
        Err(error) => {
            reader.mistakes.add(&listen.place, error);
            None
        }
    }
}

/// `[tokens]`: where they are kept.
pub(super) fn tokens(value: &Value, reader: &mut Reader<'_>) -> PathBuf {
    check_table(value, &[TOKENS], "[tokens]", reader.mistakes);
    let file = value.table().and_then(|table| table.text("file"));
    file.map_or_else(crate::tokens::default_file, PathBuf::from)
}

/// `[daemon]`: how many I/O threads there may be, if it says so.
pub(super) fn io_threads(value: &Value, reader: &mut Reader<'_>) -> Option<usize> {
    check_table(value, &[DAEMON], "[daemon]", reader.mistakes);
    let said = value.table()?.get("io-threads")?;
    let number = usize::try_from(said.number()?).ok();
    let number = number.filter(|number| (1..=IO_THREADS_LIMIT).contains(number));
    if number.is_none() {
        let what = format!("'io-threads' has to be from 1 to {IO_THREADS_LIMIT}");
        reader.mistakes.add(&said.place, what);
    }
    number
}

/// The `line` of a raw section, which has nothing beside it.
fn line_of<'a>(table: &'a Table, reader: &mut Reader<'_>) -> Option<Option<(&'a str, &'a Place)>> {
    let Some(line) = table.get("line") else {
        return Some(None);
    };
    if let Some(other) = table.0.iter().find(|entry| entry.key != "line") {
        let what = format!("'{}' stands beside a line", other.key);
        let hint = "put it into the line, or write a table without one".to_owned();
        reader.mistakes.add_hint(&other.place, what, hint);
    }
    match line.text() {
        Some(text) => Some(Some((text, &line.place))),
        None => {
            let what = format!("'line' is {}", line.kind());
            reader
                .mistakes
                .add_hint(&line.place, what, "it has to be text".to_owned());
            None
        }
    }
}
