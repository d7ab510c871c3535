//! Clients of monitors that end their sending and wait for the answers, as `echo … | socat` does.

use std::io::{Read, Seek, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::daemon_rig::{DEADLINE, Daemon, console, until};
use chardev_qapi::{Json, Object};

/// More commands than a monitor reads ahead.
const MANY: usize = 4000;

fn commands(count: usize) -> String {
    let negotiate = "{'execute': 'qmp_capabilities'}\n".to_owned();
    negotiate + &"{'execute': 'query-name'}\n".repeat(count)
}

/// Where the chardev `id` listens.
fn tcp_address(daemon: &Daemon, id: &str) -> String {
    let list = daemon.client().execute("query-chardev", Object::new());
    let list = list.unwrap();
    let is_it = |chardev: &&Json| chardev.get("label").and_then(Json::as_str) == Some(id);
    let tcp = list.as_array().unwrap().iter().find(is_it).unwrap();
    let name = tcp.get("filename").and_then(Json::as_str).unwrap();
    let address = name.strip_prefix("disconnected:tcp:").unwrap();
    address.strip_suffix(",server=on").unwrap().to_owned()
}

/// Sends all, ends the sending, and returns what is answered.
fn tell<S: Read + Write + AsFd + Send>(mut stream: S, input: &str) -> String {
    let writer = stream.as_fd().try_clone_to_owned().unwrap();
    let mut writer = UnixStream::from(writer);
    let mut said = String::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(input.as_bytes()).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        stream.read_to_string(&mut said).unwrap();
    });
    said
}

#[test]
fn over_a_unix_socket_and_over_tcp() {
    let daemon = Daemon::start(&[
        "-chardev",
        "socket,id=tcp,host=127.0.0.1,port=0,server=on,wait=off",
        "-mon",
        "chardev=tcp,mode=control",
    ]);
    let address = tcp_address(&daemon, "tcp");
    // Again and again, because the end may come before, with or after everything else.
    for count in [0, 1, 2, 10, MANY].into_iter().cycle().take(50) {
        let unix = tell(console(daemon.monitor()), &commands(count));
        let tcp = TcpStream::connect(&address).unwrap();
        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        let tcp = tell(tcp, &commands(count));
        for said in [unix, tcp] {
            let lines: Vec<_> = said.lines().collect();
            assert!(lines[0].starts_with("{\"QMP\""), "{}", lines[0]);
            assert_eq!(lines.len(), count + 2);
            assert!(lines[1..].iter().all(|line| *line == r#"{"return": {}}"#));
        }
    }
}

#[test]
fn a_person_s_commands_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("human");
    let line = format!("socket,id=h,path={},server=on,wait=off", path.display());
    let _daemon = Daemon::start(&["-name", "vm", "-chardev", &line, "-mon", "chardev=h"]);
    for _ in 0..20 {
        let said = tell(console(&path), "info name\ninfo status\n");
        assert!(said.contains("\r\nvm\r\n"), "{said}");
        assert!(said.contains("\r\nVM status: running\r\n"), "{said}");
    }
}

#[test]
fn a_command_that_waits_is_answered_when_it_is_done_and_given_up_with_its_client() {
    let daemon = Daemon::start(&[]);
    let add = |name: &str| {
        let path = daemon.dir().join(name).display().to_string();
        format!(
            "{{'execute': 'qmp_capabilities'}} {{'execute': 'chardev-add', 'arguments': {{'id': \
             '{name}', 'backend': {{'type': 'socket', 'data': {{'addr': {{'type': 'unix', 'data': \
             {{'path': '{path}'}}}}, 'server': true, 'wait': true}}}}}}}}\n"
        )
    };
    std::thread::scope(|scope| {
        let answered = scope.spawn(|| tell(console(daemon.monitor()), &add("first")));
        drop(console(&daemon.dir().join("first")));
        let said = answered.join().unwrap();
        assert_eq!(said.matches(r#"{"return": {}}"#).count(), 2, "{said}");
    });
    let mut client = console(daemon.monitor());
    client.write_all(add("second").as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    until("the command waits", || daemon.dir().join("second").exists());
    drop(client);
    // The monitor has one client at a time.
    daemon
        .client()
        .execute("query-name", Object::new())
        .unwrap();
    until("it was given up", || !daemon.dir().join("second").exists());
}

/// The end may be there before the daemon is, in a pipe as in a file.
#[test]
fn from_standard_input_that_has_ended() {
    let input = commands(3) + "{'execute': 'quit'}\n";
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input.as_bytes()).unwrap();
    file.rewind().unwrap();
    let (pipe, mut writer) = std::io::pipe().unwrap();
    writer.write_all(input.as_bytes()).unwrap();
    drop(writer);
    for input in [OwnedFd::from(file), OwnedFd::from(pipe)] {
        let mut daemon = Command::new(env!("CARGO_BIN_EXE_chardevd"));
        daemon.args(["-qmp", "stdio"]).stdin(input);
        let output = daemon.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.matches(r#"{"return": {}}"#).count(), 5, "{said}");
        assert!(output.status.success());
    }
}

#[test]
fn from_standard_input() {
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_chardevd"))
        .args(["-qmp", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = daemon.stdin.take().unwrap();
    let all = commands(MANY);
    input.write_all(all.as_bytes()).unwrap();
    input.write_all(b"{'execute': 'quit'}\n").unwrap();
    drop(input);
    let mut said = String::new();
    let mut output = daemon.stdout.take().unwrap();
    output.read_to_string(&mut said).unwrap();
    assert_eq!(
        said.matches(r#"{"return": {}}"#).count(),
        MANY + 2,
        "{said}"
    );
    assert!(daemon.wait().unwrap().success());
}

/// Over TCP nobody can tell whether a client that sends nothing more is still there, so it must not
/// keep the next one waiting for what may never happen.
#[test]
fn over_tcp_a_command_that_waits_is_given_up_with_a_client_that_may_have_left() {
    let dir = tempfile::tempdir().unwrap();
    let add = |id: &str, address: &str, more: &str| {
        format!(
            "{{'execute': 'chardev-add', 'arguments': {{'id': '{id}', 'backend': {{'type': 'socket', \
             'data': {{'addr': {address}{more}}}}}}}}}\n"
        )
    };
    let listening = dir.path().join("waits").display().to_string();
    let unix = format!("{{'type': 'unix', 'data': {{'path': '{listening}'}}}}");
    let waits = |id: &str| add(id, &unix, ", 'server': true, 'wait': true");
    // Nothing answers there, so that a connect takes as long as it may.
    let (full, _waiting) = full_listener();
    let far = format!("{{'type': 'inet', 'data': {{'host': '127.0.0.1', 'port': '{full}'}}}}");
    let slow = add("far", &far, ", 'server': false");
    let daemon = Daemon::start(&["-qmp", "tcp:127.0.0.1:0,server=on,wait=off"]);
    let address = tcp_address(&daemon, "compat_monitor0");
    let (negotiate, query) = (
        "{'execute': 'qmp_capabilities'}\n",
        "{'execute': 'query-name'}\n",
    );
    let connect = || {
        let tcp = TcpStream::connect(&address).unwrap();
        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        tcp
    };
    // One that only ended its sending is told; several commands that wait do not add up.
    let said = tell(
        connect(),
        &(negotiate.to_owned() + &waits("a") + &slow + query),
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(said.matches("was cancelled").count(), 2, "{said}");
    assert!(lines.last().unwrap().contains(r#""return""#), "{said}");
    // One that has left, with more unread than anybody reads ahead; the next one is served.
    for left in [&waits("b"), &slow] {
        let mut gone = connect();
        let unread = query.repeat(20_000);
        let all = negotiate.to_owned() + left + &unread;
        gone.set_nonblocking(true).unwrap();
        // What does not fit will not be missed.
        let _ = gone.write(all.as_bytes());
        drop(gone);
        let said = tell(connect(), &(negotiate.to_owned() + query));
        assert!(said.contains(r#"{"return": {}}"#), "{said}");
    }
    assert!(!std::path::Path::new(&listening).exists());
}

/// The port of a listener whose queue is full, and what fills it.
fn full_listener() -> (u16, Vec<OwnedFd>) {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};
    let fresh = || {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap()
    };
    let listener = fresh();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    bind(&listener, &any).unwrap();
    listen(&listener, 0).unwrap();
    let listener = std::net::TcpListener::from(listener);
    let address = listener.local_addr().unwrap();
    let mut all: Vec<OwnedFd> = (0..8).map(|_| fresh()).collect();
    for socket in &all {
        // It is under way, or waits for ever.
        let _ = connect(socket, &address);
    }
    all.push(listener.into());
    (address.port(), all)
}
