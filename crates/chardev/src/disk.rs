//! front → chardev → back → \[host\]: calls that may wait for a disk, in the one file that may make
//! them.
//!
//! Each finds out whether it is called where nothing may wait. Whoever comes from such a place uses
//! [`offload`](crate::offload) first.
#![allow(
    clippy::disallowed_methods,
    reason = "everybody else calls these here, where it is known whether they may wait"
)]

use std::ffi::{OsStr, OsString};
#[cfg(feature = "tls")]
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Stat, StatxAttributes, StatxFlags, fstat as fd_stat};
use rustix::io::{Errno, Result};
use rustix::net::SocketAddrUnix;

use crate::offload::assert_may_wait;

/// `open`.
#[track_caller]
pub(crate) fn open(path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    assert_may_wait();
    rustix::fs::open(path.as_ref(), flags, mode)
}

/// `fstat`, which a network file system may have to ask its server for.
#[track_caller]
pub(crate) fn fstat(fd: impl AsFd) -> Result<Stat> {
    assert_may_wait();
    fd_stat(fd)
}

/// `stat`.
#[track_caller]
pub(crate) fn stat(path: impl AsRef<Path>) -> Result<Stat> {
    assert_may_wait();
    rustix::fs::stat(path.as_ref())
}

/// `lstat`.
#[track_caller]
pub(crate) fn lstat(path: impl AsRef<Path>) -> Result<Stat> {
    assert_may_wait();
    rustix::fs::lstat(path.as_ref())
}

/// `lstat` of a name in a directory.
#[track_caller]
pub(crate) fn lstat_in(directory: impl AsFd, name: &OsStr) -> Result<Stat> {
    assert_may_wait();
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Whether the file may only grow, so that emptying it would fail (`chattr +a`, `+i`).
#[track_caller]
pub(crate) fn is_append_only(fd: impl AsFd) -> bool {
    assert_may_wait();
    let (flags, mask) = (AtFlags::EMPTY_PATH, StatxFlags::empty());
    let barred = StatxAttributes::APPEND | StatxAttributes::IMMUTABLE;
    rustix::fs::statx(fd, "", flags, mask)
        .is_ok_and(|found| found.stx_attributes.intersects(barred))
}

/// Empties a file (`ftruncate`).
#[track_caller]
pub(crate) fn empty(fd: impl AsFd) -> Result<()> {
    assert_may_wait();
    loop {
        match rustix::fs::ftruncate(&fd, 0) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// `rename`.
#[track_caller]
pub(crate) fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    assert_may_wait();
    rustix::fs::rename(from.as_ref(), to.as_ref())
}

/// Gives what is at `path` the second name `name` (`link`). A symbolic link is not followed.
#[track_caller]
pub(crate) fn link(path: impl AsRef<Path>, name: impl AsRef<Path>) -> Result<()> {
    assert_may_wait();
    rustix::fs::link(path.as_ref(), name.as_ref())
}

/// `rename` of a name in a directory.
#[track_caller]
pub(crate) fn rename_in(directory: impl AsFd, from: &OsStr, to: &OsStr) -> Result<()> {
    assert_may_wait();
    rustix::fs::renameat(&directory, from, &directory, to)
}

/// `symlink`.
#[track_caller]
pub(crate) fn symlink(target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
    assert_may_wait();
    rustix::fs::symlink(target.as_ref(), path.as_ref())
}

/// Where a symbolic link points to.
#[track_caller]
pub(crate) fn read_link(path: impl AsRef<Path>) -> std::io::Result<PathBuf> {
    assert_may_wait();
    std::fs::read_link(path)
}

/// `unlink`.
#[track_caller]
pub(crate) fn unlink(path: impl AsRef<Path>) -> Result<()> {
    assert_may_wait();
    rustix::fs::unlink(path.as_ref())
}

/// `unlink` of a name in a directory.
#[track_caller]
pub(crate) fn unlink_in(directory: impl AsFd, name: &OsStr) -> Result<()> {
    assert_may_wait();
    rustix::fs::unlinkat(directory, name, AtFlags::empty())
}

/// The names in a directory.
#[track_caller]
pub(crate) fn names(directory: impl AsRef<Path>) -> std::io::Result<Vec<OsString>> {
    assert_may_wait();
    let entries = std::fs::read_dir(directory)?;
    entries.map(|entry| Ok(entry?.file_name())).collect()
}

/// What a text file says.
#[track_caller]
pub(crate) fn read_text(path: impl AsRef<Path>) -> std::io::Result<String> {
    assert_may_wait();
    std::fs::read_to_string(path)
}

/// Writes all of `content`, for as long as that takes.
#[cfg(feature = "vc")]
#[track_caller]
pub(crate) fn write_all(fd: OwnedFd, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;

    assert_may_wait();
    let flags = rustix::fs::fcntl_getfl(&fd)? & !OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(&fd, flags)?;
    std::fs::File::from(fd).write_all(content)
}

/// Makes `content` all that the file at `path` has: at once, or not at all. What is no file, such
/// as a FIFO, is written to.
#[cfg(feature = "vc")]
#[track_caller]
pub(crate) fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    assert_may_wait();
    let write_only = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    // A link stays one, and what it leads to is replaced.
    let target = std::fs::canonicalize(path);
    let path = target.as_deref().unwrap_or(path);
    let mut mode = None;
    if let Ok(there) = rustix::fs::stat(path) {
        // Who may not write to it may not replace it either, which a directory would allow.
        let fd = rustix::fs::open(path, write_only, Mode::empty())?;
        if !rustix::fs::FileType::from_raw_mode(there.st_mode).is_file() {
            return write_all(fd, content);
        }
        mode = Some(Mode::from_raw_mode(there.st_mode));
    }
    // Not made of the name, which may be as long as a name can be.
    let hidden = path.with_file_name(format!(".chardev-{:x}", unique()));
    let create = write_only | OFlags::CREATE | OFlags::EXCL;
    let fd = rustix::fs::open(&hidden, create, Mode::from_raw_mode(0o666))?;
    let written = mode.map_or(Ok(()), |mode| rustix::fs::fchmod(&fd, mode));
    let written = written.map_err(std::io::Error::from);
    let written = written.and_then(|()| write_all(fd, content));
    let written = written.and_then(|()| Ok(rename(&hidden, path)?));
    written.inspect_err(|_| _ = unlink(&hidden))
}

/// A number that no other process is likely to use, nor this one twice.
#[cfg(feature = "vc")]
fn unique() -> u64 {
    use std::sync::atomic::{AtomicU32, Ordering};

    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    u64::from(std::process::id()) << 32 | u64::from(number)
}

/// What a file says that has at most `limit` bytes.
///
/// # Errors
/// As from opening and reading it, or it is longer.
#[cfg(feature = "tls")]
#[track_caller]
pub(crate) fn read_small(path: impl AsRef<Path>, limit: u64) -> std::io::Result<Vec<u8>> {
    assert_may_wait();
    let mut content = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(limit + 1).read_to_end(&mut content)?;
    match content.len() as u64 > limit {
        true => Err(std::io::ErrorKind::FileTooLarge.into()),
        false => Ok(content),
    }
}

/// Gives a socket a path (`bind`).
#[track_caller]
pub(crate) fn bind(socket: impl AsFd, path: &SocketAddrUnix) -> Result<()> {
    assert_may_wait();
    rustix::net::bind(socket, path)
}

/// `connect` to a path. It does not wait for the server, but perhaps for the path.
#[track_caller]
pub(crate) fn connect(socket: impl AsFd, path: &SocketAddrUnix) -> Result<()> {
    assert_may_wait();
    rustix::net::connect(socket, path)
}
