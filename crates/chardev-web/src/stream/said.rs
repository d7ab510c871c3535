//! What a page says over its stream.

use chardev_monitor::Json;

/// The longest frame of input, without its offset.
pub const INPUT: usize = 64 << 10;
/// How long the offset before it is.
pub(crate) const HEAD: usize = 8;

/// The furthest offset: what a number in a browser can say exactly.
const FURTHEST: u64 = 1 << 53;

/// What a page says in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// All before this offset is shown.
    Shown(u64),
    /// The size of its terminal.
    Size {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// A break is to be sent.
    Break,
}

/// Reads a text.
pub fn text(text: &str) -> Option<Said> {
    let said = Json::parse(text).ok()?;
    let (name, value) = said.as_object()?.iter().next()?;
    if said.as_object()?.len() > 1 {
        return None;
    }
    match name {
        "ack" => Some(Said::Shown(value.as_u64()?)),
        "break" => value.as_bool()?.then_some(Said::Break),
        "size" => {
            let side = |name| u16::try_from(value.get(name)?.as_u64()?).ok();
            let (cols, rows) = (side("cols")?, side("rows")?);
            (cols > 0 && rows > 0).then_some(Said::Size { cols, rows })
        }
        _ => None,
    }
}

/// Reads input: the offset of its first byte, and the bytes.
pub fn input(frame: &[u8]) -> Option<(u64, &[u8])> {
    let (head, bytes) = frame.split_first_chunk::<HEAD>()?;
    let offset = u64::from_be_bytes(*head);
    (bytes.len() <= INPUT && offset <= FURTHEST).then_some((offset, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_says_is_understood_or_not() {
        for (said, means) in [
            ("{\"ack\": 7}", Some(Said::Shown(7))),
            ("{\"break\": true}", Some(Said::Break)),
            (
                "{\"size\": {\"cols\": 80, \"rows\": 24}}",
                Some(Said::Size { cols: 80, rows: 24 }),
            ),
            ("{\"ack\": -7}", None),
            ("{\"ack\": 7, \"break\": true}", None),
            ("{\"break\": false}", None),
            ("{\"size\": {\"cols\": 0, \"rows\": 24}}", None),
            ("{\"size\": {\"cols\": 65536, \"rows\": 24}}", None),
            ("{}", None),
            ("7", None),
            ("", None),
        ] {
            assert_eq!(text(said), means, "{said}");
        }
        assert_eq!(input(b"\0\0\0\0\0\0\x01\x02ab"), Some((0x102, &b"ab"[..])));
        assert_eq!(input(b"\0\0\0\0\0\0\0\0"), Some((0, &b""[..])));
        assert_eq!(input(b"\0\0\0\0\0\0\0"), None);
        assert_eq!(input(&[0; HEAD + INPUT + 1]), None);
    }
}
