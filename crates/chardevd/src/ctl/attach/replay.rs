//! The console's last screen, for a terminal that comes to it: made of the output that was kept,
//! and of what has waited for somebody to come.

use chardev::screen::{Screen, Size};
use chardev_qapi::{Json, Object};
use chardev_qmp::ringbuf::{Format, decode};

use super::modes::Modes;
use crate::ctl::connect::Monitor;

/// The most output that is looked at.
const MOST: u64 = 1 << 20;
/// The most of an answer.
const PIECE: u32 = 256 << 10;

/// Becomes a screen as output comes.
#[derive(Debug)]
pub(super) struct Replay {
    screen: Screen,
    modes: Modes,
    /// How much of what comes to us is still from before we came.
    left: u64,
    /// What comes first may be the end of a sequence.
    in_line: bool,
    empty: bool,
}

impl Replay {
    /// For a terminal of this `size`. Our output begins at offset `from`, and what we were there
    /// for at `live`. Without an answer of the monitor's there is less to show.
    pub(super) fn begin(monitor: &mut Monitor, id: &str, size: Size, from: u64, live: u64) -> Self {
        let mut replay = Replay {
            screen: Screen::new(size),
            modes: Modes::default(),
            left: live.saturating_sub(from),
            in_line: false,
            empty: true,
        };
        let mut next = from.saturating_sub(MOST);
        let mut first = true;
        while next < from {
            let Some((start, bytes)) = kept(monitor, id, next, from) else {
                break;
            };
            if first {
                replay.in_line = start > 0;
                first = false;
            }
            replay.feed(&bytes);
            next = start + bytes.len() as u64;
        }
        if first {
            replay.in_line = from > 0;
        }
        replay
    }

    /// Takes what is still from before we came off the front of `bytes`.
    pub(super) fn take(&mut self, bytes: &mut &[u8]) {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX);
        let (ours, rest) = bytes.split_at(count.min(bytes.len()));
        self.left -= ours.len() as u64;
        self.feed(ours);
        *bytes = rest;
    }

    /// Whether everything is there that it is made of.
    pub(super) fn is_whole(&self) -> bool {
        self.left == 0
    }

    /// What makes the terminal show it.
    pub(super) fn draw(&self) -> String {
        if self.empty {
            return String::new();
        }
        let mut all = match self.screen.reprint() {
            Some(lines) => lines,
            None => {
                // What the terminal showed goes to where it can be scrolled back to.
                let rows = usize::from(self.screen.size().rows());
                let away = format!("\x1b[{rows};1H{}", "\n".repeat(rows));
                away + &self.screen.redraw()
            }
        };
        all += &String::from_utf8_lossy(&self.modes.again_for_screen());
        all
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        if self.in_line {
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                return;
            };
            bytes = &bytes[end + 1..];
            self.in_line = false;
        }
        self.empty &= bytes.is_empty();
        self.screen.feed_all(bytes);
        self.modes.follow(bytes);
    }
}

/// Output that is kept, from `from` or the oldest on and no further than `until`, and its offset.
fn kept(monitor: &mut Monitor, id: &str, from: u64, until: u64) -> Option<(u64, Vec<u8>)> {
    let arguments = Object::new()
        .with("id", id)
        .with("from", from)
        .with("format", "base64")
        .with("size", PIECE);
    let answer = monitor.execute("x-chardev-history", arguments).ok()?;
    let start = answer.get("start").and_then(Json::as_u64)?;
    let contents = answer.get("contents").and_then(Json::as_str)?;
    let mut bytes = decode(contents, Format::Base64).ok()?;
    bytes.truncate(usize::try_from(until.saturating_sub(start)).unwrap_or(usize::MAX));
    (!bytes.is_empty()).then_some((start, bytes))
}
