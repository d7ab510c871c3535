//! front → chardev → back → [host]: two names in a directory swapped, so that what was at a path
//! can be put back.
#![allow(
    clippy::disallowed_methods,
    reason = "each call stands behind one that finds out whether it may wait"
)]

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use crate::offload::assert_may_wait;

/// Lets `hidden`, a name that only we use, and `name` change places. Both are in `directory`.
///
/// # Errors
/// From the kernel, `NOENT` if one of the two is not there; nothing has changed then.
#[track_caller]
pub(crate) fn exchange(directory: impl AsFd, hidden: &Path, name: &Path) -> Result<(), Errno> {
    assert_may_wait();
    let directory = directory.as_fd();
    match at_once(directory, hidden, name) {
        Err(error) if error != Errno::NOENT => in_steps(directory, hidden, name),
        result => result,
    }
}

fn at_once(directory: impl AsFd, hidden: &Path, name: &Path) -> Result<(), Errno> {
    #[cfg(test)]
    if tests::REFUSED.get() {
        return Err(Errno::INVAL);
    }
    let exchange = RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(&directory, hidden, &directory, name, exchange)
}

/// For file systems that cannot exchange. What is at `name` gets a second name first, so that there
/// is always something at `name`; where there are no second names it is moved away for a moment.
fn in_steps(directory: impl AsFd, hidden: &Path, name: &Path) -> Result<(), Errno> {
    let rename = |from: &Path, to: &Path| rustix::fs::renameat(&directory, from, &directory, to);
    let spare = spare(hidden);
    let linked = rustix::fs::linkat(&directory, name, &directory, &spare, AtFlags::empty());
    if linked.is_err() {
        rename(name, &spare)?;
    }
    if let Err(error) = rename(hidden, name) {
        let _ = match linked {
            Ok(()) => rustix::fs::unlinkat(&directory, &spare, AtFlags::empty()),
            Err(_) => rename(&spare, name),
        };
        return Err(error);
    }
    rename(&spare, hidden).inspect_err(|_| {
        let _ = rename(name, hidden);
        let _ = rename(&spare, name);
    })
}

/// A name beside `hidden` that is as little used by others.
fn spare(hidden: &Path) -> PathBuf {
    let mut spare = hidden.as_os_str().to_owned();
    spare.push("~");
    spare.into()
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;
    use std::fs::{read_dir, read_link};
    use std::os::unix::fs::symlink;

    use rustix::fs::CWD;

    use super::*;

    thread_local! {
        /// The file system of this thread's tests cannot exchange names.
        pub(in crate::back) static REFUSED: Cell<bool> = const { Cell::new(false) };
    }

    #[test]
    fn names_change_places_whether_or_not_the_file_system_can_exchange_them() {
        for refused in [false, true] {
            REFUSED.set(refused);
            let dir = tempfile::tempdir().unwrap();
            let (hidden, name) = (dir.path().join(".new"), dir.path().join("name"));
            symlink("new", &hidden).unwrap();
            assert_eq!(exchange(CWD, &hidden, &name), Err(Errno::NOENT));
            symlink("old", &name).unwrap();
            for (at_hidden, at_name) in [("old", "new"), ("new", "old")] {
                exchange(CWD, &hidden, &name).unwrap();
                assert_eq!(read_link(&hidden).unwrap(), Path::new(at_hidden));
                assert_eq!(read_link(&name).unwrap(), Path::new(at_name));
            }
            assert_eq!(read_dir(dir.path()).unwrap().count(), 2);
            // The hidden name is gone: what is at the path stays there.
            std::fs::remove_file(&hidden).unwrap();
            assert_eq!(exchange(CWD, &hidden, &name), Err(Errno::NOENT));
            assert_eq!(read_link(&name).unwrap(), Path::new("old"));
            assert_eq!(read_dir(dir.path()).unwrap().count(), 1);
        }
        REFUSED.set(false);
    }
}
