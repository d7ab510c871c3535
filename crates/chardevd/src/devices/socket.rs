//! [front] → chardev → back → host: the Unix socket that a VMM connects to.

use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A listening socket with a path, which goes with it.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: UnixListener,
    path: PathBuf,
}

impl Bound {
    /// Listens at `path`. A socket that nobody listens on any more is replaced, nothing else is.
    ///
    /// # Errors
    /// QEMU's text with the path and the cause.
    pub(crate) fn new(path: &str) -> Result<Self, String> {
        let path = PathBuf::from(path);
        let bound = UnixListener::bind(&path).or_else(|error| {
            if error.kind() == ErrorKind::AddrInUse && is_left_over(&path) {
                std::fs::remove_file(&path)?;
                return UnixListener::bind(&path);
            }
            Err(error)
        });
        match bound {
            Ok(listener) => Ok(Bound { listener, path }),
            Err(error) => {
                let path = path.display();
                Err(format!("Failed to bind socket to {path}: {error}"))
            }
        }
    }

    /// The listener, for the thread that serves it; the path stays with this.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_left_over(path: &Path) -> bool {
    let socket = path
        .symlink_metadata()
        .is_ok_and(|data| data.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    socket && UnixStream::connect(path).err().is_some_and(refused)
}
