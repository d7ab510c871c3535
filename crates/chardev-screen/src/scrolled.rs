//! The lines that have left a screen at its top.

use std::collections::VecDeque;

use avt::observer::Observation;
use avt::{Line, Observer};

use crate::screen::Screen;
use crate::size::Size;

/// Keeps the newest lines that leave a screen.
#[derive(Debug, Default)]
pub(crate) struct Scrolled {
    lines: VecDeque<String>,
    limit: usize,
}

impl Observer for Scrolled {
    type Output = ();

    fn evicted(&mut self, _: &mut Observation<'_>, line: &Line) {
        if self.limit == 0 {
            return;
        }
        if self.lines.len() == self.limit {
            self.lines.pop_front();
        }
        let text = line.text();
        self.lines.push_back(text.trim_end_matches(' ').to_owned());
    }

    fn end(&mut self, _: &mut Observation<'_>) {}
}

impl Screen {
    /// An empty screen that keeps the text of `limit` lines that leave it at its top.
    pub fn with_scrollback(size: Size, limit: usize) -> Self {
        let mut screen = Screen::new(size);
        screen.scrolled.limit = limit;
        screen
    }

    /// The text of the lines that are kept, oldest first, and then of what is shown, without the
    /// empty rows at its end. Where a program draws on the alternate screen it is what that shows.
    pub fn lines(&self) -> Vec<String> {
        let shown = self.snapshot();
        let rows = 0..usize::from(self.size().rows());
        let mut lines: Vec<String> = self.scrolled.lines.iter().cloned().collect();
        lines.extend(rows.map(|row| shown.row_text(row)));
        let used = lines.iter().rposition(|line| !line.is_empty());
        lines.truncate(used.map_or(0, |last| last + 1));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_leave_the_screen_are_kept_the_newest_of_them() {
        let size = Size::new(8, 2).expect("a size");
        for (limit, fed, expected) in [
            (9, "", &[][..]),
            (
                9,
                "one\r\ntwo\r\n\x1b[31mthree\x1b[m\r\n",
                &["one", "two", "three"],
            ),
            (1, "one\r\ntwo\r\nthree\r\nfour", &["two", "three", "four"]),
            (0, "one\r\ntwo\r\nthree", &["two", "three"]),
            (
                9,
                "longer than it\r\nis wide",
                &["longer t", "han it", "is wide"],
            ),
            (9, "10%\r90%\r\n\r\n\u{e4}", &["90%", "", "\u{e4}"]),
            (9, "a\r\nb\r\nc\x1b[?1049h\x1b[Hmenu", &["a", "menu"]),
        ] {
            let mut screen = Screen::with_scrollback(size, limit);
            screen.feed_all(fed.as_bytes());
            assert_eq!(screen.lines(), expected, "{fed:?}");
        }
    }
}
