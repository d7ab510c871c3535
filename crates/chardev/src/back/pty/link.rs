//! front → chardev → back → [host]: the symbolic link to a pty, and taking its path over.
//!
//! A path that is free gets the link at once. Where the link of the pty about to be replaced
//! stands, the new one waits under a hidden name and changes places with it when the change is
//! decided, which can be undone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::WantLink;
use crate::back::OpenContext;
use crate::sys::strerror;

/// A link to a slave. It is removed with the last clone, if it still is ours.
#[derive(Clone, Debug)]
pub(super) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    slave: String,
    place: Mutex<Place>,
}

/// Where the link is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// At its path.
    There,
    /// Under a hidden name beside it.
    Hidden(PathBuf),
    /// At its path, with what was there under the hidden name.
    Exchanged(PathBuf),
}

impl Link {
    /// Makes a link at `path`, which must be free or a link that may be taken over.
    ///
    /// # Errors
    /// The cause in QEMU's words.
    pub(super) fn create(path: &Path, slave: &str, context: &OpenContext) -> Result<Self, String> {
        let failed = |error: Errno| format!("Failed to create PTY symlink: {}", strerror(error));
        let place = match rustix::fs::symlink(slave, path) {
            Ok(()) => Place::There,
            Err(Errno::EXIST) if Link::borrow(path, context).is_some() => {
                Place::Hidden(create_hidden(path, slave).map_err(failed)?)
            }
            Err(error) => return Err(failed(error)),
        };
        Ok(Link(Arc::new(Inner {
            path: path.into(),
            slave: slave.to_owned(),
            place: Mutex::new(place),
        })))
    }

    /// Whether this is the link at `path`.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.0.path == path && points_to(&self.0.path, &self.0.slave)
    }

    /// Whether this is the link at `path`, which was found to point to `target`. Touches no disk.
    pub(super) fn is_for(&self, path: &Path, target: &OsStr) -> bool {
        self.0.path == path && self.0.slave.as_str() == target
    }

    /// The link at `path`, if a pty that is about to leave has it.
    fn borrow(path: &Path, context: &OpenContext) -> Option<Link> {
        let target = std::fs::read_link(path).ok()?;
        context.borrow(&WantLink(path.to_owned(), target.into()))
    }

    /// Puts a hidden link in its place.
    ///
    /// # Errors
    /// The cause in QEMU's words; nothing has changed then.
    pub(super) fn activate(&self) -> Result<(), String> {
        self.step(|place| match place {
            Place::Hidden(hidden) => exchange(hidden, &self.0.path)
                .map(|()| Some(Place::Exchanged(hidden.clone())))
                .map_err(|error| format!("Failed to create PTY symlink: {}", strerror(error))),
            _ => Ok(None),
        })
    }

    /// Undoes [`Link::activate`].
    pub(super) fn deactivate(&self) {
        let _ = self.step(|place| match place {
            Place::Exchanged(hidden) => exchange(hidden, &self.0.path)
                .map(|()| Some(Place::Hidden(hidden.clone())))
                .map_err(strerror),
            _ => Ok(None),
        });
    }

    /// The link stays where it is.
    pub(super) fn keep(&self) {
        let _ = self.step(|place| {
            if let Place::Exchanged(hidden) = place {
                let _ = std::fs::remove_file(hidden);
                return Ok(Some(Place::There));
            }
            Ok(None)
        });
    }

    fn step(
        &self,
        step: impl FnOnce(&Place) -> Result<Option<Place>, String>,
    ) -> Result<(), String> {
        let mut place = self.0.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = step(&place)? {
            *place = next;
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let place = self.place.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Place::Exchanged(hidden) = place {
            if exchange(hidden, &self.path).is_ok() {
                *place = Place::Hidden(hidden.clone());
            }
        }
        let own = match place {
            Place::Hidden(hidden) => hidden,
            _ => &self.path,
        };
        if points_to(own, &self.slave) {
            let _ = std::fs::remove_file(own);
        }
    }
}

fn create_hidden(path: &Path, slave: &str) -> Result<PathBuf, Errno> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    loop {
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!(".chardev-pty-{}-{serial}", std::process::id());
        let hidden = path.with_file_name(name);
        match rustix::fs::symlink(slave, &hidden) {
            // Left behind by a process that died; the next name is as good.
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(hidden),
        }
    }
}

fn exchange(one: &Path, other: &Path) -> Result<(), Errno> {
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
}

fn points_to(path: &Path, slave: &str) -> bool {
    std::fs::read_link(path).is_ok_and(|target| target.as_os_str() == slave)
}
