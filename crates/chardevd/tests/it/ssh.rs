//! Consoles over OpenSSH: a key of a person's leads to one console and to nothing else, as
//! docs/service.md says.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::ctl_rig::{Attached, Daemon, text, until};
use crate::ended::Ended;
use crate::tls::free_port;

/// A real sshd for the user who runs the test, which ends with it.
struct Server {
    _child: Ended,
    port: u16,
    dir: tempfile::TempDir,
}

fn make_key(dir: &Path, name: &str) -> PathBuf {
    let key = dir.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&key)
        .status()
        .expect("ssh-keygen is part of openssh-client, which ./setup installs");
    assert!(made.success());
    key
}

impl Server {
    /// One where the keys `con0` and `con1` lead to the consoles of these names.
    fn start(daemon: &Daemon) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        make_key(dir.path(), "host");
        let mut keys = String::new();
        for console in ["con0", "con1"] {
            let public = make_key(dir.path(), console).with_extension("pub");
            let public = std::fs::read_to_string(public).unwrap();
            keys += &format!(
                "restrict,pty,command=\"{} --socket {} attach {console}\" {public}",
                env!("CARGO_BIN_EXE_chardevctl"),
                daemon.socket().display()
            );
        }
        std::fs::write(path("keys"), keys).unwrap();
        let port = free_port();
        // The directory is not the user's home, so its owner is not looked at.
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPrintMotd no\n",
            path("host"),
            path("keys"),
        );
        std::fs::write(path("config"), config).unwrap();
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &path("config")])
            .stderr(Stdio::from(std::fs::File::create(path("log")).unwrap()))
            .spawn()
            .expect("sshd is part of openssh-server, which ./setup installs");
        let server = Server {
            _child: Ended(child),
            port,
            dir,
        };
        until("sshd listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    }

    fn ssh(&self, key: &str, options: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "LogLevel=ERROR",
        ])
        .args([
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .arg("-i")
        .arg(self.dir.path().join(key))
        .args(["-p", &self.port.to_string()])
        .args(options)
        .arg("127.0.0.1")
        .stdin(Stdio::null());
        ssh
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

fn run(command: &mut Command) -> Output {
    command
        .output()
        .expect("ssh is part of openssh-client, which ./setup installs")
}

fn consoles() -> Daemon {
    Daemon::with(&[
        "--chardev",
        "ringbuf,id=con0",
        "--device",
        "exec,chardev=con0,command=PS1=zero: exec sh",
        "--chardev",
        "ringbuf,id=con1",
        "--device",
        "exec,chardev=con1,command=PS1=one: exec sh",
    ])
}

#[test]
fn a_key_leads_to_its_console() {
    let daemon = consoles();
    let server = Server::start(&daemon);
    for (console, prompt) in [("con0", "zero:"), ("con1", "one:")] {
        let mut attached = Attached::begin(&mut server.ssh(console, &["-tt"]));
        attached.wait_for(&format!("[{console}: attached"));
        attached.type_in(b"echo $((40 + 2))\r");
        attached.wait_for("\r\n42\r\n");
        attached.wait_for(prompt);
        attached.type_in(b"\x1d.");
        let status = attached.wait();
        assert_eq!(status.code(), Some(0), "{}", server.said());
    }
}

#[test]
fn a_key_leads_nowhere_else() {
    let daemon = consoles();
    let server = Server::start(&daemon);
    // Another command is not run: what is, is what the key is for.
    let other = run(server.ssh("con0", &[]).arg("id; echo ran"));
    let out = text(&other.stdout);
    assert!(out.contains("zero:"), "{out} {}", server.said());
    assert!(!out.contains("uid=") && !out.contains("ran"), "{out}");
    // Nor is it on a terminal.
    let mut command = server.ssh("con0", &["-tt"]);
    let mut attached = Attached::begin(command.arg("chardevctl attach con1"));
    attached.wait_for("[con0: attached");
    // A way through to other ports.
    let forward = format!("127.0.0.1:{}", server.port);
    let refused = run(&mut server.ssh("con0", &["-W", &forward]));
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(
        said.contains("stdio forwarding failed"),
        "{said} {}",
        server.said()
    );
    // A key that nobody has let in.
    make_key(server.dir.path(), "stranger");
    let refused = run(&mut server.ssh("stranger", &["-o", "BatchMode=yes"]));
    let said = text(&refused.stderr);
    assert!(said.contains("Permission denied"), "{said}");
}
