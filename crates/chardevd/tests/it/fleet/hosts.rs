//! The daemons of a fleet's hosts, spoken to by way of three real servers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chardev_load::lines::{Form, Lines};
use chardev_qapi::{Json, Object};
use rustix::process::{Pid, Signal, kill_process};

use super::expected;
use super::servers::{Servers, pause, until};
use crate::ctl_fleet::ctl;
use crate::ctl_rig::{Attached, text, wait};
use crate::daemon_rig::{Daemon, console};

/// A daemon that serves those who come over the fleet.
struct Host {
    dir: PathBuf,
    daemon: Daemon,
}

impl Host {
    /// The host `node.7`, with consoles whose far ends are sockets, and `more`.
    fn start(dir: &Path, servers: &Servers, qmp: &str, more: &str) -> Host {
        let mut text = format!(
            "[fleet]\nservers = {:?}\ncluster = 'test'\nhost = 'node.7'\n\
             stream = {{ name = 'OUT' }}\n{qmp}\n\
             [defaults]\nto = 'null'\nhistory = '1M'\n[[monitor]]\nlisten = 'unix:qmp'\n{more}\n",
            servers.addresses("nats")
        );
        for name in ["con0", "con1"] {
            text +=
                &format!("[console.{name}]\nsocket = {{ path = '{name}.far', server = true }}\n");
        }
        std::fs::write(dir.join("chardevd.toml"), text).unwrap();
        let host = Host {
            dir: dir.to_owned(),
            daemon: super::Host::daemon(dir),
        };
        until("the host is connected", || {
            let said = host.daemon.client().execute("x-query-fleet", Object::new());
            said.unwrap().get("connected") == Some(&Json::from(true))
        });
        host
    }

    fn far(&self, name: &str) -> UnixStream {
        console(&self.dir.join(format!("{name}.far")))
    }

    /// How many sessions over the fleet it has.
    fn sessions(&self) -> u64 {
        let said = self.daemon.client().execute("x-query-fleet", Object::new());
        let sessions = said.unwrap().get("sessions").and_then(Json::as_u64);
        sessions.unwrap()
    }

    /// Who is attached to a console.
    fn holder(&self, id: &str) -> Option<String> {
        let list = self.daemon.client().execute("query-chardev", Object::new());
        let list = list.unwrap();
        let mut all = list.as_array().unwrap().iter();
        let one = all.find(|it| it.get("label").and_then(Json::as_str) == Some(id));
        let file = one.and_then(|it| it.get("filename")).and_then(Json::as_str);
        file.filter(|it| *it != "null").map(str::to_owned)
    }
}

fn succeed(servers: &Servers, arguments: &[&str]) -> String {
    let output = ctl(servers, arguments).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    text(&output.stdout)
}

/// What is said of a command that fails with that status.
fn fail(servers: &Servers, arguments: &[&str], status: i32) -> String {
    let output = ctl(servers, arguments).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
    said
}

#[test]
fn what_works_over_tcp_works_over_a_fleet_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let servers = Servers::start();
    let more = "[console.shell]\nexec = 'stty -echo; echo ready; exec cat'\nlog = 'shell.log'\n";
    let mut host = Host::start(dir.path(), &servers, "qmp = 'admin'", more);
    let told = |arguments: &[&str]| succeed(&servers, arguments);
    told(&["expect", "node.7/shell", "--from", "oldest", "ready"]);
    told(&[
        "expect",
        "node.7/shell",
        "--send",
        "by way of it\\r",
        "by way of it",
    ]);
    told(&["send", "node.7/shell", "more\\r"]);
    told(&["mark", "node.7/shell", "here"]);
    told(&["break", "node.7/con1"]);
    told(&["change", "node.7/con1", "ringbuf,size=4096"]);
    assert!(told(&["list", "--on", "node.7"]).contains("ringbuf"));
    let path = told(&["logs", "node.7/shell", "--path"]);
    assert!(path.contains("shell.log"), "{path}");
    let said = fail(&servers, &["logs", "node.7/shell"], 1);
    assert!(said.contains("the log is on the host"), "{said}");
    assert!(told(&["screen", "node.7/shell"]).contains("more"));
    assert!(told(&["consoles", "--on", "node.7"]).contains("con1"));
    assert!(told(&["export", "--on", "node.7"]).contains("shell"));
    assert!(told(&["qmp", "--on", "node.7", "query-version"]).contains("qemu"));
    told(&["reload", "--on", "node.7"]);
    told(&["add", "--on", "node.7", "null,id=extra"]);
    told(&["remove", "node.7/extra"]);

    let mut attached = Attached::begin(&mut ctl(&servers, &["attach", "node.7/shell"]));
    attached.wait_for("by way of it");
    attached.type_in(b"typed\r");
    attached.wait_for("typed");
    let said = fail(&servers, &["attach", "node.7/shell"], 5);
    assert!(said.contains("the fleet's admin (NATS)"), "{said}");
    attached.type_in(b"\x1d.");
    assert!(attached.wait().success());
    until("it has left", || host.holder("shell").is_none());
    let recording = dir.path().join("cast");
    let mut record = ctl(&servers, &["record", "node.7/shell", "--from", "0", "-o"]);
    let mut record = record.arg(&recording).spawn().unwrap();
    until("it is recorded", || {
        std::fs::read_to_string(&recording).is_ok_and(|it| it.contains("typed"))
    });
    kill_process(Pid::from_child(&record), Signal::INT).unwrap();
    wait(&mut record);
    // What is over at the one end is over at the other.
    let viewers = || {
        let id = Object::new().with("id", "shell");
        let stats = host.daemon.client().execute("x-query-chardev-stats", id);
        let stats = stats.unwrap().as_array().unwrap()[0].clone();
        stats.get("viewers").and_then(Json::as_u64).unwrap()
    };
    let before = viewers();
    let mut watch = ctl(
        &servers,
        &["watch", "--on", "node.7", "shell", "--from-start"],
    );
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = [0; 5];
    watch
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut seen)
        .unwrap();
    assert_eq!((&seen, viewers()), (b"ready", before + 1));
    kill_process(Pid::from_child(&watch), Signal::TERM).unwrap();
    wait(&mut watch);
    until("nobody watches", || viewers() == before);
    let mut top = Attached::begin(&mut ctl(&servers, &["top", "--on", "node.7"]));
    top.wait_for("shell");
    top.type_in(b"q");
    assert!(top.wait().success());

    told(&["qmp", "--on", "node.7", "quit"]);
    assert!(host.daemon.wait().success());
    let said = fail(&servers, &["attach", "node.7/shell"], 3);
    assert!(said.contains("nobody serves the host 'node.7'"), "{said}");
    let said = fail(&servers, &["attach", "shell"], 2);
    assert!(said.contains("write HOST/CONSOLE"), "{said}");
}

#[test]
fn a_host_serves_no_more_than_it_says_and_tokens_count() {
    let dir = tempfile::tempdir().unwrap();
    let servers = Servers::start();
    let host = Host::start(
        dir.path(),
        &servers,
        "qmp = 'attach'",
        "[tokens]\nfile = 'tokens'",
    );
    let mut far = host.far("con0");
    far.write_all(b"seen\n").unwrap();
    succeed(
        &servers,
        &["expect", "node.7/con0", "--from", "oldest", "seen"],
    );
    let said = fail(&servers, &["change", "node.7/con0", "null"], 1);
    assert!(said.contains("needs the role 'change'"), "{said}");
    for role in ["admin", "change"] {
        let arguments = ["--fleet-role", role, "send", "node.7/con0", "x"];
        let said = fail(&servers, &arguments, 1);
        assert!(said.contains("serves up to the role 'attach'"), "{said}");
    }
    let as_viewer = ["--fleet-role", "view", "send", "node.7/con0", "x"];
    let said = fail(&servers, &as_viewer, 1);
    assert!(said.contains("needs the role 'attach'"), "{said}");
    // By claim: as far as the host serves anybody.
    let add = |name: &str, role: &str| {
        let made = Object::new().with("name", name).with("role", role);
        let made = host.daemon.client().execute("x-token-add", made).unwrap();
        let secret = made.get("token").and_then(Json::as_str).unwrap().to_owned();
        let file = dir.path().join(name);
        std::fs::write(&file, secret).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, private).unwrap();
        file
    };
    let file = add("lab", "admin");
    let with_token = |arguments: &[&str]| {
        let mut command = ctl(&servers, &["--token-file"]);
        command.arg(&file).args(arguments).output().unwrap()
    };
    let output = with_token(&as_viewer);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut read = [0];
    far.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"x");
    let output = with_token(&["change", "node.7/con0", "null"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn one_command_is_one_message_and_so_is_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let servers = Servers::start();
    let _host = Host::start(dir.path(), &servers, "qmp = 'attach'", "");
    let mut nats = Nats::connect(&servers.addresses("nats")[0]);
    let mut ask = |role: &str, command: &[u8]| nats.ask(role, command);
    let list = ask("view", b"{\"execute\": \"query-chardev\", \"id\": 7}");
    let list = Json::parse(&list).unwrap();
    assert_eq!(list.get("id").and_then(Json::as_u64), Some(7), "{list}");
    let all = list.get("return").and_then(Json::as_array).unwrap();
    assert!(all.len() >= 2, "{list}");
    for (role, command, said) in [
        (
            "view",
            &b"{'execute': 'chardev-send-break', 'arguments': {'id': 'con0'}}"[..],
            "needs the role 'attach'",
        ),
        (
            "attach",
            b"{'execute': 'chardev-send-break', 'arguments': {'id': 'con0'}}",
            "{\"return\": {}}",
        ),
        (
            "admin",
            b"{'execute': 'query-chardev'}",
            "serves up to the role 'attach'",
        ),
        ("view", b"{'execute': 'no-such'}", "CommandNotFound"),
        (
            "view",
            b"{'execute': 'query-name'} {'execute': 'quit'}",
            "no command",
        ),
        ("view", b"nonsense", "no command"),
        ("view", b"\xff", "no command"),
        ("view", b"", "no command"),
        ("view", &[b' '; 300_000], "longer than 262144 bytes"),
    ] {
        let answer = ask(role, command);
        assert!(answer.contains(said), "{answer}");
        Json::parse(&answer).unwrap();
    }
}

/// As little of NATS's own protocol as asks something.
struct Nats(BufReader<TcpStream>);

impl Nats {
    fn connect(address: &str) -> Nats {
        let address = address.strip_prefix("nats://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let begin = b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n";
        stream.write_all(begin).unwrap();
        stream.write_all(b"SUB answers 1\r\n").unwrap();
        Nats(BufReader::new(stream))
    }

    fn ask(&mut self, role: &str, command: &[u8]) -> String {
        let (stream, length) = (self.0.get_mut(), command.len());
        let head = format!("PUB chardev.test.node=2E7.qmp.{role} answers {length}\r\n");
        let message = [head.as_bytes(), command, b"\r\n"].concat();
        stream.write_all(&message).unwrap();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if line.starts_with("MSG ") {
                return self.payload(&line);
            }
            if line.starts_with("HMSG ") {
                // The server has yet to hear that the host serves.
                let said = self.payload(&line);
                assert!(said.starts_with("NATS/1.0 503"), "{said}");
                pause();
                self.0.get_mut().write_all(&message).unwrap();
            }
            if line.starts_with("PING") {
                self.0.get_mut().write_all(b"PONG\r\n").unwrap();
            }
            assert!(!line.starts_with("-ERR"), "{line}");
        }
    }

    /// What follows the line of a message.
    fn payload(&mut self, line: &str) -> String {
        let length: usize = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
        let mut payload = vec![0; length + 2];
        self.0.read_exact(&mut payload).unwrap();
        String::from_utf8(payload).unwrap().trim_end().to_owned()
    }
}

/// A `chardevctl attach` whose terminal is pipes, which does not outlive the test.
struct Pipes {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
}

impl Pipes {
    fn attach(servers: &Servers, name: &str) -> Pipes {
        let mut command = ctl(servers, &["attach", name, "--no-replay"]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Pipes {
            child,
            input,
            output,
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What it has said, once it has ended.
    fn said(&mut self) -> String {
        let mut said = String::new();
        let mut errors = self.child.stderr.take().unwrap();
        errors.read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One direction that is full all the time.
#[derive(Default)]
struct Flood {
    written: AtomicUsize,
    read: AtomicUsize,
    is_over: AtomicBool,
    /// What was read and not written.
    odd: Mutex<Vec<u8>>,
}

impl Flood {
    /// Writes a text that is known until it is to be over, and reads it at the other end.
    fn begin(
        mut writer: impl Write + Send + 'static,
        mut reader: impl Read + Send + 'static,
        begin: u64,
    ) -> Arc<Flood> {
        let flood = Arc::new(Flood::default());
        let (writing, reading) = (Arc::clone(&flood), Arc::clone(&flood));
        std::thread::spawn(move || {
            let mut lines = Lines::from_offset(Form::Padded, begin);
            while !writing.is_over.load(Ordering::SeqCst) {
                let mut text = [0; 1000];
                lines.fill(&mut text);
                writer.write_all(&text).unwrap();
                writing.written.fetch_add(text.len(), Ordering::SeqCst);
            }
            // It stays open until the test ends.
            std::mem::forget(writer);
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            let mut lines = Lines::from_offset(Form::Padded, begin);
            while let Ok(got @ 1..) = reader.read(&mut buffer) {
                let mut wanted = vec![0; got];
                lines.fill(&mut wanted);
                if wanted != buffer[..got] {
                    *reading.odd.lock().unwrap() = buffer[..got].to_vec();
                    return;
                }
                reading.read.fetch_add(got, Ordering::SeqCst);
            }
        });
        flood
    }

    /// How much was read, all of which was written.
    fn read(&self) -> usize {
        assert_eq!(text(&self.odd.lock().unwrap()), "");
        self.read.load(Ordering::SeqCst)
    }
}

#[test]
fn no_byte_of_an_attach_is_lost_while_servers_are_killed_and_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let mut servers = Servers::start();
    let host = Host::start(dir.path(), &servers, "qmp = 'attach'", "");
    let mut attach = Pipes::attach(&servers, "node.7/con0");
    until("it is attached", || host.holder("con0").is_some());
    assert!(host.sessions() > 0);
    let far = host.far("con0");
    let (input, output) = (attach.input.take().unwrap(), attach.output.take().unwrap());
    let typed = Flood::begin(input, far.try_clone().unwrap(), 1 << 32);
    let seen = Flood::begin(far, output, 2 << 32);
    let both = [typed, seen];
    // More than there can be on its way.
    let on = || {
        let ends = [0, 1].map(|way| both[way].read() + (4 << 20));
        until("both ways go on", || {
            (0..2).all(|way| both[way].read() >= ends[way])
        });
    };
    on();
    for number in 0..3 {
        servers.kill(number);
        on();
        servers.begin(number);
    }
    for number in 0..3 {
        servers.freeze(number, true);
        on();
        servers.freeze(number, false);
        on();
    }
    for way in &both {
        way.is_over.store(true, Ordering::SeqCst);
    }
    until("all is there", || {
        both.iter()
            .all(|way| way.read() == way.written.load(Ordering::SeqCst))
    });
    // It is there, and was there all the time.
    attach.signal(Signal::TERM);
    wait(&mut attach.child);
    until("it has left", || host.holder("con0").is_none());
    until("no session is left", || host.sessions() == 0);
}

#[test]
fn an_attached_client_that_is_stopped_slows_nobody_and_one_that_dies_gives_back() {
    let dir = tempfile::tempdir().unwrap();
    let servers = Servers::start();
    let host = Host::start(dir.path(), &servers, "qmp = 'attach'", "");
    let mut slow = Pipes::attach(&servers, "node.7/con0");
    until("it is attached", || host.holder("con0").is_some());
    slow.signal(Signal::STOP);
    let mut far = host.far("con0");
    far.set_nonblocking(true).unwrap();
    let memory = || {
        let status = format!("/proc/{}/status", host.daemon.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find(|it| it.starts_with("VmRSS:")).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<usize>()
            .unwrap()
    };
    let before = memory();
    let (text, mut taken) = (expected(0, 32 << 20), 0);
    let mut idle = 0;
    // It takes some, and then no more.
    until("nothing more is taken", || {
        match far.write(&text[taken..][..64 << 10]) {
            Ok(count) => (taken, idle) = (taken + count, 0),
            Err(_) => idle += 1,
        }
        idle > 25
    });
    assert!(taken < 16 << 20, "{taken} bytes");
    let more = memory().saturating_sub(before);
    assert!(more < 16 << 10, "{more} KiB");
    // The other console has its own.
    let mut other = Pipes::attach(&servers, "node.7/con1");
    until("it is attached", || host.holder("con1").is_some());
    let (mut input, mut output) = (other.input.take().unwrap(), other.output.take().unwrap());
    let mut far_other = host.far("con1");
    let mut read = [0; 5];
    for _ in 0..20 {
        input.write_all(b"typed").unwrap();
        far_other.read_exact(&mut read).unwrap();
        far_other.write_all(&read).unwrap();
        output.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"typed");
    }
    // It goes on as if nothing had been.
    slow.signal(Signal::CONT);
    let mut seen = vec![0; taken];
    slow.output.as_mut().unwrap().read_exact(&mut seen).unwrap();
    assert!(seen == text[..taken]);
    slow.signal(Signal::KILL);
    until("what it held is given back", || {
        host.holder("con0").is_none()
    });
    assert!(host.holder("con1").is_some());
}

#[test]
fn a_client_is_told_that_its_daemon_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let servers = Servers::start();
    let mut host = Host::start(dir.path(), &servers, "qmp = 'attach'", "");
    let mut attach = Pipes::attach(&servers, "node.7/con0");
    until("it is attached", || host.holder("con0").is_some());
    // The daemon knows of that sooner than the client does.
    host.far("con0").write_all(b"o").unwrap();
    let output = attach.output.as_mut().unwrap();
    output.read_exact(&mut [0]).unwrap();
    host.daemon.kill();
    let status = wait_long(&mut attach.child);
    assert!(!status.success());
    let said = attach.said();
    assert!(said.contains("the daemon is gone"), "{said}");
}

fn wait_long(child: &mut Child) -> std::process::ExitStatus {
    let mut status = None;
    until("it has ended", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}
