//! A Unix socket at a path: whose it is, and taking the place of one that nobody serves any more.
//!
//! It is bound to a hidden name beside the path, with the permissions that it is to have, and then
//! comes to its place at once: what a dead process left changes places with it, and a socket that
//! is alive stays where it is.
#![expect(
    clippy::disallowed_methods,
    reason = "on a thread that may wait, or at the end"
)]

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, chmodat, chownat, fchmod, openat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, listen, socket_with,
};

use crate::settings::Permit;

/// Clients that may wait in the kernel.
const BACKLOG: i32 = 1024;

/// The name of a socket in its directory, which goes with it.
#[derive(Debug)]
pub(super) struct Name {
    directory: OwnedFd,
    name: OsString,
    identity: Option<(u64, u64)>,
}

/// Listens at `path`, for those whom `permit` lets.
///
/// # Errors
/// From the kernel; `AddrInUse` if somebody serves the path, or something else is there.
pub(super) fn bind(path: &Path, permit: Permit) -> io::Result<(UnixListener, Name)> {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before it has a name, so that nobody comes who may not.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let mut bound = Name {
        name: bind_hidden(&socket, &directory)?,
        directory,
        identity: None,
    };
    bound.identity = bound.look(&bound.name).map(|(identity, _)| identity);
    let hidden = bound.name.clone();
    permit_at(&bound.directory, &hidden, permit)?;
    listen(&socket, BACKLOG)?;
    let no_replace = RenameFlags::NOREPLACE;
    match renameat_with(
        &bound.directory,
        &hidden,
        &bound.directory,
        name,
        no_replace,
    ) {
        Ok(()) => bound.name = name.to_owned(),
        Err(Errno::EXIST) => bound.replace(name)?,
        Err(error) => return Err(error.into()),
    }
    Ok((socket.into(), bound))
}

/// Lets those connect at `path` whom `permit` lets.
///
/// # Errors
/// From the kernel.
pub(crate) fn permit(path: &Path, permit: Permit) -> io::Result<()> {
    Ok(permit_at(CWD, path, permit)?)
}

fn permit_at(
    directory: impl std::os::fd::AsFd,
    name: impl AsRef<Path>,
    permit: Permit,
) -> Result<(), Errno> {
    let (directory, name) = (directory.as_fd(), name.as_ref());
    if let Some(gid) = permit.group {
        let gid = Some(Gid::from_raw(gid));
        chownat(directory, name, None, gid, AtFlags::empty())?;
    }
    let mode = Mode::from_raw_mode(permit.mode);
    chmodat(directory, name, mode, AtFlags::empty())
}

fn bind_hidden(socket: &OwnedFd, directory: &OwnedFd) -> Result<OsString, Errno> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    loop {
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!(".chardev-web-{}-{serial}", std::process::id());
        match rustix::net::bind(socket, &address(directory, name.as_ref())?) {
            // A name left behind by a process that died; the next one is as good.
            Err(Errno::ADDRINUSE) => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(name.into()),
        }
    }
}

/// The address of `name` in an open directory: short, wherever that is.
fn address(directory: &OwnedFd, name: &Path) -> Result<SocketAddrUnix, Errno> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    SocketAddrUnix::new(path.join(name))
}

impl Name {
    /// Changes places with the socket that is left at `name`.
    fn replace(&mut self, name: &std::ffi::OsStr) -> io::Result<()> {
        let in_use = || {
            let words = "another process serves it, or it is no socket; choose another path";
            io::Error::new(io::ErrorKind::AddrInUse, words)
        };
        if !self.is_left(name) {
            return Err(in_use());
        }
        let exchange = || {
            let (directory, flags) = (&self.directory, RenameFlags::EXCHANGE);
            renameat_with(directory, &self.name, directory, name, flags)
        };
        exchange()?;
        // Somebody else may have come between the look and the exchange.
        if !self.is_left(&self.name) {
            exchange()?;
            return Err(in_use());
        }
        let left = std::mem::replace(&mut self.name, name.to_owned());
        Ok(unlinkat(&self.directory, left, AtFlags::empty())?)
    }

    /// Whether a socket is there that nobody serves. A datagram cannot come to a stream socket, so
    /// whoever serves it does not notice.
    fn is_left(&self, name: impl AsRef<Path>) -> bool {
        let name = name.as_ref();
        let is_socket = self.look(name).is_some_and(|(_, is_socket)| is_socket);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let probe = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
        let probed = probe.and_then(|probe| connect(probe, &address(&self.directory, name)?));
        is_socket && probed == Err(Errno::CONNREFUSED)
    }

    /// Its device and number, and whether it is a socket.
    fn look(&self, name: impl AsRef<Path>) -> Option<((u64, u64), bool)> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = statat(&self.directory, name.as_ref(), flags).ok()?;
        let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
        Some(((stat.st_dev, stat.st_ino), is_socket))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let there = self.look(&self.name).map(|(identity, _)| identity);
        if self.identity.is_some() && there == self.identity {
            // It may be gone by now, which is as well.
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    const PERMIT: Permit = Permit {
        mode: 0o640,
        group: None,
    };

    #[test]
    fn a_socket_that_is_left_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("web");
        drop(UnixListener::bind(&path).expect("a socket"));
        let (_listening, name) = bind(&path, PERMIT).expect("what is left is replaced");
        UnixStream::connect(&path).expect("it listens");
        let found = std::fs::metadata(&path).expect("it is there");
        assert_eq!(found.permissions().mode() & 0o7777, 0o640);
        assert!(found.file_type().is_socket());
        let refused = bind(&path, PERMIT).expect_err("it is served");
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{refused}");
        UnixStream::connect(&path).expect("it listens still");
        let count = || std::fs::read_dir(dir.path()).expect("a directory").count();
        assert_eq!(count(), 1);
        drop(name);
        assert_eq!(count(), 0);
        std::fs::write(&path, "text").expect("a file");
        let refused = bind(&path, PERMIT).expect_err("it is a file");
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{refused}");
        assert_eq!(std::fs::read(&path).expect("a file"), b"text");
        assert_eq!(count(), 1);
    }

    #[test]
    fn a_path_may_be_long() {
        let dir = tempfile::tempdir().expect("a directory");
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).expect("a directory");
        let (_listening, name) = bind(&deep.join("web"), PERMIT).expect("it listens");
        assert!(name.look("web").is_some());
    }
}
