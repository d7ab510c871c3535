//! The state of a terminal that is fed bytes.

use avt::parser::{DecMode, DecModes, EdScope, Function, State};
use avt::{Parser, ScreenKind, Terminal};
use unicode_width::UnicodeWidthChar;

use crate::ask::{Ask, Listener, Said};
use crate::reprint::put_dump;
use crate::scrolled::Scrolled;
use crate::size::Size;
use crate::snapshot::Snapshot;

/// The most bytes of answers that wait to be taken; what has no room is not answered.
pub const ANSWERS_LIMIT: usize = 1024;
/// The most characters of a title.
pub const TITLE_LIMIT: usize = 256;
/// The work that one call of [`Screen::feed`] does, in characters printed: about a millisecond.
pub const WORK: usize = 32 << 10;
/// The most bytes of a sequence that has only begun; of what is longer no more is used.
const BEGUN_LIMIT: usize = 4 << 10;
/// The most plain text that is taken at a time.
const PIECE: usize = 1024;

/// A terminal without a display: what is written to it becomes cells.
///
/// It understands what programs for VT220 and xterm write: UTF-8 and the line drawing set, cursor
/// movement, scroll regions, insertion and deletion, tab stops, the alternate screen, 16, 256 and
/// 16 million colours. Characters two cells wide take two, and those without a width are left out.
/// It cannot be resized by what it is fed.
pub struct Screen {
    size: Size,
    terminal: Terminal,
    parser: Parser,
    listener: Listener,
    decoder: Decoder,
    /// The sequence that has only begun.
    begun: String,
    title: String,
    answers: Vec<u8>,
    /// Characters push those behind them aside.
    inserts: bool,
    pub(crate) scrolled: Scrolled,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen")
            .field("size", &self.size)
            .field("title", &self.title)
            .finish_non_exhaustive()
    }
}

impl Screen {
    /// An empty screen.
    pub fn new(size: Size) -> Self {
        Screen {
            size,
            terminal: terminal(size),
            parser: Parser::new(),
            listener: Listener::default(),
            decoder: Decoder::default(),
            begun: String::new(),
            title: String::new(),
            answers: Vec::new(),
            inserts: false,
            scrolled: Scrolled::default(),
        }
    }

    /// Takes bytes, however they are cut, and returns how many: all, unless they are more than
    /// [`WORK`]; one at least. A few bytes can be much work, such as clearing a large screen, and
    /// whoever feeds a screen under a lock wants to give it up in between.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        self.feed_within(bytes, &mut { WORK })
    }

    /// As [`Screen::feed`], for several pieces that share what work is `left`; none is taken where
    /// that is 0.
    pub fn feed_within(&mut self, bytes: &[u8], left: &mut usize) -> usize {
        let mut taken = 0;
        while *left > 0
            && let Some(&byte) = bytes.get(taken)
        {
            let plain = self.plain(&bytes[taken..]);
            let (count, work) = match plain {
                0 => (1, 1 + self.take_byte(byte)),
                _ if self.inserts => (plain, plain * self.printing()),
                _ => (plain, plain),
            };
            taken += count;
            *left = left.saturating_sub(work);
        }
        taken
    }

    fn take_byte(&mut self, byte: u8) -> usize {
        let (first, second) = self.decoder.push(byte);
        let whole = [first, second].into_iter().flatten();
        whole.map(|ch| self.take(ch)).sum()
    }

    /// Takes the plain text that `bytes` begin with, most of what there is, and returns how much
    /// that was.
    fn plain(&mut self, bytes: &[u8]) -> usize {
        if self.parser.state != State::Ground || self.decoder.len > 0 {
            return 0;
        }
        let is_plain = |byte: &&u8| matches!(byte, b' '..=b'~');
        let count = bytes.iter().take(PIECE).take_while(is_plain).count();
        let text = bytes[..count].iter().map(|byte| char::from(*byte));
        self.terminal
            .execute_with(text.map(Function::Print), &mut self.scrolled);
        count
    }

    /// How much work a character is that pushes others aside.
    fn printing(&self) -> usize {
        1 + usize::from(self.size.cols()) / 16
    }

    /// Takes all of `bytes`.
    pub fn feed_all(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = self.feed(bytes);
            bytes = &bytes[count..];
        }
    }

    /// What the terminal says to what it was asked (device attributes, cursor position), for the
    /// program at its other end.
    pub fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answers)
    }

    /// Its size.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Whether cursor keys are to be sent in their application form.
    pub fn wants_application_keys(&self) -> bool {
        self.terminal.cursor_key_app_mode()
    }

    pub(crate) fn screen_kind(&self) -> ScreenKind {
        self.terminal.active_screen_kind()
    }

    /// What it shows now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.terminal, self.size, &self.title)
    }

    /// Escape sequences that make a terminal of the same size show this, and go on where this
    /// screen goes on: modes, margins and a sequence that has only begun among them. Of a character
    /// that has only begun nothing is told.
    pub fn redraw(&self) -> String {
        let mut all = String::from("\x1b[?1049l\x1b[!p\x1b[20l\x1b[?1l\x1b[?7h\x1b[m\x1b[H\x1b[2J");
        if !self.title.is_empty() {
            all.push_str("\x1b]2;");
            all.push_str(&self.title);
            all.push('\x07');
        }
        put_dump(&mut all, &self.terminal.dump());
        all.push_str(&self.begun);
        all
    }

    /// Takes one character; returns how much work that was.
    fn take(&mut self, ch: char) -> usize {
        let from = self.parser.state;
        let function = self.parser.feed(ch);
        self.note_begun(ch);
        // The end of a command and of what it was part of may come with a function, but none that
        // is of interest here.
        let said = self.listener.hear(from, ch, self.parser.state, TITLE_LIMIT);
        match said {
            Some(Said::Ask(ask)) => self.answer(ask),
            Some(Said::Title(title)) => self.title = title,
            None => {}
        }
        let Some(function) = function.and_then(|function| self.bounded(function)) else {
            return 0;
        };
        let work = self.work(&function);
        self.terminal.execute_with(function, &mut self.scrolled);
        work
    }

    /// Keeps what a sequence began with that `ch` belongs to, if it does not end it.
    fn note_begun(&mut self, ch: char) {
        let begins = matches!(ch, '\x1b' | '\u{80}'..='\u{9f}');
        if begins || self.parser.state == State::Ground {
            self.begun.clear();
        }
        // A control inside it has been done.
        let belongs = begins || ch >= ' ' && self.begun.len() < BEGUN_LIMIT;
        if belongs && self.parser.state != State::Ground {
            self.begun.push(ch);
        }
    }

    /// `function` without what makes it long or what the terminal draws wrongly.
    fn bounded(&mut self, function: Function) -> Option<Function> {
        match function {
            Function::Print(ch) if ch < '\x7f' => {}
            // A character that combines with the one before it has no cell of its own.
            Function::Print(ch) => {
                ch.width().filter(|width| *width > 0)?;
            }
            // After a whole screen of one character, only the column still changes.
            Function::Rep(count) => {
                let (count, cols) = (usize::from(count), usize::from(self.size.cols()));
                let screen = self.size.cells();
                let most = match count > screen {
                    true => screen + (count - screen) % cols,
                    false => count,
                };
                return Some(Function::Rep(u16::try_from(most).unwrap_or(u16::MAX)));
            }
            Function::Decstbm(top, bottom) => return self.margins(top, bottom),
            Function::Decaln => {
                // It is also for the whole screen and leaves the cursor in its first cell.
                let origin = DecModes::from(&[DecMode::Origin][..]);
                self.terminal.execute(Function::Decstbm(0, 0));
                self.terminal.execute(Function::Decrst(origin));
            }
            Function::Osc(_) | Function::Xtwinops(_) => return None,
            _ => {}
        }
        Some(function)
    }

    /// A scroll region of two rows at least, or what there is of a taller one; others are ignored.
    fn margins(&self, top: u16, bottom: u16) -> Option<Function> {
        let rows = self.size.rows();
        let bottom = match bottom {
            0 => rows,
            bottom => bottom.min(rows),
        };
        (top.max(1) < bottom).then_some(Function::Decstbm(top, bottom))
    }

    /// About how long `function` takes, in characters printed.
    fn work(&mut self, function: &Function) -> usize {
        let row = usize::from(self.size.cols());
        let screen = self.size.cells();
        match function {
            Function::Print(_) if self.inserts => self.printing(),
            Function::Print(_) => 1,
            Function::Rep(count) if self.inserts => usize::from(*count) * self.printing(),
            Function::Rep(count) => usize::from(*count),
            Function::Sm(_) => {
                self.inserts = true;
                1
            }
            Function::Rm(_) => {
                self.inserts = false;
                1
            }
            Function::Lf | Function::Nel | Function::Ri => 2 + row / 8,
            Function::Ich(_) | Function::Dch(_) | Function::Ech(_) | Function::El(_) => 2 + row / 4,
            Function::Ed(EdScope::SavedLines) => 1,
            Function::Decset(modes) | Function::Decrst(modes) => {
                let switches = |mode: &&DecMode| {
                    matches!(
                        mode,
                        DecMode::AltScreenBuffer | DecMode::SaveCursorAltScreenBuffer
                    )
                };
                2 + modes.as_slice().iter().filter(switches).count() * screen / 4
            }
            Function::Ed(_)
            | Function::Decaln
            | Function::Ris
            | Function::Su(_)
            | Function::Sd(_)
            | Function::Il(_)
            | Function::Dl(_) => 2 + screen / 4,
            _ => 1,
        }
    }

    fn answer(&mut self, ask: Ask) {
        let cursor = self.terminal.cursor();
        // A cursor that is about to wrap is still in the last column.
        let col = (cursor.col + 1).min(usize::from(self.size.cols()));
        let row = cursor.row + 1;
        let answer = match ask {
            // A VT102, which claims nothing that is not here.
            Ask::Kind => "\x1b[?6c".to_owned(),
            Ask::Version => "\x1b[>0;0;0c".to_owned(),
            Ask::Status => "\x1b[0n".to_owned(),
            Ask::Cursor => format!("\x1b[{row};{col}R"),
            Ask::CursorAndPage => format!("\x1b[?{row};{col};1R"),
            Ask::Size => format!("\x1b[8;{};{}t", self.size.rows(), self.size.cols()),
        };
        if self.answers.len() + answer.len() <= ANSWERS_LIMIT {
            self.answers.extend_from_slice(answer.as_bytes());
        }
    }
}

/// A size is never zero, which is the only one that is refused.
fn terminal(size: Size) -> Terminal {
    let (cols, rows) = (usize::from(size.cols()), usize::from(size.rows()));
    Terminal::new(cols, rows).unwrap_or_else(|error| unreachable!("{error}"))
}

/// Makes characters of bytes in UTF-8; what is none becomes U+FFFD, as the standard library has it.
#[derive(Debug, Default)]
struct Decoder {
    begun: [u8; 4],
    len: usize,
}

impl Decoder {
    /// The characters that end with `byte`: none, one, or a broken one and a whole one.
    fn push(&mut self, byte: u8) -> (Option<char>, Option<char>) {
        if self.len == 0 && byte.is_ascii() {
            return (Some(char::from(byte)), None);
        }
        self.begun[self.len] = byte;
        self.len += 1;
        match std::str::from_utf8(&self.begun[..self.len]) {
            Ok(text) => {
                let ch = text.chars().next();
                self.len = 0;
                (ch, None)
            }
            Err(error) if error.error_len().is_none() => (None, None),
            // What was begun is broken, and this byte may begin something else.
            Err(_) if self.len > 1 => {
                self.len = 0;
                let broken = Some(char::REPLACEMENT_CHARACTER);
                (broken, self.push(byte).0)
            }
            Err(_) => {
                self.len = 0;
                (Some(char::REPLACEMENT_CHARACTER), None)
            }
        }
    }
}
