//! A file in the format asciicast v3: a line of JSON for the whole, and one for each event.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use chardev::text::shown_path;
use chardev_qapi::{Json, Object};

use crate::ctl::failure::Failure;

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Output,
    Resize,
    Marker,
}

impl Kind {
    fn code(self) -> &'static str {
        match self {
            Kind::Output => "o",
            Kind::Resize => "r",
            Kind::Marker => "m",
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Cast {
    file: File,
    path: PathBuf,
    /// How much of it is whole lines.
    whole: u64,
    events: u64,
    /// When the last event was; times are between two.
    last: Instant,
    /// What of a character has come.
    begun: Vec<u8>,
}

impl Cast {
    /// Begins a file.
    ///
    /// # Errors
    /// It is there, or cannot be written; then nothing is left of it.
    pub(super) fn create(
        path: &Path,
        overwrite: bool,
        title: &str,
        size: Option<(u64, u64)>,
    ) -> Result<Self, Failure> {
        let place = shown_path(path);
        let mut options = OpenOptions::new();
        let file = match overwrite {
            true => options.write(true).create(true).truncate(true).open(path),
            false => options.write(true).create_new(true).open(path),
        };
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{place} is there already; choose another file, or --overwrite it")
            }
            _ => format!("{place}: {error}"),
        })?;
        let (cols, rows) = size.unwrap_or((80, 24));
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let header = Object::new()
            .with("version", 3u32)
            .with("term", Object::new().with("cols", cols).with("rows", rows))
            .with("timestamp", now.map_or(0, |now| now.as_secs()))
            .with("title", title);
        let mut cast = Cast {
            file,
            path: path.to_owned(),
            whole: 0,
            events: 0,
            last: Instant::now(),
            begun: Vec::new(),
        };
        let begun = cast.line(&Json::Object(header).to_string());
        // A file without its first line is none; what is no file, such as a device, stays.
        let is_file = || cast.file.metadata().is_ok_and(|it| it.is_file());
        if begun.is_err() && is_file() {
            let _ = std::fs::remove_file(path);
        }
        begun?;
        Ok(cast)
    }

    /// Output, of which the end of a last character may come with the next.
    pub(super) fn output(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Failure> {
        self.begun.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.begun);
        let end = match std::str::from_utf8(&all) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => all.len() - begun_at_end(&all),
        };
        self.begun = all[end..].to_vec();
        match end {
            0 => Ok(()),
            end => self.put(now, Kind::Output, &String::from_utf8_lossy(&all[..end])),
        }
    }

    /// An event.
    pub(super) fn put(&mut self, now: Instant, kind: Kind, text: &str) -> Result<(), Failure> {
        let millis = now.saturating_duration_since(self.last).as_millis();
        let text = Json::from(text);
        let (seconds, millis) = (millis / 1000, millis % 1000);
        let code = kind.code();
        self.line(&format!("[{seconds}.{millis:03}, \"{code}\", {text}]"))?;
        self.last = now;
        self.events += 1;
        Ok(())
    }

    /// What there is in the end, in words.
    pub(super) fn told(&self) -> String {
        format!("{} events recorded, {} bytes", self.events, self.whole)
    }

    /// A line is there whole or not at all.
    fn line(&mut self, line: &str) -> Result<(), Failure> {
        let line = format!("{line}\n");
        let Err(error) = self.file.write_all(line.as_bytes()) else {
            self.whole += line.len() as u64;
            return Ok(());
        };
        let cut = self.file.set_len(self.whole);
        let place = shown_path(&self.path);
        let state = match cut {
            Ok(()) => "the recording ends here, after its last whole event".to_owned(),
            Err(cut) => format!("its last line is not whole and cannot be cut off: {cut}"),
        };
        Err(format!("{place}: {error}; {state}\nmake room, and record to another file").into())
    }
}

/// How many bytes at the end are a character that has only begun.
fn begun_at_end(bytes: &[u8]) -> usize {
    let begun = (1..=bytes.len().min(3)).find(|count| {
        let end = std::str::from_utf8(&bytes[bytes.len() - count..]);
        end.is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    });
    begun.unwrap_or(0)
}
