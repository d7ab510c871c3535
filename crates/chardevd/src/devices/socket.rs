//! [front] → chardev → back → host: the Unix socket that a VMM connects to.
#![allow(
    clippy::disallowed_methods,
    reason = "only the start and the end of a device wait for it"
)]

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, statat, unlinkat};

use crate::DaemonError;
use crate::devices::worker::on_own_thread;

/// The longest path that an address takes everywhere.
const PATH_LIMIT: usize = 107;

/// A listening socket with a path, which goes with it.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: UnixListener,
    place: Place,
    /// Device and inode, by which our socket is told from another's at the path.
    identity: Option<(u64, u64)>,
}

/// A path, as a name in an open directory.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    directory: OwnedFd,
    name: PathBuf,
}

impl Bound {
    /// Listens at `path`, which people know as `given`. A socket that nobody listens on any more is
    /// replaced, nothing else is.
    ///
    /// # Errors
    /// QEMU's text with the path and the cause.
    pub(crate) fn new(given: &str, path: &Path) -> Result<Self, DaemonError> {
        let what = format_args!("Failed to bind socket to {given}");
        let failed = |error: io::Error| DaemonError::of(what, error);
        let place = Place::of(path).map_err(failed)?;
        let bound = UnixListener::bind(place.path()).or_else(|error| {
            if error.kind() == ErrorKind::AddrInUse && place.is_left_over() {
                place.remove()?;
                return UnixListener::bind(place.path());
            }
            Err(error)
        });
        Ok(Bound {
            listener: bound.map_err(failed)?,
            identity: place.identity(),
            place,
        })
    }

    /// The listener, for the thread that serves it; the path stays with this.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Bound {
    /// Removes the path where waiting for its file system holds up no other device.
    pub(crate) async fn remove(self) {
        // Without a thread it is done here, which is late rather than never.
        let _ = on_own_thread("unlink", move || drop(self)).await;
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if self.identity.is_some() && self.place.identity() == self.identity {
            let _ = self.place.remove();
        }
    }
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Place {
            path: path.to_owned(),
            directory: rustix::fs::open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())?,
            name: path.file_name().ok_or(ErrorKind::IsADirectory)?.into(),
        })
    }

    /// A path to it that fits into an address, however deep the directory is.
    fn path(&self) -> PathBuf {
        if self.path.as_os_str().len() <= PATH_LIMIT {
            return self.path.clone();
        }
        let directory = format!("/proc/self/fd/{}", self.directory.as_raw_fd());
        Path::new(&directory).join(&self.name)
    }

    fn identity(&self) -> Option<(u64, u64)> {
        let found = statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        found.ok().map(|stat| (stat.st_dev, stat.st_ino))
    }

    fn remove(&self) -> io::Result<()> {
        Ok(unlinkat(&self.directory, &self.name, AtFlags::empty())?)
    }

    fn is_left_over(&self) -> bool {
        let path = self.path();
        let socket = path
            .symlink_metadata()
            .is_ok_and(|data| data.file_type().is_socket());
        let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
        // A datagram cannot come to a stream socket, so whoever serves it does not notice.
        let probe = UnixDatagram::unbound().and_then(|probe| probe.connect(path));
        socket && probe.err().is_some_and(refused)
    }
}
