//! Whether a table has only keys that there are, each with a value that it can have.

use super::errors::{Mistakes, meant};
use super::keys::{Key, Shape, size};
use super::values::{Data, Value};

/// Checks the keys of `value`, a table that is called `what`, against these tables.
pub(super) fn check_table(value: &Value, known: &[&[Key]], what: &str, mistakes: &mut Mistakes) {
    let Some(table) = value.table() else {
        return;
    };
    for entry in &table.0 {
        let mut all = known.iter().copied().flatten();
        match all.find(|key| key.name == entry.key) {
            Some(key) => check_value(key, &entry.value, mistakes),
            None => {
                let names = known.iter().copied().flatten().map(|key| key.name);
                let what = format!("there is no key '{}' in {what}", entry.key);
                mistakes.add_hint(&entry.place, what, meant(&entry.key, names));
            }
        }
    }
}

fn check_value(key: &Key, value: &Value, mistakes: &mut Mistakes) {
    let wanted = match (key.shape, &value.data) {
        (Shape::Keys(keys), Data::Table(_)) => {
            let what = format!("'{}'", key.name);
            return check_table(value, &[keys], &what, mistakes);
        }
        (Shape::Texts, Data::List(list)) => {
            match list.iter().find(|value| value.text().is_none()) {
                None => return,
                Some(wrong) => {
                    let what = format!("'{}' has {} in its list", key.name, wrong.kind());
                    return mistakes.add_hint(&wrong.place, what, "write each as text".to_owned());
                }
            }
        }
        (Shape::Size, Data::Text(text)) => match size(text) {
            Some(_) => return,
            None => "a number of bytes, or text such as \"64K\"",
        },
        (Shape::Text, Data::Text(_))
        | (Shape::Texts, Data::Text(_))
        | (Shape::Number, Data::Number(_))
        | (Shape::Size, Data::Number(0..))
        | (Shape::Switch, Data::Switch(_))
        | (Shape::Policy, Data::Table(_))
        | (Shape::Keys(_), Data::Text(_)) => return,
        (Shape::Backend | Shape::Kind(..) | Shape::Device(..), Data::Text(_) | Data::Table(_)) => {
            return;
        }
        (shape, _) => shape.wanted(),
    };
    let what = format!("'{}' is {}", key.name, value.kind());
    mistakes.add_hint(&value.place, what, format!("it has to be {wanted}"));
}

impl Shape {
    /// What a value has to be, for people.
    fn wanted(self) -> &'static str {
        match self {
            Shape::Text => "text",
            Shape::Number => "a number",
            Shape::Switch => "true or false",
            Shape::Size => "a number of bytes, or text such as \"64K\"",
            Shape::Texts => "text or a list of texts",
            Shape::Policy => "a table",
            Shape::Backend | Shape::Kind(..) | Shape::Device(..) | Shape::Keys(_) => {
                "text or a table"
            }
        }
    }
}
