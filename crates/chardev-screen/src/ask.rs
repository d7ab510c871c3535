//! What a terminal is asked, and its title: the sequences that the crate behind the screen reads
//! over.

use avt::parser::State;

/// The longest parameters of a sequence that is answered.
const PARAMETERS: usize = 8;

/// What a sequence wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// What kind of terminal it is (DA1).
    Kind,
    /// What version it has (DA2).
    Version,
    /// Whether it works (DSR 5).
    Status,
    /// Where the cursor is (DSR 6, CPR).
    Cursor,
    /// The same, as VT340 and later are asked (DECXCPR).
    CursorAndPage,
    /// How many rows and columns there are (XTWINOPS 18).
    Size,
}

/// What the end of a sequence came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Ask(Ask),
    Title(String),
}

/// Follows the states of the parser and keeps what it throws away.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    /// The parameters of the sequence that is being read, or too many of them to be of interest.
    parameters: String,
    /// What an operating system command has said so far; no longer than its reader allows.
    command: String,
}

impl Listener {
    /// The parser has read `ch`, which took it from one state to the other and made no function.
    pub(crate) fn hear(&mut self, from: State, ch: char, to: State, limit: usize) -> Option<Said> {
        use State::{CsiEntry, CsiIntermediate, CsiParam, Escape, Ground, OscString};
        match (from, to) {
            (_, CsiEntry) => self.parameters.clear(),
            (_, CsiParam | CsiIntermediate) if ch >= ' ' => {
                if self.parameters.len() <= PARAMETERS {
                    self.parameters.push(ch);
                }
            }
            (CsiEntry | CsiParam | CsiIntermediate, Ground) if ch >= '@' => {
                return self.ask(ch).map(Said::Ask);
            }
            (Escape, Ground) if ch == 'Z' => return Some(Said::Ask(Ask::Kind)),
            (OscString, OscString) => {
                if ch >= ' ' && ch != '\x7f' && self.command.len() < 4 * (limit + 1) {
                    self.command.push(ch);
                }
            }
            (_, OscString) => self.command.clear(),
            // Bell and ST end a command; whatever else comes instead gives it up.
            (OscString, _) if matches!(ch, '\x07' | '\x1b' | '\u{9c}') => {
                return self.title(limit).map(Said::Title);
            }
            _ => {}
        }
        None
    }

    fn ask(&self, end: char) -> Option<Ask> {
        Some(match (self.parameters.as_str(), end) {
            ("" | "0", 'c') => Ask::Kind,
            (">" | ">0", 'c') => Ask::Version,
            ("5", 'n') => Ask::Status,
            ("6", 'n') => Ask::Cursor,
            ("?6", 'n') => Ask::CursorAndPage,
            ("18", 't') => Ask::Size,
            _ => return None,
        })
    }

    fn title(&self, limit: usize) -> Option<String> {
        let (number, title) = self.command.split_once(';')?;
        let printable = title.chars().filter(|ch| !ch.is_control());
        matches!(number, "0" | "2").then(|| printable.take(limit).collect())
    }
}
