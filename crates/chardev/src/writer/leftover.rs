//! front → chardev → back → [host]: files left beside a log by a process that was killed while it
//! rotated that log.
//!
//! A hidden file that is empty, or has another name as well, is removed. One whose content is
//! nowhere else may be the oldest log, or the log itself, so it stays and is told of.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chardev_core::text::shown_path;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::shift::HIDDEN;
use crate::disk;
use crate::offload::sometime;

/// A rotation takes far less than this, so whoever looks like it may be another process with the
/// same number: containers have numbers of their own.
const OLD: Duration = Duration::from_secs(60);

/// Directories that this process has looked through.
static SEEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Soon removes what nobody needs beside the log `path`, once for each directory.
pub(super) fn clear_beside(path: &Path) {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if !seen.contains(&directory) {
        seen.push(directory.clone());
        sometime(move || {
            for kept in clear(&directory, OLD) {
                let path = shown_path(&kept);
                tracing::warn!(
                    "'{path}' was left behind by a process that was killed while rotating a log; \
                     it is not removed automatically"
                );
            }
        });
    }
}

/// Returns what stays although nobody uses it.
fn clear(directory: &Path, min_age: Duration) -> Vec<PathBuf> {
    let mut kept = Vec::new();
    for name in disk::names(directory).unwrap_or_default() {
        if !owner(&name).is_some_and(is_gone) {
            continue;
        }
        let path = directory.join(name);
        let Ok(stat) = disk::lstat(&path) else {
            continue;
        };
        let changed = UNIX_EPOCH + Duration::from_secs(stat.st_ctime.try_into().unwrap_or(0));
        let age = SystemTime::now().duration_since(changed);
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || age.unwrap_or_default() < min_age {
            continue;
        }
        if stat.st_size == 0 || stat.st_nlink > 1 {
            let _ = disk::unlink(&path);
        } else {
            kept.push(path);
        }
    }
    kept
}

/// The process that gave a file this hidden name.
fn owner(name: &OsStr) -> Option<Pid> {
    let (owner, serial) = name.to_str()?.strip_prefix(HIDDEN)?.split_once('-')?;
    serial.parse::<u64>().ok()?;
    Pid::from_raw(owner.parse().ok().filter(|owner| *owner > 0)?)
}

/// An old file with our own number was left by one that had it before: the first process of a
/// container always has the same.
fn is_gone(owner: Pid) -> bool {
    owner == rustix::process::getpid() || test_kill_process(owner) == Err(Errno::SRCH)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may wait")]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_a_dead_process_left_and_nobody_needs_goes() {
        let mut child = Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let put = |name: String, content: &str| {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        put(format!(".chardev-log-{dead}-1"), "");
        let linked = put(format!(".chardev-log-{dead}-2"), "a log");
        fs::hard_link(&linked, dir.path().join("log.1")).unwrap();
        let only = put(format!(".chardev-log-{dead}-3"), "a log");
        put(".chardev-log-1-1".to_owned(), "");
        put(format!(".chardev-log-{dead}"), "");
        put(format!(".chardev-log-{dead}-x"), "");
        let all = names(dir.path());
        // They may be in use in another container.
        assert!(clear(dir.path(), OLD).is_empty());
        assert_eq!(names(dir.path()), all);

        assert_eq!(clear(dir.path(), Duration::ZERO), [only]);
        let gone = [1, 2].map(|serial| format!(".chardev-log-{dead}-{serial}"));
        let stay = all.into_iter().filter(|name| !gone.contains(name));
        assert_eq!(names(dir.path()), stay.collect::<Vec<_>>());
    }
}
