//! The lines of an index, from a place in it on.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::entry::Entry;

/// Nothing longer is a line.
const LONGEST: u64 = 256;

/// Reads entries one after the other.
#[derive(Debug)]
pub(crate) struct Lines {
    file: BufReader<File>,
    /// Where the next line begins.
    pub(crate) at: u64,
}

impl Lines {
    pub(crate) fn open(path: &Path, at: u64) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        file.seek(SeekFrom::Start(at))?;
        Ok(Lines { file, at })
    }

    /// The next entry, and where its line begins. A last line that is not whole is still being
    /// written; what is no entry is left out.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Entry)>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let begin = self.at;
            let count = (&mut self.file)
                .take(LONGEST)
                .read_until(b'\n', &mut line)?;
            self.at += count as u64;
            if count == 0 {
                return Ok(None);
            }
            let Some(text) = line.strip_suffix(b"\n") else {
                if (count as u64) < LONGEST {
                    self.at = begin;
                    return Ok(None);
                }
                continue;
            };
            let entry = std::str::from_utf8(text).ok().and_then(Entry::parse);
            if let Some(entry) = entry {
                return Ok(Some((begin, entry)));
            }
        }
    }
}
