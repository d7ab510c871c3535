//! Where a console comes from: a program, a port, a socket, a guest.

use chardev::spec::OptionValue;

use super::backend::{Backend, Reader};
use super::errors::Place;
use super::expand::Written;
use super::keys::SOURCES;
use super::values::{Data, Table, Value};
use crate::default::quoted;

/// How often a socket on the far side is tried that nobody serves.
const RECONNECT_MS: i64 = 1000;

/// What is on the near side of a console.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A device: an argument of `-device`.
    Device { line: String },
    /// A back end on the far side of a null modem.
    Far { backend: Backend },
}

/// Keys that belong to one source.
const OF_SOURCE: [(&str, &str); 4] = [
    ("cwd", "exec"),
    ("restart", "exec"),
    ("tell-end", "exec"),
    ("baud", "serial"),
];

/// Reads the one source that there must be.
pub(super) fn read_source(written: &Written, reader: &mut Reader<'_>) -> Option<Source> {
    let keys = &written.keys;
    let mut given = keys
        .0
        .iter()
        .filter(|entry| SOURCES.contains(&entry.key.as_str()));
    let (source, second) = (given.next(), given.next());
    let name = &written.name;
    let Some(source) = source else {
        let hint = "give it exec, serial, socket, vhost-user, vfio-user or from; a chardev that \
                    devices use is a [chardev.ID]";
        let what = format!("nothing says where console '{name}' comes from");
        reader
            .mistakes
            .add_hint(&written.place, what, hint.to_owned());
        return None;
    };
    if let Some(second) = second {
        let what = format!("console '{name}' comes from '{}' already", source.key);
        let hint = "a console has one source: leave one of them out".to_owned();
        reader.mistakes.add_hint(&second.place, what, hint);
        return None;
    }
    for (key, of) in OF_SOURCE {
        let misplaced = keys
            .0
            .iter()
            .find(|entry| entry.key == key && of != source.key);
        if let Some(entry) = misplaced.filter(|_| written.says(key)) {
            let what = format!("'{key}' belongs to '{of}', and this is '{}'", source.key);
            reader
                .mistakes
                .add_hint(&entry.place, what, "leave it out".to_owned());
        }
    }
    let value = &source.value;
    match source.key.as_str() {
        "exec" => exec(written, value, reader),
        "serial" => serial(keys, value, reader),
        "socket" => socket(value, reader),
        "vhost-user" => device("vhost-user-console", name, value, reader),
        "vfio-user" => device("vfio-user-serial", name, value, reader),
        _ => far(reader.backend(value)),
    }
}

fn far(backend: Option<Backend>) -> Option<Source> {
    backend.map(|backend| Source::Far { backend })
}

fn exec(written: &Written, value: &Value, reader: &mut Reader<'_>) -> Option<Source> {
    let command = match &value.data {
        Data::Text(line) => line.clone(),
        Data::List(_) => {
            let words = value.texts().into_iter().map(|(word, _)| quoted(word));
            let words = words.collect::<Vec<_>>().join(" ");
            format!("exec {words}")
        }
        _ => return None,
    };
    if value.texts().iter().all(|(text, _)| text.trim().is_empty()) {
        let hint = "name a program, for example /bin/login".to_owned();
        reader
            .mistakes
            .add_hint(&value.place, "'exec' is empty", hint);
        return None;
    }
    let switch = |key, default| match written
        .keys
        .get(key)
        .and_then(Value::switch)
        .unwrap_or(default)
    {
        true => "on",
        false => "off",
    };
    let name = written.name.as_str();
    let mut options = vec![
        ("chardev", name),
        ("command", &command),
        ("restart", switch("restart", true)),
    ];
    if switch("tell-end", false) == "on" {
        options.push(("tell-end", "on"));
    }
    if let Some(cwd) = written.keys.text("cwd") {
        options.push(("cwd", cwd));
    }
    let line = reader.device("exec", &Table::default(), &options, &value.place)?;
    Some(Source::Device { line })
}

fn serial(keys: &Table, value: &Value, reader: &mut Reader<'_>) -> Option<Source> {
    let mut backend = match &value.data {
        Data::Text(path) => {
            let line = format!("serial,path={}", path.replace(',', ",,"));
            reader.backend_text(&line, &value.place)?
        }
        Data::Table(table) => reader.backend_table("serial", table, &value.place)?,
        _ => return None,
    };
    let baud = keys.get("baud").and_then(Value::number);
    if let (Some(baud), None) = (baud, backend.options.get("x-baud")) {
        backend.options.set("x-baud", OptionValue::Int(baud));
    }
    far(Some(backend))
}

/// `HOST:PORT`, a path, or a table of options.
fn socket(value: &Value, reader: &mut Reader<'_>) -> Option<Source> {
    let mut backend = match &value.data {
        Data::Text(text) => {
            let line = socket_line(text, &value.place, reader)?;
            reader.backend_text(&line, &value.place)?
        }
        Data::Table(table) => reader.backend_table("socket", table, &value.place)?,
        _ => return None,
    };
    let options = &mut backend.options;
    let connects = !options.bool_or("server", false) && options.address("addr").is_some();
    let again = ["reconnect", "reconnect-ms"]
        .iter()
        .any(|key| options.get(key).is_some());
    if connects && !again {
        options.set("reconnect-ms", OptionValue::Int(RECONNECT_MS));
    }
    far(Some(backend))
}

fn socket_line(text: &str, place: &Place, reader: &mut Reader<'_>) -> Option<String> {
    let doubled = |text: &str| text.replace(',', ",,");
    let rest = text.strip_prefix("tcp:").unwrap_or(text);
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if path.len() < text.len() || text.contains('/') {
        return Some(format!("socket,path={}", doubled(path)));
    }
    if let Some((host, port)) = rest.rsplit_once(':').filter(|(_, port)| !port.is_empty()) {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        return Some(format!(
            "socket,host={},port={}",
            doubled(host),
            doubled(port)
        ));
    }
    let what = format!("'{text}' is neither HOST:PORT nor a path");
    let hint = "write \"HOST:PORT\", \"/PATH\", or a table of the options of a socket".to_owned();
    reader.mistakes.add_hint(place, what, hint);
    None
}

fn device(driver: &str, name: &str, value: &Value, reader: &mut Reader<'_>) -> Option<Source> {
    // Ports are plugged into it by its id.
    let mut options = vec![("id", name), ("chardev", name)];
    let none = Table::default();
    let table = match &value.data {
        Data::Text(path) => {
            options.push(("socket", path));
            &none
        }
        Data::Table(table) => table,
        _ => return None,
    };
    let line = reader.device(driver, table, &options, &value.place)?;
    Some(Source::Device { line })
}
