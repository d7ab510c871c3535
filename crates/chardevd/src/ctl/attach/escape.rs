//! The escape key: finds, in what is typed, the commands that are not for the console.

/// What a terminal puts before and after pasted text, if the console has asked for it.
const PASTE: [&[u8; MARK]; 2] = [b"\x1b[200~", b"\x1b[201~"];
const MARK: usize = 6;

/// Separates what is typed into text and commands, however it is cut. In pasted text there are no
/// commands.
#[derive(Debug)]
pub(super) struct Escape {
    key: Option<u8>,
    /// The escape key was the last.
    pending: bool,
    /// What was typed last, to find the marks of a paste.
    last: [u8; MARK],
    pasting: bool,
}

/// The next thing that was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// For the console.
    Text(&'a [u8]),
    /// Leave.
    Leave,
    /// Send a break.
    Break,
    /// Stop this program, as Ctrl-Z does elsewhere.
    Suspend,
    /// Change the console's back end.
    Change,
    /// Say who is here.
    Who,
    /// What is typed is not sent, or is again.
    ReadOnly,
    /// Set a marker.
    Mark,
    /// Send a file, or stop that.
    SendFile,
    /// Look back through what the console has said.
    LookBack,
    /// Show the help lines.
    Help,
    /// The escape key, and then one that means nothing.
    Unknown,
}

impl Escape {
    /// Commands begin with `key`; without one all is text.
    pub(super) fn new(key: Option<u8>) -> Self {
        Escape {
            key,
            pending: false,
            last: [0; MARK],
            pasting: false,
        }
    }

    /// Nothing was typed for a while: a paste whose end has not come by now has none.
    pub(super) fn pause(&mut self) {
        self.pasting = false;
    }

    /// Takes the next step from the front of `typed`; `None` when nothing is left.
    pub(super) fn next<'a>(&mut self, typed: &mut &'a [u8]) -> Option<Step<'a>> {
        loop {
            let (&first, rest) = typed.split_first()?;
            if !self.pending {
                let length = typed.iter().position(|byte| self.is_command(*byte));
                let length = length.unwrap_or(typed.len());
                if length > 0 {
                    return Some(Step::Text(take(typed, length)));
                }
                self.pending = true;
                *typed = rest;
                continue;
            }
            self.pending = false;
            return Some(match first {
                _ if Some(first) == self.key => Step::Text(take(typed, 1)),
                _ => {
                    *typed = rest;
                    match first {
                        b'.' | b'q' => Step::Leave,
                        b'b' => Step::Break,
                        b'z' | 0x1a => Step::Suspend,
                        b'c' => Step::Change,
                        b'w' => Step::Who,
                        b'r' => Step::ReadOnly,
                        b'm' => Step::Mark,
                        b's' => Step::SendFile,
                        b'l' | b'[' => Step::LookBack,
                        b'h' | b'?' => Step::Help,
                        _ => Step::Unknown,
                    }
                }
            });
        }
    }
}

impl Escape {
    /// Whether `byte` begins a command; else it is text, and looked at for the marks of a paste.
    fn is_command(&mut self, byte: u8) -> bool {
        let mut last = self.last;
        last.rotate_left(1);
        last[MARK - 1] = byte;
        let mark = PASTE.iter().position(|mark| **mark == last);
        if mark.is_none() && !self.pasting && Some(byte) == self.key {
            self.last = [0; MARK];
            return true;
        }
        self.last = last;
        self.pasting = mark.map_or(self.pasting, |mark| mark == 0);
        false
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

/// Reads the option `--escape`: `^X`, one character, or `none`.
pub(super) fn parse_key(text: &str) -> Result<Option<u8>, String> {
    match text.as_bytes() {
        b"none" => Ok(None),
        [b'^', b'?'] => Ok(Some(0x7f)),
        [b'^', key @ (b'@'..=b'_' | b'a'..=b'z')] => Ok(Some(key.to_ascii_uppercase() & 0x1f)),
        [key] if key.is_ascii() => Ok(Some(*key)),
        _ => Err(format!(
            "'{text}' is not a key: give ^X for Ctrl-X, one character, or none"
        )),
    }
}

/// How the key is written for people.
pub(super) fn key_name(key: u8) -> String {
    match key {
        0x7f => "Ctrl-?".to_owned(),
        0..0x20 => format!("Ctrl-{}", char::from(key | 0x40)),
        _ => char::from(key).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Escape, Step, key_name, parse_key};

    /// What comes out, written as text with the commands in capitals.
    fn told(key: Option<u8>, pieces: &[&[u8]]) -> String {
        let mut escape = Escape::new(key);
        let mut told = String::new();
        for mut typed in pieces.iter().copied() {
            while let Some(step) = escape.next(&mut typed) {
                told += match step {
                    Step::Text(text) => std::str::from_utf8(text).expect("ASCII"),
                    Step::Leave => "LEAVE",
                    Step::Break => "BREAK",
                    Step::Suspend => "SUSPEND",
                    Step::Help => "HELP",
                    Step::Change => "CHANGE",
                    Step::Who => "WHO",
                    Step::ReadOnly => "READ-ONLY",
                    Step::Mark => "MARK",
                    Step::SendFile => "SEND-FILE",
                    Step::LookBack => "LOOK-BACK",
                    Step::Unknown => "UNKNOWN",
                };
            }
        }
        told
    }

    #[test]
    fn commands_come_out_of_what_is_typed_however_it_is_cut() {
        for (typed, expected) in [
            ("plain", "plain"),
            ("ab\x1dbcd", "abBREAKcd"),
            ("\x1d.", "LEAVE"),
            ("x\x1dq", "xLEAVE"),
            ("\x1d?\x1dh", "HELPHELP"),
            ("\x1d\x1d", "\x1d"),
            ("\x1d\x1d\x1db", "\x1dBREAK"),
            ("\x1dx.", "UNKNOWN."),
            ("\x1d", ""),
            ("\x1dzx", "SUSPENDx"),
            (
                "\x1dc\x1dw\x1dr\x1dm\x1ds",
                "CHANGEWHOREAD-ONLYMARKSEND-FILE",
            ),
            ("\x1dl\x1d[", "LOOK-BACKLOOK-BACK"),
            ("b.?h", "b.?h"),
        ] {
            let key = Some(0x1d);
            assert_eq!(told(key, &[typed.as_bytes()]), expected, "{typed:?}");
            let single: Vec<&[u8]> = typed.as_bytes().chunks(1).collect();
            assert_eq!(told(key, &single), expected, "{typed:?} byte by byte");
            assert_eq!(told(None, &single), typed, "{typed:?} without a key");
        }
    }

    #[test]
    fn a_paste_holds_no_commands() {
        for (key, typed, expected) in [
            (
                0x1d,
                "a\x1b[200~x\x1d.y\x1b[201~\x1d.",
                "a\x1b[200~x\x1d.y\x1b[201~LEAVE",
            ),
            (0x1d, "\x1b[200\x1d.~", "\x1b[200LEAVE~"),
            (b'~', "\x1b[200~~.\x1b[201~~.", "\x1b[200~~.\x1b[201~LEAVE"),
        ] {
            assert_eq!(told(Some(key), &[typed.as_bytes()]), expected);
            let single: Vec<&[u8]> = typed.as_bytes().chunks(1).collect();
            assert_eq!(told(Some(key), &single), expected);
        }
        let mut escape = Escape::new(Some(0x1d));
        let mut typed = &b"\x1b[200~never ended"[..];
        while escape.next(&mut typed).is_some() {}
        escape.pause();
        assert_eq!(escape.next(&mut &b"\x1d."[..]), Some(Step::Leave));
    }

    #[test]
    fn keys_are_read_and_written() {
        for (text, key, name) in [
            ("^]", 0x1d, "Ctrl-]"),
            ("^a", 1, "Ctrl-A"),
            ("^A", 1, "Ctrl-A"),
            ("^?", 0x7f, "Ctrl-?"),
            ("~", b'~', "~"),
        ] {
            assert_eq!(parse_key(text), Ok(Some(key)));
            assert_eq!(key_name(key), name);
        }
        assert_eq!(parse_key("none"), Ok(None));
        assert!(parse_key("").is_err() && parse_key("^").is_ok() && parse_key("ab").is_err());
        assert!(parse_key("ä").is_err());
    }
}
