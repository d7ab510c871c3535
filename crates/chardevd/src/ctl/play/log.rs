//! A log and its index (`docs/logs.md`): when each line of the log was printed, and where it is.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chardev::text::shown_path;
use chardev_logs::Entry;

use super::{From, Moment, Recording, wrong};
use crate::ctl::failure::Failure;

/// The most of a log that is one moment.
const PIECE: u64 = 64 << 10;

/// See the [module](self).
pub(super) struct Log {
    log: File,
    path: PathBuf,
    index: BufReader<File>,
    index_path: PathBuf,
    line: u64,
    /// The time of the first line.
    began: Option<Duration>,
    /// The line that is being shown, and the one after it.
    entry: Option<Entry>,
    ahead: Option<Entry>,
}

impl Log {
    /// Opens both.
    ///
    /// # Errors
    /// One cannot be read.
    pub(super) fn open(path: &Path, index: &Path) -> Result<Self, Failure> {
        let open = |path: &Path| {
            File::open(path).map_err(|error| format!("{}: {error}", shown_path(path)))
        };
        let mut log = Log {
            log: open(path)?,
            path: path.to_owned(),
            index: BufReader::new(open(index)?),
            index_path: index.to_owned(),
            line: 0,
            began: None,
            entry: None,
            ahead: None,
        };
        log.advance()?;
        log.advance()?;
        log.began = log.entry.as_ref().map(|entry| entry.time);
        Ok(log)
    }

    /// Goes on by a line.
    fn advance(&mut self) -> Result<(), Failure> {
        self.entry = self.ahead.take();
        let mut line = String::new();
        let count = self.index.read_line(&mut line);
        self.line += 1;
        let failed = |error| wrong(&self.index_path, self.line, error);
        // A last line that is not whole is still being written.
        if count.map_err(failed)? == 0 || !line.ends_with('\n') {
            return Ok(());
        }
        let entry = Entry::parse(line.trim_end());
        let what = "no entry: it is like 'OFFSET SECONDS.MICROS PLACE'";
        self.ahead = Some(entry.ok_or_else(|| wrong(&self.index_path, self.line, what))?);
        Ok(())
    }

    fn since(&self, entry: &Entry) -> Duration {
        entry.time.saturating_sub(self.began.unwrap_or_default())
    }
}

impl Recording for Log {
    /// A line of the index, or a piece of it where that is long.
    fn next(&mut self) -> Result<Option<Moment>, Failure> {
        let Some(entry) = self.entry else {
            return Ok(None);
        };
        let time = self.since(&entry);
        let mut bytes = match entry.hole {
            Some(count) => format!("\r\n[{count} bytes are missing in the log]\r\n").into_bytes(),
            None => Vec::new(),
        };
        let end = self.ahead.as_ref().map(|ahead| ahead.place);
        let most = end.map_or(PIECE, |end| end.saturating_sub(entry.place).min(PIECE));
        let failed = |error: std::io::Error| format!("{}: {error}", shown_path(&self.path));
        self.log
            .seek(SeekFrom::Start(entry.place))
            .map_err(failed)?;
        let read = (&mut self.log).take(most).read_to_end(&mut bytes);
        let count = read.map_err(failed)? as u64;
        let next = entry.place + count;
        if count > 0 && end.is_none_or(|end| next < end) {
            // The rest of a long line.
            self.entry = Some(Entry {
                offset: entry.offset + count,
                place: next,
                hole: None,
                ..entry
            });
        } else {
            self.advance()?;
        }
        Ok(Some(Moment {
            time,
            offset: entry.offset,
            bytes,
        }))
    }

    fn seek(&mut self, from: From) -> Result<(), Failure> {
        let is_before = |log: &Log, ahead: &Entry| match from {
            From::Time(time) => log.since(ahead) <= time,
            From::Offset(offset) => ahead.offset <= offset,
        };
        while self
            .ahead
            .as_ref()
            .is_some_and(|ahead| is_before(self, ahead))
        {
            self.advance()?;
        }
        Ok(())
    }
}
