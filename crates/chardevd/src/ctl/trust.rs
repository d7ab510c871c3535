//! Which daemons `chardevctl` talks to by default: the user's own, or the system's.
//!
//! The default socket may be in `/tmp`, where anybody can be first to make its directory, and who
//! serves it sees what is typed on a console. A socket that was named, by `--socket` or the
//! environment, is the user's own choice, as for `ssh -S` and `tmux -S`: it may well be another's.

use std::fs::symlink_metadata;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use chardev::text::shown_path;
use rustix::net::sockopt::socket_peercred;

use super::failure::Failure;

/// Refuses the default socket where somebody else than user `me` could have made it. What is not
/// there is fine.
///
/// # Errors
/// Whose it is, and what to do about it.
pub(super) fn check_place(socket: &Path, me: u32) -> Result<(), Failure> {
    let directory = socket.parent().unwrap_or(Path::new("/"));
    for (path, is_directory) in [(directory, true), (socket, false)] {
        let found = match symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(format!("{}: {error}", shown_path(path)).into()),
        };
        let as_expected = match is_directory {
            true => found.is_dir(),
            false => found.file_type().is_socket(),
        };
        if !as_expected {
            let kind = if is_directory { "directory" } else { "socket" };
            return Err(refused(path, &format!("is no {kind}"), "remove it"));
        }
        if !trusts(me, found.uid()) {
            let whose = format!("belongs to user {}", found.uid());
            return Err(refused(path, &whose, "remove it"));
        }
        if is_directory && found.mode() & 0o022 != 0 {
            let remedy = format!("run 'chmod go-w {}'", shown_path(path));
            return Err(refused(path, "can be written to by others", &remedy));
        }
    }
    Ok(())
}

/// Refuses a server that runs as somebody else than user `me`.
///
/// # Errors
/// Whose it is, and what to do about it.
pub(super) fn check_peer(stream: impl AsFd, socket: &Path, me: u32) -> Result<(), Failure> {
    let peer =
        socket_peercred(stream).map_err(|error| format!("{}: {error}", shown_path(socket)))?;
    match trusts(me, peer.uid.as_raw()) {
        true => Ok(()),
        false => {
            let whose = format!("is served by user {}", peer.uid.as_raw());
            Err(refused(socket, &whose, "remove it"))
        }
    }
}

fn trusts(me: u32, owner: u32) -> bool {
    owner == 0 || owner == me
}

fn refused(path: &Path, why: &str, remedy: &str) -> Failure {
    let text = format!(
        "{} {why}, so it is not spoken to\n\
         {remedy}, or name the monitor with --socket PATH if you trust it",
        shown_path(path)
    );
    text.into()
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    /// Somebody who owns nothing here, and what is to be done to `path` that he does not.
    fn stranger(path: &Path) -> u32 {
        let me = rustix::process::geteuid().as_raw();
        if me == 0 {
            // What is root's is trusted by everybody.
            chown(path, Some(65534), None).unwrap();
        }
        me + 1
    }

    #[test]
    fn only_our_own_place_is_trusted() {
        let me = rustix::process::geteuid().as_raw();
        let dir = tempfile::tempdir().unwrap();
        let (own, socket) = (dir.path().join("own"), dir.path().join("own/qmp.sock"));
        let said = |socket: &Path, me| {
            let refused = check_place(socket, me).err();
            refused.map_or_else(String::new, |refused| refused.to_string())
        };
        assert_eq!(said(&socket, me), "", "nothing is there");
        create_dir(&own).unwrap();
        assert_eq!(said(&socket, me), "");
        let listener = UnixListener::bind(&socket).unwrap();
        set_permissions(&own, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(said(&socket, me), "");

        set_permissions(&own, Permissions::from_mode(0o1777)).unwrap();
        let by_others = said(&socket, me);
        assert!(by_others.contains("can be written to by others"));
        assert!(by_others.contains(&format!("'chmod go-w {}'", own.display())));
        set_permissions(&own, Permissions::from_mode(0o700)).unwrap();

        let link = dir.path().join("link");
        symlink(&own, &link).unwrap();
        assert!(said(&link.join("qmp.sock"), me).contains("is no directory"));
        write(own.join("file"), "").unwrap();
        assert!(said(&own.join("file"), me).contains("is no socket"));

        let client = UnixStream::connect(&socket).unwrap();
        assert_eq!(check_peer(&client, &socket, me), Ok(()));
        let other = stranger(&socket);
        if me != 0 {
            assert!(check_peer(&client, &socket, other).is_err());
        }
        let asked = if me == 0 { me } else { other };
        assert!(said(&socket, asked).contains("belongs to user"));
        drop(listener);
    }
}
