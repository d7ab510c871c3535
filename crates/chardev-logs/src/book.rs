//! A log with all its files, as one stretch of output.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::entry::Entry;
use crate::lines::Lines;

/// One entry in so many is remembered; the others are found from there.
const STRIDE: usize = 64;
/// How many holes are remembered.
const HOLES: usize = 4096;

/// What the files of a log come to. It is what they were when it was opened.
#[derive(Debug, Default)]
pub struct Book {
    parts: Vec<Part>,
    marks: Vec<Mark>,
    holes: Vec<(u64, u64)>,
    last: Option<Mark>,
    end: u64,
}

/// A file and its index.
#[derive(Clone, Debug)]
struct Part {
    log: PathBuf,
    index: PathBuf,
}

/// An entry, and where its line is.
#[derive(Clone, Copy, Debug)]
struct Mark {
    part: usize,
    at: u64,
    entry: Entry,
}

/// A piece of what was logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// The offset of the first byte; above the one that was asked for if that is not there.
    pub start: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// When something was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printed {
    /// The offset of the first byte.
    pub offset: u64,
    /// Since the Unix epoch.
    pub time: Duration,
}

impl Book {
    /// Opens a log, of which up to `count` older files were kept. What was logged before the
    /// chardev was made anew, and counted from 0 again, is left out.
    ///
    /// # Errors
    /// An index cannot be read. Files that are not there are no error.
    pub fn open(log: &Path, index: &Path, count: u32) -> io::Result<Book> {
        let mut book = Book::default();
        for number in (0..=count.min(1000)).rev() {
            let part = Part {
                log: numbered(log, number),
                index: numbered(index, number),
            };
            match Lines::open(&part.index, 0) {
                Ok(lines) => book.survey(part, lines)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        book.end = match book.last {
            Some(last) => {
                let length = book.parts[last.part]
                    .log
                    .metadata()
                    .map_or(0, |it| it.len());
                last.entry.offset + length.saturating_sub(last.entry.place)
            }
            None => 0,
        };
        Ok(book)
    }

    fn survey(&mut self, part: Part, mut lines: Lines) -> io::Result<()> {
        let number = self.parts.len();
        self.parts.push(part);
        let mut count = 0;
        while let Some((at, entry)) = lines.next()? {
            if self
                .last
                .is_some_and(|last| entry.offset < last.entry.offset)
            {
                // The chardev was made anew.
                self.marks.clear();
                self.holes.clear();
                count = 0;
            }
            let mark = Mark {
                part: number,
                at,
                entry,
            };
            if count % STRIDE == 0 {
                self.marks.push(mark);
            }
            if let (Some(hole), true) = (entry.hole, self.holes.len() < HOLES) {
                self.holes.push((entry.offset, entry.offset + hole));
            }
            self.last = Some(mark);
            count += 1;
        }
        Ok(())
    }

    /// The offset of the first byte, and the one after the last.
    pub fn span(&self) -> Option<(u64, u64)> {
        Some((self.marks.first()?.entry.offset, self.end))
    }

    /// What of the output the log does not have: where that begins, and where it ends.
    pub fn holes(&self) -> &[(u64, u64)] {
        &self.holes
    }

    /// Up to `count` entries, evenly from the whole, with the first and the last.
    pub fn times(&self, count: usize) -> Vec<Printed> {
        let step = self.marks.len().div_ceil(count.max(1)).max(1);
        let marks = self.marks.iter().step_by(step).chain(&self.last);
        let printed = marks.map(|mark| Printed {
            offset: mark.entry.offset,
            time: mark.entry.time,
        });
        let mut printed: Vec<_> = printed.collect();
        printed.dedup_by_key(|printed| printed.offset);
        printed
    }

    /// When each line from `from` up to `to` was printed, the one that `from` is in first.
    ///
    /// # Errors
    /// An index cannot be read.
    pub fn printed(&self, from: u64, to: u64) -> io::Result<Vec<Printed>> {
        let mut all: Vec<Printed> = Vec::new();
        self.walk(from, |mark| {
            let entry = mark.entry;
            if entry.offset <= from {
                all.clear();
            }
            if entry.offset < to {
                all.push(Printed {
                    offset: entry.offset,
                    time: entry.time,
                });
            }
            entry.offset < to
        })?;
        Ok(all)
    }

    /// The bytes from `from` on, up to `most` of them, up to the next hole or the end of a file.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&self, from: u64, most: usize) -> io::Result<Piece> {
        let mut begin: Option<Mark> = None;
        let mut end = None;
        self.walk(from, |mark| {
            let offset = mark.entry.offset;
            let (Some(first), true) = (begin, offset > from) else {
                begin = Some(mark);
                return true;
            };
            let has_bytes = first.entry.hole.is_none() && first.part == mark.part;
            if !has_bytes && end.is_none() && first.entry.hole.is_some() {
                // What was asked for is missing, and this comes after it.
                begin = Some(mark);
                return true;
            }
            let moved = mark.entry.place.wrapping_sub(first.entry.place);
            if mark.part != first.part || moved != offset - first.entry.offset {
                end = Some((offset, mark.part));
                return false;
            }
            if mark.entry.hole.is_some() {
                end = Some((offset, mark.part));
            }
            end.is_none() && offset < from.saturating_add(most as u64)
        })?;
        let Some(first) = begin else {
            return Ok(Piece {
                start: self.end,
                bytes: Vec::new(),
            });
        };
        let start = from.max(first.entry.offset);
        let most = most as u64;
        let most = match end {
            Some((end, part)) if part == first.part => most.min(end.saturating_sub(start)),
            _ => most,
        };
        let mut file = File::open(&self.parts[first.part].log)?;
        file.seek(SeekFrom::Start(
            first.entry.place + (start - first.entry.offset),
        ))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        if let Some((end, _)) = end {
            // A file that goes on after it was surveyed has what came later.
            let left = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
            bytes.truncate(left);
        }
        Ok(Piece { start, bytes })
    }

    /// Shows entries in their order, from the last one that begins at `from` or before it, or the
    /// first there is, until `show` has seen enough. Others before it may be shown, too.
    fn walk(&self, from: u64, mut show: impl FnMut(Mark) -> bool) -> io::Result<()> {
        let after = self.marks.partition_point(|mark| mark.entry.offset <= from);
        let Some(begin) = self.marks.get(after.saturating_sub(1)) else {
            return Ok(());
        };
        for part in begin.part..self.parts.len() {
            let at = if part == begin.part { begin.at } else { 0 };
            let mut lines = match Lines::open(&self.parts[part].index, at) {
                Ok(lines) => lines,
                // It was rotated away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            while let Some((at, entry)) = lines.next()? {
                if !show(Mark { part, at, entry }) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The name of an older file, of which 1 is the youngest.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}
