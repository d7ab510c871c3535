//! What is typed, as it is written on a command line: text with escapes, and breaks in it.

/// What `--help` says about it.
pub(super) const HELP: &str = "\
Escapes in what is sent:
  \\r     carriage return: the Enter key of a terminal
  \\n     line feed
  \\t \\e  tab, escape
  \\xHH   the byte with this hexadecimal number; \\x03 is Ctrl-C, \\x08 backspace
  \\b     a break (not a backspace)
  \\\\     a backslash";

/// A part of what is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Bytes.
    Text(Vec<u8>),
    /// A break.
    Break,
}

impl Key {
    /// The bytes that it is.
    pub(super) fn text(&self) -> &[u8] {
        match self {
            Key::Text(bytes) => bytes,
            Key::Break => &[],
        }
    }
}

/// Takes the escapes out of `text`.
///
/// # Errors
/// What is no escape, and which there are.
pub(super) fn parse(text: &str) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let letter = escape.chars().next();
        let mut length = letter.map_or(0, char::len_utf8);
        match letter {
            Some('r') => bytes.push(b'\r'),
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('e') => bytes.push(0x1b),
            Some('\\') => bytes.push(b'\\'),
            Some('b') => {
                if !bytes.is_empty() {
                    keys.push(Key::Text(std::mem::take(&mut bytes)));
                }
                keys.push(Key::Break);
            }
            Some('x') => {
                let digits = escape.get(1..3);
                let number = digits.filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()));
                let number = number.and_then(|it| u8::from_str_radix(it, 16).ok());
                bytes.push(number.ok_or(r"'\x' needs two hexadecimal digits, such as \x03")?);
                length = 3;
            }
            Some(letter) => {
                return Err(format!(
                    r"'\{letter}' is no escape: there are \r, \n, \t, \e, \xHH, \b for a break, and \\ for a backslash"
                ));
            }
            None => return Err(r"a backslash at the end is written \\".to_owned()),
        }
        rest = &escape[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    if !bytes.is_empty() {
        keys.push(Key::Text(bytes));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::{Key, parse};

    #[test]
    fn escapes_become_bytes_and_breaks() {
        let text = |bytes: &[u8]| Key::Text(bytes.to_vec());
        for (written, keys) in [
            ("root\\r", vec![text(b"root\r")]),
            ("a\\n\\t\\e\\\\b", vec![text(b"a\n\t\x1b\\b")]),
            ("\\x03\\xFfä", vec![text(b"\x03\xff\xc3\xa4")]),
            ("\\b", vec![Key::Break]),
            (
                "x\\b\\by",
                vec![text(b"x"), Key::Break, Key::Break, text(b"y")],
            ),
            ("", vec![]),
        ] {
            assert_eq!(parse(written), Ok(keys), "{written}");
        }
        for bad in ["\\", "\\q", "\\x1", "\\x+1", "\\xä", "a\\ä"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
