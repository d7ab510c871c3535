//! The lines of an index, from a place in it on.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use chardev_core::Landmark;

use crate::entry::{Entry, landmark};

/// Nothing longer is a line.
const LONGEST: usize = 256;
/// How much is read at a time.
const PIECE: usize = 128 << 10;

/// Reads entries one after the other.
#[derive(Debug)]
pub(crate) struct Lines {
    file: File,
    /// What was read, and which part of that was not looked at.
    buffer: Vec<u8>,
    begin: usize,
    /// Where the next line begins.
    pub(crate) at: u64,
    /// What comes is the rest of something that is too long.
    is_inside: bool,
}

/// What is in a line.
#[derive(Debug)]
pub(crate) struct Line {
    /// Where it begins.
    pub(crate) at: u64,
    pub(crate) entry: Entry,
    pub(crate) landmark: Option<Landmark>,
}

impl Lines {
    pub(crate) fn new(mut file: File, at: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(at))?;
        Ok(Lines {
            file,
            buffer: Vec::new(),
            begin: 0,
            at,
            is_inside: false,
        })
    }

    /// The next entry. A last line that is not whole is still being written; what is no entry is
    /// left out.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if self.buffer.len() - self.begin < LONGEST {
                self.fill()?;
            }
            let rest = &self.buffer[self.begin..];
            let rest = &rest[..rest.len().min(LONGEST)];
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
                if rest.len() < LONGEST {
                    return Ok(None);
                }
                self.is_inside = true;
                self.pass(LONGEST);
                continue;
            };
            let begin = self.at;
            let read = match std::mem::take(&mut self.is_inside) {
                true => None,
                false => Entry::read(&rest[..length]),
            };
            let line = read.map(|(entry, rest)| Line {
                at: begin,
                entry,
                landmark: match entry.is_landmark {
                    true => landmark(&entry, rest),
                    false => None,
                },
            });
            self.pass(length + 1);
            if line.is_some() {
                return Ok(line);
            }
        }
    }

    fn pass(&mut self, count: usize) {
        self.begin += count;
        self.at += count as u64;
    }

    /// Reads more, if there is any.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.begin);
        self.begin = 0;
        let most = PIECE - self.buffer.len();
        let file = &mut self.file;
        file.take(most as u64).read_to_end(&mut self.buffer)?;
        Ok(())
    }
}
