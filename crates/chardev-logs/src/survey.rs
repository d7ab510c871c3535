//! What there is to know of one index, without reading it again.

use std::fs::File;
use std::io;

use chardev_core::Landmark;

use crate::entry::Entry;
use crate::lines::Lines;

/// The most entries that are remembered of a file, evenly from all of it; the others are found from
/// there.
const MARKS: usize = 2048;
/// The most holes and landmarks that are remembered of a file.
const HOLES: usize = 1024;
const LANDMARKS: usize = 1024;

/// What is remembered of an index. Of one in which the chardev was made anew, that is what comes
/// after the last time.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    pub(crate) marks: Vec<Mark>,
    pub(crate) holes: Vec<(u64, u64)>,
    pub(crate) landmarks: Vec<Landmark>,
    /// The last line of the log.
    pub(crate) last: Option<Mark>,
    /// The offsets of the first entry and the last.
    pub(crate) reach: Option<(u64, u64)>,
    pub(crate) is_anew: bool,
    /// Up to where it was read.
    at: u64,
    /// One in so many entries is remembered.
    stride: u64,
    count: u64,
}

/// An entry, and where its line is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) at: u64,
    pub(crate) entry: Entry,
}

impl Default for Survey {
    fn default() -> Self {
        Survey {
            marks: Vec::new(),
            holes: Vec::new(),
            landmarks: Vec::new(),
            last: None,
            reach: None,
            is_anew: false,
            at: 0,
            stride: 1,
            count: 0,
        }
    }
}

impl Survey {
    /// Whether `file` still has what was read of it, as far as its last line shows.
    pub(crate) fn holds_for(&self, file: &File) -> io::Result<bool> {
        let Some(last) = self.last else {
            return Ok(self.at == 0);
        };
        let line = Lines::new(file.try_clone()?, last.at)?.next()?;
        Ok(line.is_some_and(|line| (line.at, line.entry) == (last.at, last.entry)))
    }

    /// Reads what has come since.
    pub(crate) fn go_on(&mut self, file: File) -> io::Result<()> {
        let mut lines = Lines::new(file, self.at)?;
        while let Some(line) = lines.next()? {
            let (at, entry) = (line.at, line.entry);
            if self.reach.is_some_and(|(_, last)| entry.offset < last) {
                // The chardev was made anew.
                *self = Survey {
                    is_anew: true,
                    ..Survey::default()
                };
            }
            let (first, _) = self.reach.unwrap_or((entry.offset, 0));
            self.reach = Some((first, entry.offset));
            if let Some(landmark) = line.landmark {
                put(&mut self.landmarks, LANDMARKS, landmark);
                continue;
            }
            if let Some(hole) = entry.hole {
                let hole = (entry.offset, entry.offset.saturating_add(hole));
                put(&mut self.holes, HOLES, hole);
            }
            self.take(Mark { at, entry });
        }
        self.at = lines.at;
        Ok(())
    }

    fn take(&mut self, mark: Mark) {
        if self.count.is_multiple_of(self.stride) {
            self.marks.push(mark);
            if self.marks.len() >= MARKS {
                let mut number = 0;
                self.marks.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
                self.stride *= 2;
            }
        }
        self.last = Some(mark);
        self.count += 1;
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn size(&self) -> usize {
        let texts = self.landmarks.len() * (size_of::<Landmark>() + 128);
        size_of::<Survey>()
            + self.marks.capacity() * size_of::<Mark>()
            + self.holes.len() * 16
            + texts
    }
}

/// Adds to the newest, of which there are so many.
fn put<T>(all: &mut Vec<T>, most: usize, one: T) {
    if all.len() >= most {
        all.drain(..most / 4);
    }
    all.push(one);
}
