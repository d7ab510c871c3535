//! What a service manager is told, and what it gives: a double of systemd's socket, and
//! `systemd-socket-activate`.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::ctl_rig::{LIMIT, chardevctl, text, until};
use crate::ended::Ended;

/// Stands in for systemd.
struct Manager {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let private = Permissions::from_mode(0o700);
        std::fs::set_permissions(dir.path(), private).unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Manager { dir, socket }
    }

    fn start(&self, arguments: &[&str], watchdog: Option<Duration>) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
        command
            .args(arguments)
            .env("NOTIFY_SOCKET", self.dir.path().join("notify"))
            .env("RUNTIME_DIRECTORY", self.dir.path())
            .env_remove("CHARDEVD_NO_DEFAULT_MONITOR")
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some(limit) = watchdog {
            command.env("WATCHDOG_USEC", limit.as_micros().to_string());
        }
        Ended(command.spawn().unwrap())
    }

    fn told(&self) -> Vec<String> {
        let mut buf = [0; 4096];
        let count = self.socket.recv(&mut buf).expect("the manager is told");
        let said = std::str::from_utf8(&buf[..count]).unwrap();
        said.lines().map(str::to_owned).collect()
    }

    fn wait_for(&self, line: &str) -> Vec<String> {
        loop {
            let told = self.told();
            if told.iter().any(|said| said == line) {
                return told;
            }
        }
    }
}

#[test]
fn a_manager_is_told_of_readiness_reloads_life_and_the_end() {
    let manager = Manager::new();
    let file = manager.dir.path().join("consoles.toml");
    let monitor = "[[monitor]]\nlisten = \"unix:qmp\"\n";
    std::fs::write(
        &file,
        format!("{monitor}[chardev.con0]\nkind = \"ringbuf\"\n"),
    )
    .unwrap();
    let watchdog = Some(Duration::from_millis(200));
    let mut daemon = manager.start(&["--config", "consoles.toml"], watchdog);
    let ready = manager.wait_for("READY=1");
    let state = |told: &[String], state: &str| told.contains(&format!("STATUS={state}"));
    assert!(state(&ready, "2 chardevs, 1 connected"), "{ready:?}");
    // More than one, so each is in time.
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("WATCHDOG=1");
    std::fs::write(&file, monitor).unwrap();
    let pid = Pid::from_child(&daemon);
    kill_process(pid, Signal::HUP).unwrap();
    let reloading = manager.wait_for("RELOADING=1");
    assert!(reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    let ready = manager.wait_for("READY=1");
    assert!(state(&ready, "1 chardev, 0 connected"), "{ready:?}");
    kill_process(pid, Signal::TERM).unwrap();
    manager.wait_for("STOPPING=1");
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn a_manager_that_takes_nothing_is_not_waited_for() {
    let manager = Manager::new();
    let watchdog = Some(Duration::from_millis(2));
    let file = manager.dir.path().join("consoles.toml");
    std::fs::write(&file, "").unwrap();
    let mut daemon = manager.start(&["--config", "consoles.toml"], watchdog);
    let socket = manager.dir.path().join("qmp.sock");
    let list = || {
        let mut list = chardevctl();
        list.env("CHARDEVD_SOCKET", &socket).arg("list");
        list.output().unwrap()
    };
    until("the daemon answers", || list().status.success());
    // As many datagrams wait as a socket holds, after which whoever sends one waits.
    for _ in 0..100 {
        assert!(list().status.success());
    }
    let pid = Pid::from_child(&daemon);
    kill_process(pid, Signal::TERM).unwrap();
    until("the daemon ends", || daemon.try_wait().unwrap().is_some());
}

#[test]
fn programs_do_not_inherit_what_the_manager_told_us() {
    let manager = Manager::new();
    let _daemon = manager.start(
        &[
            "--chardev",
            "file,id=con0,path=out",
            "--device",
            "exec,chardev=con0,command=env",
        ],
        Some(Duration::from_secs(60)),
    );
    let out = manager.dir.path().join("out");
    let seen = || std::fs::read_to_string(&out).unwrap_or_default();
    until("the program's environment", || {
        seen().contains("CHARDEVD_PID=")
    });
    for name in ["NOTIFY_SOCKET=", "WATCHDOG_USEC=", "LISTEN_"] {
        assert!(!seen().contains(name), "{}", seen());
    }
}

/// Two sockets by name: the default monitor's, and one that a chardev asks for.
#[test]
fn sockets_that_the_manager_has_opened_are_found_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let text_of_file = "[chardev.con0]\nline = 'socket,fd=con,server=on,wait=off'\n";
    std::fs::write(dir.path().join("consoles.toml"), text_of_file).unwrap();
    let [monitor, console] = ["qmp", "console"].map(|name| dir.path().join(name));
    let listen = |path: &std::path::Path| format!("--listen={}", path.display());
    let mut command = Command::new("systemd-socket-activate");
    command
        .args([listen(&monitor), listen(&console)])
        .arg("--fdname=qmp:con")
        .arg("-E")
        .arg(format!("XDG_RUNTIME_DIR={}", dir.path().display()))
        .arg(env!("CARGO_BIN_EXE_chardevd"))
        .args(["--config", "consoles.toml"])
        .env_remove("CHARDEVD_NO_DEFAULT_MONITOR")
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let mut activated =
        Ended(command.spawn().expect(
            "systemd-socket-activate is part of the package systemd, which ./setup installs",
        ));
    let mut said = BufReader::new(activated.stderr.take().unwrap()).lines();
    let listening = (0..2).map(|_| said.next().unwrap().unwrap());
    assert!(
        listening
            .into_iter()
            .all(|line| line.contains("Listening on"))
    );
    // The first one who comes starts it, and is served.
    let listed = chardevctl()
        .env("CHARDEVD_SOCKET", &monitor)
        .arg("list")
        .output()
        .unwrap();
    let listed = text(&listed.stdout);
    assert!(listed.contains("con0"), "{listed}");
    // The monitor is no chardev, whoever has opened its socket.
    assert!(!listed.contains("monitor"), "{listed}");
    std::os::unix::net::UnixStream::connect(&console).unwrap();
}

/// The smaller, the better: 2.0 or less is wanted, in tenths here.
#[test]
fn the_unit_gives_the_service_little() {
    let unit = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../packaging/systemd/chardevd.service"
    );
    let judged = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20", unit])
        .output()
        .expect("systemd-analyze is part of the package systemd, which ./setup installs");
    let said = text(&judged.stdout);
    assert!(said.contains("Overall exposure level"), "{said}");
    assert!(judged.status.success(), "{said}");
}
