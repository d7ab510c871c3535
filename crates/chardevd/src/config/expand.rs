//! Defaults, templates and lines: from what was written to consoles with all their keys.

use std::collections::HashMap;

use super::check::check_table;
use super::errors::{Mistakes, Place, meant};
use super::keys::{CONSOLE, Key, MORE_OF_CONSOLE, MORE_OF_LINES, SOURCES};
use super::names::names;
use super::read::Sections;
use super::values::{Entry, Table, Value};

/// A console with all its keys, wherever they come from.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) keys: Table,
    /// The keys that it says itself, or its lines do; what is inherited need not make sense for it.
    own: Vec<String>,
}

impl Written {
    /// Whether it says `key` itself.
    pub(super) fn says(&self, key: &str) -> bool {
        self.own.iter().any(|own| own == key)
    }
}

/// The consoles so far, and where each name is among them.
#[derive(Default)]
struct All {
    written: Vec<Written>,
    at: HashMap<String, usize>,
}

/// What stands in braces in the texts of one console.
struct Braces<'a> {
    name: &'a str,
    port: Option<i64>,
    n: Option<i64>,
}

/// All consoles that are enabled, in the order of the files, those of `[[lines]]` last.
pub(super) fn expand(sections: &Sections, mistakes: &mut Mistakes) -> Vec<Written> {
    check_all(sections, mistakes);
    let mut all = All::default();
    for Entry { key, place, value } in &sections.consoles {
        let Some(own) = value.table() else { continue };
        let braces = Braces {
            name: key,
            port: own.get("port").and_then(Value::number),
            n: None,
        };
        add(&mut all, sections, own, place, &braces, mistakes);
    }
    for value in &sections.lines {
        let Some(own) = value.table() else { continue };
        let Some(list) = own.get("names") else {
            let hint = "add names = [\"a\", \"b\"], or names = \"rack[01-48]\"".to_owned();
            mistakes.add_hint(&value.place, "these lines have no names", hint);
            continue;
        };
        if own.get("template").is_none() {
            let hint = "add template = \"NAME\", and [template.NAME] with the rest".to_owned();
            mistakes.add_hint(&value.place, "these lines have no template", hint);
            continue;
        }
        let port = own.get("port").and_then(Value::number);
        let first = own.get("n").and_then(Value::number).unwrap_or(1);
        for (number, (name, place)) in (0..).zip(names(list, mistakes)) {
            let braces = Braces {
                name: &name,
                port: port.map(|port| port.saturating_add(number)),
                n: Some(first.saturating_add(number)),
            };
            add(&mut all, sections, own, &place, &braces, mistakes);
        }
    }
    all.written
}

fn check_all(sections: &Sections, mistakes: &mut Mistakes) {
    let mut check = |value: &Value, more: &[Key], what: &str| {
        check_table(value, &[CONSOLE, more], what, mistakes);
    };
    for value in &sections.defaults {
        check(value, &[], "[defaults]");
    }
    for entry in &sections.templates {
        check(&entry.value, &[], &format!("[template.{}]", entry.key));
    }
    for entry in &sections.consoles {
        let what = format!("[console.{}]", entry.key);
        check(&entry.value, MORE_OF_CONSOLE, &what);
    }
    for value in &sections.lines {
        check(value, MORE_OF_LINES, "[[lines]]");
    }
}

/// One console more, unless it is not enabled.
fn add(
    all: &mut All,
    sections: &Sections,
    own: &Table,
    place: &Place,
    braces: &Braces<'_>,
    mistakes: &mut Mistakes,
) {
    let name = braces.name;
    if let Some(other) = all.at.get(name) {
        let hint = format!("the other one is at {}", all.written[*other].place);
        return mistakes.add_hint(place, format!("console '{name}' is there twice"), hint);
    }
    let mut keys: Vec<Entry> = Vec::new();
    for defaults in sections.defaults.iter().filter_map(Value::table) {
        merge(&mut keys, defaults);
    }
    if let Some(wanted) = own.get("template") {
        let template = wanted.text().unwrap_or_default();
        let found = sections
            .templates
            .iter()
            .find(|entry| entry.key == template);
        match found.and_then(|entry| entry.value.table()) {
            Some(template) => merge(&mut keys, template),
            None if wanted.text().is_none() => {}
            None => {
                let known = sections.templates.iter().map(|entry| entry.key.as_str());
                let what = format!("there is no template '{template}'");
                mistakes.add_hint(&wanted.place, what, meant(template, known));
            }
        }
    }
    merge(&mut keys, own);
    keys.retain(|entry| !["template", "names", "port", "n"].contains(&entry.key.as_str()));
    let keys: Vec<Entry> = keys
        .into_iter()
        .map(|entry| Entry {
            value: (entry.value).map_texts(&mut |text, place| braces.fill(text, place, mistakes)),
            ..entry
        })
        .collect();
    let keys = Table(keys);
    if keys.get("enabled").and_then(Value::switch) == Some(false) {
        return;
    }
    all.at.insert(name.to_owned(), all.written.len());
    all.written.push(Written {
        name: name.to_owned(),
        place: place.clone(),
        keys,
        own: own.0.iter().map(|entry| entry.key.clone()).collect(),
    });
}

/// What `over` says counts; where it says where a console comes from, nothing else does.
fn merge(keys: &mut Vec<Entry>, over: &Table) {
    let is_source = |key: &str| SOURCES.contains(&key);
    let sources = over.0.iter().any(|entry| is_source(&entry.key));
    keys.retain(|entry| over.get(&entry.key).is_none() && !(sources && is_source(&entry.key)));
    keys.extend(over.0.iter().cloned());
}

impl Braces<'_> {
    /// `text` with the values of `{name}`, `{port}` and `{n}`. A shell's `${name}` stays as it is.
    fn fill(&self, text: &str, place: &Place, mistakes: &mut Mistakes) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            let word = from[1..].split('}').next().unwrap_or_default();
            let value = match word {
                "name" => Some(self.name.to_owned()),
                "port" => self.port.map(|port| port.to_string()),
                "n" => self.n.map(|n| n.to_string()),
                _ => Some(format!("{{{word}}}")),
            };
            let is_whole = from[1..].len() > word.len();
            if !is_whole || before.ends_with('$') {
                filled.push('{');
                rest = &from[1..];
                continue;
            }
            match value {
                Some(value) => filled.push_str(&value),
                None => self.missing(word, place, mistakes),
            }
            rest = &from[word.len() + 2..];
        }
        filled + rest
    }

    fn missing(&self, word: &str, place: &Place, mistakes: &mut Mistakes) {
        let what = format!(
            "nothing says what {{{word}}} is for console '{}'",
            self.name
        );
        let hint = match word {
            "port" => "give the console, or its [[lines]], a port".to_owned(),
            _ => "only consoles of [[lines]] are counted".to_owned(),
        };
        mistakes.add_hint(place, what, hint);
    }
}
