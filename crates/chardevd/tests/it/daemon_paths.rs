//! Paths of sockets and links between two daemons: of one that runs, of one that died, and what a
//! client that locked its terminal leaves to the next one.

use std::fs::{File, OpenOptions, Permissions, read_link, set_permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::daemon_rig::{Daemon, chardevd, console, read_until, until};
use chardev_qapi::Object;
use rustix::fs::OFlags;

/// The user who is nobody.
const NOBODY: u32 = 65534;

#[test]
fn what_a_killed_daemon_left_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, link) = (dir.path().join("socket"), dir.path().join("link"));
    let arguments = [
        "-chardev".to_owned(),
        format!("socket,id=s,path={},server=on,wait=off", socket.display()),
        "-chardev".to_owned(),
        format!("pty,id=p,path={}", link.display()),
    ];
    let arguments = arguments.each_ref().map(String::as_str);
    let mut first = Daemon::start(&arguments);
    first.kill();
    assert!(socket.exists() && link.symlink_metadata().is_ok());
    // The next pty may or may not get the number of the one that is gone.
    let mut second = Daemon::start(&arguments);
    console(&socket);
    assert!(open(&link).write(b"x").is_ok());
    second.terminate();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_monitor_keeps_its_path_when_a_second_daemon_wants_it() {
    let daemon = Daemon::start(&["-chardev", "pty,id=p,path=link"]);
    let monitor = format!("unix:{},server=on,wait=off", daemon.monitor().display());
    let second = chardevd(&["-qmp", &monitor]);
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    let refused = format!(
        "Failed to bind socket to {}: Address already in use",
        daemon.monitor().display()
    );
    assert!(said.contains(&refused), "{said}");
    let link = daemon.dir().join("link");
    let second = chardevd(&["-chardev", &format!("pty,id=p,path={}", link.display())]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("PTY symlink: File exists"), "{said}");
    // The first one goes on.
    let found = daemon.monitor().symlink_metadata().unwrap();
    assert!(found.file_type().is_socket());
    daemon
        .client()
        .execute("query-chardev", Object::new())
        .unwrap();
    assert!(open(&link).write(b"x").is_ok());
}

#[test]
fn behind_a_link_a_lock_on_the_terminal_ends_with_its_client() {
    let mut daemon = unprivileged(&[
        "-chardev",
        "pty,id=p,path=link",
        "-chardev",
        "pty,id=q",
        "-device",
        "exec,chardev=p,command=stty raw -echo; exec cat",
    ]);
    let link = daemon.dir().join("link");
    let old = read_link(&link).unwrap();
    lock_and_leave(&link);
    until("another terminal", || read_link(&link).unwrap() != old);
    let new = read_link(&link).unwrap();
    let list = daemon
        .client()
        .execute("query-chardev", Object::new())
        .unwrap();
    assert!(list.to_string().contains(new.to_str().unwrap()), "{list}");
    // It is used as the old one was.
    let mut client = open(&link);
    client.write_all(b"x").unwrap();
    read_until(&mut client, "x");
    drop(client);
    // Without a link it is said what to do.
    let list = daemon
        .client()
        .execute("query-chardev", Object::new())
        .unwrap()
        .to_string();
    let at = list
        .split("pty:")
        .map(|rest| rest.split('"').next().unwrap());
    let unlinked = at.filter(|path| Path::new(path).exists() && Path::new(path) != new);
    let unlinked = PathBuf::from(unlinked.last().unwrap());
    lock_and_leave(&unlinked);
    lock_and_leave(&link);
    until("yet another terminal", || read_link(&link).unwrap() != new);
    let (_, said) = daemon.terminate();
    assert!(said.contains("only root can open it now"), "{said}");
}

#[test]
fn a_privileged_daemon_lifts_the_lock() {
    if !rustix::process::geteuid().is_root() {
        // Then the daemon is none, and the other test says all.
        return;
    }
    let daemon = Daemon::start(&["-chardev", "pty,id=p,path=link,x-closed=hold"]);
    let link = daemon.dir().join("link");
    let slave = read_link(&link).unwrap();
    set_permissions(&slave, Permissions::from_mode(0o666)).unwrap();
    lock_and_leave(&slave);
    until("somebody else can open it", || {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo x > \"$0\""]).arg(&slave);
        shell.uid(NOBODY).gid(NOBODY).stderr(Stdio::null());
        shell.status().unwrap().success()
    });
    assert_eq!(read_link(&link).unwrap(), slave);
}

/// A daemon that is not privileged, with a monitor.
fn unprivileged(arguments: &[&str]) -> Daemon {
    let program = env!("CARGO_BIN_EXE_chardevd");
    if !rustix::process::geteuid().is_root() {
        return Daemon::start(arguments);
    }
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    // The way to the program may be for root alone.
    let copy = dir.path().join("chardevd");
    std::fs::copy(program, &copy).unwrap();
    let monitor = dir.path().join("qmp.sock");
    let mut command = Command::new(&copy);
    command.current_dir(dir.path()).uid(NOBODY).gid(NOBODY);
    command.args(arguments).arg("-qmp");
    command.arg(format!("unix:{},server=on,wait=off", monitor.display()));
    Daemon::adopt_in(command, dir, &monitor)
}

fn open(path: &Path) -> File {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
    options.read(true).write(true);
    options
        .custom_flags(flags.bits() as i32)
        .open(path)
        .unwrap()
}

/// A client that has the terminal to itself, and goes.
fn lock_and_leave(path: &Path) {
    let mut client = open(path);
    rustix::termios::ioctl_tiocexcl(&client).unwrap();
    client.write_all(b"mine").unwrap();
    let _ = client.read(&mut [0; 16]);
}
