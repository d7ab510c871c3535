//! Looking back: pages of what the console has said, in place of the console, which goes on.
//!
//! What comes meanwhile waits in [`Screen`](super::screen::Screen) and is shown afterwards. The
//! pages are drawn on the terminal's other screen, so that what it showed is there again.

use std::fmt::Write as _;

use chardev::screen::{Screen, Size};
use chardev::text::shown;
use chardev_qapi::{Json, Object};
use chardev_qmp::ringbuf::{Format, decode};

/// What the question for the history is called.
pub(super) const HISTORY: &str = "looking back";
/// What the question for the screen is called that a full-screen program is drawn again from.
pub(super) const REDRAW: &str = "drawing the screen again";
/// The most bytes that are looked back at, which is the most of an answer.
const MOST: i64 = 256 << 10;
/// The most lines.
const LINES: usize = 20_000;
/// The most characters of what is searched for.
const FIND: usize = 200;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Lookback {
    id: String,
    bytes: Vec<u8>,
    lines: Vec<String>,
    size: Size,
    /// The first line that is shown.
    top: usize,
    /// What is searched for, while it is typed.
    typing: Option<String>,
    found: String,
    note: &'static str,
}

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Up(usize),
    Down(usize),
    PageUp,
    PageDown,
    Oldest,
    Newest,
    Find,
    Next,
    Previous,
    Leave,
    Other,
}

impl Lookback {
    /// What to ask the monitor.
    pub(super) fn question(id: &str) -> Object {
        Object::new()
            .with("id", id)
            .with("from", -MOST)
            .with("size", MOST)
            .with("format", "base64")
    }

    /// Begins on the newest page, if anything is kept.
    pub(super) fn begin(id: &str, answer: &Json, size: Size) -> Option<Self> {
        let contents = answer.get("contents").and_then(Json::as_str)?;
        let mut bytes = decode(contents, Format::Base64).ok()?;
        let start = answer.get("start").and_then(Json::as_u64).unwrap_or(0);
        if start > 0
            && let Some(end) = bytes.iter().position(|byte| *byte == b'\n')
        {
            // What comes first may be the end of a sequence.
            bytes.drain(..=end);
        }
        let mut lookback = Lookback {
            id: shown(id).to_string(),
            bytes,
            lines: Vec::new(),
            size,
            top: 0,
            typing: None,
            found: String::new(),
            note: "",
        };
        lookback.lay_out();
        (!lookback.lines.is_empty()).then_some(lookback)
    }

    /// The terminal has another size.
    pub(super) fn resize(&mut self, size: Size) {
        self.size = size;
        self.lay_out();
    }

    /// Takes keys; whether it is to be left.
    pub(super) fn take(&mut self, mut typed: &[u8]) -> bool {
        self.note = "";
        while !typed.is_empty() {
            if let Some(text) = &mut self.typing {
                let (&byte, rest) = (&typed[0], &typed[1..]);
                typed = rest;
                match byte {
                    b'\r' | b'\n' => {
                        self.found = self.typing.take().unwrap_or_default();
                        self.find(true);
                    }
                    0x03 | 0x07 | 0x1b => self.typing = None,
                    0x08 | 0x7f => drop(text.pop()),
                    b' '..=b'~' if text.len() < FIND => text.push(char::from(byte)),
                    _ => {}
                }
                continue;
            }
            let (key, count) = key(typed);
            typed = &typed[count..];
            if key == Key::Leave {
                return true;
            }
            self.carry_out(key);
        }
        false
    }

    /// The page, for a terminal on its other screen.
    pub(super) fn page(&self) -> String {
        let rows = self.rows();
        let mut page = String::from("\x1b[H\x1b[m");
        for row in 0..rows {
            let line = self.lines.get(self.top + row).map_or("", String::as_str);
            page.push_str(line);
            page.push_str("\x1b[K\r\n");
        }
        let last = (self.top + rows).min(self.lines.len());
        let status = match &self.typing {
            Some(text) => format!("/{text}"),
            None if self.note.is_empty() => format!(
                "{}, looking back: line {} to {last} of {}; PgUp PgDn g G, / finds, n N, q goes on",
                self.id,
                self.top + 1,
                self.lines.len()
            ),
            None => self.note.to_owned(),
        };
        let cols = usize::from(self.size.cols()).saturating_sub(1);
        let status: String = status.chars().take(cols).collect();
        // Writing to a string does not fail.
        let _ = write!(page, "\x1b[7m{status}\x1b[m\x1b[K");
        page
    }

    fn rows(&self) -> usize {
        usize::from(self.size.rows()).saturating_sub(1).max(1)
    }

    /// The last page's first line.
    fn newest(&self) -> usize {
        self.lines.len().saturating_sub(self.rows())
    }

    /// Puts the lines on a terminal of this size, and stays as far from the newest as it was.
    fn lay_out(&mut self) {
        let behind = self.newest().saturating_sub(self.top);
        let at_newest = self.lines.is_empty();
        let mut screen = Screen::with_scrollback(self.size, LINES);
        screen.feed_all(&self.bytes);
        self.lines = screen.lines();
        self.top = match at_newest {
            true => self.newest(),
            false => self.newest().saturating_sub(behind),
        };
    }

    fn carry_out(&mut self, key: Key) {
        let page = self.rows().saturating_sub(1).max(1);
        let top = match key {
            Key::Up(count) => self.top.saturating_sub(count),
            Key::Down(count) => self.top + count,
            Key::PageUp => self.top.saturating_sub(page),
            Key::PageDown => self.top + page,
            Key::Oldest => 0,
            Key::Newest => usize::MAX,
            Key::Find => {
                self.typing = Some(String::new());
                return;
            }
            Key::Next => return self.find(true),
            Key::Previous => return self.find(false),
            Key::Leave | Key::Other => return,
        };
        self.top = top.min(self.newest());
    }

    /// Goes to the nearest line that has the text: an `older` one, or a newer one.
    fn find(&mut self, older: bool) {
        if self.found.is_empty() {
            return;
        }
        let wanted = self.found.to_lowercase();
        let has = |line: &usize| self.lines[*line].to_lowercase().contains(&wanted);
        let line = match older {
            // At the newest page its own lines are older than where one is.
            true if self.top == self.newest() => (0..self.lines.len()).rev().find(has),
            true => (0..self.top).rev().find(has),
            false => (self.top + 1..self.lines.len()).find(has),
        };
        match line {
            Some(line) if line >= self.newest() => {
                self.top = self.newest();
                self.note = "found on the newest page; q goes on";
            }
            Some(line) => self.top = line,
            None => self.note = "not found any further",
        }
    }
}

/// The first key of what was typed, and its length.
fn key(typed: &[u8]) -> (Key, usize) {
    const KEYS: &[(&[u8], Key)] = &[
        (b"\x1b[A", Key::Up(1)),
        (b"\x1bOA", Key::Up(1)),
        (b"\x1b[B", Key::Down(1)),
        (b"\x1bOB", Key::Down(1)),
        (b"\x1b[5~", Key::PageUp),
        (b"\x1b[6~", Key::PageDown),
        (b"\x1b[H", Key::Oldest),
        (b"\x1bOH", Key::Oldest),
        (b"\x1b[1~", Key::Oldest),
        (b"\x1b[F", Key::Newest),
        (b"\x1bOF", Key::Newest),
        (b"\x1b[4~", Key::Newest),
        (b"k", Key::Up(1)),
        (b"j", Key::Down(1)),
        (b"\r", Key::Down(1)),
        (b"b", Key::PageUp),
        (b"\x02", Key::PageUp),
        (b" ", Key::PageDown),
        (b"f", Key::PageDown),
        (b"\x06", Key::PageDown),
        (b"g", Key::Oldest),
        (b"G", Key::Newest),
        (b"/", Key::Find),
        (b"?", Key::Find),
        (b"n", Key::Next),
        (b"N", Key::Previous),
        (b"q", Key::Leave),
        (b"\x03", Key::Leave),
    ];
    let known = KEYS.iter().find(|(text, _)| typed.starts_with(text));
    if let Some((text, key)) = known {
        return (*key, text.len());
    }
    match typed {
        [0x1b] => (Key::Leave, 1),
        // Another sequence, up to its last byte.
        [0x1b, b'[' | b'O', rest @ ..] => {
            let last = rest.iter().position(|byte| (0x40..0x7f).contains(byte));
            (Key::Other, 2 + last.map_or(rest.len(), |last| last + 1))
        }
        _ => (Key::Other, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookback(text: &str) -> Lookback {
        let contents =
            chardev_qmp::ringbuf::encode(text.as_bytes().to_vec().into(), Format::Base64);
        let answer: Json = Object::new().with("contents", contents).into();
        let size = Size::new(80, 5).expect("a size");
        Lookback::begin("con0", &answer, size).expect("something is kept")
    }

    #[test]
    fn keys_go_through_the_lines_and_find_some() {
        let text: Vec<String> = (1..=100).map(|number| format!("line {number}")).collect();
        let text = text.join("\r\n");
        for (typed, first) in [
            ("", "line 97"),
            ("k", "line 96"),
            ("\x1b[A\x1bOA", "line 95"),
            ("\x1b[5~", "line 94"),
            ("bb", "line 91"),
            ("b\x1b[6~", "line 97"),
            ("g", "line 1"),
            ("gj", "line 2"),
            ("gk", "line 1"),
            ("gG", "line 97"),
            ("/line 5\rn", "line 58"),
            ("/LINE 50\r", "line 50"),
            ("g/x\x1bj", "line 2"),
            ("/line 1\rN", "line 97"),
            ("g\x1b[200~", "line 1"),
        ] {
            let mut lookback = lookback(&text);
            assert!(!lookback.take(typed.as_bytes()), "{typed:?}");
            let page = lookback.page();
            let shown = page.trim_start_matches("\x1b[H\x1b[m");
            assert!(
                shown.starts_with(&format!("{first}\x1b[K")),
                "{typed:?}: {page:?}"
            );
        }
        for typed in ["q", "\x1b", "\x03", "gq"] {
            assert!(lookback(&text).take(typed.as_bytes()), "{typed:?}");
        }
    }

    #[test]
    fn nothing_kept_is_nothing_to_look_back_at() {
        let answer: Json = Object::new().with("contents", "").into();
        let size = Size::new(80, 5).expect("a size");
        assert!(Lookback::begin("con0", &answer, size).is_none());
    }

    #[test]
    fn another_size_stays_near_where_one_was() {
        let text: Vec<String> = (1..=100).map(|number| format!("line {number}")).collect();
        let mut lookback = lookback(&text.join("\r\n"));
        lookback.take(b"g");
        lookback.resize(Size::new(40, 9).expect("a size"));
        assert!(lookback.page().contains("line 1\x1b[K"));
        lookback.resize(Size::new(3, 2).expect("a size"));
        let status = lookback.page();
        assert!(status.ends_with("\x1b[7mco\x1b[m\x1b[K"), "{status:?}");
    }
}
