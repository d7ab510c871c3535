//! Where the daemon listens when nobody says, and what it runs then.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The QMP socket of a daemon started without arguments, and where `chardevctl` looks for one:
/// `chardevd/qmp.sock` in the user's runtime directory, or in `/tmp/chardevd-UID` without one.
pub fn default_socket() -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let run_user = PathBuf::from(format!("/run/user/{uid}"));
    match runtime
        .filter(|dir| dir.is_absolute())
        .or(run_user.is_dir().then_some(run_user))
    {
        Some(dir) => dir.join("chardevd/qmp.sock"),
        None => PathBuf::from(format!("/tmp/chardevd-{uid}/qmp.sock")),
    }
}

/// Makes the directory of `socket` for this user alone and checks that nobody serves there.
///
/// # Errors
/// The directory belongs to somebody else, or another daemon is there.
pub(crate) fn prepare(socket: &Path) -> Result<(), String> {
    let shown = socket.display();
    let dir = socket.parent().unwrap_or(Path::new("/"));
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(dir);
    made.map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
    let owner = std::fs::metadata(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    if owner.uid() != rustix::process::getuid().as_raw() {
        return Err(format!(
            "{} belongs to another user; set XDG_RUNTIME_DIR",
            dir.display()
        ));
    }
    match UnixStream::connect(socket) {
        Ok(_) => Err(format!(
            "a daemon is serving {shown} already: use it (chardevctl list), stop it, or give this one another socket with --qmp"
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(socket)
                .map_err(|error| format!("cannot remove stale {shown}: {error}"))
        }
        Err(error) => Err(format!("cannot use {shown}: {error}")),
    }
}
