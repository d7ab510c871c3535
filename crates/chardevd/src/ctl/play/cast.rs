//! An asciicast, version 2 or 3.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chardev::text::shown_path;
use chardev_qapi::Json;

use super::{Moment, Recording, wrong};
use crate::ctl::failure::Failure;

/// The longest line.
const LONGEST: u64 = 16 << 20;

/// See the [module](self).
pub(super) struct Cast {
    path: PathBuf,
    lines: BufReader<File>,
    line: u64,
    /// Whether times are since the event before.
    relative: bool,
    time: Duration,
    offset: u64,
}

impl Cast {
    /// Opens one; none if it is something else.
    ///
    /// # Errors
    /// It cannot be read, or is of another version.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Failure> {
        let file = File::open(path).map_err(|error| format!("{}: {error}", shown_path(path)))?;
        let mut cast = Cast {
            path: path.to_owned(),
            lines: BufReader::new(file),
            line: 0,
            relative: false,
            time: Duration::ZERO,
            offset: 0,
        };
        let is_json = cast
            .lines
            .fill_buf()
            .is_ok_and(|bytes| bytes.starts_with(b"{"));
        if !is_json {
            return Ok(None);
        }
        let header = cast.read_line()?.and_then(|line| Json::parse(&line).ok());
        let version = header.and_then(|header| header.get("version")?.as_i64());
        match version {
            None => return Ok(None),
            Some(2) => {}
            Some(3) => cast.relative = true,
            Some(other) => {
                let what = format!("an asciicast of version {other}; 2 and 3 can be played");
                return Err(wrong(path, 1, what));
            }
        }
        Ok(Some(cast))
    }

    fn read_line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = String::new();
        let mut limited = std::io::Read::take(&mut self.lines, LONGEST);
        let count = limited.read_line(&mut line);
        self.line += 1;
        let count = count.map_err(|error| wrong(&self.path, self.line, error))?;
        if count as u64 == LONGEST {
            return Err(wrong(&self.path, self.line, "too long"));
        }
        Ok((count > 0).then_some(line))
    }
}

impl Recording for Cast {
    fn next(&mut self) -> Result<Option<Moment>, Failure> {
        while let Some(line) = self.read_line()? {
            let text = line.trim();
            // Version 3 has comments.
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let event = Json::parse(text).map_err(|error| wrong(&self.path, self.line, error))?;
            let read = || {
                let parts = event.as_array()?;
                let time: f64 = parts.first()?.to_string().parse().ok()?;
                let time = Duration::try_from_secs_f64(time).ok()?;
                Some((time, parts.get(1)?.as_str()?, parts.get(2)?.as_str()?))
            };
            let Some((time, code, data)) = read() else {
                let what = "no event: it is like [0.5, \"o\", \"text\"]";
                return Err(wrong(&self.path, self.line, what));
            };
            self.time = match self.relative {
                true => self.time + time,
                false => time,
            };
            if code == "o" {
                let offset = self.offset;
                self.offset += data.len() as u64;
                return Ok(Some(Moment {
                    time: self.time,
                    offset,
                    bytes: data.as_bytes().to_vec(),
                }));
            }
        }
        Ok(None)
    }
}
