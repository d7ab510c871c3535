//! Tables for people: columns that line up whatever is in them, and fit on a terminal.

use std::io;

use rustix::termios::{isatty, tcgetwinsize};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// No column is made narrower than this to fit.
const NARROW: usize = 8;
/// What is between two columns.
const GAP: usize = 2;

/// How a column is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// Text, which may be cut where there is too much of it.
    Text,
    /// Text that is always shown in full.
    Whole,
    /// Numbers are compared by their last digits.
    Number,
}

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One with these columns and nothing in it.
    pub(super) fn new(head: &[(&str, Column)]) -> Self {
        Table {
            columns: head.iter().map(|(_, column)| *column).collect(),
            rows: vec![head.iter().map(|(name, _)| (*name).to_owned()).collect()],
        }
    }

    /// A further row, of as many cells as there are columns.
    pub(super) fn push(&mut self, row: impl Into<Vec<String>>) {
        self.rows.push(row.into());
    }

    /// The lines, no wider than `most` as far as texts can be cut for it.
    pub(super) fn lines(&self, most: Option<usize>) -> Vec<String> {
        let widths = self.widths(most);
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&self.columns).zip(&widths);
            let cells: Vec<String> = cells
                .map(|((cell, column), width)| {
                    let cell = cut(cell, *width);
                    let pad = " ".repeat(width.saturating_sub(cell.width()));
                    match column {
                        Column::Number => pad + &cell,
                        _ => cell + &pad,
                    }
                })
                .collect();
            cells.join(&" ".repeat(GAP)).trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// The whole text.
    pub(super) fn text(&self, most: Option<usize>) -> String {
        let lines = self.lines(most).into_iter();
        lines.map(|line| line + "\n").collect()
    }

    fn widths(&self, most: Option<usize>) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.width()).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let Some(most) = most else { return widths };
        let gaps = GAP * self.columns.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > most {
            let texts = (0..widths.len()).filter(|at| self.columns[*at] == Column::Text);
            match texts.max_by_key(|at| widths[*at]) {
                Some(at) if widths[at] > NARROW => widths[at] -= 1,
                _ => break,
            }
        }
        widths
    }
}

/// How wide the terminal is that standard output is, if it is one.
pub(super) fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    let size = isatty(&stdout)
        .then(|| tcgetwinsize(&stdout).ok())
        .flatten()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// `text` in no more than `width` columns, with a mark where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |letter: &char| {
        let wide = letter.width().unwrap_or(0);
        let fits = wide <= left;
        left = left.saturating_sub(if fits { wide } else { left });
        fits
    };
    let mut kept: String = text.chars().take_while(fits).collect();
    if width > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{Column, Table, cut};

    #[test]
    fn wide_letters_take_their_columns_and_texts_are_cut_to_fit() {
        let mut table = Table::new(&[
            ("ID", Column::Whole),
            ("TARGET", Column::Text),
            ("OUT", Column::Number),
        ]);
        table.push([
            "控制台".to_owned(),
            "unix:/run/a/very/long/path".to_owned(),
            "7".to_owned(),
        ]);
        table.push(["c".to_owned(), "null".to_owned(), "12345".to_owned()]);
        assert_eq!(
            table.text(None),
            "\
ID      TARGET                        OUT
控制台  unix:/run/a/very/long/path      7
c       null                        12345
"
        );
        assert_eq!(
            table.lines(Some(30)),
            [
                "ID      TARGET             OUT",
                "控制台  unix:/run/a/ve…      7",
                "c       null             12345",
            ]
        );
        // What cannot be cut stays.
        assert_eq!(table.lines(Some(1))[2], "c       null      12345");
    }

    #[test]
    fn a_cut_never_splits_a_wide_letter() {
        for (text, width, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("控制台", 6, "控制台"),
            ("控制台", 5, "控制…"),
            ("控制台", 4, "控…"),
            ("x", 0, ""),
        ] {
            assert_eq!(cut(text, width), expected);
        }
    }
}
