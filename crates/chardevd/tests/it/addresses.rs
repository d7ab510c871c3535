//! Names that mean several addresses, with IPv4 and IPv6 switched on and off in every way: the
//! daemon listens on and connects to what QEMU does.
//!
//! The names are in an `/etc/hosts` of the servers' own, which takes a mount namespace.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::daemon_rig::{connect, until};
use crate::qemu_rig::qemu10;
use chardev_qapi::{Json, Object};
use chardev_qmp::client::{Client, ClientError};
use std::os::unix::net::UnixStream;

/// A name that is `::1` alone the C library takes for `127.0.0.1` as well, if it is asked for that.
const HOSTS: &str = "127.0.0.1 localhost both.test four.test\n::1 both.test\n";
const NAMES: [&str; 7] = [
    "both.test",
    "four.test",
    "",
    "127.0.0.1",
    "::1",
    "0.0.0.0",
    "::",
];
const SWITCHES: [Option<bool>; 3] = [None, Some(true), Some(false)];
const LOOPBACKS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Ways to a mount namespace: as root, and as anybody.
const APART: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
const WITH_HOSTS: &str = r#"mount --bind "$0" /etc/hosts && exec "$@""#;

/// `command` where the names of [`HOSTS`] are known; `None` where this user cannot have that.
fn with_names(command: &Command, hosts: &Path) -> Option<Command> {
    let wrapped = |way: &[&str]| {
        let mut wrapped = Command::new("unshare");
        wrapped.args(way).args(["sh", "-c", WITH_HOSTS]).arg(hosts);
        wrapped
    };
    let works = |way: &&&[&str]| {
        let tried = wrapped(way).arg("true").stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let way = APART.iter().find(works)?;
    let mut wrapped = wrapped(way);
    wrapped.arg(command.get_program()).args(command.get_args());
    Some(wrapped)
}

/// A server of QMP with the names; it does not outlive its test.
struct Server {
    child: Child,
    client: Client<UnixStream>,
}

impl Server {
    fn start(mut command: Command, name: &str, dir: &Path) -> Option<Self> {
        let monitor = dir.join(name);
        command.arg("-qmp");
        command.arg(format!("unix:{},server=on,wait=off", monitor.display()));
        let child = with_names(&command, &hosts(dir))?
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Some(Server {
            child,
            client: connect(&monitor),
        })
    }

    /// Adds the chardev `c` with this address; what was said if it was refused.
    fn add(&mut self, inet: Object, server: bool) -> Result<(), String> {
        let address = Object::new().with("type", "inet").with("data", inet);
        let data = Object::new().with("addr", address).with("server", server);
        let backend = Object::new().with("type", "socket").with("data", data);
        let arguments = Object::new().with("id", "c").with("backend", backend);
        match self.client.execute("chardev-add", arguments) {
            Ok(_) => Ok(()),
            Err(ClientError::Command(error)) => Err(error.to_string()),
            Err(error) => panic!("{error}"),
        }
    }

    fn filename(&mut self) -> String {
        let all = self.client.execute("query-chardev", Object::new()).unwrap();
        let all = all.as_array().unwrap();
        let label = |chardev: &&Json| chardev.get("label").and_then(Json::as_str) == Some("c");
        let found = all.iter().find(label).unwrap().get("filename");
        found.and_then(Json::as_str).unwrap().to_owned()
    }

    fn remove(&mut self) {
        let arguments = Object::new().with("id", "c");
        self.client.execute("chardev-remove", arguments).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either call fails only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hosts(dir: &Path) -> PathBuf {
    dir.join("hosts")
}

/// An address with these switches.
fn inet(host: &str, port: u16, (ipv4, ipv6): (Option<bool>, Option<bool>)) -> Object {
    let mut inet = Object::new()
        .with("host", host)
        .with("port", port.to_string());
    for (name, value) in [("ipv4", ipv4), ("ipv6", ipv6)] {
        if let Some(value) = value {
            inet.insert(name, value);
        }
    }
    inet
}

/// Every way of setting both switches.
fn ways() -> impl Iterator<Item = (Option<bool>, Option<bool>)> {
    let all = SWITCHES.into_iter();
    all.flat_map(|ipv4| SWITCHES.map(|ipv6| (ipv4, ipv6)))
}

/// The cause without what differs: the C library tells a name that has no address of the family
/// from one that is not known, and not even always.
fn cause(error: &str, port: u16) -> String {
    match error.split_once("hostname not supported") {
        None if error.contains("address resolution failed") => "the name means nothing".to_owned(),
        _ => error.replace(&port.to_string(), "PORT"),
    }
}

/// Where clients are taken in every case, one a line.
fn listening(server: &mut Server) -> String {
    let mut lines = String::new();
    for host in NAMES {
        for way in ways() {
            // With port 0 QEMU has another port on each address, which nobody is told of.
            let port = listeners(&LOOPBACKS)[0].local_addr().unwrap().port();
            let outcome = match server.add(inet(host, port, way), true) {
                Err(error) => cause(&error, port),
                Ok(()) => {
                    let name = server.filename();
                    let address = name.strip_suffix(",server=on").unwrap();
                    let (host, _port) = address.rsplit_once(':').unwrap();
                    let taken = LOOPBACKS.map(|ip| TcpStream::connect((ip, port)).is_ok());
                    server.remove();
                    format!("{host}: IPv4 {}, IPv6 {}", taken[0], taken[1])
                }
            };
            writeln!(lines, "{host:?} {way:?}: {outcome}").unwrap();
        }
    }
    lines
}

/// A port that somebody listens at on these addresses alone.
fn listeners(on: &[IpAddr]) -> Vec<TcpListener> {
    loop {
        let first = TcpListener::bind((on[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        // On the others it must be free as well, or taken by ours.
        let rest = LOOPBACKS.into_iter().filter(|ip| *ip != on[0]);
        let rest: Result<Vec<_>, _> = rest
            .map(|ip| TcpListener::bind((ip, port)).map(|listener| (ip, listener)))
            .collect();
        let Ok(rest) = rest else { continue };
        let ours = rest.into_iter().filter(|(ip, _)| on.contains(ip));
        let mut all: Vec<_> = ours.map(|(_, listener)| listener).collect();
        all.insert(0, first);
        return all;
    }
}

/// Who is connected to in every case, one a line.
fn connecting(server: &mut Server) -> String {
    let mut lines = String::new();
    for on in [&LOOPBACKS[..1], &LOOPBACKS[1..], &LOOPBACKS[..]] {
        for host in NAMES {
            for way in ways() {
                let listeners = listeners(on);
                let port = listeners[0].local_addr().unwrap().port();
                let outcome = match server.add(inet(host, port, way), false) {
                    Err(error) => cause(&error, port),
                    Ok(()) => {
                        let family = accepted(&listeners);
                        server.remove();
                        family
                    }
                };
                writeln!(lines, "{on:?} {host:?} {way:?}: {outcome}").unwrap();
            }
        }
    }
    lines
}

/// Where the one client came.
fn accepted(listeners: &[TcpListener]) -> String {
    for listener in listeners {
        listener.set_nonblocking(true).unwrap();
        match listener.accept() {
            Ok((_, SocketAddr::V4(_))) => return "IPv4".to_owned(),
            Ok((_, SocketAddr::V6(_))) => return "IPv6".to_owned(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("nobody came")
}

#[test]
fn the_switches_of_ipv4_and_ipv6_mean_what_they_mean_to_qemu() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(hosts(dir.path()), HOSTS).unwrap();
    let here = Command::new(env!("CARGO_BIN_EXE_chardevd"));
    let Some(mut qemu) = Server::start(qemu10(), "qemu", dir.path()) else {
        eprintln!("SKIPPED: names of two families; no mount namespace for this user");
        return;
    };
    let mut here = Server::start(here, "here", dir.path()).unwrap();
    let (at_qemu, at_ours) = (listening(&mut qemu), listening(&mut here));
    assert_eq!(at_ours, at_qemu);
    assert_eq!(at_qemu.lines().count(), NAMES.len() * 9);
    let (from_qemu, from_ours) = (connecting(&mut qemu), connecting(&mut here));
    let pairs = from_qemu.lines().zip(from_ours.lines());
    let (listed, rest): (Vec<_>, Vec<_>) = pairs.partition(|(qemu, _)| is_listed(qemu));
    for (qemu, here) in &rest {
        assert_eq!(here, qemu);
    }
    // As docs/qemu-differences.md says.
    for (qemu, here) in &listed {
        let refused = here.ends_with("means nothing") || here.ends_with("not supported");
        assert!(refused && qemu != here, "{here}");
    }
    assert_eq!((listed.len(), rest.len()), (27, 3 * NAMES.len() * 9 - 27));
}

/// Whether this is a client that may use IPv6 alone, of a host that has IPv4 alone: QEMU reaches it
/// by the mapped address, which is IPv4.
fn is_listed(line: &str) -> bool {
    let only_v6 = [
        "(None, Some(true))",
        "(Some(false), None)",
        "(Some(false), Some(true))",
    ];
    let only_v4 = ["four.test", "127.0.0.1", "0.0.0.0"];
    let has = |host: &str, way: &str| line.contains(&format!("\"{host}\" {way}"));
    only_v4
        .iter()
        .any(|host| only_v6.iter().any(|way| has(host, way)))
}

/// How often a client of Multipath TCP has met a server of it, in all of this machine.
fn meetings() -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/netstat").ok()?;
    let mut lines = table.lines().filter(|line| line.starts_with("MPTcpExt:"));
    let mut counted = lines.next()?.split(' ').zip(lines.next()?.split(' '));
    let found = counted.find(|(name, _)| *name == "MPCapableSYNACKRX");
    found?.1.parse().ok()
}

fn multipath(port: u16) -> Object {
    inet("127.0.0.1", port, (None, None)).with("mptcp", true)
}

#[test]
fn multipath_tcp_is_spoken_with_qemu() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(hosts(dir.path()), HOSTS).unwrap();
    let enabled = std::fs::read_to_string("/proc/sys/net/mptcp/enabled");
    let Some(mut before) = meetings().filter(|_| enabled.is_ok_and(|on| on.trim() == "1")) else {
        eprintln!("SKIPPED: Multipath TCP with QEMU; this kernel has none, or it is turned off");
        return;
    };
    let here = Command::new(env!("CARGO_BIN_EXE_chardevd"));
    let Some(mut qemu) = Server::start(qemu10(), "qemu", dir.path()) else {
        eprintln!("SKIPPED: Multipath TCP with QEMU; no mount namespace for this user");
        return;
    };
    let mut here = Server::start(here, "here", dir.path()).unwrap();
    for qemu_serves in [true, false] {
        let (server, client) = match qemu_serves {
            true => (&mut qemu, &mut here),
            false => (&mut here, &mut qemu),
        };
        server.add(multipath(0), true).unwrap();
        let name = server.filename();
        let port = name.trim_end_matches(",server=on").rsplit(':').next();
        let port = port.unwrap().parse().unwrap();
        client.add(multipath(port), false).unwrap();
        until("a connection", || server.filename().contains(" <-> "));
        let after = meetings().unwrap();
        assert!(after > before, "QEMU serves: {qemu_serves}");
        before = after;
        client.remove();
        server.remove();
    }
}

#[test]
fn multipath_tcp_that_is_turned_off_is_said() {
    let off = "echo 0 >/proc/sys/net/mptcp/enabled && exec \"$0\" \"$@\"";
    let apart = |way: &[&str], command: &[&str]| {
        let mut apart = Command::new("unshare");
        apart.arg("--net").args(way).args(["sh", "-c", off]);
        apart.args(command).output().unwrap()
    };
    let ways = [&[][..], &["--user", "--map-root-user"]];
    let works = |way: &&&[&str]| apart(way, &["true"]).status.success();
    let Some(way) = ways.iter().find(works) else {
        eprintln!("SKIPPED: Multipath TCP turned off; no network namespace where it can be");
        return;
    };
    for server in ["server=on,wait=off", "server=off"] {
        let chardev = format!("socket,id=c,host=127.0.0.1,port=1,mptcp=on,{server}");
        let daemon = env!("CARGO_BIN_EXE_chardevd");
        let output = apart(way, &[daemon, "-chardev", &chardev]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        let words = "Multipath TCP is turned off: sysctl net.mptcp.enabled=1 allows mptcp=on";
        assert!(said.contains(words), "{said}");
    }
}
