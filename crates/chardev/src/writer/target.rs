//! front → chardev → back → [host]: opening a file for output beside whoever else uses it.
//!
//! Opening for a change must not truncate and must leave nothing behind if the change fails, so
//! a file is never opened with `O_TRUNC`, and one that had to be created is removed again unless
//! it is kept. Nothing here waits for a peer: a FIFO without a reader opens at once.

use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use chardev_core::OpenError;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::in_use;
use crate::disk;
use crate::offload::elsewhere;
use crate::slow_fd::SlowFd;
use crate::sys::refused;

/// A descriptor for output and what it refers to.
#[derive(Debug)]
pub(crate) struct Target {
    /// The descriptor, non-blocking where that means anything.
    pub(crate) fd: SlowFd,
    file_type: FileType,
    file: (u64, u64),
    append_only: bool,
}

impl Target {
    /// Looks at what `fd` refers to.
    pub(crate) fn of(fd: OwnedFd) -> Result<Self, Errno> {
        let stat = disk::fstat(&fd)?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        Ok(Target {
            append_only: file_type == FileType::RegularFile && disk::is_append_only(&fd),
            fd: SlowFd::new(fd, file_type),
            file_type,
            file: (stat.st_dev, stat.st_ino),
        })
    }

    /// The type of the file.
    pub(crate) fn file_type(&self) -> FileType {
        self.file_type
    }

    /// Whether the file might only grow when it was opened (`chattr +a`, `+i`).
    pub(super) fn is_append_only(&self) -> bool {
        self.append_only
    }

    /// Device and inode where bytes stay in the order they were written: a regular file.
    pub(super) fn ordered_file(&self) -> Option<(u64, u64)> {
        (self.file_type == FileType::RegularFile).then_some(self.file)
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A file that exists only because it was opened; removed again unless it is kept.
#[derive(Debug)]
pub(crate) struct Created {
    path: PathBuf,
    file: (u64, u64),
    kept: bool,
}

impl Created {
    /// The file stays.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if !self.kept {
            let (path, file) = (std::mem::take(&mut self.path), self.file);
            elsewhere(move || remove_unused(&path, file));
        }
    }
}

fn remove_unused(path: &Path, file: (u64, u64)) {
    if in_use(file) {
        return;
    }
    let Ok(stat) = disk::lstat(path) else {
        return;
    };
    // Somebody may have put another file there, or something into this one.
    if (stat.st_dev, stat.st_ino) == file && stat.st_size == 0 {
        let _ = disk::unlink(path);
    }
}

const FLAGS: OFlags = OFlags::NONBLOCK
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Creates the file `path` for appending, with mode 0666.
///
/// # Errors
/// What the kernel said, `EXIST` if something is there; nothing is left behind.
pub(super) fn create_target(path: &Path) -> Result<Target, Errno> {
    let flags = FLAGS | OFlags::APPEND | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let fd = disk::open(path, flags, Mode::from_raw_mode(0o666))?;
    Target::of(fd).inspect_err(|_| {
        let _ = disk::unlink(path);
    })
}

/// Opens `path` for output, creating it with mode 0666 if need be.
///
/// # Errors
/// What the kernel said.
pub(crate) fn open_target(path: &Path, append: bool) -> Result<(Target, Option<Created>), Errno> {
    let mut flags = FLAGS;
    if append {
        flags |= OFlags::APPEND;
    }
    let (target, created) = open_or_create(path, flags)?;
    let created = created.then(|| Created {
        path: path.to_owned(),
        file: target.file,
        kept: false,
    });
    Ok((target, created))
}

/// `<what> '<path>': <cause>`, QEMU's form for a file that cannot be opened or created.
pub(crate) fn could_not(action: &str, path: impl Display, error: Errno) -> OpenError {
    refused(&format!("Could not {action}"), &path.to_string(), error)
}

fn open_or_create(path: &Path, flags: OFlags) -> Result<(Target, bool), Errno> {
    let mode = Mode::from_raw_mode(0o666);
    let exclusive = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    match open_existing(path, flags) {
        Err(Errno::NOENT) => match disk::open(path, exclusive, mode) {
            Ok(fd) => Ok((Target::of(fd)?, true)),
            // A symbolic link to nothing: the file appears where it points.
            Err(Errno::EXIST) => {
                let fd = disk::open(path, flags | OFlags::WRONLY | OFlags::CREATE, mode)?;
                Ok((Target::of(fd)?, false))
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
        Ok(target) => Ok((target, false)),
    }
}

/// Opens an existing file. A FIFO is opened for reading too: then the opening needs no reader,
/// what is written before one comes is kept by the kernel, and one that leaves is no error, all
/// as for the kind `pipe`.
fn open_existing(path: &Path, flags: OFlags) -> Result<Target, Errno> {
    let both = || disk::open(path, flags | OFlags::RDWR, Mode::empty());
    match disk::open(path, flags | OFlags::WRONLY, Mode::empty()) {
        Ok(fd) => {
            let target = Target::of(fd)?;
            if target.file_type != FileType::Fifo {
                return Ok(target);
            }
            match both().and_then(Target::of) {
                Ok(fifo) if fifo.file == target.file => Ok(fifo),
                _ => Ok(target),
            }
        }
        Err(Errno::NXIO) => both().and_then(Target::of),
        Err(error) => Err(error),
    }
}
