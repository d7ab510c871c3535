//! TOML as it was written: each value with its place, and in the order of the file.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::{Mistakes, Place};

/// A value.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) data: Data,
    pub(super) place: Place,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Data {
    Text(String),
    Number(i64),
    Switch(bool),
    List(Vec<Value>),
    Table(Table),
    /// A fraction or a date, which nothing here takes.
    Other(&'static str),
}

/// A table, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(pub(super) Vec<Entry>);

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Of the key.
    pub(super) place: Place,
    pub(super) value: Value,
}

impl Value {
    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match &self.data {
            Data::Text(_) => "text",
            Data::Number(_) => "a number",
            Data::Switch(_) => "true or false",
            Data::List(_) => "a list",
            Data::Table(_) => "a table",
            Data::Other(kind) => kind,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<i64> {
        match self.data {
            Data::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn switch(&self) -> Option<bool> {
        match self.data {
            Data::Switch(switch) => Some(switch),
            _ => None,
        }
    }

    pub(super) fn table(&self) -> Option<&Table> {
        match &self.data {
            Data::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The texts of a list, or the one text.
    pub(super) fn texts(&self) -> Vec<(&str, &Place)> {
        match &self.data {
            Data::Text(text) => vec![(text, &self.place)],
            Data::List(list) => list
                .iter()
                .filter_map(|value| Some((value.text()?, &value.place)))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The same with every text in it, at any depth, as `change` has it.
    pub(super) fn map_texts(&self, change: &mut dyn FnMut(&str, &Place) -> String) -> Value {
        let data = match &self.data {
            Data::Text(text) => Data::Text(change(text, &self.place)),
            Data::List(list) => {
                Data::List(list.iter().map(|value| value.map_texts(change)).collect())
            }
            Data::Table(Table(entries)) => {
                let entries = entries.iter().map(|entry| Entry {
                    value: entry.value.map_texts(change),
                    ..entry.clone()
                });
                Data::Table(Table(entries.collect()))
            }
            other => other.clone(),
        };
        Value {
            data,
            place: self.place.clone(),
        }
    }
}

impl Table {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let entry = self.0.iter().find(|entry| entry.key == key);
        entry.map(|entry| &entry.value)
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }
}

/// Reads the text of a file, the `number`th.
pub(super) fn parse(file: &str, number: usize, text: &str, mistakes: &mut Mistakes) -> Table {
    let source = Source {
        file: file.into(),
        number,
        text,
        lines: line_starts(text),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = source.place(error.span().map_or(0, |span| span.start));
        let same = source.same_line(&place);
        let other = same.filter(|_| error.message().contains("duplicate key"));
        let hint = other.map(|place| format!("the other one is at {place}"));
        mistakes.add_hint(&place, error.message(), hint);
    }
    source.table(table.get_ref())
}

/// Offsets at which lines begin.
fn line_starts(text: &str) -> Vec<usize> {
    let after = text.match_indices('\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(after).collect()
}

struct Source<'a> {
    file: Arc<str>,
    number: usize,
    text: &'a str,
    lines: Vec<usize>,
}

impl Source<'_> {
    fn place(&self, at: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= at);
        let start = self.lines.get(line.wrapping_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..at).unwrap_or_default();
        Place {
            number: self.number,
            line,
            column: before.chars().count() + 1,
            file: Arc::clone(&self.file),
        }
    }

    /// The first line before that of `place` that says the same.
    fn same_line(&self, place: &Place) -> Option<Place> {
        let mut lines = self.text.lines();
        let wanted = lines.clone().nth(place.line.checked_sub(1)?)?.trim();
        let at = lines.position(|line| line.trim() == wanted)? + 1;
        (at < place.line).then(|| Place {
            line: at,
            column: 1,
            ..place.clone()
        })
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let key: &Spanned<std::borrow::Cow<'_, str>> = key;
            Entry {
                key: key.get_ref().to_string(),
                place: self.place(key.span().start),
                value: self.value(value),
            }
        };
        Table(entries.into_iter().map(entry).collect())
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Value {
        let data = match value.get_ref() {
            DeValue::String(text) => Data::Text(text.to_string()),
            DeValue::Boolean(switch) => Data::Switch(*switch),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Data::Other("a number beyond 64 bits"), Data::Number),
            DeValue::Array(list) => {
                Data::List(list.iter().map(|value| self.value(value)).collect())
            }
            DeValue::Table(table) => Data::Table(self.table(table)),
            DeValue::Float(_) => Data::Other("a fraction"),
            DeValue::Datetime(_) => Data::Other("a date"),
        };
        Value {
            data,
            place: self.place(value.span().start),
        }
    }
}
