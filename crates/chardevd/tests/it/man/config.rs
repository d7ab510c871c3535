//! chardevd.toml(5), from the JSON schema that `chardevd --config-schema` prints.

use std::fmt::Write;
use std::process::Command;

use chardev_qapi::{Json, Object};
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::{begin, see_also};
use crate::ctl_rig::text;

/// What only `[[lines]]` have, or have in their own sense.
const OF_LINES: [&str; 4] = ["template", "names", "port", "n"];

/// A section, in words.
pub(super) struct Section {
    /// As it is written in the file.
    pub(super) heading: String,
    pub(super) about: String,
    pub(super) keys: Vec<Key>,
}

/// A key, in words.
pub(super) struct Key {
    pub(super) name: String,
    pub(super) shapes: String,
    pub(super) about: String,
    /// The keys of the table that it may be.
    words: Vec<String>,
}

pub(super) fn sections() -> Vec<Section> {
    let printed = Command::new(env!("CARGO_BIN_EXE_chardevd"))
        .arg("--config-schema")
        .output()
        .unwrap();
    let schema = Json::parse(&text(&printed.stdout)).expect("JSON");
    let sections = object(&schema, "properties").expect("sections");
    let sections = sections.iter();
    sections.map(|(name, it)| section(name, it)).collect()
}

fn section(name: &str, section: &Json) -> Section {
    let (heading, table) = unwrapped(name, section);
    let about = section.get("description").and_then(Json::as_str);
    // The heading says its form already.
    let about = about.unwrap_or_default();
    let about = about.rsplit_once("]: ").map_or(about, |(_, about)| about);
    let mut about = sentence(about);
    let all = table.and_then(|table| object(table, "properties"));
    let only: &[&str] = match name {
        "defaults" | "template" => {
            about += "\n\nThe keys of [console.NAME], but for template and port.";
            &[]
        }
        "lines" => {
            about += "\n\nThe keys of [console.NAME], and:";
            &OF_LINES
        }
        _ if all.is_none() => {
            write!(
                about,
                "\n\nEither line, as on the command line of chardevd, or a table with the same \
                 options as keys; {} says of which kind it is.",
                kind(name)
            )
            .unwrap();
            &[]
        }
        _ => {
            return Section {
                heading,
                about,
                keys: keys(all, |_| true),
            };
        }
    };
    Section {
        heading,
        about,
        keys: keys(all, |key| only.contains(&key)),
    }
}

fn keys(all: Option<&Object>, wanted: impl Fn(&str) -> bool) -> Vec<Key> {
    let all = all.into_iter().flat_map(Object::iter);
    let wanted = all.filter(|(name, _)| wanted(name));
    wanted.map(|(name, json)| key(name, json)).collect()
}

pub(super) fn page() -> Roff {
    let mut page = begin("chardevd.toml", "5", "the configuration of chardevd");
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        roman("The file that "),
        bold("chardevd --config"),
        roman(" reads, and again on "),
        bold("chardevctl reload"),
        roman(
            " and SIGHUP. It is TOML. All *.toml files of the directory conf.d beside it are read \
             after it. ",
        ),
        bold("chardevd --config FILE --check"),
        roman(" says whether all is good, and "),
        bold("chardevd --config-schema"),
        roman(" prints a JSON schema for editors."),
    ]);
    for section in sections() {
        page.control("SH", [section.heading.as_str()]);
        for (at, about) in section.about.split("\n\n").enumerate() {
            if at > 0 {
                page.control("PP", []);
            }
            page.text([roman(about)]);
        }
        for key in &section.keys {
            page.control("TP", []);
            page.text([
                bold(key.name.as_str()),
                roman(" = "),
                italic(key.shapes.as_str()),
            ]);
            page.text([roman(key.about.as_str())]);
            if !key.words.is_empty() {
                page.text([
                    roman("Keys of the table: "),
                    bold(key.words.join(", ")),
                    roman("."),
                ]);
            }
        }
    }
    page.control("SH", ["BACK ENDS"]);
    page.text([
        roman("Where a back end is wanted, there is QEMU's spelling, for example "),
        bold("\"socket,path=/run/a.sock,server=on\""),
        roman(", or a table, "),
        bold("{ kind = \"socket\", path = \"/run/a.sock\", server = true }"),
        roman(". "),
        bold("chardevd --chardev help"),
        roman(" lists the kinds, and "),
        bold("chardevd --chardev KIND,help"),
        roman(" the options of each."),
    ]);
    see_also(&mut page, &[("chardevd", "1"), ("chardevctl-import", "1")]);
    page
}

/// How a section is written, and the table of its keys, unless it is one in QEMU's terms.
fn unwrapped<'a>(name: &str, section: &'a Json) -> (String, Option<&'a Json>) {
    let (heading, inner) = match (section.get("additionalProperties"), section.get("items")) {
        (Some(inner @ Json::Object(_)), _) => {
            let what = if name == "chardev" { "ID" } else { "NAME" };
            (format!("[{name}.{what}]"), inner)
        }
        (_, Some(inner)) => (format!("[[{name}]]"), inner),
        _ => (format!("[{name}]"), section),
    };
    let table = inner.get("properties").map(|_| inner);
    (heading, table)
}

fn kind(section: &str) -> &'static str {
    match section {
        "device" => "driver",
        "object" => "qom-type",
        _ => "kind",
    }
}

fn key(name: &str, key: &Json) -> Key {
    let about = key.get("description").and_then(Json::as_str);
    let one = key.get("anyOf").and_then(Json::as_array);
    let mut tables = one.unwrap_or_default().iter().chain([key]);
    let inner = tables.find_map(|table| object(table, "properties"));
    let words = inner.into_iter().flat_map(Object::iter);
    Key {
        name: name.to_owned(),
        shapes: shapes(key).join(" or "),
        about: sentence(about.unwrap_or_default()),
        words: words.map(|(name, _)| name.to_owned()).collect(),
    }
}

/// What a value may be.
fn shapes(key: &Json) -> Vec<&'static str> {
    if let Some(all) = key.get("anyOf").and_then(Json::as_array) {
        let mut shapes: Vec<_> = all.iter().flat_map(shapes).collect();
        shapes.dedup();
        return shapes;
    }
    if key.get("$ref").is_some() {
        return match key.get("$ref").and_then(Json::as_str) {
            Some("#/$defs/backend") => vec!["back end"],
            _ => vec!["table"],
        };
    }
    vec![match key.get("type").and_then(Json::as_str) {
        Some("string") => "text",
        Some("integer") => "number",
        Some("boolean") => "true or false",
        Some("array") => "list of texts",
        _ => "table",
    }]
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

fn object<'a>(json: &'a Json, name: &str) -> Option<&'a Object> {
    match json.get(name) {
        Some(Json::Object(object)) => Some(object),
        _ => None,
    }
}
