//! How large a screen is, in cells.

use crate::font::{CELL_HEIGHT, CELL_WIDTH};

/// The size of a screen in cells. It is never zero and never large: see [`Size::LARGEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    cols: u16,
    rows: u16,
}

impl Size {
    /// 80 columns and 24 rows.
    pub const DEFAULT: Size = Size { cols: 80, rows: 24 };
    /// What fills a display of 4096 by 4096 pixels. A screen of this size takes 6 MiB.
    pub const LARGEST: Size = Size {
        cols: 512,
        rows: 256,
    };

    /// A size of one cell at least and of [`Size::LARGEST`] at most; `None` for any other.
    pub fn new(cols: usize, rows: usize) -> Option<Size> {
        let fits = |count: usize, most: u16| {
            let count = u16::try_from(count).ok()?;
            (1..=most).contains(&count).then_some(count)
        };
        Some(Size {
            cols: fits(cols, Size::LARGEST.cols)?,
            rows: fits(rows, Size::LARGEST.rows)?,
        })
    }

    /// As many whole cells as there are in so many pixels.
    pub fn of_pixels(width: usize, height: usize) -> Option<Size> {
        Size::new(width / CELL_WIDTH, height / CELL_HEIGHT)
    }

    /// Columns.
    pub fn cols(self) -> u16 {
        self.cols
    }

    /// Rows.
    pub fn rows(self) -> u16 {
        self.rows
    }

    /// Cells in all.
    pub(crate) fn cells(self) -> usize {
        usize::from(self.cols) * usize::from(self.rows)
    }
}
