//! `--pidfile`: one instance for each file, which is removed at the end.
//!
//! The file is locked for as long as the daemon runs, as QEMU locks it, so a second instance is
//! refused whatever the file says, and one left behind by a daemon that was killed is taken over.
#![allow(
    clippy::disallowed_methods,
    reason = "only the start and the end of the process wait for it"
)]

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chardev::text::shown_path;
use rustix::fs::{FlockOperation, fcntl_lock};

use crate::DaemonError;

/// The file of this process, also for a way out that passes by its owner.
static OURS: Mutex<Option<Locked>> = Mutex::new(None);

/// A file with our process id, removed at the end.
#[derive(Debug)]
pub(crate) struct PidFile(());

#[derive(Debug)]
struct Locked {
    path: PathBuf,
    /// Open for the sake of its lock.
    file: File,
}

impl PidFile {
    /// Writes the file, whose relative path starts at `directory`.
    ///
    /// # Errors
    /// QEMU's text with the cause.
    pub(crate) fn create(given: &Path, directory: &Path) -> Result<Self, DaemonError> {
        let path = directory.join(given);
        let failed = |error: DaemonError| error.within("cannot create PID file");
        let file = lock(given, &path).map_err(failed)?;
        let written = write(&file);
        written.map_err(|error| failed(refused("Failed to write pid file", error)))?;
        *OURS.lock().unwrap_or_else(PoisonError::into_inner) = Some(Locked { path, file });
        Ok(PidFile(()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        remove();
    }
}

/// Removes the file, if this process has one and it still is ours.
pub(crate) fn remove() {
    let ours = OURS.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Locked { path, file }) = ours {
        if is_at(&path, &file) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Opens and locks the file. Between the two its owner may have ended and removed it; a lock on a
/// file without a name keeps nobody out, so then there is another one.
fn lock(given: &Path, path: &Path) -> Result<File, DaemonError> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(path).map_err(|error| {
            let what = format!("Could not create '{}'", shown_path(given));
            refused(&what, error)
        })?;
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| refused("Cannot lock pid file", error.into()))?;
        if is_at(path, &file) {
            return Ok(file);
        }
    }
}

fn write(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn is_at(path: &Path, file: &File) -> bool {
    let same =
        |one: Metadata, other: Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    match (std::fs::metadata(path), file.metadata()) {
        (Ok(found), Ok(own)) => same(found, own),
        _ => false,
    }
}

/// `WHAT: CAUSE`, the cause in the words of the C library.
fn refused(what: &str, error: io::Error) -> DaemonError {
    let text = error.to_string();
    let cause = text.split(" (os error").next().unwrap_or_default();
    DaemonError::new(format!("{what}: {cause}")).because(error)
}
