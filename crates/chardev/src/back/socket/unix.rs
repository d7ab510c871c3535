//! front → chardev → back → [host]: names of Unix sockets, and taking one over without a gap.
//!
//! A path that is free is bound at once. Where the socket of somebody who has died is left, a
//! hidden name beside it is bound, and [`BoundPath::activate`] lets the two change places: a client
//! finds either the old socket or the new, never none. A socket that is alive stays where it is.
//!
//! Whether it is alive is asked of the kernel: a datagram socket cannot connect to a stream socket,
//! and the error tells one that exists from one that does not. Whoever serves it notices nothing,
//! as a trial connection would be noticed; no lock file is left behind; and unlike `/proc/net/unix`
//! it neither ends at a network namespace nor depends on how a path is spelled.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chardev_core::text::{from_os, to_bytes};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::directories;
use crate::back::swap::exchange;
use crate::disk;
use crate::offload::elsewhere;
use crate::sys::{failed, strerror};
use chardev_core::OpenError;

/// The longest path the kernel takes, and the longest abstract name.
const PATH_LIMIT: usize = 108;
const ABSTRACT_LIMIT: usize = 107;

/// Refuses a path that is longer than the kernel takes, as it was given: what it means may be
/// longer.
///
/// # Errors
/// QEMU's text.
pub(super) fn check_length(path: &str) -> Result<(), OpenError> {
    match to_bytes(path).len() > PATH_LIMIT {
        true => Err(too_long(path)),
        false => Ok(()),
    }
}

/// Calls `action` with the kernel's address for `path`, however long that is.
///
/// # Errors
/// From opening the path's directory, or from `action`.
pub(super) fn at_path<R>(
    path: &Path,
    action: impl FnOnce(&SocketAddrUnix) -> Result<R, Errno>,
) -> Result<R, Errno> {
    if path.as_os_str().len() <= PATH_LIMIT {
        return action(&SocketAddrUnix::new(path)?);
    }
    let (parent, name) = split(path);
    let directory = directories::open(parent)?;
    action(&in_directory(&directory, name)?)
}

/// The kernel's address for abstract name `name`.
///
/// # Errors
/// QEMU's text for a name that is too long.
pub(super) fn abstract_address(name: &str, tight: bool) -> Result<SocketAddrUnix, OpenError> {
    let mut bytes = to_bytes(name).into_owned();
    if bytes.len() > ABSTRACT_LIMIT {
        return Err(too_long(name));
    }
    if !tight {
        bytes.resize(ABSTRACT_LIMIT, 0);
    }
    SocketAddrUnix::new_abstract_name(&bytes).map_err(|_| too_long(name))
}

/// `unix:<name>` with what distinguishes an abstract name, as QEMU writes it.
pub(super) fn show(name: &str, abstract_name: bool, tight: bool) -> String {
    let kind = match (abstract_name, tight) {
        (false, _) => "",
        (true, false) => ",abstract=on",
        (true, true) => ",abstract=on,tight=on",
    };
    format!("unix:{name}{kind}")
}

/// A path for a server that was given an empty one; it looks as QEMU's.
pub(super) fn free_path() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let serial = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = from_os(std::env::temp_dir().as_os_str());
    format!("{directory}/qemu-socket-{}-{serial}", std::process::id())
}

/// A new Unix stream socket that never blocks.
///
/// # Errors
/// The cause in QEMU's words.
pub(super) fn stream() -> Result<OwnedFd, OpenError> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|error| failed("Failed to create Unix socket", error))
}

/// A path this process bound a socket to. Dropping it unlinks the path if it still is that
/// socket's.
#[derive(Debug)]
pub(super) struct BoundPath {
    directory: Arc<OwnedFd>,
    /// The path as it was given.
    shown: Arc<str>,
    /// What that means, if it is something else.
    meant: Option<Box<PathBuf>>,
    beside: Option<Box<Beside>>,
    identity: Option<Identity>,
}

/// What has a hidden name beside the path.
#[derive(Debug)]
enum Beside {
    /// The socket, until [`BoundPath::activate`].
    Ours(Box<OsStr>),
    /// What was at the path: the two have changed places.
    Displaced(Box<OsStr>),
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of what is at `path`, if anything is.
    pub(super) fn at(path: &Path) -> Option<Self> {
        disk::lstat(path).ok().map(|stat| Identity::of(&stat))
    }

    fn of(stat: &rustix::fs::Stat) -> Self {
        Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

impl BoundPath {
    /// Binds `socket` to `path`, which people know as `given`, or to a hidden name beside it if a
    /// socket is left there.
    ///
    /// # Errors
    /// The cause in QEMU's words, also where somebody serves the path. What is there is untouched.
    pub(super) fn bind(socket: &OwnedFd, given: &str, path: &Path) -> Result<Self, OpenError> {
        let failed = |error: Errno| bind_error(given, error);
        check_length(given)?;
        let directory = directories::hold(split(path).0).map_err(failed)?;
        let direct = at_path(path, |address| disk::bind(socket, address));
        if let Err(error) = direct {
            if error != Errno::ADDRINUSE {
                return Err(failed(error));
            }
        }
        let mut bound = BoundPath {
            directory,
            shown: given.into(),
            meant: (path != Path::new(given)).then(|| Box::new(path.into())),
            beside: None,
            identity: None,
        };
        if direct.is_err() {
            bound.check_replaceable(bound.name())?;
            let hidden = bound.bind_hidden(socket).map_err(failed)?;
            bound.beside = Some(Box::new(Beside::Ours(hidden)));
        }
        bound.identity = bound
            .look(bound.current_name())
            .map(|(identity, _)| identity);
        Ok(bound)
    }

    /// The path as it was given.
    pub(super) fn shown(&self) -> Arc<str> {
        Arc::clone(&self.shown)
    }

    fn path(&self) -> &Path {
        let meant = self.meant.as_ref();
        meant.map_or(Path::new(&*self.shown), |meant| meant.as_path())
    }

    fn name(&self) -> &OsStr {
        split(self.path()).1
    }

    /// The path of `name` in the same directory.
    fn path_of(&self, name: &OsStr) -> PathBuf {
        split(self.path()).0.join(name)
    }

    /// Whether this is the socket `found`.
    pub(super) fn is(&self, found: Identity) -> bool {
        self.identity == Some(found)
    }

    /// Puts the socket in its place. A socket that is left there changes places with it, so that
    /// [`BoundPath::deactivate`] can undo this.
    ///
    /// # Errors
    /// The cause in QEMU's words; the path is as it was.
    pub(super) fn activate(&mut self) -> Result<(), OpenError> {
        let Some(Beside::Ours(hidden)) = self.beside.as_deref() else {
            return Ok(());
        };
        self.check_replaceable(self.name())?;
        let unbound = |error: Errno| bind_error(&self.shown, error);
        match exchange(&self.directory, Path::new(hidden), Path::new(self.name())) {
            Ok(()) => {}
            // What was there has gone meanwhile.
            Err(Errno::NOENT) => {
                disk::rename_in(&self.directory, hidden, self.name()).map_err(unbound)?;
                self.beside = None;
                return Ok(());
            }
            Err(error) => return Err(unbound(error)),
        }
        let displaced = hidden.clone();
        self.beside = Some(Box::new(Beside::Displaced(displaced.clone())));
        // Somebody else may have come between the look and the exchange.
        let checked = self.check_replaceable(&displaced);
        checked.inspect_err(|_| self.deactivate())
    }

    /// Undoes [`BoundPath::activate`]: the socket that was there is there again.
    pub(super) fn deactivate(&mut self) {
        let Some(displaced) = self.take_displaced() else {
            return;
        };
        // Somebody else may have taken the path over meanwhile.
        let is_ours = self.look(self.name()).map(|(found, _)| found) == self.identity;
        let names = (Path::new(&displaced), Path::new(self.name()));
        if is_ours && exchange(&self.directory, names.0, names.1).is_ok() {
            self.beside = Some(Box::new(Beside::Ours(displaced)));
        }
    }

    /// The socket stays: what it displaced is unlinked.
    pub(super) fn keep(&mut self) {
        if let Some(displaced) = self.take_displaced() {
            let directory = Arc::clone(&self.directory);
            elsewhere(move || {
                let _ = disk::unlink_in(&directory, &displaced);
            });
        }
    }

    /// The hidden name of what was at the path, from which it is forgotten.
    fn take_displaced(&mut self) -> Option<Box<OsStr>> {
        let is_it = |beside: &mut Box<Beside>| matches!(**beside, Beside::Displaced(_));
        let (Beside::Displaced(name) | Beside::Ours(name)) = *self.beside.take_if(is_it)?;
        Some(name)
    }

    /// A socket that nobody serves, or nothing, may be replaced; a file that holds something may
    /// not. `name` is where to look.
    fn check_replaceable(&self, name: &OsStr) -> Result<(), OpenError> {
        match self.look(name) {
            None => Ok(()),
            Some((_, FileType::Socket)) if self.is_stale(name) => Ok(()),
            Some((_, FileType::Socket)) => {
                let refused = bind_error(&self.shown, Errno::ADDRINUSE);
                let remedy =
                    "another process is serving it; stop that process, or choose another path";
                let text = format!("{refused} ({remedy})");
                Err(refused.shown_as(text))
            }
            Some((_, FileType::Directory)) => {
                let text = format!("Failed to unlink socket {}: Is a directory", self.shown);
                let error = OpenError::new(text).about(&*self.shown);
                Err(error.because(std::io::Error::from(Errno::ISDIR)))
            }
            Some(_) => {
                let cause = "File exists and is not a socket";
                let text = format!("Failed to bind socket to {}: {cause}", self.shown);
                let error = OpenError::new(text).about(&*self.shown);
                Err(error.because(std::io::Error::from(Errno::EXIST)))
            }
        }
    }

    /// Whether the socket called `name` is served by nobody.
    fn is_stale(&self, name: &OsStr) -> bool {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
        let Ok(probe) = probe else { return false };
        let path = self.path_of(name);
        matches!(
            at_path(&path, |address| disk::connect(&probe, address)),
            Err(Errno::CONNREFUSED | Errno::NOENT)
        )
    }

    fn bind_hidden(&self, socket: &OwnedFd) -> Result<Box<OsStr>, Errno> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        loop {
            let serial = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!(".chardev-{}-{serial}", std::process::id());
            match at_path(&self.path_of(name.as_ref()), |address| {
                disk::bind(socket, address)
            }) {
                // A name left behind by a process that died; the next one is as good.
                Err(Errno::ADDRINUSE) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(OsString::from(name).into()),
            }
        }
    }

    /// Unlinks the path if it still is this socket's. Nothing is left for a drop.
    fn remove(&mut self) {
        self.deactivate();
        let name = self.current_name();
        if self.look(name).map(|(found, _)| found) == self.identity {
            let _ = disk::unlink_in(&self.directory, name);
        }
        self.identity = None;
    }

    fn current_name(&self) -> &OsStr {
        match self.beside.as_deref() {
            Some(Beside::Ours(hidden)) => hidden,
            _ => self.name(),
        }
    }

    fn look(&self, name: &OsStr) -> Option<(Identity, FileType)> {
        let stat = disk::lstat_in(&self.directory, name).ok()?;
        Some((Identity::of(&stat), FileType::from_raw_mode(stat.st_mode)))
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        if self.identity.is_none() {
            return;
        }
        let mut left = BoundPath {
            directory: Arc::clone(&self.directory),
            shown: Arc::clone(&self.shown),
            meant: self.meant.take(),
            beside: self.beside.take(),
            identity: self.identity.take(),
        };
        elsewhere(move || left.remove());
    }
}

fn too_long(name: &str) -> OpenError {
    OpenError::new(format!("UNIX socket path '{name}' is too long")).about(name)
}

/// The address of `name` in an open directory: short, wherever that is.
fn in_directory(directory: &OwnedFd, name: &OsStr) -> Result<SocketAddrUnix, Errno> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    SocketAddrUnix::new(path.join(name))
}

/// QEMU has the path without quotes here.
pub(super) fn bind_error(path: &str, error: Errno) -> OpenError {
    let cause = strerror(error);
    let text = format!("Failed to bind socket to {path}: {cause}");
    OpenError::new(text)
        .about(path)
        .because(std::io::Error::from(error))
}

/// The directory of `path` and the name in it. Unlike [`Path::file_name`] it keeps `..` as it is,
/// for the kernel to judge.
fn split(path: &Path) -> (&Path, &OsStr) {
    let path = trimmed(path);
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let (parent, name) = path.split_at(slash.map_or(0, |slash| slash + 1));
    let parent = if parent.is_empty() { b"." } else { parent };
    (
        Path::new(OsStr::from_bytes(parent)),
        OsStr::from_bytes(name),
    )
}

/// Without slashes at the end.
fn trimmed(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/');
    &bytes[..end.map_or(0, |end| end + 1)]
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test may wait for its disk")]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::back::swap::tests::REFUSED;

    #[test]
    fn a_later_failure_gives_the_path_back_on_any_file_system() {
        for refused in [false, true] {
            REFUSED.set(refused);
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("con0");
            drop(UnixListener::bind(&path).unwrap());
            let old = Identity::at(&path);
            let socket = stream().unwrap();
            let mut bound = BoundPath::bind(&socket, "con0", &path).unwrap();
            assert_eq!(Identity::at(&path), old);
            bound.activate().unwrap();
            assert_eq!(Identity::at(&path), bound.identity);
            bound.deactivate();
            assert_eq!(Identity::at(&path), old);
            bound.activate().unwrap();
            bound.keep();
            assert_eq!(Identity::at(&path), bound.identity);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        REFUSED.set(false);
    }

    #[test]
    fn who_comes_between_the_look_and_the_exchange_keeps_the_path() {
        for refused in [false, true] {
            REFUSED.set(refused);
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("con0");
            drop(UnixListener::bind(&path).unwrap());
            let socket = stream().unwrap();
            let mut bound = BoundPath::bind(&socket, "con0", &path).unwrap();
            std::fs::remove_file(&path).unwrap();
            let quicker = UnixListener::bind(&path).unwrap();
            let theirs = Identity::at(&path);
            let error = bound.activate().unwrap_err();
            assert!(
                error.to_string().contains("Address already in use"),
                "{error}"
            );
            drop(bound);
            assert_eq!(Identity::at(&path), theirs);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
            drop(quicker);
        }
        REFUSED.set(false);
    }

    #[test]
    fn a_path_splits_into_directory_and_name() {
        let check = |path, directory: &str, name: &str| {
            assert_eq!(
                split(Path::new(path)),
                (Path::new(directory), OsStr::new(name))
            );
        };
        check("/run/console.sock", "/run/", "console.sock");
        check("console.sock", ".", "console.sock");
        check("/console.sock", "/", "console.sock");
        check("/run/dir/", "/run/", "dir");
    }

    #[test]
    fn an_abstract_name_is_padded_unless_tight() {
        let name = |tight| {
            abstract_address("con0", tight)
                .unwrap()
                .abstract_name()
                .unwrap()
                .len()
        };
        assert_eq!((name(true), name(false)), (4, ABSTRACT_LIMIT));
        assert!(abstract_address(&"a".repeat(107), true).is_ok());
        assert!(abstract_address(&"a".repeat(108), true).is_err());
    }

    #[test]
    fn a_path_may_be_as_long_as_the_kernel_allows() {
        assert!(check_length(&"a".repeat(108)).is_ok());
        let path = "a".repeat(109);
        let too_long = format!("UNIX socket path '{path}' is too long");
        assert_eq!(check_length(&path).unwrap_err().to_string(), too_long);
    }
}
