//! A command that waits (for a client, a server, a name server) delays no other monitor and no
//! other chardev, and is given up when its client leaves.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::daemon_rig::{DEADLINE, Daemon, connect, console, until};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::{Client, ClientError};
use tempfile::TempDir;

/// A daemon with a console to change, another one that echoes, and two monitors.
struct Rig {
    daemon: Daemon,
    second: PathBuf,
    echo: UnixStream,
    _dir: TempDir,
}

impl Rig {
    /// Starts the daemon, through `wrapper` if there is one.
    fn start(wrapper: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (first, second, echo) = (path("first.sock"), path("second.sock"), path("echo.sock"));
        let socket = |path: &Path| format!("path={},server=on,wait=off", path.display());
        let daemon = env!("CARGO_BIN_EXE_chardevd").to_owned();
        let words: Vec<_> = wrapper.iter().chain([&daemon]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command.args(["-chardev", "ringbuf,id=c"]);
        command.args(["-chardev", &format!("socket,id=e,{}", socket(&echo))]);
        command.args([
            "-device",
            "exec,chardev=e,command=stty -echo; echo ready; exec cat",
        ]);
        command.args([
            "-chardev",
            &format!("socket,id=m2,x-closed=hold,{}", socket(&second)),
        ]);
        command.args(["-mon", "chardev=m2,mode=control"]);
        command.args([
            "-qmp",
            &format!("unix:{},server=on,wait=off", first.display()),
        ]);
        let daemon = Daemon::adopt(command, &first);
        let echo = console(&echo);
        echo.set_read_timeout(Some(DEADLINE)).unwrap();
        Rig {
            daemon,
            second,
            echo,
            _dir: dir,
        }
    }

    /// Changes `c` to `backend`, which waits; meanwhile everything else answers. Then gives up.
    fn check(mut self, backend: &str, is_under_way: impl FnOnce()) {
        let backend = Json::parse(backend).unwrap();
        let arguments = Object::new().with("id", "c").with("backend", backend);
        let mut waiting = connect(&self.second);
        waiting.send("chardev-change", arguments).unwrap();
        is_under_way();
        let mut client = self.daemon.client();
        until("the change is under way", || !change_to_null(&mut client));
        self.check_echo();
        client.execute("query-chardev", Object::new()).unwrap();
        assert!(!change_to_null(&mut client), "the change ended by itself");
        drop(waiting);
        until("the change is given up", || change_to_null(&mut client));
        self.check_echo();
    }

    fn check_echo(&mut self) {
        self.echo.write_all(b"are you there?\n").unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("are you there?") {
            let mut buf = [0; 256];
            let count = self.echo.read(&mut buf).expect("the other console answers");
            assert!(count > 0, "the other console was closed");
            seen.extend_from_slice(&buf[..count]);
        }
    }
}

/// Whether `c` could be changed; not while another change is under way.
fn change_to_null(client: &mut Client<UnixStream>) -> bool {
    let null = Json::parse("{'type': 'null', 'data': {}}").unwrap();
    let arguments = Object::new().with("id", "c").with("backend", null);
    match client.execute("chardev-change", arguments) {
        Ok(_) => true,
        Err(ClientError::Command(error)) => {
            assert!(error.desc.contains("is already being changed"), "{error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// A client socket to `host`:`port`.
fn client_of(host: &str, port: u16) -> String {
    format!(
        "{{'type': 'socket', 'data': {{'server': false, 'addr': {{'type': 'inet', 'data': \
         {{'host': '{host}', 'port': '{port}'}}}}}}}}"
    )
}

#[test]
fn waiting_for_a_client() {
    let rig = Rig::start(&[]);
    let path = rig.daemon.dir().join("wait.sock");
    let backend = format!(
        "{{'type': 'socket', 'data': {{'wait': true, 'addr': {{'type': 'unix', 'data': \
         {{'path': '{}'}}}}}}}}",
        path.display()
    );
    let listening = path.clone();
    rig.check(&backend, move || until("it listens", || listening.exists()));
    until("nothing is left behind", || !path.exists());
}

#[test]
fn connecting_to_an_address_that_does_not_answer() {
    // A listener whose queue is full drops further connections: their connect waits.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let pause = Duration::from_millis(200);
    let mut filled = Vec::new();
    until("the queue is full", || {
        match TcpStream::connect_timeout(&address, pause) {
            Ok(stream) => {
                filled.push(stream);
                false
            }
            Err(_) => true,
        }
    });
    Rig::start(&[]).check(&client_of("127.0.0.1", address.port()), || {});
}

#[test]
fn looking_up_a_name_that_takes_ten_seconds() {
    // A name server that never answers, for the daemon alone: it sees another resolv.conf.
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED looking_up_a_name_that_takes_ten_seconds: needs root for port 53");
        return;
    }
    let server = UdpSocket::bind("127.88.53.53:53").expect("port 53 of a loopback address");
    server.set_read_timeout(Some(DEADLINE)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let resolv = dir.path().join("resolv.conf");
    std::fs::write(
        &resolv,
        "nameserver 127.88.53.53\noptions timeout:10 attempts:1\n",
    )
    .unwrap();
    let wrapper = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        "mount --bind \"$0\" \"$(readlink -f /etc/resolv.conf)\" && exec \"$@\"",
        resolv.to_str().unwrap(),
    ];
    let rig = Rig::start(&wrapper.map(str::to_owned));
    rig.check(&client_of("console.example.test", 9), || {
        let mut question = [0; 512];
        let (length, _) = server
            .recv_from(&mut question)
            .expect("the daemon asks the name server");
        assert!(question[..length].windows(7).any(|name| name == b"console"));
    });
}
