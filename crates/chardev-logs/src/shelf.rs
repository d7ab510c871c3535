//! What was found in indexes, kept for the next time that somebody asks.
//!
//! A file is known again by its device and number, whatever its name: one that is rotated only gets
//! another name. If its size and its time are those of before it is not read again; one that has
//! grown is read from there on.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::book::{Book, Part};
use crate::survey::Survey;

/// How much memory all of it may take, in bytes, beside what books in use hold.
const SPACE: usize = 16 << 20;
/// How often a log is opened anew that is rotated meanwhile.
const TRIES: usize = 3;

/// Keeps what was found in indexes. It may be shared by threads.
#[derive(Debug, Default)]
pub struct Shelf(Mutex<Vec<Known>>);

/// An index that was read.
#[derive(Clone, Debug)]
struct Known {
    file: Identity,
    size: u64,
    changed: Option<SystemTime>,
    survey: Arc<Survey>,
}

/// Which file it is: its device and number.
pub(crate) type Identity = (u64, u64);

pub(crate) fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

impl Shelf {
    /// Opens a log, of which up to `count` older files were kept. What was logged before the
    /// chardev was made anew, and counted from 0 again, is left out.
    ///
    /// # Errors
    /// An index cannot be read. Files that are not there are no error.
    pub fn open(&self, log: &Path, index: &Path, count: u32) -> io::Result<Book> {
        let mut tries = 0;
        loop {
            let before = index.metadata().ok().map(|it| identity(&it));
            let parts = self.parts(log, index, count.min(1000))?;
            tries += 1;
            let after = index.metadata().ok().map(|it| identity(&it));
            if before == after || tries == TRIES {
                return Ok(Book::of(parts));
            }
        }
    }

    fn parts(&self, log: &Path, index: &Path, count: u32) -> io::Result<Vec<Part>> {
        let mut parts = Vec::new();
        for number in (0..=count).rev() {
            let file = match File::open(numbered(index, number)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let metadata = file.metadata()?;
            parts.push(Part {
                log: log.to_owned(),
                log_file: numbered(log, number)
                    .metadata()
                    .ok()
                    .map(|it| identity(&it)),
                index: index.to_owned(),
                index_file: identity(&metadata),
                number,
                survey: self.survey(file, &metadata)?,
            });
        }
        Ok(parts)
    }

    /// What is in the index, as it was when `metadata` was asked for, or later.
    fn survey(&self, file: File, metadata: &Metadata) -> io::Result<Arc<Survey>> {
        let (size, changed) = (metadata.len(), metadata.modified().ok());
        let known = self.find(identity(metadata));
        let survey = match known {
            Some(known) if known.size == size && known.changed == changed => known.survey,
            Some(known) if known.size <= size && known.survey.holds_for(&file)? => {
                let mut survey = Survey::clone(&known.survey);
                survey.go_on(file)?;
                Arc::new(survey)
            }
            _ => {
                let mut survey = Survey::default();
                survey.go_on(file)?;
                Arc::new(survey)
            }
        };
        self.put(Known {
            file: identity(metadata),
            size,
            changed,
            survey: Arc::clone(&survey),
        });
        Ok(survey)
    }

    fn find(&self, file: Identity) -> Option<Known> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|known| known.file == file).cloned()
    }

    /// Puts one behind all others; those that were asked for longest ago make room.
    fn put(&self, known: Known) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.file != known.file);
        all.push(known);
        let mut space = 0;
        let fits = |known: &&Known| {
            space += known.survey.size();
            space <= SPACE
        };
        let kept = all.iter().rev().take_while(fits).count();
        let gone = all.len() - kept;
        all.drain(..gone);
    }
}

/// The name of an older file, of which 1 is the youngest.
pub(crate) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}
