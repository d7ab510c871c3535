//! Text and the bytes of Unix: arguments and paths that are not UTF-8, and text made safe to show.
//!
//! Options hold text. An argument or a path of Unix is bytes, and those that are not valid UTF-8
//! travel in that text as two noncharacters each, which Unicode keeps for such a use and which QMP
//! neither takes nor sends. So nothing is lost between the command line and the host, and nothing a
//! client sends can be mistaken for such a byte.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The noncharacters for the upper and the lower half of a byte begin here.
const UPPER: u32 = 0xfdd0;
const LOWER: u32 = 0xfde0;

/// Text that stands for `bytes`; [`to_bytes`] is the way back.
pub fn from_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match half(c) {
                None => text.push(c),
                // Bytes that happen to spell one of ours are carried like any others.
                Some(_) => {
                    let mut spelled = [0; 4];
                    let spelled = c.encode_utf8(&mut spelled).as_bytes();
                    spelled.iter().for_each(|byte| carry(&mut text, *byte));
                }
            }
        }
        chunk
            .invalid()
            .iter()
            .for_each(|byte| carry(&mut text, *byte));
    }
    text
}

/// The bytes that `text` stands for.
pub fn to_bytes(text: &str) -> Cow<'_, [u8]> {
    // The first byte of all of ours; text may be large.
    if !text.as_bytes().contains(&0xef) || !text.chars().any(|c| half(c).is_some()) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    each(text, |piece| match piece {
        Piece::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        Piece::Byte(byte) => bytes.push(byte),
    });
    Cow::Owned(bytes)
}

/// As [`from_bytes`], for an argument of the process.
pub fn from_os(argument: &OsStr) -> String {
    from_bytes(argument.as_bytes())
}

/// As [`to_bytes`], for what is given to the host.
pub fn to_os(text: &str) -> OsString {
    OsString::from_vec(to_bytes(text).into_owned())
}

/// As [`to_bytes`], for a path; one that is relative starts at `directory`.
pub fn to_path(text: &str, directory: Option<&Path>) -> PathBuf {
    let path = PathBuf::from(to_os(text));
    match directory {
        // An empty path names nothing, and must not name the directory.
        Some(directory) if !text.is_empty() => directory.join(path),
        _ => path,
    }
}

/// `text` for people: on one line, and without anything that a terminal would obey, that changes
/// the direction of writing, or that cannot be seen.
pub fn shown<T: Display>(text: T) -> Shown<T> {
    Shown(text)
}

/// As [`shown`], for a path.
pub fn shown_path(path: &Path) -> Shown<String> {
    Shown(from_os(path.as_os_str()))
}

/// As [`shown`], for a text of several lines.
pub fn shown_lines(text: impl Display) -> String {
    let text = text.to_string();
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| shown(line).to_string())
        .collect();
    lines.join("\n")
}

/// See [`shown`].
#[derive(Clone, Copy, Debug)]
pub struct Shown<T>(T);

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut escaped = String::new();
        each(&self.0.to_string(), |piece| {
            // Writing to a string does not fail.
            let _ = match piece {
                Piece::Byte(byte) => write!(escaped, "\\x{byte:02x}"),
                Piece::Char(c @ ('\n' | '\r' | '\t')) => write!(escaped, "{}", c.escape_debug()),
                Piece::Char(c) if c.is_ascii_control() => write!(escaped, "\\x{:02x}", c as u32),
                Piece::Char(c) if is_unseen(c) => write!(escaped, "{}", c.escape_unicode()),
                Piece::Char(c) => escaped.write_char(c),
            };
        });
        f.pad(&escaped)
    }
}

enum Piece {
    Char(char),
    Byte(u8),
}

/// Calls `take` for each character, and for each byte that two of them carry.
fn each(text: &str, mut take: impl FnMut(Piece)) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let lower = chars.peek().copied().and_then(half);
        match (half(c), lower) {
            (Some((UPPER, upper)), Some((LOWER, lower))) => {
                chars.next();
                take(Piece::Byte(upper << 4 | lower));
            }
            _ => take(Piece::Char(c)),
        }
    }
}

fn carry(text: &mut String, byte: u8) {
    let halves = [UPPER + u32::from(byte >> 4), LOWER + u32::from(byte & 15)];
    text.extend(halves.into_iter().filter_map(char::from_u32));
}

/// Which half of a byte `c` carries, and its value.
fn half(c: char) -> Option<(u32, u8)> {
    let of = |first: u32| {
        u8::try_from((c as u32).checked_sub(first)?)
            .ok()
            .filter(|it| *it < 16)
    };
    of(UPPER)
        .map(|value| (UPPER, value))
        .or_else(|| of(LOWER).map(|value| (LOWER, value)))
}

/// Controls of the terminal and of the direction of writing, and what takes no place.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c as u32,
            0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f
            | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe0fff)
        || (0xfdd0..=0xfdef).contains(&(c as u32))
        || c as u32 & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [
            &b"/run/con0.sock"[..],
            "/run/größe 😀".as_bytes(),
            b"/run/\xff\xfe\xe2\x82x",
            "\u{fdd0}\u{fde0}\u{fdef}\u{fffe}".as_bytes(),
            &all,
            b"",
        ] {
            assert_eq!(to_bytes(&from_bytes(bytes)), bytes);
        }
        assert_eq!(from_bytes("größe".as_bytes()), "größe");
    }

    #[test]
    fn a_half_alone_is_a_character() {
        assert_eq!(to_bytes("\u{fdd1}x"), "\u{fdd1}x".as_bytes());
        assert_eq!(to_bytes("\u{fde1}\u{fdd1}"), "\u{fde1}\u{fdd1}".as_bytes());
    }

    #[test]
    fn nothing_shown_is_obeyed_by_a_terminal() {
        let text = from_bytes(b"a\x1b]0;t\x07\n\r\t\xff\x7f");
        assert_eq!(shown(text).to_string(), r"a\x1b]0;t\x07\n\r\t\xff\x7f");
        assert_eq!(
            shown("\u{9b}1m \u{202e}x\u{2066}\u{200d}\u{2028}\u{feff}\u{e0041}\u{fffe}")
                .to_string(),
            r"\u{9b}1m \u{202e}x\u{2066}\u{200d}\u{2028}\u{feff}\u{e0041}\u{fffe}"
        );
        assert_eq!(
            shown("größe 'a' \"b\" \\ 😀").to_string(),
            "größe 'a' \"b\" \\ 😀"
        );
        assert_eq!(
            format!("{:>4}|{:<3}|", shown("ab"), shown("é")),
            "  ab|é  |"
        );
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(shown_lines("a\x1b\n\tb\n"), "a\\x1b\n\\tb\n");
    }

    #[test]
    fn a_relative_path_starts_at_its_directory() {
        let from = Some(Path::new("/srv"));
        assert_eq!(to_path("a/../b", from), Path::new("/srv/a/../b"));
        assert_eq!(to_path("/a", from), Path::new("/a"));
        assert_eq!(to_path("", from), Path::new(""));
        assert_eq!(to_path("a", None), Path::new("a"));
    }
}
