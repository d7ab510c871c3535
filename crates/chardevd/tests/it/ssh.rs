//! Consoles over OpenSSH: a key of a person's leads to one console and to nothing else, as
//! docs/service.md says, by options of the key or by sshd's `ForceCommand`.

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

/// What leads a key to its console.
#[derive(Clone, Copy, Debug)]
enum By {
    /// The options of each key.
    Key,
    /// One command for all keys of the user, which are told apart by a variable.
    ForceCommand,
}

impl Server {
    /// One where the keys `con0` and `con1` lead to the consoles of these names.
    fn start(daemon: &Daemon) -> Self {
        Self::start_by(daemon, By::Key)
    }

    fn start_by(daemon: &Daemon, by: By) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        make_key(dir.path(), "host");
        let attach = format!(
            "{} --socket {} attach",
            env!("CARGO_BIN_EXE_chardevctl"),
            daemon.socket().display()
        );
        let mut keys = String::new();
        for console in ["con0", "con1"] {
            let public = make_key(dir.path(), console).with_extension("pub");
            let public = std::fs::read_to_string(public).unwrap();
            keys += &match by {
                By::Key => format!("restrict,pty,command=\"{attach} {console}\" {public}"),
                By::ForceCommand => format!("environment=\"CONSOLE={console}\" {public}"),
            };
        }
        let more = match by {
            By::Key => String::new(),
            By::ForceCommand => {
                let user = Command::new("id").arg("-un").output().unwrap();
                let user = text(&user.stdout);
                let user = user.trim();
                // A key of a user who has others that lead nowhere.
                let public = make_key(dir.path(), "bare").with_extension("pub");
                keys += &std::fs::read_to_string(public).unwrap();
                format!(
                    "PermitUserEnvironment CONSOLE\nSubsystem sftp internal-sftp\n\
                     Match User {user}\n    ForceCommand {attach} -- \"$CONSOLE\"\n    \
                     DisableForwarding yes\n"
                )
            }
        };
        std::fs::write(path("keys"), keys).unwrap();
        let port = free_port();
        // The directory is not the user's home, so its owner is not looked at.
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPrintMotd no\n{more}",
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

/// Each key is on its console, at the prompt of the shell there.
fn each_is_on_its_console(server: &Server) {
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
fn a_key_leads_to_its_console() {
    let daemon = consoles();
    let server = Server::start(&daemon);
    each_is_on_its_console(&server);
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

#[test]
fn a_forced_command_leads_each_key_to_its_console_and_nowhere_else() {
    let daemon = consoles();
    let server = Server::start_by(&daemon, By::ForceCommand);
    each_is_on_its_console(&server);
    // Whoever asks for another command, or for another console, gets his own.
    let asks = ["id; echo ran", "chardevctl attach con1", "$(id)", "con1"];
    for asked in asks {
        let mut command = server.ssh("con0", &["-tt", "-o", "SetEnv=CONSOLE=con1"]);
        let mut attached = Attached::begin(command.arg(asked));
        let mut out = attached.wait_for("[con0: attached");
        attached.type_in(b"echo $((40 + 3))\r");
        out += &attached.wait_for("\r\n43\r\n");
        attached.type_in(b"\x1d.");
        assert_eq!(
            attached.wait().code(),
            Some(0),
            "{asked}: {}",
            server.said()
        );
        let leaks = ["uid=", "ran", "one:"].iter().any(|it| out.contains(it));
        assert!(!leaks, "{asked}: {out}");
    }
    // A key that no console is named for is told so, and is on none.
    let bare = run(&mut server.ssh("bare", &[]));
    let out = text(&bare.stdout) + &text(&bare.stderr);
    assert!(
        !bare.status.success() && out.contains("chardevctl:"),
        "{out}"
    );
    assert!(!out.contains("zero:") && !out.contains("one:"), "{out}");
}

#[test]
fn a_forced_command_lets_no_file_and_no_port_through() {
    // One that talks, or those who want files would wait for its first word.
    let daemon = Daemon::with(&[
        "--chardev",
        "ringbuf,id=con0",
        "--device",
        "exec,chardev=con0,command=exec yes",
    ]);
    let server = Server::start_by(&daemon, By::ForceCommand);
    let file = server.dir.path().join("file");
    let copy = server.dir.path().join("copy");
    std::fs::write(&file, "secret").unwrap();
    let own = server.ssh("con0", &[]);
    // What ssh is given before the host, which the others take, too, but for their -P.
    let words = || own.get_args().take_while(|word| *word != "-p");
    let port = server.port.to_string();
    let remote = |path: &Path| format!("127.0.0.1:{}", path.display());
    for (program, protocol) in [("scp", "-O"), ("scp", "-s"), ("sftp", "-q")] {
        for (from, to) in [
            (file.display().to_string(), remote(&copy)),
            (remote(&file), copy.display().to_string()),
        ] {
            let mut command = Command::new(program);
            command.arg(protocol).args(words()).args(["-P", &port]);
            command.stdin(Stdio::null());
            match program {
                // It only fetches by arguments.
                "sftp" if !from.starts_with("127") => continue,
                _ => command.args([from, to]),
            };
            let output = run(&mut command);
            let said = text(&output.stderr) + &server.said();
            assert!(!output.status.success(), "{program} {protocol}: {said}");
            assert!(!copy.exists(), "{program} {protocol}");
        }
    }
    let forward = format!("127.0.0.1:{}", server.port);
    let refused = run(&mut server.ssh("con0", &["-W", &forward]));
    let said = text(&refused.stderr);
    assert!(said.contains("stdio forwarding failed"), "{said}");
    let back = format!("{}:{forward}", free_port());
    let refused = run(&mut server.ssh("con0", &["-R", &back, "-o", "ExitOnForwardFailure=yes"]));
    let said = text(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("remote port forwarding failed"), "{said}");
}
