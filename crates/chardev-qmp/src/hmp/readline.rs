//! A line editor for terminals without I/O: bytes typed in, lines out, and what to draw.
//!
//! It knows the keys of QEMU's monitor: letters, ^A ^E ^B ^F, arrows, Home, End, Delete,
//! Backspace, ^D ^K ^U ^W ^L, ^P ^N for the history, and Tab for what may follow. It draws no
//! more than a key changed, so a long line costs no more than it is long.

use std::collections::VecDeque;

/// How many bytes a line has at most; more is not taken.
pub const MAX_LINE: usize = 4095;
/// How many lines are remembered.
pub const MAX_HISTORY: usize = 64;

/// What a key led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Nothing that concerns others.
    Nothing,
    /// A line is complete.
    Line(String),
    /// Tab was pressed after this text; see [`Readline::complete`].
    Tab(String),
}

/// A line being edited.
#[derive(Clone, Debug, Default)]
pub struct Readline {
    prompt: String,
    line: Vec<char>,
    /// How many bytes the line has.
    size: usize,
    cursor: usize,
    history: VecDeque<String>,
    /// The line of the history that is shown, and what was being typed before.
    recalled: Option<(usize, Vec<char>)>,
    escape: Escape,
    /// The start of a character of several bytes.
    partial: Vec<u8>,
    drawn: String,
}

/// Where in an escape sequence the input is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Started,
    /// After `ESC [`, with the number so far.
    Control(u32),
    /// After `ESC O`.
    Single,
}

impl Readline {
    /// An editor that asks with `prompt`.
    pub fn new(prompt: &str) -> Self {
        Readline {
            prompt: prompt.to_owned(),
            ..Readline::default()
        }
    }

    /// Draws the prompt and what is being edited.
    pub fn show(&mut self) {
        self.drawn.push_str(&self.prompt);
        // Programs wait for the prompt at the end of what they read.
        if !self.line.is_empty() {
            self.draw_from(0);
        }
    }

    /// Forgets what is being edited; the history stays.
    pub fn reset(&mut self) {
        self.line.clear();
        self.size = 0;
        self.cursor = 0;
        self.recalled = None;
        self.escape = Escape::None;
        self.partial.clear();
        self.drawn.clear();
    }

    /// What is to be drawn since the last call.
    pub fn take_drawn(&mut self) -> String {
        std::mem::take(&mut self.drawn)
    }

    /// The lines entered so far, oldest first.
    pub fn history(&mut self) -> &[String] {
        self.history.make_contiguous()
    }

    /// Takes one byte.
    pub fn key(&mut self, byte: u8) -> Typed {
        match self.escape {
            Escape::None => self.plain(byte),
            Escape::Started => {
                self.escape = match byte {
                    b'[' => Escape::Control(0),
                    b'O' => Escape::Single,
                    _ => Escape::None,
                };
                Typed::Nothing
            }
            Escape::Control(number) if byte.is_ascii_digit() => {
                let number = number.saturating_mul(10);
                self.escape = Escape::Control(number.saturating_add(u32::from(byte - b'0')));
                Typed::Nothing
            }
            Escape::Control(number) => {
                self.escape = Escape::None;
                self.control(byte, number);
                Typed::Nothing
            }
            Escape::Single => {
                self.escape = Escape::None;
                self.control(byte, 0);
                Typed::Nothing
            }
        }
    }

    /// Puts what may follow into the line: one candidate wholly, of several what they begin with
    /// alike, and if that is nothing a list of them. `stem` is how many characters before the
    /// cursor they replace.
    pub fn complete(&mut self, stem: usize, candidates: &[String]) {
        let Some(first) = candidates.first() else {
            return;
        };
        let shared = candidates.iter().skip(1).fold(first.as_str(), |all, one| {
            let same = all.chars().zip(one.chars()).take_while(|(a, b)| a == b);
            let length = same.map(|(c, _)| c.len_utf8()).sum();
            &all[..length]
        });
        let more: String = shared.chars().skip(stem).collect();
        more.chars().for_each(|c| self.insert(c));
        if candidates.len() == 1 {
            self.insert(' ');
        } else if more.is_empty() {
            self.drawn.push('\n');
            for name in candidates {
                self.drawn.push_str(name);
                self.drawn.push('\n');
            }
            self.show();
        }
    }

    fn plain(&mut self, byte: u8) -> Typed {
        match byte {
            b'\r' | b'\n' => return self.enter(),
            b'\t' => return Typed::Tab(self.line[..self.cursor].iter().collect()),
            0x1b => self.escape = Escape::Started,
            0x01 => self.move_to(0),
            0x05 => self.move_to(self.line.len()),
            0x02 => self.move_to(self.cursor.saturating_sub(1)),
            0x06 => self.move_to(self.cursor + 1),
            0x04 => self.delete(self.cursor, self.cursor + 1),
            0x08 | 0x7f => self.delete(self.cursor.saturating_sub(1), self.cursor),
            0x0b => self.delete(self.cursor, self.line.len()),
            0x15 => self.delete(0, self.cursor),
            0x17 => self.delete(self.word_start(), self.cursor),
            0x10 => self.recall(true),
            0x0e => self.recall(false),
            0x0c => {
                self.drawn.push_str("\x1b[H\x1b[2J");
                self.show();
            }
            0x20..=0x7e => {
                self.partial.clear();
                self.insert(char::from(byte));
            }
            0x80.. => self.byte_of_character(byte),
            _ => {}
        }
        Typed::Nothing
    }

    fn control(&mut self, byte: u8, number: u32) {
        match (byte, number) {
            (b'A', _) => self.recall(true),
            (b'B', _) => self.recall(false),
            (b'C', _) => self.move_to(self.cursor + 1),
            (b'D', _) => self.move_to(self.cursor.saturating_sub(1)),
            (b'H', _) | (b'~', 1 | 7) => self.move_to(0),
            (b'F', _) | (b'~', 4 | 8) => self.move_to(self.line.len()),
            (b'~', 3) => self.delete(self.cursor, self.cursor + 1),
            _ => {}
        }
    }

    fn enter(&mut self) -> Typed {
        let line: String = self.line.iter().collect();
        self.drawn.push('\n');
        if !line.trim().is_empty() {
            // The same line again moves to the end.
            self.history.retain(|known| *known != line);
            if self.history.len() == MAX_HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(line.clone());
        }
        self.line.clear();
        self.size = 0;
        self.cursor = 0;
        self.recalled = None;
        Typed::Line(line)
    }

    fn byte_of_character(&mut self, byte: u8) {
        self.partial.push(byte);
        match std::str::from_utf8(&self.partial) {
            Ok(text) => {
                let c = text.chars().next();
                self.partial.clear();
                c.into_iter().for_each(|c| self.insert(c));
            }
            // The rest of the character is still to come.
            Err(error) if error.error_len().is_none() => {}
            Err(_) => self.partial.clear(),
        }
    }

    fn insert(&mut self, c: char) {
        if self.size + c.len_utf8() > MAX_LINE {
            return;
        }
        self.size += c.len_utf8();
        self.line.insert(self.cursor, c);
        self.cursor += 1;
        if self.cursor == self.line.len() {
            self.drawn.push(c);
        } else {
            self.draw_from(self.cursor - 1);
        }
    }

    fn delete(&mut self, from: usize, to: usize) {
        let to = to.min(self.line.len());
        if from >= to {
            return;
        }
        self.back(self.cursor - from.min(self.cursor));
        let removed = self.line.drain(from..to);
        self.size -= removed.map(char::len_utf8).sum::<usize>();
        self.cursor = from;
        self.draw_from(from);
    }

    /// Draws the line from there on, where the terminal's cursor is, and returns to ours.
    fn draw_from(&mut self, from: usize) {
        self.drawn.extend(&self.line[from..]);
        self.drawn.push_str("\x1b[K");
        self.back(self.line.len() - self.cursor);
    }

    fn back(&mut self, count: usize) {
        if count > 0 {
            self.drawn.push_str(&format!("\x1b[{count}D"));
        }
    }

    fn move_to(&mut self, cursor: usize) {
        let cursor = cursor.min(self.line.len());
        if cursor < self.cursor {
            self.back(self.cursor - cursor);
        } else if cursor > self.cursor {
            let count = cursor - self.cursor;
            self.drawn.push_str(&format!("\x1b[{count}C"));
        }
        self.cursor = cursor;
    }

    fn word_start(&self) -> usize {
        let mut at = self.cursor;
        while at > 0 && self.line[at - 1].is_whitespace() {
            at -= 1;
        }
        while at > 0 && !self.line[at - 1].is_whitespace() {
            at -= 1;
        }
        at
    }

    fn recall(&mut self, older: bool) {
        let (line, recalled) = match (&self.recalled, older) {
            (None, true) if !self.history.is_empty() => {
                let at = self.history.len() - 1;
                let line = self.history[at].chars().collect();
                (line, Some((at, self.line.clone())))
            }
            (Some((at, typed)), true) if *at > 0 => {
                let line = self.history[at - 1].chars().collect();
                (line, Some((at - 1, typed.clone())))
            }
            (Some((at, typed)), false) if at + 1 < self.history.len() => {
                let line = self.history[at + 1].chars().collect();
                (line, Some((at + 1, typed.clone())))
            }
            (Some((_, typed)), false) => (typed.clone(), None),
            _ => return,
        };
        self.back(self.cursor);
        self.line = line;
        self.size = self.line.iter().copied().map(char::len_utf8).sum();
        self.cursor = self.line.len();
        self.recalled = recalled;
        self.draw_from(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types `keys`; returns the last line entered and what a terminal then shows in its last row.
    fn typed(editor: &mut Readline, keys: &str) -> (Option<String>, String) {
        let mut entered = None;
        for byte in keys.bytes() {
            if let Typed::Line(line) = editor.key(byte) {
                entered = Some(line);
                editor.show();
            }
        }
        (entered, last_row(&editor.take_drawn()))
    }

    /// A terminal with one endless row that knows the sequences used.
    fn last_row(drawn: &str) -> String {
        let (mut row, mut at) = (Vec::new(), 0usize);
        let mut chars = drawn.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\n' => (row, at) = (Vec::new(), 0),
                '\x1b' => {
                    assert_eq!(chars.next(), Some('['));
                    let mut number = String::new();
                    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                        number.push(digit);
                    }
                    let count: usize = number.parse().unwrap_or(1);
                    match chars.next() {
                        Some('D') => at -= count,
                        Some('C') => at += count,
                        Some('K') => row.truncate(at),
                        Some('H') => at = 0,
                        Some('J') => row.clear(),
                        other => panic!("unknown sequence {other:?}"),
                    }
                }
                c => {
                    if at < row.len() {
                        row[at] = c;
                    } else {
                        row.push(c);
                    }
                    at += 1;
                }
            }
        }
        row.into_iter().collect()
    }

    #[test]
    fn keys_edit_the_line_and_the_terminal_shows_it() {
        for (keys, line) in [
            ("abc", "abc"),
            ("abd\x02c", "abcd"),
            ("xabc\x01\x04", "abc"),
            ("ab\x1b[Dx\x1b[Cy", "axby"),
            ("abc\x7f\x08", "a"),
            ("one two\x17", "one "),
            ("one two\x01\x1b[3~\x05!", "ne two!"),
            ("abc\x02\x02\x0b", "a"),
            ("abc\x02\x15", "c"),
            ("\x1bOHa\x1b[Hb\x1b[Fc\x1b[4~d", "bacd"),
            ("h\u{e9}\u{20ac}\x02x", "h\u{e9}x\u{20ac}"),
            ("ab\x0c", "ab"),
        ] {
            let mut editor = Readline::new("");
            let (_, shown) = typed(&mut editor, keys);
            assert_eq!(shown, line, "{keys:?} shows");
            assert_eq!(editor.key(b'\r'), Typed::Line(line.to_owned()), "{keys:?}");
        }
    }

    #[test]
    fn the_history_goes_back_and_forth() {
        let mut editor = Readline::new("> ");
        typed(&mut editor, "first\rsecond\rfirst\r");
        assert_eq!(editor.history(), ["second", "first"]);
        let (_, shown) = typed(&mut editor, "new\x1b[A");
        assert_eq!(shown, "first");
        editor.reset();
        let (line, _) = typed(&mut editor, "new\x1b[A\x1b[A\x10!\r");
        assert_eq!(line.as_deref(), Some("second!"));
        let (line, _) = typed(&mut editor, "draft\x10\x10\x0e\x0e\x0e\r");
        assert_eq!(line.as_deref(), Some("draft"));
        for number in 0..2 * MAX_HISTORY {
            typed(&mut editor, &format!("line {number}\r"));
        }
        assert_eq!(editor.history().len(), MAX_HISTORY);
    }

    #[test]
    fn tab_completes_or_lists() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let mut editor = Readline::new("");
        typed(&mut editor, "chardev-r");
        assert_eq!(editor.key(b'\t'), Typed::Tab("chardev-r".to_owned()));
        editor.complete(9, &names(&["chardev-remove"]));
        assert_eq!(editor.key(b'\r'), Typed::Line("chardev-remove ".to_owned()));
        typed(&mut editor, "ch");
        editor.complete(2, &names(&["chardev-add", "chardev-change"]));
        editor.complete(8, &names(&["chardev-add", "chardev-change"]));
        let drawn = editor.take_drawn();
        assert!(
            drawn.contains("\nchardev-add\nchardev-change\n"),
            "{drawn:?}"
        );
        assert_eq!(last_row(&drawn), "chardev-");
        editor.complete(8, &[]);
        assert_eq!(editor.key(b'\r'), Typed::Line("chardev-".to_owned()));
    }

    #[test]
    fn a_line_is_bounded() {
        let mut editor = Readline::new("");
        for _ in 0..MAX_LINE + 100 {
            editor.key(b'x');
        }
        assert!(editor.take_drawn().len() < 2 * MAX_LINE);
        let Typed::Line(line) = editor.key(b'\r') else {
            panic!("no line");
        };
        assert_eq!(line.len(), MAX_LINE);
    }
}
