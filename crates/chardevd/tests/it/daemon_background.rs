//! A daemon in the background: its paths, its one pidfile, and who may use what it makes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::daemon_rig::{connect, until};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

/// A daemon in the background, started in a directory of its own.
struct Background {
    dir: TempDir,
    pid: Pid,
}

impl Background {
    /// Starts one after `prepare` made what it needs.
    fn start(arguments: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let started = daemonize(dir.path(), arguments);
        assert!(started.status.success(), "{started:?}");
        let pid = pid_in(&dir.path().join("pid"));
        Background { dir, pid }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn end(&self) {
        kill_process(self.pid, Signal::TERM).unwrap();
        until("the daemon ends", || test_kill_process(self.pid).is_err());
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It fails if the daemon has already ended.
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

fn daemonize(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
    command.current_dir(dir).args(arguments);
    command.args(["-daemonize", "-pidfile", "pid"]);
    command.stdin(Stdio::null()).output().unwrap()
}

fn pid_in(file: &Path) -> Pid {
    let text = fs::read_to_string(file).unwrap();
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn relative_paths_mean_the_same_in_the_background() {
    let mut listener = None;
    let daemon = Background::start(
        &[
            "-chardev",
            "socket,id=s,path=sub/s.sock,server=on,wait=off",
            "-chardev",
            "socket,id=c,path=far.sock,reconnect-ms=10",
            "-chardev",
            "pty,id=p,path=p.pty",
            "-chardev",
            "file,id=f,path=f.out",
            "-chardev",
            "pipe,id=io,path=io",
            "-chardev",
            "ringbuf,id=l,logfile=l.log,x-logindex=l.index,x-logsize=4k,x-logcount=2",
            "-chardev",
            "null,id=n",
            "-device",
            "exec,chardev=l,command=seq 1 2000; exec sleep 1000",
            "-device",
            "exec,chardev=n,cwd=sub,command=pwd > ran; exec ../program",
            "-device",
            "vfio-user-serial,chardev=f,socket=v.sock",
        ],
        |dir| {
            fs::create_dir(dir.join("sub")).unwrap();
            fs::write(
                dir.join("program"),
                "#!/bin/sh\npwd > ran-too\nsleep 1000\n",
            )
            .unwrap();
            fs::set_permissions(dir.join("program"), PermissionsExt::from_mode(0o755)).unwrap();
            let made = Command::new("mkfifo").arg(dir.join("io")).status();
            assert!(made.unwrap().success());
            listener = Some(UnixListener::bind(dir.join("far.sock")).unwrap());
        },
    );
    let name = fs::read_to_string(format!("/proc/{}/comm", daemon.pid.as_raw_nonzero()));
    assert_eq!(name.unwrap(), "chardevd\n");
    assert_eq!(
        fs::read_link(format!("/proc/{}/cwd", daemon.pid.as_raw_nonzero())).unwrap(),
        Path::new("/")
    );
    for _ in 0..3 {
        listener.as_ref().unwrap().accept().unwrap();
    }
    let sub = daemon.path("sub").canonicalize().unwrap();
    for (file, text) in [
        ("sub/ran", format!("{}\n", sub.display())),
        ("sub/ran-too", format!("{}\n", sub.display())),
    ] {
        until(file, || {
            fs::read_to_string(daemon.path(file)).is_ok_and(|found| found == text)
        });
    }
    for file in ["l.log.2", "l.index.2"] {
        until(file, || daemon.path(file).exists());
    }
    // A log that was moved away is made anew in the same place.
    fs::rename(daemon.path("l.log"), daemon.path("moved")).unwrap();
    kill_process(daemon.pid, Signal::HUP).unwrap();
    until("the log is there again", || daemon.path("l.log").exists());
    UnixStream::connect(daemon.path("sub/s.sock")).unwrap();
    daemon.end();
    for file in ["pid", "p.pty", "sub/s.sock", "v.sock"] {
        assert!(
            fs::symlink_metadata(daemon.path(file)).is_err(),
            "{file} is left"
        );
    }
}

#[test]
fn a_short_path_in_a_deep_directory_works() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    // Only so can a socket be made there without what is to be tested.
    let listener = Command::new("python3")
        .args([
            "-c",
            "import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind('far')",
        ])
        .current_dir(&deep)
        .status();
    assert!(listener.unwrap().success());
    let arguments = [
        "-chardev",
        "socket,id=c,path=far,reconnect-ms=10",
        "-chardev",
        "null,id=n",
        "-device",
        "vfio-user-serial,chardev=n,socket=v",
        "-qmp",
        "unix:q,server=on,wait=off",
    ];
    let started = daemonize(&deep, &arguments);
    assert!(started.status.success(), "{started:?}");
    let pid = pid_in(&deep.join("pid"));
    let link = dir.path().join("near");
    std::os::unix::fs::symlink(&deep, &link).unwrap();
    let mut client = connect(&link.join("q"));
    // The client connects again and again to what its path means.
    fs::remove_file(deep.join("far")).unwrap();
    let listener = UnixListener::bind(link.join("far")).unwrap();
    listener.accept().unwrap();
    UnixStream::connect(link.join("v")).unwrap();
    client.execute("quit", chardev_qapi::Object::new()).unwrap();
    until("the daemon ends", || test_kill_process(pid).is_err());
    let left: Vec<_> = fs::read_dir(&deep)
        .unwrap()
        .flatten()
        .map(|it| it.file_name())
        .collect();
    assert_eq!(left, ["far"]);
}

#[test]
fn a_second_instance_is_refused_and_removes_nothing() {
    let daemon = Background::start(&["-chardev", "null,id=n"], |_| {});
    let second = daemonize(daemon.dir.path(), &["-chardev", "null,id=n"]);
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&second.stderr),
        "chardevd: cannot create PID file: Cannot lock pid file: Resource temporarily unavailable\n"
    );
    assert_eq!(pid_in(&daemon.path("pid")), daemon.pid);
    // What another one put in its place stays.
    fs::rename(daemon.path("pid"), daemon.path("was")).unwrap();
    fs::write(daemon.path("pid"), "1\n").unwrap();
    daemon.end();
    assert_eq!(fs::read_to_string(daemon.path("pid")).unwrap(), "1\n");
}

#[test]
fn the_file_of_a_daemon_that_was_killed_is_taken_over() {
    let first = Background::start(&["-chardev", "null,id=n"], |_| {});
    kill_process(first.pid, Signal::KILL).unwrap();
    until("the daemon ends", || test_kill_process(first.pid).is_err());
    assert!(first.path("pid").exists());
    let started = daemonize(first.dir.path(), &["-chardev", "null,id=n"]);
    assert!(started.status.success(), "{started:?}");
    let second = pid_in(&first.path("pid"));
    assert_ne!(second, first.pid);
    kill_process(second, Signal::TERM).unwrap();
    until("the daemon ends", || test_kill_process(second).is_err());
    assert!(!first.path("pid").exists());
}

#[test]
fn what_the_background_makes_is_not_for_everybody() {
    let daemon = Background::start(
        &[
            "-chardev",
            "socket,id=s,path=s,server=on,wait=off",
            "-chardev",
            "file,id=f,path=f,logfile=l",
            "-chardev",
            "null,id=n",
            "-device",
            "exec,chardev=n,command=umask > mask; exec sleep 1000",
        ],
        |_| {},
    );
    for (file, expected) in [("s", 0o750), ("f", 0o640), ("l", 0o640), ("pid", 0o600)] {
        assert_eq!(mode(&daemon.path(file)), expected, "{file}");
    }
    // Programs have the user's, which this test has too.
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    rustix::process::umask(umask);
    let umask = format!("{:04o}\n", umask.as_raw_mode());
    until("the program's umask", || {
        fs::read_to_string(daemon.path("mask")).is_ok_and(|text| text == umask)
    });
}

#[test]
fn in_the_foreground_the_umask_is_the_users() {
    let dir = tempfile::tempdir().unwrap();
    let script = "umask 0; exec \"$0\" \"$@\" -pidfile pid";
    let mut daemon = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_chardevd")])
        .args([
            "-chardev",
            "socket,id=s,path=s,server=on,wait=off,logfile=l",
        ])
        .current_dir(dir.path())
        .spawn()
        .unwrap();
    until("the socket is there", || dir.path().join("s").exists());
    for (file, expected) in [("s", 0o777), ("l", 0o666), ("pid", 0o600)] {
        assert_eq!(mode(&dir.path().join(file)), expected, "{file}");
    }
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    daemon.wait().unwrap();
}

#[test]
fn a_start_that_fails_says_so_to_who_waits() {
    let dir = tempfile::tempdir().unwrap();
    let failed = daemonize(dir.path(), &["-chardev", "file,id=f,path=no/such"]);
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(
        said.contains("Could not open 'no/such': No such file"),
        "{said}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_variable_of_another_daemon_means_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
    command.args(["-chardev", "null,id=n", "-daemonize", "-pidfile", "pid"]);
    command
        .current_dir(dir.path())
        .env("CHARDEVD_READY_FD", "1:7");
    assert!(command.status().unwrap().success());
    let pid = pid_in(&dir.path().join("pid"));
    kill_process(pid, Signal::TERM).unwrap();
    until("the daemon ends", || test_kill_process(pid).is_err());
}

#[test]
fn a_second_signal_ends_at_once_and_leaves_no_pidfile() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("f");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    // Its output is held by a pipe that nobody reads, so the end takes its time.
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_chardevd"))
        .args(["-chardev", "pipe,id=p,path=f", "-pidfile", "pid"])
        .args(["-device", "exec,chardev=p,command=trap '' HUP; : > up; yes"])
        .current_dir(dir.path())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&daemon);
    until("the program is there", || dir.path().join("up").exists());
    let mut status = None;
    until("the daemon ends", || {
        let _ = kill_process(pid, Signal::TERM);
        status = daemon.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(143));
    assert!(!dir.path().join("pid").exists());
}

#[test]
fn a_configuration_means_the_same_in_the_background() {
    let file = |more: &str| {
        format!(
            "[defaults]\nto = 'socket,path=sub/{{name}}.sock,server=on'\nlog = 'sub/{{name}}.log'\n\
             [console.a]\nexec = 'pwd; exec cat'\n{more}[[monitor]]\nlisten = 'unix:qmp'\n"
        )
    };
    let daemon = Background::start(&["--config", "f.toml"], |dir| {
        fs::create_dir(dir.join("sub")).unwrap();
        fs::write(dir.join("f.toml"), file("")).unwrap();
    });
    let more = "[console.b]\nexec = 'pwd; exec cat'\ncwd = 'sub'\n";
    fs::write(daemon.path("f.toml"), file(more)).unwrap();
    let mut client = connect(&daemon.path("qmp"));
    let report = client
        .execute("x-reload", Default::default())
        .unwrap()
        .to_string();
    assert!(report.contains("\"added\": [\"b\"]"), "{report}");
    assert!(report.contains("\"unchanged\": [\"a\"]"), "{report}");
    for (name, place) in [("a", ""), ("b", "sub")] {
        let log = daemon.path(&format!("sub/{name}.log"));
        let expected = daemon.path(place);
        let expected = expected.to_str().unwrap().trim_end_matches('/');
        until("the log is there", || {
            fs::read_to_string(&log).is_ok_and(|said| said.trim_end() == expected)
        });
        assert!(UnixStream::connect(daemon.path(&format!("sub/{name}.sock"))).is_ok());
    }
    daemon.end();
}
