//! JSON text as QEMU writes it: ASCII only, `", "` and `": "`, upper-case `\uXXXX`.

use std::borrow::Cow;
use std::fmt::Write;

use chardev_core::text::to_bytes;

use crate::json::Json;
use crate::lazy::LazyText;
use crate::unicode::{decode_lossy, is_noncharacter};

/// Deeper levels are indented like this one, so that a client that has a deep value echoed cannot
/// have much more sent than it sent itself.
const MAX_INDENT: usize = 16;

/// A value as text, but for what is made as it is sent.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// What is there already.
    pub text: String,
    /// The texts that belong between two bytes of it, in order. They are not escaped yet.
    pub holes: Vec<(usize, LazyText)>,
}

impl Written {
    pub(crate) fn of(value: &Json, pretty: bool) -> Self {
        let mut out = Written::default();
        write_value(&mut out, value, pretty.then_some(0));
        out
    }

    /// The whole text.
    fn filled(self) -> String {
        if self.holes.is_empty() {
            return self.text;
        }
        let (mut all, mut at) = (String::new(), 0);
        for (place, lazy) in self.holes {
            all.push_str(&self.text[at..place]);
            push_escaped(&mut all, &lazy.rest());
            at = place;
        }
        all + &self.text[at..]
    }
}

/// `value` on one line.
pub(crate) fn to_string(value: &Json) -> String {
    Written::of(value, false).filled()
}

/// `value` over several lines, four spaces a level, as QEMU's `pretty=on` does.
pub(crate) fn to_pretty_string(value: &Json) -> String {
    Written::of(value, true).filled()
}

fn write_value(written: &mut Written, value: &Json, level: Option<usize>) {
    let out = &mut written.text;
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Int(number) => _ = write!(out, "{number}"),
        Json::UInt(number) => _ = write!(out, "{number}"),
        Json::Float(number) => write_float(out, *number),
        Json::Str(text) => write_text(out, text),
        Json::Lazy(text) => {
            out.push('"');
            written.holes.push((out.len(), text.clone()));
            out.push('"');
        }
        Json::Array(items) => {
            let inner = level.map(|level| level + 1);
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                separate(&mut written.text, at, inner);
                write_value(written, item, inner);
            }
            break_line(&mut written.text, level);
            written.text.push(']');
        }
        Json::Object(object) => {
            let inner = level.map(|level| level + 1);
            out.push('{');
            for (at, (name, member)) in object.iter().enumerate() {
                separate(&mut written.text, at, inner);
                write_text(&mut written.text, name);
                written.text.push_str(": ");
                write_value(written, member, inner);
            }
            break_line(&mut written.text, level);
            written.text.push('}');
        }
    }
}

fn separate(out: &mut String, at: usize, level: Option<usize>) {
    if at > 0 {
        out.push_str(if level.is_some() { "," } else { ", " });
    }
    break_line(out, level);
}

fn break_line(out: &mut String, level: Option<usize>) {
    if let Some(level) = level {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", level.min(MAX_INDENT)));
    }
}

fn write_text(out: &mut String, text: &str) {
    // What stands for bytes that are no UTF-8 is told as such bytes are.
    let decoded;
    let text = match to_bytes(text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(bytes) => {
            decoded = decode_lossy(&bytes);
            &decoded
        }
    };
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// Appends `text` as it stands between the quotation marks of a JSON string.
pub fn push_escaped(out: &mut String, text: &str) {
    out.reserve(text.len() + 1);
    let mut rest = text;
    while let Some(at) = rest
        .bytes()
        .position(|b| !matches!(b, 0x20..=0x7e) || b == b'"' || b == b'\\')
    {
        out.push_str(&rest[..at]);
        let Some(c) = rest[at..].chars().next() else {
            break;
        };
        write_escaped(out, c);
        rest = &rest[at + c.len_utf8()..];
    }
    out.push_str(rest);
}

fn write_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_noncharacter(c) => out.push_str("\\uFFFD"),
        c => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                _ = write!(out, "\\u{unit:04X}");
            }
        }
    }
}

/// Writes a number as C's `%.17g`; JSON has no word for what is not finite, so that is `null`.
fn write_float(out: &mut String, number: f64) {
    if !number.is_finite() {
        out.push_str("null");
        return;
    }
    let scientific = format!("{number:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        let digits = usize::try_from(16 - exponent).unwrap_or(0);
        out.push_str(trim_fraction(&format!("{number:.digits$}")));
        return;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    _ = write!(
        out,
        "{}e{sign}{:02}",
        trim_fraction(mantissa),
        exponent.abs()
    );
}

fn trim_fraction(digits: &str) -> &str {
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Object;

    #[test]
    fn floats_like_percent_17g() {
        let cases: [(f64, &str); 10] = [
            (1.5, "1.5"),
            (0.1, "0.10000000000000001"),
            (1e15, "1000000000000000"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456789012345678901234567890.0, "1.2345678901234568e+29"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (-0.0, "-0"),
            (f64::INFINITY, "null"),
        ];
        for (number, text) in cases {
            assert_eq!(to_string(&Json::Float(number)), text);
        }
    }

    #[test]
    fn text_is_ascii() {
        let text = "a\"\\\u{8}\u{c}\n\r\t\u{1}\u{7f}é€😀\u{ffff}";
        let expected = r#""a\"\\\b\f\n\r\t\u0001\u007F\u00E9\u20AC\uD83D\uDE00\uFFFD""#;
        assert_eq!(to_string(&Json::from(text)), expected);
    }

    #[test]
    fn bytes_that_are_no_text_are_told_as_qemu_tells_them() {
        let text = chardev_core::text::from_bytes(b"a\xff\xe2\x82b");
        assert_eq!(to_string(&Json::from(text)), r#""a\uFFFD\uFFFDb""#);
    }

    #[test]
    fn one_line_and_pretty() {
        let value = Json::from(
            Object::new()
                .with("a", vec![1i64, 2])
                .with("b", Json::empty()),
        );
        assert_eq!(to_string(&value), r#"{"a": [1, 2], "b": {}}"#);
        let pretty = "{\n    \"a\": [\n        1,\n        2\n    ],\n    \"b\": {\n    }\n}";
        assert_eq!(to_pretty_string(&value), pretty);
    }
}
