//! What a screen shows as lines, for a terminal of any size that goes on below them.

use std::fmt::Write as _;

use avt::ScreenKind;

use crate::screen::Screen;
use crate::snapshot::{Color, Snapshot, Style};

impl Screen {
    /// The lines down to the cursor, in their colours, with the cursor behind what is before it;
    /// `None` if a program draws on the whole screen, so that lines would not do: on the alternate
    /// screen, or below the cursor.
    pub fn reprint(&self) -> Option<String> {
        let shown = self.snapshot();
        let cursor = shown.cursor();
        let below = cursor.row + 1..usize::from(shown.size().rows());
        let alternate = self.screen_kind() == ScreenKind::Alternate;
        if alternate || !cursor.visible || below.into_iter().any(|row| !is_empty(&shown, row)) {
            return None;
        }
        let mut all = String::new();
        for row in 0..cursor.row {
            put_row(&mut all, &shown, row, 0);
            all.push_str("\r\n");
        }
        let count = put_row(&mut all, &shown, cursor.row, cursor.col);
        if count > cursor.col {
            // Writing to a string does not fail.
            let _ = write!(all, "\x1b[{}D", count - cursor.col);
        }
        Some(all)
    }
}

fn is_empty(shown: &Snapshot, row: usize) -> bool {
    shown.row_text(row).is_empty() && shown.runs(row).is_empty()
}

/// Puts a row there without the blanks at its end, but so many columns at least; returns how many.
fn put_row(all: &mut String, shown: &Snapshot, row: usize, least: usize) -> usize {
    let plain = Style::default();
    let used = |cell: &crate::Cell| cell.ch != ' ' || cell.style != plain;
    let cells: Vec<_> = shown.row(row).collect();
    let count = cells.iter().rposition(used).map_or(0, |last| last + 1);
    let count = count.max(least).min(cells.len());
    let mut style = plain;
    for cell in cells[..count].iter().filter(|cell| cell.width > 0) {
        if cell.style != style {
            style = cell.style;
            put_style(all, style);
        }
        all.push(cell.ch);
    }
    if style != plain {
        all.push_str("\x1b[m");
    }
    count
}

fn put_style(all: &mut String, style: Style) {
    all.push_str("\x1b[0");
    for (is_set, code) in [
        (style.bold, "1"),
        (style.faint, "2"),
        (style.italic, "3"),
        (style.underline, "4"),
        (style.blink, "5"),
        (style.reverse, "7"),
        (style.strikethrough, "9"),
    ] {
        if is_set {
            all.push(';');
            all.push_str(code);
        }
    }
    for (color, code) in [(style.fg, 38), (style.bg, 48)] {
        // Writing to a string does not fail.
        let _ = match color {
            Some(Color::Indexed(index)) => write!(all, ";{code};5;{index}"),
            Some(Color::Rgb(r, g, b)) => write!(all, ";{code};2;{r};{g};{b}"),
            None => Ok(()),
        };
    }
    all.push('m');
}

/// Puts what `avt` has dumped there, with colours as every terminal reads them: of `38:2:1:2:3`
/// some take the first number after the 2 for a colour space.
pub(crate) fn put_dump(all: &mut String, dump: &str) {
    let mut rest = dump;
    while let Some(begin) = rest.find("\x1b[") {
        let (before, sequence) = rest.split_at(begin + 2);
        all.push_str(before);
        let is_number = |ch: char| ch.is_ascii_digit() || matches!(ch, ':' | ';');
        let end = sequence.find(|ch| !is_number(ch)).unwrap_or(sequence.len());
        let (numbers, after) = sequence.split_at(end);
        for (at, number) in numbers.split(';').enumerate() {
            if at > 0 {
                all.push(';');
            }
            let is_color = number.starts_with("38:") || number.starts_with("48:");
            match is_color && after.starts_with('m') {
                true => all.push_str(&number.replace(':', ";")),
                false => all.push_str(number),
            }
        }
        rest = after;
    }
    all.push_str(rest);
}

#[cfg(test)]
mod tests {
    use crate::{Screen, Size};

    #[test]
    fn colors_are_drawn_again_as_every_terminal_reads_them() {
        let mut screen = Screen::new(Size::DEFAULT);
        let fed = "\x1b[1;38;2;9;99;200;48:2::1:2:3mtrue\x1b[m \x1b[38;5;77mx\x1b[m 38:2:1:2:3m";
        screen.feed_all(fed.as_bytes());
        let redraw = screen.redraw();
        for part in ["38;2;9;99;200", "48;2;1;2;3", "38;5;77", " 38:2:1:2:3m"] {
            assert!(redraw.contains(part), "{part} in {redraw:?}");
        }
        let mut again = Screen::new(Size::DEFAULT);
        again.feed_all(redraw.as_bytes());
        assert_eq!(again.snapshot(), screen.snapshot());
    }

    #[test]
    fn lines_are_the_same_on_a_larger_terminal() {
        let size = |cols, rows| Size::new(cols, rows).expect("a size");
        for fed in [
            "one\r\n\x1b[1;31mtwo\x1b[m three\r\n$ ",
            "",
            "\u{63a7}\u{5236} \x1b[48;5;17mx  \x1b[m\r\n\x1b[38;2;1;2;3my\x1b[m> ls\x1b[2D",
            "a\r\nb\r\nc\r\nd\r\ne\r\nf\r\n",
        ] {
            let mut small = Screen::new(size(20, 5));
            small.feed_all(fed.as_bytes());
            let mut large = Screen::new(size(30, 9));
            large.feed_all(small.reprint().expect("lines").as_bytes());
            let (small, large) = (small.snapshot(), large.snapshot());
            assert_eq!(small.cursor(), large.cursor(), "{fed:?}");
            for row in 0..5 {
                assert_eq!(small.row_text(row), large.row_text(row), "{fed:?}");
                assert_eq!(small.runs(row), large.runs(row), "{fed:?}");
            }
        }
    }

    #[test]
    fn a_program_that_draws_on_the_whole_screen_is_not_lines() {
        for fed in ["\x1b[?1049hvi", "menu\r\nbelow\x1b[H", "\x1b[?25l"] {
            let mut screen = Screen::new(Size::DEFAULT);
            screen.feed_all(fed.as_bytes());
            assert_eq!(screen.reprint(), None, "{fed:?}");
        }
    }
}
