//! A log with all its files, as one stretch of output.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chardev_core::Landmark;

use crate::entry::Entry;
use crate::lines::Lines;
use crate::shelf::{Identity, Shelf, identity, numbered};
use crate::survey::{Mark, Survey};

/// How many names further a file is looked for that is rotated meanwhile.
const FURTHER: u32 = 3;

/// What the files of a log come to. It is what they were when it was opened.
#[derive(Debug, Default)]
pub struct Book {
    parts: Vec<Part>,
    end: u64,
}

/// A file and its index.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) log: PathBuf,
    pub(crate) log_file: Option<Identity>,
    pub(crate) index: PathBuf,
    pub(crate) index_file: Identity,
    /// How old it was.
    pub(crate) number: u32,
    pub(crate) survey: Arc<Survey>,
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
    /// Opens a log as [`Shelf::open`] does, with nothing known of it beforehand.
    ///
    /// # Errors
    /// An index cannot be read. Files that are not there are no error.
    pub fn open(log: &Path, index: &Path, count: u32) -> io::Result<Book> {
        Shelf::default().open(log, index, count)
    }

    /// What these come to, the oldest first.
    pub(crate) fn of(all: Vec<Part>) -> Book {
        let mut parts: Vec<Part> = Vec::new();
        let mut reached = 0;
        for part in all {
            let Some((first, last)) = part.survey.reach else {
                continue;
            };
            if part.survey.is_anew || first < reached {
                // The chardev was made anew.
                parts.clear();
            }
            reached = last;
            parts.push(part);
        }
        let end = parts.iter().rev().find_map(Part::end).unwrap_or(0);
        Book { parts, end }
    }

    /// The offset of the first byte, and the one after the last.
    pub fn span(&self) -> Option<(u64, u64)> {
        let first = self.marks().next()?;
        Some((first.entry.offset, self.end))
    }

    /// What of the output the log does not have: where that begins, and where it ends.
    pub fn holes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.parts
            .iter()
            .flat_map(|it| it.survey.holes.iter().copied())
    }

    /// The marks and the changes of the back end, as they were written: the newest 768 of each file
    /// at least.
    pub fn landmarks(&self) -> impl Iterator<Item = &Landmark> {
        self.parts.iter().flat_map(|it| &it.survey.landmarks)
    }

    /// Up to `count` entries, evenly from the whole, with the first and the last.
    pub fn times(&self, count: usize) -> Vec<Printed> {
        let all: usize = self.parts.iter().map(|it| it.survey.marks.len()).sum();
        let step = all.div_ceil(count.max(1)).max(1);
        let last = self
            .parts
            .iter()
            .rev()
            .find_map(|it| it.survey.last.as_ref());
        let marks = self.marks().step_by(step).chain(last);
        let printed = marks.map(|mark| Printed {
            offset: mark.entry.offset,
            time: mark.entry.time,
        });
        let mut printed: Vec<_> = printed.collect();
        printed.dedup_by_key(|printed| printed.offset);
        printed
    }

    fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.parts.iter().flat_map(|it| &it.survey.marks)
    }

    /// When each line from `from` up to `to` was printed, the one that `from` is in first.
    ///
    /// # Errors
    /// An index cannot be read.
    pub fn printed(&self, from: u64, to: u64) -> io::Result<Vec<Printed>> {
        let mut all: Vec<Printed> = Vec::new();
        self.walk(from, |_, entry| {
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
        let mut begin: Option<(usize, Entry)> = None;
        let mut end = None;
        self.walk(from, |part, entry| {
            let offset = entry.offset;
            let (Some((first_part, first)), true) = (begin, offset > from) else {
                begin = Some((part, entry));
                return true;
            };
            let has_bytes = first.hole.is_none() && first_part == part;
            if !has_bytes && end.is_none() && first.hole.is_some() {
                // What was asked for is missing, and this comes after it.
                begin = Some((part, entry));
                return true;
            }
            let moved = entry.place.wrapping_sub(first.place);
            if part != first_part || moved != offset - first.offset {
                end = Some((offset, part));
                return false;
            }
            if entry.hole.is_some() {
                end = Some((offset, part));
            }
            end.is_none() && offset < from.saturating_add(most as u64)
        })?;
        let Some((part, first)) = begin else {
            return Ok(Piece {
                start: self.end,
                bytes: Vec::new(),
            });
        };
        let start = from.max(first.offset);
        let most = most as u64;
        let most = match end {
            Some((end, last)) if last == part => most.min(end.saturating_sub(start)),
            _ => most,
        };
        let mut file = self.parts[part].open_log()?;
        file.seek(SeekFrom::Start(first.place + (start - first.offset)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        if let Some((end, _)) = end {
            // A file that goes on after it was surveyed has what came later.
            let left = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
            bytes.truncate(left);
        }
        Ok(Piece { start, bytes })
    }

    /// Shows the lines of the log and its holes in their order, with the part that each is in: from
    /// the last that begins at `from` or before it, or the first there is, until `show` has seen
    /// enough. Others before it may be shown, too.
    fn walk(&self, from: u64, mut show: impl FnMut(usize, Entry) -> bool) -> io::Result<()> {
        let begin = |part: &Part| {
            let after = part
                .survey
                .marks
                .partition_point(|it| it.entry.offset <= from);
            part.survey.marks.get(after.checked_sub(1)?).copied()
        };
        let found = self.parts.iter().enumerate().rev();
        let found = found
            .filter_map(|(number, part)| Some((number, begin(part)?)))
            .next();
        let (first, mark) = found.unzip();
        let mark = mark.or_else(|| self.marks().next().copied());
        for (number, part) in self.parts.iter().enumerate().skip(first.unwrap_or(0)) {
            // What comes before is of a life of the chardev that is over.
            let at = match part.survey.marks.first() {
                _ if Some(number) == first => mark.map_or(0, |mark| mark.at),
                Some(mark) => mark.at,
                None => continue,
            };
            let mut lines = match part.open_index() {
                Ok(file) => Lines::new(file, at)?,
                // It was rotated away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            while let Some(line) = lines.next()? {
                if line.landmark.is_none() && !show(number, line.entry) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Part {
    /// The offset after the last byte.
    fn end(&self) -> Option<u64> {
        let last = self.survey.last?.entry;
        let length = self.open_log().and_then(|file| file.metadata());
        let length = length.map_or(0, |it| it.len());
        Some(last.offset + length.saturating_sub(last.place))
    }

    fn open_log(&self) -> io::Result<File> {
        self.open(&self.log, self.log_file)
    }

    fn open_index(&self) -> io::Result<File> {
        self.open(&self.index, Some(self.index_file))
    }

    /// Opens the file that was found, which may have another name by now.
    fn open(&self, path: &Path, wanted: Option<Identity>) -> io::Result<File> {
        for number in self.number..=self.number + FURTHER {
            let file = match File::open(numbered(path, number)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if wanted == Some(identity(&file.metadata()?)) {
                return Ok(file);
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}
