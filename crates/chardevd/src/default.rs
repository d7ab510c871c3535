//! Where the daemon listens, and what it runs, when nothing is said.
#![allow(clippy::disallowed_methods, reason = "only the start waits for it")]

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use chardev::text::{from_os, shown, shown_path};

use crate::DaemonError;

/// The QMP socket of a daemon started without arguments, and where `chardevctl` looks for one:
/// `chardevd/qmp.sock` in the user's runtime directory, or in `/tmp/chardevd-UID` without one. In a
/// service of systemd's it is `qmp.sock` in the service's runtime directory.
pub fn default_socket() -> PathBuf {
    let service = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
    if let Some(dir) = service.filter(|dir| dir.is_absolute()) {
        return dir.join("qmp.sock");
    }
    let uid = rustix::process::getuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let run_user = PathBuf::from(format!("/run/user/{uid}"));
    // After `su` the variable still names another user's.
    let is_others = |dir: &PathBuf| dir.metadata().is_ok_and(|found| found.uid() != uid);
    match runtime
        .filter(|dir| dir.is_absolute() && !is_others(dir))
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
pub(crate) fn prepare(socket: &Path) -> Result<(), DaemonError> {
    let place = shown_path(socket);
    let dir = socket.parent().unwrap_or(Path::new("/"));
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(dir);
    made.map_err(|error| {
        DaemonError::of(format_args!("cannot create {}", shown_path(dir)), error)
    })?;
    // A symbolic link, or what somebody else put there, must not decide who talks to us.
    let found = std::fs::symlink_metadata(dir);
    let found = found.map_err(|error| DaemonError::of(shown_path(dir), error))?;
    if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() {
        return Err(format!(
            "{} is not a directory of yours; remove it, or set XDG_RUNTIME_DIR",
            shown_path(dir)
        )
        .into());
    }
    if found.mode() & 0o077 != 0 {
        return Err(format!("{} is open to others; run chmod 700 on it", shown_path(dir)).into());
    }
    match UnixStream::connect(socket) {
        Ok(_) => Err(format!(
            "a daemon is already serving {place}: use it (chardevctl list), stop it, or give this one another socket with --qmp"
        )
        .into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(socket)
                .map_err(|error| DaemonError::of(format_args!("cannot remove stale {place}"), error))
        }
        Err(error) => Err(DaemonError::of(format_args!("cannot use {place}"), error)),
    }
}

/// The user's shell.
pub(crate) fn shell() -> String {
    let shell = std::env::var_os("SHELL");
    shell
        .filter(|path| Path::new(path).is_file())
        .map_or("/bin/sh".to_owned(), |path| from_os(&path))
}

/// `text` as one word of the shell's.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What to type next.
pub(crate) fn welcome(shell: &str, socket: &Path) -> String {
    let ctl = ctl_command();
    format!(
        "Console con0 runs {}; QMP is on {}. In another terminal, try:\n  \
         {ctl} list         what there is, and where it goes\n  \
         {ctl} attach con0  use the console\n  \
         {ctl} demo         change a busy console many times and count every byte\n",
        shown(shell),
        shown_path(socket)
    )
}

/// How the client is called from here: by name, beside the daemon, or through cargo.
fn ctl_command() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join("chardevctl").is_file()) {
        return "chardevctl".to_owned();
    }
    let beside = std::env::current_exe().map(|exe| exe.with_file_name("chardevctl"));
    match beside {
        Ok(beside) if beside.is_file() => {
            let here = std::env::current_dir().unwrap_or_default();
            let beside = beside.strip_prefix(here).unwrap_or(&beside);
            shown_path(beside).to_string()
        }
        _ => "cargo run --release --bin chardevctl --".to_owned(),
    }
}
