//! front → chardev → back → [host]: the symbolic link to a pty, and how its path is taken over.
//!
//! A path that is free gets the link at once. Where the link of the pty about to be replaced
//! stands, or one that was left behind, the new one waits under a hidden name and changes places
//! with it when the change is decided, which can be undone.
//!
//! A link cannot be locked, so that it is in use is told by an abstract socket named after it: it
//! goes with the process that has it, however that ends. A link is left behind if nobody has
//! that, and its terminal is gone or has been made after the link, for somebody else.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev_core::OpenError;
use rustix::fs::{CWD, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::WantLink;
use crate::back::OpenContext;
use crate::back::swap::exchange;
use crate::disk;
use crate::offload::elsewhere;
use crate::sys::{failed, strerror};

/// A link to a slave. It is removed with the last clone, if it still is ours.
#[derive(Clone, Debug)]
pub(super) struct Link(Arc<Symlink>);

#[derive(Debug)]
struct Symlink {
    path: PathBuf,
    state: Mutex<Target>,
    mark: Option<Arc<OwnedFd>>,
}

#[derive(Debug)]
struct Target {
    slave: String,
    place: Place,
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
    pub(super) fn create(
        path: &Path,
        slave: &str,
        context: &OpenContext,
    ) -> Result<Self, OpenError> {
        let failed = |error: Errno| failed("Failed to create PTY symlink", error);
        let hidden = || create_hidden(path, slave).map(Place::Hidden);
        let (place, mark) = match disk::symlink(slave, path) {
            Ok(()) => (Place::There, mark(path).ok().map(Arc::new)),
            Err(Errno::EXIST) => match Link::borrow(path, context) {
                Some(lent) => (hidden().map_err(failed)?, lent.0.mark.clone()),
                None => {
                    let mark = left_behind(path).ok_or_else(|| failed(Errno::EXIST))?;
                    (hidden().map_err(failed)?, Some(Arc::new(mark)))
                }
            },
            Err(error) => return Err(failed(error)),
        };
        Ok(Link(Arc::new(Symlink {
            path: path.into(),
            state: Mutex::new(Target {
                slave: slave.to_owned(),
                place,
            }),
            mark,
        })))
    }

    /// Whether this is the link at `path`.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.0.path == path && points_to(&self.0.path, &self.0.lock().slave)
    }

    /// Whether this is the link at `path`, which was found to point to `target`. Touches no disk.
    pub(super) fn is_for(&self, path: &Path, target: &OsStr) -> bool {
        self.0.path == path && self.0.lock().slave.as_str() == target
    }

    /// The link at `path`, if a pty that is about to leave has it.
    fn borrow(path: &Path, context: &OpenContext) -> Option<Link> {
        let target = disk::read_link(path).ok()?;
        context.borrow(&WantLink(path.to_owned(), target.into()))
    }

    /// Puts a hidden link in its place.
    ///
    /// # Errors
    /// The cause in QEMU's words; nothing has changed then.
    pub(super) fn activate(&self) -> Result<(), OpenError> {
        self.step(|place| match place {
            Place::Hidden(hidden) => match exchange(CWD, hidden, &self.0.path) {
                Ok(()) => Ok(Some(Place::Exchanged(hidden.clone()))),
                // What was there has gone meanwhile.
                Err(Errno::NOENT) => {
                    disk::rename(&**hidden, &self.0.path).map(|()| Some(Place::There))
                }
                Err(error) => Err(error),
            },
            _ => Ok(None),
        })
        .map_err(|error| failed("Failed to create PTY symlink", error))
    }

    /// Undoes [`Link::activate`].
    pub(super) fn deactivate(&self) {
        let mut state = self.0.lock();
        if let Some(hidden) = state.take_back(&self.0.path) {
            state.place = Place::Hidden(hidden);
        }
    }

    /// The link stays where it is.
    pub(super) fn keep(&self) {
        let _ = self.step(|place| {
            if let Place::Exchanged(hidden) = place {
                let hidden = hidden.clone();
                elsewhere(move || {
                    let _ = disk::unlink(hidden);
                });
                return Ok(Some(Place::There));
            }
            Ok(None)
        });
    }

    /// From here on it points to `slave`, unless it is not there any more.
    ///
    /// # Errors
    /// The cause; it points where it did then.
    pub(super) fn point_to(&self, slave: &str) -> Result<(), OpenError> {
        let mut state = self.0.lock();
        if state.place != Place::There || !points_to(&self.0.path, &state.slave) {
            return Err("the link no longer exists".into());
        }
        let hidden = create_hidden(&self.0.path, slave).map_err(strerror)?;
        disk::rename(&hidden, &self.0.path).map_err(|error| {
            let _ = disk::unlink(&hidden);
            strerror(error)
        })?;
        state.slave = slave.to_owned();
        Ok(())
    }

    fn step(&self, step: impl FnOnce(&Place) -> Result<Option<Place>, Errno>) -> Result<(), Errno> {
        let mut state = self.0.lock();
        if let Some(next) = step(&state.place)? {
            state.place = next;
        }
        Ok(())
    }
}

impl Symlink {
    fn lock(&self) -> MutexGuard<'_, Target> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    /// Puts what was displaced back to `path`, unless somebody else has taken that over meanwhile.
    /// Returns the hidden name.
    fn take_back(&self, path: &Path) -> Option<PathBuf> {
        let Place::Exchanged(hidden) = &self.place else {
            return None;
        };
        let is_ours = points_to(path, &self.slave);
        (is_ours && exchange(CWD, hidden, path).is_ok()).then(|| hidden.clone())
    }

    fn remove(mut self, path: &Path) {
        if let Some(hidden) = self.take_back(path) {
            self.place = Place::Hidden(hidden);
        }
        let own = match &self.place {
            Place::Hidden(hidden) => hidden,
            _ => path,
        };
        if points_to(own, &self.slave) {
            let _ = disk::unlink(own);
        }
    }
}

impl Drop for Symlink {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let state = Target {
            slave: std::mem::take(&mut state.slave),
            place: std::mem::replace(&mut state.place, Place::There),
        };
        let mark = self.mark.take();
        elsewhere(move || {
            state.remove(&path);
            drop(mark);
        });
    }
}

/// If the link at `path` was left behind, what marks it as ours from here on.
fn left_behind(path: &Path) -> Option<OwnedFd> {
    let target = disk::read_link(path).ok()?;
    let number = target.strip_prefix("/dev/pts").ok()?.to_str()?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mark = mark(path).ok()?;
    let link = disk::lstat(path).ok()?;
    let is_left = match disk::stat(&target) {
        Err(error) => error == Errno::NOENT,
        Ok(terminal) => was_made_after(&terminal, (link.st_mtime, link.st_mtime_nsec)),
    };
    is_left.then_some(mark)
}

/// Whether a terminal, whose times can only be later than its making, is younger than `moment`.
#[allow(
    clippy::useless_conversion,
    reason = "the types differ between platforms"
)]
fn was_made_after(terminal: &Stat, moment: (i64, u64)) -> bool {
    [
        (terminal.st_ctime, terminal.st_ctime_nsec),
        (terminal.st_mtime, terminal.st_mtime_nsec),
        (terminal.st_atime, terminal.st_atime_nsec),
    ]
    .iter()
    .all(|time| (i64::from(time.0), u64::from(time.1)) > moment)
}

/// Tells other processes that the link at `path` is in use, for as long as the descriptor lives.
fn mark(path: &Path) -> Result<OwnedFd, Errno> {
    /// As much of a link's name as fits into an abstract one beside the rest.
    const NAME_LIMIT: usize = 48;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = disk::stat(parent.unwrap_or(Path::new(".")))?;
    let name = path.file_name().map_or(&b""[..], OsStr::as_bytes);
    let mut address = format!(
        "chardev-pty-link/{:x}/{:x}/",
        directory.st_dev, directory.st_ino
    )
    .into_bytes();
    address.extend(&name[name.len().saturating_sub(NAME_LIMIT)..]);
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(&address)?)?;
    Ok(socket)
}

fn create_hidden(path: &Path, slave: &str) -> Result<PathBuf, Errno> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    loop {
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!(".chardev-pty-{}-{serial}", std::process::id());
        let hidden = path.with_file_name(name);
        match disk::symlink(slave, &hidden) {
            // Left behind by a process that died; the next name is as good.
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(hidden),
        }
    }
}

fn points_to(path: &Path, slave: &str) -> bool {
    disk::read_link(path).is_ok_and(|target| target.as_os_str() == slave)
}
