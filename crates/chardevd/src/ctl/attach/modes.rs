//! Which modes the console has switched on in our terminal, and how to switch them off again.
//!
//! A program that is left in the middle, such as an editor, has no chance to tidy up. What it did
//! is followed in its output, so that a terminal gets to see no sequence of ours without need: what
//! it does not know, it may print.

use std::collections::BTreeSet;

/// The longest control sequence that is understood.
const MAX_SEQUENCE: usize = 64;
const ESC: u8 = 0x1b;

/// DEC's private modes that are followed, each with what it is on a terminal at rest.
const PRIVATE: &[(u16, bool)] = &[
    // The other screen goes first: some of the rest is kept for each.
    (1049, false),
    (1047, false),
    (47, false),
    (1, false),
    (5, false),
    (6, false),
    (7, true),
    (9, false),
    (25, true),
    (66, false),
    (69, false),
    (1000, false),
    (1001, false),
    (1002, false),
    (1003, false),
    (1004, false),
    (1005, false),
    (1006, false),
    (1007, false),
    (1015, false),
    (1016, false),
    (2004, false),
    (2026, false),
    (2031, false),
    (2048, false),
];
/// ANSI's modes that are followed; all are off at rest: keyboard locked, insert, no echo, new line.
const ANSI: [u16; 4] = [2, 4, 12, 20];
/// The colours that a program can set, by the number of the command, and the one that resets it.
const COLOURS: [(&[u8], &str); 4] = [
    (b"4", "104"),
    (b"10", "110"),
    (b"11", "111"),
    (b"12", "112"),
];

/// See the [module](self).
#[derive(Debug, Default)]
pub(in crate::ctl) struct Modes {
    state: Within,
    /// The sequence that is being read.
    sequence: Vec<u8>,
    /// Private modes that are not as at rest.
    private: BTreeSet<u16>,
    ansi: BTreeSet<u16>,
    keypad: bool,
    region: bool,
    attributes: bool,
    cursor_style: bool,
    /// Character sets other than ASCII, by the byte that designates them.
    charsets: BTreeSet<u8>,
    shifted: bool,
    /// Sets of key flags that were pushed (kitty's keyboard protocol).
    keyboards: u32,
    other_keys: bool,
    colours: BTreeSet<&'static str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Text,
    Escape,
    /// After `ESC [`.
    Control,
    /// After the first byte of a C1 control in UTF-8, or of another character.
    Wide,
    /// After `ESC ]` and its like, up to BEL or ST.
    String,
    /// An ESC within a string, which ends it.
    StringEscape,
}

impl Modes {
    /// Follows what the terminal is sent.
    pub(in crate::ctl) fn follow(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.step(byte);
        }
    }

    /// What puts the terminal to rest; nothing if it is.
    pub(in crate::ctl) fn rest(&self) -> Vec<u8> {
        let mut out = String::new();
        if self.state != Within::Text {
            // Whatever was begun is cancelled; the end of a string is harmless outside of one.
            out += "\x18\x1b\\";
        }
        for (mode, at_rest) in PRIVATE {
            if self.private.contains(mode) {
                out += &format!("\x1b[?{mode}{}", if *at_rest { 'h' } else { 'l' });
            }
        }
        for mode in &self.ansi {
            out += &format!("\x1b[{mode}l");
        }
        if self.region {
            // This moves the cursor, so it is kept.
            out += "\x1b7\x1b[r\x1b8";
        }
        if self.keypad {
            out += "\x1b>";
        }
        for charset in &self.charsets {
            out += &format!("\x1b{}B", char::from(*charset));
        }
        let tidy = [
            (self.shifted, "\x0f"),
            (self.attributes, "\x1b[0m"),
            (self.cursor_style, "\x1b[0 q"),
            (self.other_keys, "\x1b[>4;0m"),
        ];
        for (wanted, sequence) in tidy {
            out += if wanted { sequence } else { "" };
        }
        if self.keyboards > 0 {
            out += &format!("\x1b[<{}u", self.keyboards);
        }
        for reset in &self.colours {
            out += &format!("\x1b]{reset}\x1b\\");
        }
        out.into_bytes()
    }

    /// What puts the modes back after [`rest`](Modes::rest), for a console that is looked at again.
    pub(super) fn again(&self) -> Vec<u8> {
        let mut out = String::new();
        for (mode, at_rest) in PRIVATE {
            if self.private.contains(mode) {
                out += &format!("\x1b[?{mode}{}", if *at_rest { 'l' } else { 'h' });
            }
        }
        for mode in &self.ansi {
            out += &format!("\x1b[{mode}h");
        }
        out += if self.keypad { "\x1b=" } else { "" };
        out.into_bytes()
    }

    /// Whether a program draws on the whole screen, so that only drawing it again brings it back.
    pub(super) fn is_full_screen(&self) -> bool {
        self.region
            || [1049, 1047, 47]
                .iter()
                .any(|mode| self.private.contains(mode))
    }

    /// What gives a terminal the modes that drawing a screen leaves out.
    pub(super) fn again_for_screen(&self) -> Vec<u8> {
        // These a screen has of its own.
        let drawn = [1049, 1047, 47, 1, 6, 7, 25, 69];
        let mut out = String::new();
        for (mode, at_rest) in PRIVATE.iter().filter(|(mode, _)| !drawn.contains(mode)) {
            if self.private.contains(mode) {
                out += &format!("\x1b[?{mode}{}", if *at_rest { 'l' } else { 'h' });
            }
        }
        out += if self.keypad { "\x1b=" } else { "" };
        out.into_bytes()
    }

    fn step(&mut self, byte: u8) {
        // These end or begin a sequence wherever they come.
        match (byte, self.state) {
            (0x18 | 0x1a, _) => return self.enter(Within::Text),
            (ESC, Within::String) => return self.enter(Within::StringEscape),
            (ESC, _) => return self.enter(Within::Escape),
            _ => {}
        }
        match self.state {
            Within::Text => match byte {
                0x0e => self.shifted = true,
                0x0f => self.shifted = false,
                // The C1 controls in UTF-8.
                0xc2 => self.enter(Within::Wide),
                _ => {}
            },
            Within::Wide => {
                self.enter(Within::Text);
                if (0x80..0xa0).contains(&byte) {
                    self.escape(byte - 0x40);
                }
            }
            Within::Escape => self.escape(byte),
            Within::Control => self.control(byte),
            Within::String if byte == 0x07 => self.string(),
            Within::String => self.keep(byte),
            Within::StringEscape if byte == b'\\' => self.string(),
            Within::StringEscape => {
                self.enter(Within::Escape);
                self.escape(byte);
            }
        }
    }

    fn enter(&mut self, state: Within) {
        if state != Within::StringEscape {
            self.sequence.clear();
        }
        self.state = state;
    }

    fn keep(&mut self, byte: u8) {
        if self.sequence.len() < MAX_SEQUENCE {
            self.sequence.push(byte);
        }
    }

    /// What follows an ESC.
    fn escape(&mut self, byte: u8) {
        match (self.sequence.first(), byte) {
            (None, b'[') => self.enter(Within::Control),
            (None, b']' | b'P' | b'X' | b'^' | b'_') => self.enter(Within::String),
            (_, 0x20..0x30) => {
                self.state = Within::Escape;
                self.keep(byte);
            }
            // Controls are carried out where they stand.
            (_, 0..0x20) => {}
            (first, _) => {
                match (first.copied(), byte) {
                    (Some(set @ b'('..=b'+'), b'B') => drop(self.charsets.remove(&set)),
                    (Some(set @ b'('..=b'+'), _) => drop(self.charsets.insert(set)),
                    (None, b'=') => self.keypad = true,
                    (None, b'>') => self.keypad = false,
                    (None, b'c') => *self = Modes::default(),
                    _ => {}
                }
                self.enter(Within::Text);
            }
        }
    }

    /// What follows `ESC [`.
    fn control(&mut self, byte: u8) {
        match byte {
            0x20..0x40 => self.keep(byte),
            0x40..0x7f => {
                if self.sequence.len() < MAX_SEQUENCE {
                    self.carry_out(byte);
                }
                self.enter(Within::Text);
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, last: u8) {
        let sequence = std::mem::take(&mut self.sequence);
        let (marker, rest) = match sequence.split_first() {
            Some((marker @ b'<'..=b'?', rest)) => (Some(*marker), rest),
            _ => (None, &sequence[..]),
        };
        let mut numbers = rest.split(|byte| *byte == b';').map(number);
        let first = number(rest.split(|byte| *byte == b';').next().unwrap_or_default());
        match (marker, last) {
            (Some(b'?'), b'h' | b'l') => {
                for mode in numbers.flatten() {
                    self.set_private(mode, last == b'h');
                }
            }
            (None, b'h') => self
                .ansi
                .extend(numbers.flatten().filter(|n| ANSI.contains(n))),
            (None, b'l') => numbers.flatten().for_each(|mode| {
                self.ansi.remove(&mode);
            }),
            (None, b'r') => self.region = !rest.is_empty(),
            (None, b'm') => self.attributes = !numbers.into_iter().all(|code| code == Some(0)),
            (None, b'q') if rest.ends_with(b" ") => self.cursor_style = rest != b"0 ",
            (Some(b'>'), b'm') if first == Some(4) => {
                self.other_keys = numbers.next_back().flatten().is_some_and(|level| level > 0);
            }
            (Some(b'>'), b'u') => self.keyboards = (self.keyboards + 1).min(99),
            (Some(b'<'), b'u') => {
                let count = first.map_or(1, |count| u32::from(count).max(1));
                self.keyboards = self.keyboards.saturating_sub(count);
            }
            _ => {}
        }
    }

    fn set_private(&mut self, mode: u16, on: bool) {
        let known = PRIVATE.iter().find(|(known, _)| *known == mode);
        match known {
            Some((_, at_rest)) if *at_rest != on => drop(self.private.insert(mode)),
            Some(_) => drop(self.private.remove(&mode)),
            None => {}
        }
    }

    /// A string is complete.
    fn string(&mut self) {
        let mut fields = self.sequence.splitn(2, |byte| *byte == b';');
        let command = fields.next().unwrap_or_default();
        // A question changes nothing.
        let sets = fields.next().is_some_and(|value| !value.ends_with(b"?"));
        for (set, reset) in COLOURS {
            if command == set && sets {
                self.colours.insert(reset);
            }
            if command == reset.as_bytes() {
                self.colours.remove(reset);
            }
        }
        self.enter(Within::Text);
    }
}

fn number(text: &[u8]) -> Option<u16> {
    match text {
        b"" => Some(0),
        text => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::Modes;

    fn rest(shown: &str) -> String {
        let text = |modes: &Modes| String::from_utf8(modes.rest()).expect("text");
        let mut whole = Modes::default();
        whole.follow(shown.as_bytes());
        let mut pieces = Modes::default();
        for byte in shown.bytes() {
            pieces.follow(&[byte]);
        }
        assert_eq!(text(&whole), text(&pieces), "{shown:?}");
        let mut after = Modes::default();
        after.follow(shown.as_bytes());
        after.follow(&whole.rest());
        assert_eq!(text(&after), "", "{shown:?} is put to rest");
        text(&whole)
    }

    #[test]
    fn what_was_switched_on_is_switched_off() {
        for (shown, expected) in [
            ("plain text, \u{e4}\u{2500}\r\n", ""),
            ("\x1b[31mred\x1b[0m \x1b[1;32mx\x1b[m", ""),
            ("\x1b[31mred", "\x1b[0m"),
            ("\x1b[0;1m", "\x1b[0m"),
            ("\x1b[38;5;0m", "\x1b[0m"),
            ("\x1b[?25l", "\x1b[?25h"),
            ("\x1b[?25l\x1b[?25h", ""),
            ("\x1b[?1049h\x1b[?1h\x1b=", "\x1b[?1049l\x1b[?1l\x1b>"),
            ("\x1b[?1000;1002;1006h", "\x1b[?1000l\x1b[?1002l\x1b[?1006l"),
            ("\x1b[?2004h\x1b[?1004h\x1b[?2004l", "\x1b[?1004l"),
            ("\x1b[4h\x1b[2;20h\x1b[20l", "\x1b[2l\x1b[4l"),
            ("\x1b[5;10r", "\x1b7\x1b[r\x1b8"),
            ("\x1b[5;10r\x1b[r", ""),
            ("\x1b[?1000;1006r\x1b[?3h", ""),
            ("\x1b(0lqk\x1b(B\x1b)0\x0e", "\x1b)B\x0f"),
            ("\x1b[4 q", "\x1b[0 q"),
            ("\x1b[>1u\x1b[>31u\x1b[<u", "\x1b[<1u"),
            ("\x1b[>4;2m", "\x1b[>4;0m"),
            ("\x1b]11;#000000\x07\x1b]10;?\x1b\\", "\x1b]111\x1b\\"),
            ("\x1b]4;1;red\x1b\\\x1b]104\x07", ""),
            ("\u{9b}?25l", "\x1b[?25h"),
            ("\x1b[?25l\x1bc", ""),
            ("\x1b]0;a title \x1b[?25l", "\x1b[?25h"),
            ("\x1b]0;[?25l\x07", ""),
            ("\x1b[?25\x18l", ""),
            ("\x1b[?2\r5l", "\x1b[?25h"),
        ] {
            assert_eq!(rest(shown), expected, "{shown:?}");
        }
    }

    #[test]
    fn what_was_begun_is_ended() {
        for shown in [
            "\x1b",
            "\x1b[?2",
            "\x1b]0;title",
            "\x1bP1$r",
            "\x1b(",
            "\x1b]x\x1b",
        ] {
            assert_eq!(rest(shown), "\x18\x1b\\", "{shown:?}");
        }
    }

    #[test]
    fn a_console_that_is_looked_at_again_gets_its_modes() {
        let mut modes = Modes::default();
        modes.follow(b"\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b=\x1b[31m");
        let again = "\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b=";
        assert_eq!(modes.again(), again.as_bytes());
    }

    #[test]
    fn endless_sequences_take_no_memory() {
        let mut modes = Modes::default();
        modes.follow(b"\x1b]52;c;");
        modes.follow(&vec![b'A'; 1 << 20]);
        assert!(modes.sequence.capacity() <= 128);
        modes.follow(b"\x07\x1b[");
        modes.follow(&vec![b'1'; 1 << 20]);
        modes.follow(b"m");
        assert_eq!(modes.rest(), b"");
    }
}
