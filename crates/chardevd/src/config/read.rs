//! The files of a configuration, and their sections.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::io;
use std::path::{Path, PathBuf};

use chardev::text::from_os;

use super::errors::{Mistakes, Place, meant};
use super::keys::SECTIONS;
use super::values::{Data, Entry, Table, Value, parse};

/// The sections of all files together, each in the order of the files.
#[derive(Clone, Debug, Default)]
pub(super) struct Sections {
    pub(super) defaults: Vec<Value>,
    pub(super) templates: Vec<Entry>,
    pub(super) consoles: Vec<Entry>,
    pub(super) lines: Vec<Value>,
    pub(super) chardevs: Vec<Entry>,
    pub(super) devices: Vec<Value>,
    pub(super) objects: Vec<Value>,
    pub(super) monitors: Vec<Value>,
    pub(super) metrics: Option<Value>,
    pub(super) tokens: Option<Value>,
    pub(super) daemon: Option<Value>,
    pub(super) web: Option<Value>,
    pub(super) fleet: Option<Value>,
    pub(super) accesses: Vec<Value>,
    /// Where each name of each section stands: there may be thousands.
    places: HashMap<(String, String), Place>,
}

/// Reads `file`, then `conf.d/*.toml` in the directory it is in, by name. Waits for the disk.
pub(super) fn read(file: &Path, mistakes: &mut Mistakes) -> Sections {
    let mut sections = Sections::default();
    let mut files = vec![file.to_owned()];
    match beside(file) {
        Ok(more) => files.extend(more),
        Err((place, error)) => mistakes.add(&whole(&place, 1), error.to_string()),
    }
    for (number, file) in files.iter().enumerate() {
        let name = from_os(file.as_os_str());
        match read_text(file) {
            Ok(text) => sections.add(parse(&name, number, &text, mistakes), mistakes),
            Err(error) => mistakes.add(&whole(file, number), format!("cannot read it: {error}")),
        }
    }
    sections
}

/// A file as a whole.
fn whole(file: &Path, number: usize) -> Place {
    Place {
        number,
        line: 0,
        column: 0,
        file: from_os(file.as_os_str()).into(),
    }
}

#[expect(clippy::disallowed_methods, reason = "on a thread that may wait")]
fn read_text(file: &Path) -> io::Result<String> {
    std::fs::read_to_string(file)
}

/// The files that are read after `file`. Without a directory for them there are none.
#[expect(clippy::disallowed_methods, reason = "on a thread that may wait")]
fn beside(file: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let directory = file.parent().unwrap_or(Path::new("")).join("conf.d");
    let found = match std::fs::read_dir(&directory) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err((directory, error)),
    };
    let mut files = Vec::new();
    for entry in found {
        let path = entry.map_err(|error| (directory.clone(), error))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Sections {
    /// Adds what one file says.
    pub(super) fn add(&mut self, file: Table, mistakes: &mut Mistakes) {
        for Entry { key, place, value } in file.0 {
            let named = match key.as_str() {
                "defaults" => {
                    if let Some(value) = table(value, &key, mistakes) {
                        self.defaults.push(value);
                    }
                    continue;
                }
                "metrics" => {
                    put_one(&mut self.metrics, value, (&key, &place), mistakes);
                    continue;
                }
                "daemon" => {
                    put_one(&mut self.daemon, value, (&key, &place), mistakes);
                    continue;
                }
                "tokens" => {
                    put_one(&mut self.tokens, value, (&key, &place), mistakes);
                    continue;
                }
                "web" => {
                    put_one(&mut self.web, value, (&key, &place), mistakes);
                    continue;
                }
                "fleet" => {
                    put_one(&mut self.fleet, value, (&key, &place), mistakes);
                    continue;
                }
                "template" => &mut self.templates,
                "console" => &mut self.consoles,
                "chardev" => &mut self.chardevs,
                "lines" => {
                    add_list(&mut self.lines, value, &key, mistakes);
                    continue;
                }
                "device" => {
                    add_list(&mut self.devices, value, &key, mistakes);
                    continue;
                }
                "object" => {
                    add_list(&mut self.objects, value, &key, mistakes);
                    continue;
                }
                "access" => {
                    add_list(&mut self.accesses, value, &key, mistakes);
                    continue;
                }
                "monitor" => {
                    add_list(&mut self.monitors, value, &key, mistakes);
                    continue;
                }
                _ => {
                    let known = SECTIONS.iter().map(|(name, _)| *name);
                    let what = format!("there is no section '{key}'");
                    mistakes.add_hint(&place, what, meant(&key, known));
                    continue;
                }
            };
            add_named((named, &mut self.places), value, &key, mistakes);
        }
    }
}

/// The table of `[SECTION]`, which may be there once in all files.
fn put_one(
    one: &mut Option<Value>,
    value: Value,
    (section, place): (&str, &Place),
    mistakes: &mut Mistakes,
) {
    match (&one, table(value, section, mistakes)) {
        (_, None) => {}
        (None, read) => *one = read,
        (Some(other), Some(_)) => {
            let hint = format!("the other one is at {}", other.place);
            mistakes.add_hint(place, format!("{section} are there twice"), hint);
        }
    }
}

/// The tables of `[SECTION.NAME]`; none may be there already, from another file.
fn add_named(
    (named, places): (&mut Vec<Entry>, &mut HashMap<(String, String), Place>),
    value: Value,
    section: &str,
    mistakes: &mut Mistakes,
) {
    let Data::Table(Table(entries)) = value.data else {
        let what = format!("'{section}' is {}", value.kind());
        let hint = format!("write [{section}.NAME] and the keys below it");
        return mistakes.add_hint(&value.place, what, hint);
    };
    for entry in entries {
        if entry.value.table().is_none() {
            let what = format!("'{section}.{}' is {}", entry.key, entry.value.kind());
            let hint = format!("write [{section}.{}] and the keys below it", entry.key);
            mistakes.add_hint(&entry.place, what, hint);
            continue;
        }
        match places.entry((section.to_owned(), entry.key.clone())) {
            Slot::Occupied(other) => mistakes.add_hint(
                &entry.place,
                format!("{section} '{}' is there twice", entry.key),
                format!("the other one is at {}", other.get()),
            ),
            Slot::Vacant(free) => {
                free.insert(entry.place.clone());
                named.push(entry);
            }
        }
    }
}

/// The tables of `[[SECTION]]`.
fn add_list(all: &mut Vec<Value>, value: Value, section: &str, mistakes: &mut Mistakes) {
    let hint = format!("write [[{section}]], with two brackets, and the keys below it");
    let Data::List(list) = value.data else {
        let what = format!("'{section}' is {}", value.kind());
        return mistakes.add_hint(&value.place, what, hint);
    };
    for value in list {
        match value.table() {
            Some(_) => all.push(value),
            None => {
                let what = format!("one of '{section}' is {}", value.kind());
                mistakes.add_hint(&value.place, what, hint.clone());
            }
        }
    }
}

fn table(value: Value, section: &str, mistakes: &mut Mistakes) -> Option<Value> {
    if value.table().is_some() {
        return Some(value);
    }
    let what = format!("'{section}' is {}", value.kind());
    mistakes.add_hint(&value.place, what, format!("write [{section}]"));
    None
}
