//! A console's log: what is kept of it must be the end of what was printed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::LoadError;
use crate::check::difference;
use crate::lines::{Form, Lines};

/// At which size a log is rotated, and how many old files are kept.
pub(super) const SIZE: u64 = 32 << 10;
pub(super) const COUNT: usize = 3;

/// Where a console's log is.
pub(super) struct Log {
    pub(super) path: PathBuf,
    /// Bytes that the daemon says are missing in it, all together.
    pub(super) lost: u64,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Self {
        Log { path, lost: 0 }
    }

    /// Compares what is kept with what was printed; returns how much is kept.
    ///
    /// # Errors
    /// Where they differ. A log with a hole is not compared: the daemon has told of it.
    pub(super) fn compare(&self, printed: u64) -> Result<u64, LoadError> {
        let mut kept = Vec::new();
        for number in (0..=COUNT).rev() {
            let path = numbered(&self.path, number);
            match fs::read(&path) {
                Ok(text) => kept.extend(text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", path.display()).into()),
            }
        }
        let length = kept.len() as u64;
        if self.lost > 0 {
            return Ok(length);
        }
        // All of it if that is little, and else as much as the old files hold at least: a file is
        // cut before the line that would make it too long.
        let least = printed.min((SIZE - 1024) * COUNT as u64);
        let Some(begin) = printed.checked_sub(length).filter(|_| length >= least) else {
            let text = format!("the log has {length} bytes, of {printed} printed");
            return Err(text.into());
        };
        let mut expected = vec![0; kept.len()];
        Lines::from_offset(Form::Padded, begin).fill(&mut expected);
        match difference(&kept, &expected) {
            Some(difference) => Err(format!("the log: {difference}").into()),
            None => Ok(length),
        }
    }
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::{COUNT, Log, SIZE, numbered};
    use crate::lines::{Form, text};

    #[test]
    fn what_is_kept_is_the_end_of_what_was_printed() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(dir.path().join("log"));
        let all = text(Form::Padded, 0..20_000);
        let printed = all.len() as u64;
        let mut end = all.len();
        for number in 0..=COUNT {
            let size = if number == 0 { 17 } else { SIZE as usize };
            std::fs::write(numbered(&log.path, number), &all[end - size..end]).unwrap();
            end -= size;
        }
        let kept = 17 + COUNT as u64 * SIZE;
        assert_eq!(log.compare(printed), Ok(kept));
        // One byte later, it is another.
        assert!(log.compare(printed + 1).is_err());
        // A file is missing, in the middle or all old ones.
        std::fs::rename(numbered(&log.path, 2), numbered(&log.path, 9)).unwrap();
        let error = log.compare(printed).unwrap_err().to_string();
        assert!(error.contains("65553 bytes"), "{error}");
    }
}
