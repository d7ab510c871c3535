//! What is kept of a console's output: the newest in memory, and what is older in its log.

use std::io;
use std::path::{Path, PathBuf};

use chardev::{History, ViewFrom};
use chardev_logs::Book;
use chardev_monitor::Command;
use chardev_qmp::ringbuf::Format;

use crate::error::Failure;
use crate::login::Session;
use crate::site::Site;

/// Where a console's output is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    site: Site,
    id: String,
    log: Option<Log>,
}

/// A log that has an index.
#[derive(Clone, Debug)]
struct Log {
    log: PathBuf,
    index: PathBuf,
    count: u32,
}

impl Kept {
    /// That of chardev `id`, for somebody who may see it.
    ///
    /// # Errors
    /// They may not, or there is none.
    pub(crate) fn of(site: &Site, session: &Session, id: &str) -> Result<Kept, Failure> {
        session.caller.check(&Command::XChardevHistory {
            id: id.to_owned(),
            from: None,
            size: None,
            format: Format::Base64,
        })?;
        let mut all = site.server.chardevs().options().into_iter();
        let options = all.find(|(it, _)| it == id);
        let (_, options) = options.ok_or_else(|| Failure::not_found(id))?;
        let named = |name| {
            options
                .str(name)
                .filter(|it| !it.starts_with("/dev/fdset/"))
        };
        let log = named("logfile").zip(named("x-logindex"));
        let log = log.map(|(log, index)| Log {
            log: Path::new(log).to_owned(),
            index: Path::new(index).to_owned(),
            count: u32::try_from(options.int("x-logcount").unwrap_or(1)).unwrap_or(0),
        });
        Ok(Kept {
            site: site.clone(),
            id: id.to_owned(),
            log,
        })
    }

    /// What the log comes to; waits for the disk.
    pub(crate) fn book(&self) -> io::Result<Book> {
        match &self.log {
            Some(log) => self.site.shelf.open(&log.log, &log.index, log.count),
            None => Ok(Book::default()),
        }
    }

    /// What is kept in memory, from `from` on.
    ///
    /// # Errors
    /// The chardev is gone, or its output has not come so far.
    pub(crate) fn recent(&self, from: ViewFrom, most: usize) -> Result<History, Failure> {
        Ok(self.site.server.chardevs().history(&self.id, from, most)?)
    }

    /// Up to `most` bytes from `from` on, from wherever they are; `oldest` is the oldest byte of
    /// the console that may still be read, in memory or in a log. It may wait for the disk.
    ///
    /// # Errors
    /// As above, or a file cannot be read.
    pub(crate) fn read(&self, from: ViewFrom, most: usize) -> Result<History, Failure> {
        let mut recent = self.recent(from, most)?;
        let wanted = match from {
            ViewFrom::Offset(from) => from,
            ViewFrom::Last(count) => recent.end.saturating_sub(count),
            ViewFrom::Oldest => 0,
            ViewFrom::Now => recent.end,
        };
        let oldest = recent.oldest;
        let book = match self.book() {
            Ok(book) => book,
            // What is in memory needs no log.
            Err(_) if wanted >= oldest => return Ok(recent),
            Err(error) => return Err(unread(error)),
        };
        let Some((first, _)) = book.span().filter(|(first, _)| *first < oldest) else {
            return Ok(recent);
        };
        recent.oldest = first;
        if wanted >= oldest {
            return Ok(recent);
        }
        let piece = book.read(wanted, most).map_err(unread)?;
        if piece.start >= oldest || piece.bytes.is_empty() {
            // What was asked for is a hole, and what comes after it is in memory.
            return Ok(recent);
        }
        recent.start = piece.start;
        recent.bytes = piece.bytes;
        Ok(recent)
    }

    /// All from `from` up to `to`, of which the last `most` bytes count, as far as it is kept.
    /// What is missing between is left out, so the offset of the first byte is where it would be
    /// if nothing were.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn read_all(&self, from: u64, to: u64) -> Result<(u64, Vec<u8>), Failure> {
        let (mut at, mut all) = (from, Vec::new());
        while at < to {
            let most = usize::try_from(to - at).unwrap_or(usize::MAX);
            let piece = self.read(ViewFrom::Offset(at), most)?;
            if piece.bytes.is_empty() || piece.start >= to {
                break;
            }
            let count = usize::try_from(to - piece.start).unwrap_or(usize::MAX);
            let bytes = &piece.bytes[..piece.bytes.len().min(count)];
            all.extend_from_slice(bytes);
            at = piece.start + bytes.len() as u64;
        }
        Ok((at - all.len() as u64, all))
    }
}

/// A log that cannot be read, for whoever asked.
pub(crate) fn unread(error: io::Error) -> Failure {
    let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
    Failure::new(
        status,
        "log-unread",
        format!("the log cannot be read: {error}"),
    )
}
