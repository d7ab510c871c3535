//! Arguments that several commands share, or that are more than a type.

use chardev_qapi::schema::Word;
use chardev_qapi::spec::{ParameterError, Problem};
use chardev_qapi::visit::Reader;

use super::Kinds;
use crate::command::{ChardevAction, Join, YankInstance};
use crate::ringbuf::Format;

pub(super) fn read_format(args: &mut Reader<'_>) -> Result<Format, ParameterError> {
    Ok(match args.optional_enum("format", &["utf8", "base64"])? {
        Some("base64") => Format::Base64,
        _ => Format::Utf8,
    })
}

pub(super) fn read_join(args: &mut Reader<'_>) -> Result<Join, ParameterError> {
    let wanted = [
        (args.optional("force")?, Join::Force),
        (args.optional("share")?, Join::Share),
        (args.optional("read-only")?, Join::ReadOnly),
    ];
    let mut wanted = wanted.iter().filter(|(given, _)| *given == Some(true));
    match (wanted.next(), wanted.next()) {
        (_, Some(_)) => {
            let words = "'force', 'share' and 'read-only' are mutually exclusive";
            Err(ParameterError::new("force", Problem::Conflict).shown_as(words))
        }
        (Some((_, join)), None) => Ok(*join),
        (None, None) => Ok(Join::Alone),
    }
}

/// The argument of `-device` for a driver, what is `named`, and all other arguments, which are its
/// properties.
pub(super) fn read_device(
    driver: &str,
    named: &[(&str, Option<String>)],
    args: &mut Reader<'_>,
) -> Result<String, ParameterError> {
    let doubled = |text: &str| text.replace(',', ",,");
    let mut line = doubled(driver);
    for (name, value) in named {
        if let Some(value) = value {
            line.push_str(&format!(",{name}={}", doubled(value)));
        }
    }
    for (name, value) in args.rest() {
        let value = match (value.as_str(), value.as_bool(), value.as_i64()) {
            (Some(text), ..) => doubled(text),
            (_, Some(on), _) => if on { "on" } else { "off" }.to_owned(),
            (_, _, Some(number)) => number.to_string(),
            _ => return Err(ParameterError::new(name, Problem::WrongType("string"))),
        };
        // A name with a comma or an equals sign in it would be two.
        if name.contains([',', '=']) {
            let words = format!("Property '{driver}.{name}' not found");
            return Err(ParameterError::new(name, Problem::Unexpected).shown_as(words));
        }
        line.push_str(&format!(",{name}={value}"));
    }
    Ok(line)
}

const ACTIONS: [Word; 3] = [
    Word::new("chardev-add"),
    Word::new("chardev-change"),
    Word::new("chardev-remove"),
];

/// One action, shaped as those of QEMU's `transaction`.
pub(super) fn read_action(
    action: &mut Reader<'_>,
    kinds: Kinds<'_>,
) -> Result<ChardevAction, ParameterError> {
    action.tagged("type", &ACTIONS, |action, word| {
        action.object("data", |data| {
            let id = data.required("id")?;
            Ok(match word {
                "chardev-add" => ChardevAction::Add {
                    id,
                    options: data.backend("backend", kinds)?,
                },
                "chardev-change" => ChardevAction::Change {
                    id,
                    options: data.backend("backend", kinds)?,
                },
                _ => ChardevAction::Remove { id },
            })
        })
    })
}

const YANK_TYPES: [Word; 3] = [
    Word::new("block-node"),
    Word::new("chardev"),
    Word::new("migration"),
];

pub(crate) fn read_yank_instance(args: &mut Reader<'_>) -> Result<YankInstance, ParameterError> {
    args.tagged("type", &YANK_TYPES, |args, word| {
        Ok(match word {
            "block-node" => YankInstance::BlockNode(args.required("node-name")?),
            "chardev" => YankInstance::Chardev(args.required("id")?),
            _ => YankInstance::Migration,
        })
    })
}
