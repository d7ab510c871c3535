//! front → chardev → back → [host]: moving a log aside to make room for a new one at its path.
//!
//! There is a file at the path all the time: the new one is made under a hidden name, the old one
//! gets its numbered name as a second one, and then the new one takes its place. Every step is
//! noted, and taken back if a later one fails.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, FileType};
use rustix::io::Errno;

use super::target::create_target;
use super::{Created, Target, open_target};
use crate::back::exchange;
use crate::disk;

/// How hidden names begin; a process and a serial number follow.
pub(super) const HIDDEN: &str = ".chardev-log-";

/// Steps that have been taken, until all of them are.
#[derive(Debug, Default)]
pub(super) struct Steps {
    undo: Vec<Undo>,
    /// What nobody needs once all is done.
    oldest: Vec<PathBuf>,
    created: Vec<Created>,
}

#[derive(Debug)]
enum Undo {
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
    Exchange(PathBuf, PathBuf),
}

impl Steps {
    /// Puts a new file at `path`, where the file `current` is. That becomes `path.1`, that one
    /// `path.2` and so on; the last of `count` goes. Where a number is free, older files stay.
    pub(super) fn renew(
        &mut self,
        path: &Path,
        current: (u64, u64),
        count: u32,
    ) -> Result<Target, Errno> {
        let (hidden, target) = create_hidden(path)?;
        self.undo.push(Undo::Unlink(hidden.clone()));
        let first = numbered(path, 1);
        // A process that was killed in the middle of this has left the log with both names: the
        // number is free.
        if disk::lstat(&first).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == current) {
            disk::unlink(&first)?;
        }
        self.shift(path, count)?;
        self.put_in_place(path, hidden, first)?;
        Ok(target)
    }

    /// Opens what is at `path`, or creates it.
    pub(super) fn open(&mut self, path: &Path) -> Result<Target, Errno> {
        let (target, created) = open_target(path, true)?;
        self.created.extend(created);
        Ok(target)
    }

    /// Makes the number 1 free.
    fn shift(&mut self, path: &Path, count: u32) -> Result<(), Errno> {
        let mut free = None;
        let mut any_directory = false;
        for number in 1..=count {
            match disk::lstat(numbered(path, number)) {
                Ok(stat) => {
                    let file_type = FileType::from_raw_mode(stat.st_mode);
                    any_directory |= file_type == FileType::Directory;
                }
                Err(Errno::NOENT) => {
                    free = Some(number);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let last = match free {
            Some(free) => free,
            // Somebody's directory is no old file that could go.
            None if any_directory => return Err(Errno::ISDIR),
            None => {
                let (oldest, aside) = (numbered(path, count), hidden_name(path));
                disk::rename(&oldest, &aside)?;
                self.undo.push(Undo::Rename(aside.clone(), oldest));
                self.oldest.push(aside);
                count
            }
        };
        for number in (1..last).rev() {
            let (from, to) = (numbered(path, number), numbered(path, number + 1));
            disk::rename(&from, &to)?;
            self.undo.push(Undo::Rename(to, from));
        }
        Ok(())
    }

    /// Lets the file at `path` have the name `first`, and the one at `hidden` its place.
    fn put_in_place(&mut self, path: &Path, hidden: PathBuf, first: PathBuf) -> Result<(), Errno> {
        match link(path, &first) {
            Ok(()) => {
                self.undo.push(Undo::Unlink(first.clone()));
                disk::rename(&hidden, path)?;
                self.undo.push(Undo::Rename(first, path.to_owned()));
            }
            Err(Errno::EXIST) => return Err(Errno::EXIST),
            // Not every file system has second names, nor may everybody give one to every file.
            Err(_) => {
                exchange(CWD, &hidden, path)?;
                self.undo
                    .push(Undo::Exchange(hidden.clone(), path.to_owned()));
                disk::rename(&hidden, &first)?;
                self.undo.push(Undo::Rename(first, hidden));
            }
        }
        Ok(())
    }

    /// All is done; what has been pushed out goes.
    pub(super) fn keep(mut self) {
        self.undo.clear();
        self.created.iter_mut().for_each(Created::keep);
        for aside in &self.oldest {
            let _ = disk::unlink(aside);
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        while let Some(step) = self.undo.pop() {
            let _ = match &step {
                Undo::Unlink(path) => disk::unlink(path),
                Undo::Rename(from, to) => disk::rename(from, to),
                Undo::Exchange(one, other) => exchange(CWD, one, other),
            };
        }
    }
}

fn link(path: &Path, name: &Path) -> Result<(), Errno> {
    #[cfg(test)]
    if tests::NO_LINKS.get() {
        return Err(Errno::PERM);
    }
    disk::link(path, name)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// A name beside `path` that nobody else uses.
fn hidden_name(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let serial = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!("{HIDDEN}{}-{serial}", std::process::id()))
}

fn create_hidden(path: &Path) -> Result<(PathBuf, Target), Errno> {
    loop {
        let hidden = hidden_name(path);
        match create_target(&hidden) {
            // Left behind by a process that died; the next name is as good.
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
            Ok(target) => return Ok((hidden, target)),
        }
    }
}

/// The files that are being rotated, by device and inode.
static ROTATING: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());
static ROTATED: Condvar = Condvar::new();

/// Holds off others who want to rotate the same file.
#[derive(Debug)]
pub(super) struct Turn((u64, u64));

impl Turn {
    /// Waits for whoever rotates `file`.
    pub(super) fn to_rotate(file: (u64, u64)) -> Self {
        let mut rotating = lock();
        while rotating.contains(&file) {
            let waited = ROTATED.wait(rotating);
            rotating = waited.unwrap_or_else(PoisonError::into_inner);
        }
        rotating.push(file);
        Turn(file)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock().retain(|file| *file != self.0);
        ROTATED.notify_all();
    }
}

fn lock() -> MutexGuard<'static, Vec<(u64, u64)>> {
    ROTATING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may wait")]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    thread_local! {
        /// The file system of this thread's tests has no second names.
        pub(super) static NO_LINKS: Cell<bool> = const { Cell::new(false) };
    }

    fn identity(path: &Path) -> (u64, u64) {
        let found = fs::metadata(path).unwrap();
        (found.dev(), found.ino())
    }

    /// What is under each name, and which file that is.
    fn files(dir: &Path) -> BTreeMap<String, (String, u64)> {
        let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
        let files = entries.map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let content = fs::read_to_string(entry.path()).unwrap();
            (name, (content, entry.metadata().unwrap().ino()))
        });
        files.collect()
    }

    fn contents(dir: &Path) -> Vec<(String, String)> {
        let files = files(dir).into_iter();
        files.map(|(name, (content, _))| (name, content)).collect()
    }

    fn expected(contents: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, content): &(&str, &str)| (name.to_string(), content.to_string());
        contents.iter().map(owned).collect()
    }

    #[test]
    fn what_is_not_kept_is_taken_back_to_the_last_name() {
        for no_links in [false, true] {
            NO_LINKS.set(no_links);
            let dir = tempfile::tempdir().unwrap();
            let log = dir.path().join("log");
            for (name, content) in [("log", "c"), ("log.1", "b"), ("log.2", "a")] {
                fs::write(dir.path().join(name), content).unwrap();
            }
            let before = files(dir.path());
            let mut steps = Steps::default();
            steps.renew(&log, identity(&log), 2).unwrap();
            assert_eq!(fs::read_to_string(&log).unwrap(), "");
            drop(steps);
            assert_eq!(files(dir.path()), before);

            let mut steps = Steps::default();
            steps.renew(&log, identity(&log), 2).unwrap();
            steps.keep();
            let after = [("log", ""), ("log.1", "c"), ("log.2", "b")];
            assert_eq!(contents(dir.path()), expected(&after));
        }
        NO_LINKS.set(false);
    }

    #[test]
    fn a_log_that_a_killed_process_left_with_two_names_is_one_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, "b").unwrap();
        fs::hard_link(&log, numbered(&log, 1)).unwrap();
        fs::write(numbered(&log, 2), "a").unwrap();
        let mut steps = Steps::default();
        steps.renew(&log, identity(&log), 2).unwrap();
        steps.keep();
        let after = [("log", ""), ("log.1", "b"), ("log.2", "a")];
        assert_eq!(contents(dir.path()), expected(&after));
    }

    #[test]
    fn somebodys_directory_is_not_pushed_out() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, "b").unwrap();
        fs::create_dir(numbered(&log, 1)).unwrap();
        let refused = Steps::default().renew(&log, identity(&log), 1);
        assert_eq!(refused.unwrap_err(), Errno::ISDIR);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
