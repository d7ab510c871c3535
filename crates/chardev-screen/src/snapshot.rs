//! What a screen shows at one moment.

use avt::{Line, Pen, Terminal};

use crate::size::Size;

/// A colour of text or of what is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// One of 256: 8 usual ones, the same bright, a cube of 216, 24 greys.
    Indexed(u8),
    /// Red, green, blue.
    Rgb(u8, u8, u8),
}

/// How a cell is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// The colour of the text, if it is not the usual one.
    pub fg: Option<Color>,
    /// The colour behind it, if it is not the usual one.
    pub bg: Option<Color>,
    /// Bold, which is drawn bright.
    pub bold: bool,
    /// Faint.
    pub faint: bool,
    /// Italic.
    pub italic: bool,
    /// Underlined.
    pub underline: bool,
    /// Blinking.
    pub blink: bool,
    /// Text and what is behind it have changed colours.
    pub reverse: bool,
    /// Struck through.
    pub strikethrough: bool,
}

impl Style {
    fn of(pen: &Pen) -> Self {
        let color = |color| match color {
            avt::Color::Indexed(index) => Color::Indexed(index),
            avt::Color::RGB(rgb) => Color::Rgb(rgb.r, rgb.g, rgb.b),
        };
        Style {
            fg: pen.foreground().map(color),
            bg: pen.background().map(color),
            bold: pen.is_bold(),
            faint: pen.is_faint(),
            italic: pen.is_italic(),
            underline: pen.is_underline(),
            blink: pen.is_blink(),
            reverse: pen.is_inverse(),
            strikethrough: pen.is_strikethrough(),
        }
    }
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What stands in it.
    pub ch: char,
    /// 1; or 2 for the first cell of a wide character and 0 for its second.
    pub width: u8,
    /// How it is drawn.
    pub style: Style,
}

/// Cells of a row beside each other that are drawn alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first column.
    pub col: usize,
    /// Columns.
    pub width: usize,
    /// How they are drawn.
    pub style: Style,
}

/// Where the next character goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The column, from 0.
    pub col: usize,
    /// The row, from 0.
    pub row: usize,
    /// Whether it is shown.
    pub visible: bool,
}

/// What a screen shows at one moment, on its own.
#[derive(Clone)]
pub struct Snapshot {
    size: Size,
    rows: Vec<Line>,
    cursor: Cursor,
    title: String,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows: Vec<String> = (0..self.rows.len()).map(|row| self.row_text(row)).collect();
        f.debug_struct("Snapshot")
            .field("size", &self.size)
            .field("rows", &rows)
            .field("cursor", &self.cursor)
            .field("title", &self.title)
            .finish()
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        let cells = |shown: &Self| {
            (0..shown.rows.len())
                .map(|row| shown.row(row).collect())
                .collect::<Vec<Vec<_>>>()
        };
        (self.size, self.cursor, &self.title) == (other.size, other.cursor, &other.title)
            && cells(self) == cells(other)
    }
}

impl Snapshot {
    pub(crate) fn of(terminal: &Terminal, size: Size, title: &str) -> Self {
        let cursor = terminal.cursor();
        Snapshot {
            size,
            rows: terminal.screen().visible_lines().cloned().collect(),
            cursor: Cursor {
                // One that is about to wrap is shown in the last column.
                col: cursor.col.min(usize::from(size.cols()) - 1),
                row: cursor.row,
                visible: cursor.visible,
            },
            title: title.to_owned(),
        }
    }

    /// How large the screen is.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The cursor.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The title that a program has given the terminal; empty if none has.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The cells of a row, from the left; none for a row that is not there.
    pub fn row(&self, row: usize) -> impl Iterator<Item = Cell> + '_ {
        let cells = self.rows.get(row).into_iter().flat_map(Line::cells);
        cells.map(|cell| Cell {
            ch: cell.char(),
            width: cell.width(),
            style: Style::of(cell.pen()),
        })
    }

    /// The text of a row without the blanks at its end.
    pub fn row_text(&self, row: usize) -> String {
        let cells = self.row(row).filter(|cell| cell.width > 0);
        let mut text: String = cells.map(|cell| cell.ch).collect();
        text.truncate(text.trim_end_matches(' ').len());
        text
    }

    /// What of a row is not drawn as usual.
    pub fn runs(&self, row: usize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (col, cell) in self.row(row).enumerate() {
            match runs.last_mut() {
                Some(run) if run.style == cell.style => run.width += 1,
                _ => runs.push(Run {
                    col,
                    width: 1,
                    style: cell.style,
                }),
            }
        }
        runs.retain(|run| run.style != Style::default());
        runs
    }
}
