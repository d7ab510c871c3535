//! Relative paths that `chardevctl` is given: they start where it runs, if that is the daemon's
//! host. Daemons have another directory here, as they have with `--daemonize`.

use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::process::Output;

use crate::ctl_rig::{Daemon, text, until};
use crate::tls::free_port;

/// What `chardevctl` says, run in a directory.
fn run(daemon: &Daemon, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = daemon.command();
    command.current_dir(directory).args(arguments);
    command.output().expect("chardevctl runs")
}

#[test]
fn relative_paths_start_where_the_client_is() {
    let daemon = Daemon::with(&["--chardev", "null,id=con0", "--chardev", "ringbuf,id=con1"]);
    let here = tempfile::tempdir().unwrap();
    let here = here.path().canonicalize().unwrap();
    fs::create_dir(here.join("sub")).unwrap();
    for (arguments, made) in [
        (
            &["add", "file,id=f,path=out,logfile=log,x-logindex=./index"][..],
            &["out", "log", "index"][..],
        ),
        (
            &["change", "con0", "socket,path=sub/s,server=on,wait=off"],
            &["sub/s"],
        ),
        (&["change", "con0", "pty,path=link"], &["link"]),
        (
            &[
                "device",
                "add",
                "exec,chardev=con1,cwd=sub,command=pwd > ran",
            ],
            &["sub/ran"],
        ),
    ] {
        let said = run(&daemon, &here, arguments);
        assert!(said.status.success(), "{}", text(&said.stderr));
        for name in made {
            let place = here.join(name);
            until(name, || fs::symlink_metadata(&place).is_ok());
            assert!(!daemon.dir().join(name).exists(), "{name}");
        }
    }
    for line in ["pipe,path=p", "serial,path=p", "file,path=f,input-path=p"] {
        let said = text(&run(&daemon, &here, &["change", "con0", line]).stderr);
        let place = here.join("p").display().to_string();
        assert!(said.contains(&place), "{line}: {said}");
    }
    // Names of abstract sockets are no paths, and paths from the root are what they are.
    let name = format!("chardev-paths-{}", std::process::id());
    let line = format!("socket,path={name},abstract=on,server=on,wait=off");
    for line in [&line[..], "file,path=/dev/null"] {
        let said = run(&daemon, &here, &["change", "con0", line]);
        assert!(said.status.success(), "{line}: {}", text(&said.stderr));
        if line.starts_with("socket") {
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            UnixStream::connect_addr(&address).expect("it listens");
        }
    }
}

#[test]
fn over_tcp_relative_paths_are_the_daemon_s() {
    let port = free_port();
    let qmp = format!("tcp:127.0.0.1:{port},server=on,wait=off");
    let daemon = Daemon::with(&["--chardev", "null,id=con0", "--qmp", &qmp]);
    let here = tempfile::tempdir().unwrap();
    let host = format!("127.0.0.1:{port}");
    let said = run(
        &daemon,
        here.path(),
        &["--host", &host, "change", "con0", "file,path=out"],
    );
    assert!(said.status.success(), "{}", text(&said.stderr));
    assert!(daemon.dir().join("out").exists() && !here.path().join("out").exists());
}

#[test]
fn a_log_that_a_change_keeps_is_found_from_wherever_the_daemon_is() {
    // The daemon is not told of our directory by QMP, and goes to another one in the background.
    let dir = tempfile::tempdir().unwrap();
    let qmp = dir.path().join("qmp");
    let started = std::process::Command::new(env!("CARGO_BIN_EXE_chardevd"))
        .args([
            "--chardev",
            "null,id=a",
            "--chardev",
            "ringbuf,id=con0,logfile=log",
        ])
        .args(["--daemonize", "--qmp", "unix:qmp,server=on,wait=off"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(started.status.success(), "{}", text(&started.stderr));
    let ctl = |arguments: &[&str]| {
        let mut command = crate::ctl_rig::chardevctl();
        command.arg("--socket").arg(&qmp).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let log = format!("{}\n", dir.path().join("log").display());
    assert_eq!(ctl(&["logs", "con0", "--path"]), log);
    let change = r#"{"id": "con0", "backend": {"type": "null", "data": {}}}"#;
    ctl(&["qmp", "chardev-change", change]);
    assert_eq!(ctl(&["logs", "con0", "--path"]), log);
    // What is added later has another directory than the first.
    let add = r#"{"id": "z", "backend": {"type": "file", "data": {"out": "dev/null"}}}"#;
    ctl(&["qmp", "chardev-add", add]);
    ctl(&["change", "con0", "ringbuf"]);
    assert_eq!(ctl(&["logs", "con0", "--path"]), log);
    assert!(ctl(&["export"]).contains("path=/dev/null"));
    ctl(&["quit"]);
    assert!(!qmp.exists());
}
