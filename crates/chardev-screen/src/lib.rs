//! The screen of a text console: bytes in; cells, pictures, answers and key presses out.
//!
//! A [`Screen`] is a pure state. It does no I/O and has no clock, its memory is bounded whatever it
//! is fed, and so is the work of one call of [`Screen::feed`]. What it shows is taken out as a
//! [`Snapshot`], which text, colours, escape sequences and a [`Picture`] are made of.
//!
//! The state of the terminal itself is kept by the crate `avt`. Pictures are drawn in the font
//! Spleen (copyright 2018-2024 Frederic Cambus, BSD-2-Clause).
//!
//! ```
//! use chardev_screen::{Picture, Screen, Size};
//!
//! let mut screen = Screen::new(Size::DEFAULT);
//! screen.feed_all(b"\x1b[1mlogin:\x1b[m ");
//! let shown = screen.snapshot();
//! assert_eq!(shown.row_text(0), "login:");
//! assert_eq!(shown.cursor().col, 7);
//! let png = Picture::of(&shown).png().unwrap();
//! assert!(png.starts_with(b"\x89PNG"));
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

mod ask;
mod font;
mod keys;
mod picture;
mod reprint;
mod screen;
mod scrolled;
mod size;
mod snapshot;

pub use font::{CELL_HEIGHT, CELL_WIDTH, glyph};
pub use keys::{Keyboard, Modifiers};
pub use picture::Picture;
pub use screen::{ANSWERS_LIMIT, Screen, TITLE_LIMIT, WORK};
pub use size::Size;
pub use snapshot::{Cell, Color, Cursor, Run, Snapshot, Style};
