//! Devices and objects: a line, or a table with the same words.

use chardev_qapi::{Json, Object};

use super::backend::{Reader, plain};
use super::errors::{Place, meant};
use super::values::{Data, Table, Value};
use crate::devices::DEVICES;

impl Reader<'_> {
    /// An argument of `-device`, once it is known to make sense. `more` are options beside those
    /// of the table.
    pub(super) fn device(
        &mut self,
        driver: &str,
        table: &Table,
        more: &[(&str, &str)],
        place: &Place,
    ) -> Option<String> {
        let mut line = driver.replace(',', ",,");
        for (key, text) in more {
            line += &format!(",{key}={}", text.replace(',', ",,"));
        }
        for entry in table.0.iter().filter(|entry| entry.key != "driver") {
            let Some(text) = plain(&entry.value) else {
                let what = format!("'{}' is {}", entry.key, entry.value.kind());
                self.mistakes.add(&entry.value.place, what);
                return None;
            };
            let kind = DEVICES.iter().find(|kind| kind.name == driver);
            let known = kind
                .iter()
                .flat_map(|kind| kind.options)
                .map(|(name, _)| *name);
            if kind.is_some() && entry.key != "id" && !known.clone().any(|name| name == entry.key) {
                let what = format!("a {driver} has no option '{}'", entry.key);
                let hint = meant(&entry.key, known);
                self.mistakes.add_hint(&entry.place, what, hint);
                return None;
            }
            line += &format!(",{}={}", entry.key, text.replace(',', ",,"));
        }
        self.device_line(line, place)
    }

    /// The same of what is written as a line.
    pub(super) fn device_line(&mut self, line: String, place: &Place) -> Option<String> {
        match crate::devices::read(&line) {
            Ok(_) => Some(line),
            Err(error) => {
                let hint = "'chardevd --device help' lists the devices and their options";
                self.mistakes
                    .add_hint(place, error.to_string(), hint.to_owned());
                None
            }
        }
    }
}

/// A table as the JSON that `-object` takes, too.
pub(super) fn json(table: &Table) -> Object {
    let mut object = Object::new();
    for entry in &table.0 {
        object.insert(entry.key.clone(), json_value(&entry.value));
    }
    object
}

fn json_value(value: &Value) -> Json {
    match &value.data {
        Data::Text(text) => Json::Str(text.clone()),
        Data::Number(number) => Json::Int(*number),
        Data::Switch(switch) => Json::Bool(*switch),
        Data::List(list) => Json::Array(list.iter().map(json_value).collect()),
        Data::Table(table) => Json::Object(json(table)),
        Data::Other(_) => Json::Null,
    }
}
