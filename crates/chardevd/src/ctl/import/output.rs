//! What is printed: consoles with their keys, and comments.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chardev_qapi::opts::is_identifier;

/// As many consoles with the same comment have it once, at the top.
const MANY: usize = 3;
/// The widest a comment is.
const WIDTH: usize = 96;

/// A configuration that is being written.
#[derive(Debug)]
pub(super) struct Output {
    notes: Vec<String>,
    consoles: Vec<Console>,
}

/// A console that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Console {
    pub(super) name: String,
    /// What cannot be said, and why.
    notes: Vec<String>,
    /// Keys with their values in TOML.
    keys: Vec<(&'static str, String)>,
}

impl Output {
    /// One that begins with `note`.
    pub(super) fn new(note: &str) -> Self {
        Output {
            notes: vec![note.to_owned()],
            consoles: Vec::new(),
        }
    }

    /// A comment about the whole.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// One console more. Names that two have, or that cannot be names here, are changed.
    pub(super) fn add(&mut self, mut console: Console) {
        let wanted = console.name.clone();
        let letter = |c: char| {
            if c.is_ascii_alphanumeric() || "-._".contains(c) {
                c
            } else {
                '-'
            }
        };
        let mut name: String = wanted.chars().map(letter).collect();
        if !is_identifier(&name) {
            name = format!("c{name}");
        }
        let stem = name.clone();
        let mut number = 2;
        while self.consoles.iter().any(|other| other.name == name) {
            name = format!("{stem}-{number}");
            number += 1;
        }
        if name != wanted {
            console.note(format!(
                "it was called '{wanted}', which cannot be its name here"
            ));
        }
        console.name = name;
        self.consoles.push(console);
    }

    /// The file.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        self.notes.iter().for_each(|note| comment(&mut text, note));
        // What many have in common is said once.
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for note in self.consoles.iter().flat_map(|console| &console.notes) {
            *counts.entry(note).or_default() += 1;
        }
        counts.retain(|_, count| *count >= MANY);
        for (note, count) in &counts {
            comment(&mut text, &format!("{count} consoles: {note}"));
        }
        for console in &self.consoles {
            text.push('\n');
            let own = console
                .notes
                .iter()
                .filter(|note| !counts.contains_key(note.as_str()));
            own.for_each(|note| comment(&mut text, note));
            // A dot would begin a table in the table.
            let name = match console.name.contains('.') {
                true => quoted(&console.name),
                false => console.name.clone(),
            };
            let _ = writeln!(text, "[console.{name}]");
            for (key, value) in &console.keys {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text
    }
}

impl Console {
    pub(super) fn new(name: &str) -> Self {
        Console {
            name: name.to_owned(),
            ..Console::default()
        }
    }

    /// What cannot be said, and why.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Whether it has `key`.
    pub(super) fn says(&self, key: &str) -> bool {
        self.keys.iter().any(|(name, _)| *name == key)
    }

    /// A key whose value is text; the last word counts.
    pub(super) fn set(&mut self, key: &'static str, text: &str) {
        self.set_raw(key, quoted(text));
    }

    /// A key whose value is in TOML already.
    pub(super) fn set_raw(&mut self, key: &'static str, value: impl Into<String>) {
        self.keys.retain(|(name, _)| *name != key);
        self.keys.push((key, value.into()));
    }
}

fn comment(text: &mut String, note: &str) {
    let mut line = "#".to_owned();
    for word in note.split_whitespace() {
        if line.len() + word.len() >= WIDTH && line.len() > 1 {
            let _ = writeln!(text, "{line}");
            line = "#  ".to_owned();
        }
        line.push(' ');
        // Nothing in a comment can be what ends it.
        line.extend(word.chars().filter(|c| !c.is_control()));
    }
    let _ = writeln!(text, "{line}");
}

/// A text in TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A table in TOML on one line.
pub(super) fn inline(entries: &[(&str, String)]) -> String {
    let entries = entries
        .iter()
        .map(|(key, value)| format!("{key} = {value}"));
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}
