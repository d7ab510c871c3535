//! Reads what chardevs have logged (`logfile`, `x-logindex`): which byte of the output was printed
//! when, and where it is, over the files that were rotated.
//!
//! ```text
//!  LOG.2 ─ LOG.1 ─ LOG        what was printed, cut between lines
//!  IDX.2 ─ IDX.1 ─ IDX        OFFSET SECONDS.MICROS PLACE [hole N | unindexed N | mark …]
//! ```
//!
//! A [`Book`] is what they come to: open one, ask [`Book::read`] for the bytes from an offset on,
//! and [`Book::times`] for when they were printed. A [`Shelf`] opens them, and knows again what it
//! has read before. All of it waits for the disk.
#![forbid(unsafe_code)]

mod book;
mod entry;
mod lines;
mod shelf;
mod survey;

pub use book::{Book, Piece, Printed};
pub use entry::Entry;
pub use shelf::Shelf;

#[cfg(test)]
mod tests;
