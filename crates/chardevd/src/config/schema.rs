//! The JSON schema of a configuration, for editors: from the tables that the reader has.

use chardev::spec::{COMMON_OPTIONS, KindSpec, OptionSpec, OptionType};
use chardev_qapi::{Json, Object};

use super::backend::keys_of;
use super::keys::{
    ACCESS, CONSOLE, DAEMON, FLEET, Key, METRICS, MONITOR, MORE_OF_CONSOLE, MORE_OF_LINES,
    SECTIONS, Shape, TOKENS, WEB, kind_key,
};
use crate::devices::DEVICES;

/// The schema as text.
pub(crate) fn schema() -> String {
    let mut sections = Object::new();
    for (name, help) in SECTIONS {
        let section = match *name {
            "defaults" => table(&[CONSOLE]),
            "template" => named(table(&[CONSOLE])),
            "console" => named(table(&[CONSOLE, MORE_OF_CONSOLE])),
            "lines" => list(
                table(&[CONSOLE, MORE_OF_LINES]).with("required", words(["template", "names"])),
            ),
            "chardev" => named(raw(reference("table"))),
            "device" => list(raw(device_table())),
            "object" => list(raw(object_table())),
            "metrics" => table(&[METRICS]).with("required", words(["listen"])),
            "tokens" => table(&[TOKENS]),
            "daemon" => table(&[DAEMON]),
            "web" => table(&[WEB]).with("required", words(["listen"])),
            "fleet" => table(&[FLEET]).with("required", words(["servers"])),
            "access" => list(table(&[ACCESS]).with("required", words(["role"]))),
            _ => list(table(&[MONITOR]).with("required", words(["listen"]))),
        };
        sections.insert(*name, section.with("description", *help));
    }
    let definitions = Object::new()
        .with("table", one_of_kinds())
        .with("backend", any_of([text(), reference("table")]));
    let schema = Object::new()
        .with("$schema", "https://json-schema.org/draft/2020-12/schema")
        .with("title", "The configuration of chardevd")
        .with("type", "object")
        .with("properties", sections)
        .with("additionalProperties", false)
        .with("$defs", definitions);
    format!("{}\n", Json::from(schema).to_pretty_string())
}

fn ty(name: &str) -> Object {
    Object::new().with("type", name)
}

fn text() -> Object {
    ty("string")
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Json {
    let words = words.into_iter().map(Json::from);
    words.collect::<Vec<_>>().into()
}

fn any_of(all: impl IntoIterator<Item = Object>) -> Object {
    Object::new().with("anyOf", all.into_iter().collect::<Vec<_>>())
}

fn reference(name: &str) -> Object {
    Object::new().with("$ref", format!("#/$defs/{name}"))
}

fn named(value: Object) -> Object {
    ty("object").with("additionalProperties", value)
}

fn list(item: Object) -> Object {
    ty("array").with("items", item)
}

/// A closed table.
fn closed(properties: Object) -> Object {
    let table = ty("object").with("properties", properties);
    table.with("additionalProperties", false)
}

fn table(keys: &[&[Key]]) -> Object {
    let mut properties = Object::new();
    for key in keys.iter().copied().flatten() {
        properties.insert(key.name, value(key.shape).with("description", key.help));
    }
    closed(properties)
}

fn value(shape: Shape) -> Object {
    match shape {
        Shape::Text => text(),
        Shape::Number => ty("integer"),
        Shape::Switch => ty("boolean"),
        Shape::Size => any_of([ty("integer").with("minimum", 0_i64), text()]),
        Shape::Texts => any_of([text(), list(text())]),
        Shape::Backend => reference("backend"),
        Shape::Kind(kind, _) => {
            let specs = crate::kinds::specs();
            let spec = specs.into_iter().find(|spec| spec.name == kind);
            any_of([
                text(),
                spec.map_or(ty("object"), |spec| closed(options(spec))),
            ])
        }
        Shape::Device(kind, _) => any_of([text(), closed(device_options(kind))]),
        Shape::Policy => {
            let mut properties = Object::new();
            for option in COMMON_OPTIONS
                .iter()
                .filter(|option| option.policy.is_some())
            {
                properties.insert(option.name, option_value(option));
            }
            closed(properties)
        }
        Shape::Keys(keys) => any_of([text(), table(&[keys])]),
    }
}

/// A table with `kind` and the options of that kind.
fn one_of_kinds() -> Object {
    let kinds = crate::kinds::specs().into_iter().map(|spec| {
        let mut properties = Object::new().with("kind", Object::new().with("const", spec.name));
        for (name, value) in options(spec).iter() {
            properties.insert(name.to_owned(), value.clone());
        }
        let kind = closed(properties).with("required", words(["kind"]));
        kind.with("description", spec.summary)
    });
    Object::new().with("oneOf", kinds.collect::<Vec<_>>())
}

fn options(spec: &KindSpec) -> Object {
    let mut properties = Object::new();
    for key in keys_of(spec) {
        let mut all = spec.all_options();
        let value = match all.find(|option| option.cli == key || option.name == key) {
            Some(option) => option_value(option),
            // A part of an address.
            None => any_of([text(), ty("integer"), ty("boolean")]),
        };
        properties.insert(key, value);
    }
    properties.with("mux", ty("boolean"))
}

fn option_value(option: &OptionSpec) -> Object {
    let value = match option.ty {
        OptionType::Bool => ty("boolean"),
        OptionType::Int => ty("integer"),
        OptionType::Size => any_of([ty("integer"), text()]),
        OptionType::Str | OptionType::Address => text(),
        OptionType::Enum(all) => Object::new().with("enum", words(all.iter().copied())),
        OptionType::StrList => list(text()),
    };
    value.with("description", option.help)
}

fn device_options(kind: &str) -> Object {
    let mut properties = Object::new();
    for (name, help) in DEVICES
        .iter()
        .filter(|it| it.name == kind)
        .flat_map(|it| it.options)
    {
        let value = any_of([text(), ty("integer"), ty("boolean")]);
        properties.insert(*name, value.with("description", *help));
    }
    properties
}

/// A table, or one with a `line` alone.
fn raw(table: Object) -> Object {
    let line = closed(Object::new().with("line", text())).with("required", words(["line"]));
    any_of([line, table])
}

fn device_table() -> Object {
    let kinds = DEVICES.iter().map(|kind| {
        let own = Object::new().with("const", kind.name);
        let mut properties = Object::new()
            .with(kind_key("device"), own)
            .with("id", text());
        for (name, value) in device_options(kind.name).iter() {
            properties.insert(name.to_owned(), value.clone());
        }
        closed(properties).with("required", words([kind_key("device")]))
    });
    any_of(kinds)
}

fn object_table() -> Object {
    let kind = Object::new()
        .with(kind_key("object"), text())
        .with("id", text());
    let object = ty("object").with("properties", kind);
    object.with("required", words([kind_key("object"), "id"]))
}
