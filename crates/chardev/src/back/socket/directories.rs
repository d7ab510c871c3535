//! front → chardev → back → [host]: the directories in which sockets are bound.
//!
//! One is held open for as long as a socket in it is bound, so that its name is removed where it
//! is, wherever that has been moved to. All sockets in a directory share one descriptor: with one
//! each, a daemon with many consoles could have half as many.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::disk;

/// A directory, by device and inode.
type Directory = (u64, u64);

/// Those that are held.
static HELD: Mutex<Option<HashMap<Directory, Weak<OwnedFd>>>> = Mutex::new(None);

/// Directory `path`, the one that everybody has who holds it.
///
/// # Errors
/// From the kernel.
pub(super) fn hold(path: &Path) -> Result<Arc<OwnedFd>, Errno> {
    let opened = open(path)?;
    let stat = disk::fstat(&opened)?;
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let held = held.get_or_insert_default();
    held.retain(|_, directory| directory.strong_count() > 0);
    let known = (stat.st_dev, stat.st_ino);
    if let Some(shared) = held.get(&known).and_then(Weak::upgrade) {
        return Ok(shared);
    }
    let shared = Arc::new(opened);
    held.insert(known, Arc::downgrade(&shared));
    Ok(shared)
}

/// Directory `path`, for names in it only.
///
/// # Errors
/// From the kernel.
pub(super) fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    disk::open(path, flags, Mode::empty())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test may wait for its disk")]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_once_and_only_while_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("below");
        std::fs::create_dir(&below).unwrap();
        let first = hold(dir.path()).unwrap();
        assert!(Arc::ptr_eq(&first, &hold(&below.join("..")).unwrap()));
        let other = hold(&below).unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
        // Another directory may come to have the same path.
        std::fs::rename(&below, dir.path().join("moved")).unwrap();
        std::fs::create_dir(&below).unwrap();
        assert!(!Arc::ptr_eq(&other, &hold(&below).unwrap()));
        let weak = Arc::downgrade(&first);
        drop(first);
        assert!(weak.upgrade().is_none(), "nobody uses it");
    }
}
