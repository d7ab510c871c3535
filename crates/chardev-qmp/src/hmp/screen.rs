//! `screendump` and `sendkey`, whose arguments have forms of their own.

use chardev_qapi::{Json, KEY_NAMES, Object};

use super::args::Cursor;
use super::{Hmp, Show, Step, Value, text, try_help};
use crate::command::Command;

/// The most keys of one `sendkey`, as many as a line of QEMU's has room for.
const KEYS: usize = 256;

/// `filename [-f format] [device [head]]`
pub(super) fn screendump(_hmp: &Hmp<'_>, args: &[Value]) -> Step {
    let line = text(args, 0);
    let mut cursor = Cursor::new(&line);
    let Some(filename) = word(&mut cursor) else {
        let said = "screendump: filename expected\n".to_owned();
        return Step::Print(said + &try_help("screendump"));
    };
    let mut arguments = Object::new().with("filename", filename);
    if let Some(rest) = flag(cursor.rest()) {
        cursor = Cursor::new(rest);
        match word(&mut cursor) {
            Some(format) if ["png", "ppm"].contains(&format.as_str()) => {
                arguments.insert("format", format);
            }
            Some(format) => {
                let said = format!("Error: invalid parameter value: {format}\n");
                return Step::Print(said);
            }
            None => {
                return Step::Print(format!(
                    "screendump: format expected\n{}",
                    try_help("screendump")
                ));
            }
        }
    }
    if let Some(device) = word(&mut cursor) {
        arguments.insert("device", device);
    }
    if !cursor.rest().is_empty() {
        match cursor.expression() {
            Ok(head) => arguments.insert("head", head),
            Err(error) => return Step::Print(format!("{error}\n{}", try_help("screendump"))),
        }
    }
    ask("screendump", arguments)
}

/// What comes after `-f`, if that is what comes next.
fn flag(rest: &str) -> Option<&str> {
    let behind = rest.strip_prefix("-f")?;
    behind.starts_with(char::is_whitespace).then_some(behind)
}

/// `keys [hold_ms]`: names or numbers with `-` between them.
pub(super) fn sendkey(_hmp: &Hmp<'_>, args: &[Value]) -> Step {
    let line = text(args, 0);
    let mut cursor = Cursor::new(&line);
    let Some(names) = word(&mut cursor) else {
        let said = "sendkey: string expected\n".to_owned();
        return Step::Print(said + &try_help("sendkey"));
    };
    let mut arguments = Object::new();
    let mut keys = Vec::new();
    for name in names.split('-').take(KEYS) {
        match key(name) {
            Some(key) => keys.push(key),
            None => return Step::Print(format!("invalid parameter: {name}\n")),
        }
    }
    arguments.insert("keys", keys);
    if !cursor.rest().is_empty() {
        match cursor.expression() {
            Ok(hold) => arguments.insert("hold-time", hold),
            Err(error) => return Step::Print(format!("{error}\n{}", try_help("sendkey"))),
        }
    }
    ask("send-key", arguments)
}

/// A key as `send-key` takes it.
fn key(name: &str) -> Option<Json> {
    let number = name.strip_prefix("0x");
    if let Some(number) = number.and_then(|number| i64::from_str_radix(number, 16).ok()) {
        return Some(
            Object::new()
                .with("type", "number")
                .with("data", number)
                .into(),
        );
    }
    let name = if name == "<" { "less" } else { name };
    KEY_NAMES.contains(&name).then(|| {
        Object::new()
            .with("type", "qcode")
            .with("data", name)
            .into()
    })
}

fn word(cursor: &mut Cursor<'_>) -> Option<String> {
    cursor.word().ok()
}

fn ask(name: &'static str, arguments: Object) -> Step {
    Step::Ask(Command::Own { name, arguments }, Show::Errors)
}
