//! A console that goes on while its terminal shows something else: pages to look back at.

use chardev::screen::Size;
use chardev_qapi::{Json, Object};

use super::lookback::{Lookback, REDRAW};
use super::pump::Pump;
use super::terminal::RawTerminal;

/// The most of the console's output that waits, and of our own messages.
const LIMIT: usize = 1 << 20;
const SAID: usize = 64 << 10;
/// The other screen, which leaves the usual one as it is, and back.
const AWAY: &[u8] = b"\x1b[?1049h";
const BACK: &[u8] = b"\x1b[?1049l";

/// What has come meanwhile, the newest of it.
#[derive(Debug, Default)]
pub(super) struct Aside {
    bytes: Vec<u8>,
    lost: u64,
    said: String,
}

impl Aside {
    pub(super) fn show(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // In large steps, so that little is moved.
        if self.bytes.len() > 2 * LIMIT {
            self.keep(LIMIT);
        }
    }

    pub(super) fn say(&mut self, text: &str) {
        if self.said.len() + text.len() <= SAID {
            self.said.push_str(text);
        }
    }

    /// Keeps the last `count` bytes at most.
    fn keep(&mut self, count: usize) {
        let gone = self.bytes.len().saturating_sub(count);
        self.bytes.drain(..gone);
        self.lost += gone as u64;
    }
}

impl Pump<'_> {
    /// The history has come: shows its newest page.
    pub(super) fn look_back(&mut self, answer: &Json) {
        let Some(size) = self.page_size().filter(|_| self.screen.aside.is_none()) else {
            return;
        };
        let Some(lookback) = Lookback::begin(self.id, answer, size) else {
            return self.say("nothing is kept to look back at");
        };
        self.screen.flush();
        let full = self.is_full_screen();
        let rest = self
            .screen
            .modes
            .as_ref()
            .map_or_else(Vec::new, |modes| modes.rest());
        // Lines go on where they were with the colours they had, which the first of these keeps; a
        // program that draws on the whole screen is drawn again.
        self.screen.push_out(&match full {
            true => [&rest[..], AWAY].concat(),
            false => [AWAY, &rest[..]].concat(),
        });
        self.screen.aside = Some(Aside::default());
        self.screen.show_page(&lookback.page());
        self.lookback = Some(lookback);
    }

    /// Takes keys for the pages.
    pub(super) fn look(&mut self, keys: &[u8]) {
        let Some(lookback) = &mut self.lookback else {
            return;
        };
        match lookback.take(keys) {
            true => self.go_on(),
            false => self.screen.show_page(&lookback.page()),
        }
    }

    pub(super) fn resize_page(&mut self) {
        let Some(size) = self.page_size() else {
            return;
        };
        if let Some(lookback) = &mut self.lookback {
            lookback.resize(size);
            self.screen
                .show_page(&format!("\x1b[2J{}", lookback.page()));
        }
    }

    /// Goes back to the console, as soon as what it shows is known.
    pub(super) fn go_on(&mut self) {
        if self.lookback.take().is_none() {
            return;
        }
        match self
            .page_size()
            .filter(|_| self.is_full_screen() && !self.link.is_gone())
        {
            Some(size) => {
                let arguments = Object::new()
                    .with("id", self.id)
                    .with("redraw", true)
                    .with("cols", u64::from(size.cols()))
                    .with("rows", u64::from(size.rows()));
                self.wish(REDRAW, "x-screen", arguments);
            }
            None => self.end_pages(None),
        }
    }

    /// Shows the console again, as a screen that is drawn if there is one, and what came since.
    pub(super) fn end_pages(&mut self, drawn: Option<&Json>) {
        self.lookback = None;
        let full = self.is_full_screen();
        let Some(mut aside) = self.screen.aside.take() else {
            return;
        };
        self.screen.clear();
        let modes = self.screen.modes.as_ref();
        let again = modes.map_or_else(Vec::new, |modes| modes.again());
        let redraw = drawn.and_then(|drawn| {
            Some((
                drawn.get("redraw")?.as_str()?,
                drawn.get("offset")?.as_u64()?,
            ))
        });
        self.screen.push_out(&match full {
            true => [BACK, &again[..]].concat(),
            false => [&again[..], BACK].concat(),
        });
        match redraw {
            Some((redraw, offset)) => {
                let after =
                    usize::try_from(self.offset.saturating_sub(offset)).unwrap_or(usize::MAX);
                aside.keep(after);
                aside.lost = 0;
                self.drawn = offset.saturating_sub(self.offset);
                let modes = self.screen.modes.as_ref();
                let rest = modes.map_or_else(Vec::new, |modes| modes.again_for_screen());
                self.screen.show(redraw.as_bytes());
                self.screen.show(&rest);
            }
            None => aside.keep(LIMIT),
        }
        if aside.lost > 0 {
            let text = format!(
                "{} bytes came meanwhile that are not shown; 'l' looks back at what is kept",
                aside.lost
            );
            self.say(&text);
        }
        self.screen.show(&aside.bytes);
        self.screen.show(aside.said.as_bytes());
    }

    /// Leaves out what has been drawn already.
    pub(super) fn skip(&mut self, bytes: &mut &[u8]) {
        let count = usize::try_from(self.drawn)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        self.drawn -= count as u64;
        *bytes = &bytes[count..];
    }

    fn is_full_screen(&self) -> bool {
        let modes = self.screen.modes.as_ref();
        modes.is_some_and(|modes| modes.is_full_screen())
    }

    fn page_size(&self) -> Option<Size> {
        self.screen.modes.as_ref()?;
        let (cols, rows) = self.terminal.as_ref().and_then(RawTerminal::size)?;
        Size::new(cols.into(), rows.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_kept_and_the_rest_is_counted() {
        let mut aside = Aside::default();
        for number in 0..(3 * LIMIT as u64 / 8) {
            aside.show(&number.to_be_bytes());
            assert!(aside.bytes.len() <= 2 * LIMIT);
        }
        aside.keep(LIMIT);
        assert_eq!((aside.bytes.len(), aside.lost), (LIMIT, 2 * LIMIT as u64));
        let last = 3 * LIMIT as u64 / 8 - 1;
        assert!(aside.bytes.ends_with(&last.to_be_bytes()));
    }
}
