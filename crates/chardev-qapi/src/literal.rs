//! What the text of a JSON token stands for.

use crate::error::JsonError;
use crate::json::Json;
use crate::unicode::{decode_lossy, decode_strict, valid_char};

/// The value of a number token, which the lexer has checked.
pub(crate) fn number(token: &[u8], float: bool) -> Json {
    let text = std::str::from_utf8(token).unwrap_or("0");
    if !float {
        if let Ok(number) = text.parse::<i64>() {
            return Json::Int(number);
        }
        if let Ok(number) = text.parse::<u64>() {
            return Json::UInt(number);
        }
    }
    Json::Float(text.parse().unwrap_or(0.0))
}

/// The value of a keyword token.
pub(crate) fn keyword(token: &[u8]) -> Result<Json, JsonError> {
    match token {
        b"true" => Ok(Json::Bool(true)),
        b"false" => Ok(Json::Bool(false)),
        b"null" => Ok(Json::Null),
        _ => {
            let why = format!("invalid keyword '{}'", decode_lossy(token));
            Err(JsonError::syntax(why))
        }
    }
}

/// The value of a text token, quotes included.
pub(crate) fn text(token: &[u8]) -> Result<String, JsonError> {
    let inner = token
        .get(1..token.len().saturating_sub(1))
        .unwrap_or_default();
    let mut text = String::new();
    let mut at = 0;
    while at < inner.len() {
        let rest = &inner[at..];
        let run = rest.iter().position(|&b| b == b'\\').unwrap_or(rest.len());
        if run > 0 {
            let invalid = || JsonError::syntax("invalid UTF-8 sequence in string");
            let plain = decode_strict(&rest[..run]).ok_or_else(invalid)?;
            if text.is_empty() {
                text = plain;
            } else {
                text.push_str(&plain);
            }
            at += run;
            continue;
        }
        // The quote that ends the token is still in sight: QEMU names it in its complaint.
        let (used, c) = escape(&token[at + 1..])?;
        text.push(c);
        at += used;
    }
    Ok(text)
}

/// Decodes the escape sequence at the start of `bytes`.
fn escape(bytes: &[u8]) -> Result<(usize, char), JsonError> {
    let c = match bytes.get(1) {
        Some(b'"') => '"',
        Some(b'\'') => '\'',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(bytes),
        _ => return Err(JsonError::syntax("invalid escape sequence in string")),
    };
    Ok((2, c))
}

fn unicode_escape(bytes: &[u8]) -> Result<(usize, char), JsonError> {
    let mut used = 6;
    let mut code = hex4(bytes);
    if let Some(high @ 0xd800..=0xdbff) = code {
        if bytes.get(6..8) == Some(b"\\u") {
            code = None;
            if let Some(low @ 0xdc00..=0xdfff) = hex4(&bytes[6..]) {
                code = Some(0x1_0000 + ((high & 0x3ff) << 10) + (low & 0x3ff));
                used = 12;
            }
        }
    }
    let shown = &bytes[..used.min(bytes.len())];
    let invalid = || format!("{} is not a valid Unicode character", decode_lossy(shown));
    code.and_then(valid_char)
        .map(|c| (used, c))
        .ok_or_else(|| JsonError::syntax(invalid()))
}

/// The number in the four hexadecimal digits after the `\u` at the start of `bytes`.
fn hex4(bytes: &[u8]) -> Option<u32> {
    bytes.get(2..6)?.iter().try_fold(0, |code, &byte| {
        Some(code << 4 | char::from(byte).to_digit(16)?)
    })
}
