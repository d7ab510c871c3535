//! Consoles whose peers come by way of three real servers: the back end `x-nats`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use chardev_load::lines::{Form, Lines, PADDED};
use chardev_qapi::{Json, Object};
use nkeys::KeyPair;

use super::expected;
use super::secure::Secure;
use super::servers::{Servers, until};
use crate::daemon_rig::{Daemon, change, console};

/// A daemon of a fleet with one console, which holds what nobody takes.
pub(super) struct Host {
    pub(super) dir: PathBuf,
    pub(super) daemon: Daemon,
}

impl Host {
    pub(super) fn start(dir: &Path, servers: &Servers, name: &str, to: &str) -> Host {
        let servers = servers.addresses("nats");
        Host::with(dir, &format!("servers = {servers:?}"), name, to)
    }

    fn with(dir: &Path, fleet: &str, name: &str, to: &str) -> Host {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let text = format!(
            "[fleet]\n{fleet}\ncluster = 'lab'\nhost = '{name}'\npresence = '0s'\n\
             stream = {{ name = 'OUT', create = false }}\n[[monitor]]\nlisten = 'unix:qmp'\n\
             [console.con0]\nsocket = {{ path = 'con0.far', server = true }}\n\
             policy = {{ x-closed = 'hold' }}\nto = '{to}'\n[console.con1]\nexec = 'cat'\nto = 'null'\n"
        );
        std::fs::write(dir.join("chardevd.toml"), text).unwrap();
        let daemon = super::Host::daemon(&dir);
        Host { dir, daemon }
    }

    pub(super) fn far(&self) -> UnixStream {
        console(&self.dir.join("con0.far"))
    }

    /// What `query-chardev` says of a console's back end.
    pub(super) fn back(&self, id: &str) -> String {
        let list = self.daemon.client().execute("query-chardev", Object::new());
        let list = list.unwrap();
        let mut all = list.as_array().unwrap().iter();
        let one = all.find(|it| it.get("label").and_then(Json::as_str) == Some(id));
        let file = one.and_then(|it| it.get("filename")).and_then(Json::as_str);
        // The daemon may still be about to make it.
        file.unwrap_or_default().to_owned()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.back("con0").starts_with("nats:")
    }

    pub(super) fn change(&self, backend: &str) {
        change(&mut self.daemon.client(), "con0", backend);
    }

    /// What is said of a change that is refused.
    fn refused(&self, id: &str, backend: &str) -> String {
        let backend = Json::parse(backend).unwrap();
        let data = Object::new().with("id", id).with("backend", backend);
        let refused = self.daemon.client().execute("chardev-change", data);
        refused.unwrap_err().to_string()
    }
}

/// Writes numbered lines until it is told to stop, then says how many bytes they were.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Writer {
    fn start(mut stream: UnixStream, begin: u64) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut lines = Lines::from_offset(Form::Padded, begin);
            let (mut count, mut text) = (0, [0; 8000]);
            while !stopped.load(Ordering::SeqCst) {
                lines.fill(&mut text);
                stream.write_all(&text).unwrap();
                count += text.len();
                // A file would take gigabytes meanwhile.
                std::thread::park_timeout(Duration::from_millis(1));
            }
            count
        });
        Writer { stop, thread }
    }

    fn finish(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// All that has come.
#[derive(Clone, Default)]
struct Heard {
    bytes: Arc<Mutex<Vec<u8>>>,
    count: Arc<AtomicUsize>,
}

impl Heard {
    fn start(mut stream: UnixStream) -> Heard {
        let heard = Heard::default();
        let into = heard.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                into.bytes
                    .lock()
                    .unwrap()
                    .extend_from_slice(&buffer[..count]);
                into.count.fetch_add(count, Ordering::SeqCst);
            }
        });
        heard
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn comes_to(&self, count: usize) {
        until("it comes", || self.count() >= count);
    }

    fn goes_on(&self) {
        self.comes_to(self.count() + (200 << 10));
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }
}

/// Two hosts, whose consoles are the peers of each other, and both their far ends.
struct Cable {
    hosts: [Host; 2],
    heard: [Heard; 2],
    writers: [Writer; 2],
}

/// Where the text begins that each writes.
pub(super) const BEGIN: [u64; 2] = [1 << 32, 2 << 32];

impl Cable {
    fn start(dir: &Path, servers: &Servers) -> Cable {
        let to = "x-nats,host=node.7,console=con0,reconnect-ms=50";
        let hosts = [
            Host::start(dir, servers, "node.7", "x-nats"),
            Host::start(dir, servers, "node.8", to),
        ];
        until("they are each other's peers", || {
            hosts.iter().all(Host::is_connected)
        });
        let far = [hosts[0].far(), hosts[1].far()];
        let reader = |it: usize| far[it].try_clone().unwrap();
        let heard = [Heard::start(reader(0)), Heard::start(reader(1))];
        let [one, other] = far;
        let writers = [Writer::start(one, BEGIN[0]), Writer::start(other, BEGIN[1])];
        Cable {
            hosts,
            heard,
            writers,
        }
    }

    fn goes_on(&self) {
        self.heard.iter().for_each(Heard::goes_on);
    }

    /// Waits for the rest; what was written, and what was heard at the same end.
    fn finish(self, elsewhere: usize) -> [(Vec<u8>, Vec<u8>); 2] {
        let [one, other] = self.writers;
        let written = [one.finish(), other.finish()];
        self.heard[0].comes_to(written[1]);
        self.heard[1].comes_to(written[0] - elsewhere);
        let of = |it: usize| {
            (
                expected(BEGIN[it], written[it] as u64),
                self.heard[it].bytes(),
            )
        };
        [of(0), of(1)]
    }
}

/// Where a piece is in the text that begins at `begin`, as the numbers of its lines say.
fn place(begin: u64, piece: &[u8]) -> usize {
    let first = 1 + piece.iter().position(|it| *it == b'\n').unwrap();
    let line = &piece[first..][..PADDED - 1];
    let number = Form::Padded.number(line).unwrap();
    usize::try_from(number * PADDED as u64 - first as u64 - begin).unwrap()
}

#[test]
fn a_cable_between_two_hosts_loses_nothing_while_servers_are_killed_and_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let mut servers = Servers::start();
    let cable = Cable::start(dir.path(), &servers);
    cable.goes_on();
    for number in 0..3 {
        servers.kill(number);
        cable.goes_on();
        servers.begin(number);
        servers.freeze(number, true);
        cable.goes_on();
        servers.freeze(number, false);
        cable.goes_on();
    }
    let [(written, heard), (other_written, other_heard)] = cable.finish(0);
    assert!(heard == other_written && other_heard == written);
}

#[test]
fn a_console_goes_to_a_fleet_and_back_under_load_and_every_byte_is_in_one_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut servers = Servers::start();
    let cable = Cable::start(dir.path(), &servers);
    let host = &cable.hosts[0];
    let mut files = Vec::new();
    for round in 0..5 {
        cable.goes_on();
        let file = dir.path().join(format!("file{round}"));
        match round {
            1 => servers.kill(0),
            2 => servers.begin(0),
            3 => servers.freeze(1, true),
            _ => {}
        }
        let data = format!(r#"{{"type": "file", "data": {{"out": {:?}}}}}"#, file);
        host.change(&data);
        until("it goes to the file", || {
            std::fs::metadata(&file).is_ok_and(|it| it.len() > 100_000)
        });
        until("the peer was told", || !cable.hosts[1].is_connected());
        host.change(r#"{"type": "x-nats", "data": {}}"#);
        until("the peer is back", || cable.hosts[1].is_connected());
        files.push(file);
    }
    servers.freeze(1, false);
    cable.goes_on();
    let files: Vec<_> = files.iter().map(|it| std::fs::read(it).unwrap()).collect();
    let elsewhere = files.iter().map(Vec::len).sum();
    let [(written, heard), (other_written, other_heard)] = cable.finish(elsewhere);
    assert!(
        heard == other_written,
        "{} of {}",
        heard.len(),
        other_written.len()
    );
    // What is not in the files is what the peer has heard, and in that order.
    let (mut rest, mut from) = (Vec::new(), 0);
    for file in &files {
        let at = place(BEGIN[0], file);
        assert!(written[at..].starts_with(file));
        rest.extend_from_slice(&written[from..at]);
        from = at + file.len();
    }
    rest.extend_from_slice(&written[from..]);
    assert!(
        rest == other_heard,
        "{} of {}",
        other_heard.len(),
        rest.len()
    );
}

#[test]
fn who_may_not_be_the_peer_is_told_why_and_one_that_vanishes_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let servers = Servers::start();
    let to = "x-nats,host=node.7,console=con0,reconnect-ms=50";
    let host = Host::start(dir.path(), &servers, "node.7", "x-nats");
    let mut first = Host::start(dir.path(), &servers, "node.8", to);
    until("they are each other's peers", || {
        host.is_connected() && first.is_connected()
    });
    assert_eq!(host.back("con0"), "nats:node.7/con0,server=on <-> NATS");
    assert_eq!(first.back("con0"), "nats:node.7/con0");
    let second = Host::start(dir.path(), &servers, "node.9", "null");
    let mut text = [0; 100];
    for (console, said) in [
        (
            "con0",
            "host 'node.7' refuses: 'con0' has a peer already: NATS",
        ),
        (
            "con1",
            "host 'node.7' refuses: 'con1' takes no peer over the fleet",
        ),
        (
            "con7",
            "host 'node.7' refuses: 'con7' takes no peer over the fleet",
        ),
    ] {
        let wanted = format!(
            r#"{{"type": "x-nats", "data": {{"host": "node.7", "console": "{console}"}}}}"#
        );
        let refused = second.refused("con1", &wanted);
        assert!(refused.contains(said), "{refused}");
    }
    let nowhere = r#"{"type": "x-nats", "data": {"host": "node.1", "console": "con0"}}"#;
    let refused = second.refused("con1", nowhere);
    assert!(
        refused.contains("nobody serves 'con0' of the host 'node.1'"),
        "{refused}"
    );
    // A cable that has not been asked for by others goes on as it was.
    let mut fars = [host.far(), first.far()];
    fars[0].write_all(&expected(0, 100)).unwrap();
    fars[1].read_exact(&mut text).unwrap();
    assert!(text == *expected(0, 100));

    // The kernel tells nobody of its end.
    first.daemon.kill();
    until("it is missed", || !host.is_connected());
    assert_eq!(host.back("con0"), "disconnected:nats:node.7/con0,server=on");
    // What is printed now is held for the next one.
    fars[0].write_all(&expected(0, 100)).unwrap();
    let next = Host::start(dir.path(), &servers, "node.8", to);
    let mut far = next.far();
    far.read_exact(&mut text).unwrap();
    assert!(text == *expected(0, 100));

    // A daemon that ends says so, and its console is looked for until it is there again.
    let Host {
        dir: own,
        mut daemon,
    } = host;
    assert!(daemon.terminate().0.success());
    until("it is missed", || !next.is_connected());
    let host = Host {
        daemon: super::Host::daemon(&own),
        dir: own,
    };
    until("it is found again", || {
        host.is_connected() && next.is_connected()
    });
    let mut near = host.far();
    far.write_all(&expected(7, 100)).unwrap();
    near.read_exact(&mut text).unwrap();
    assert!(text == *expected(7, 100));
}

#[test]
fn without_a_fleet_nobody_is_a_peer_and_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[[monitor]]\nlisten = 'unix:qmp'\n[console.con0]\nexec = 'cat'\nto = 'null'\n";
    std::fs::write(dir.path().join("chardevd.toml"), text).unwrap();
    let daemon = super::Host::daemon(dir.path());
    let host = Host {
        dir: dir.path().to_owned(),
        daemon,
    };
    until("there is a console", || host.back("con0") == "null");
    let refused = host.refused("con0", r#"{"type": "x-nats", "data": {}}"#);
    assert!(
        refused.contains("in no fleet; say which with [fleet]"),
        "{refused}"
    );
}

#[test]
fn a_host_is_the_peer_of_the_consoles_it_was_granted_and_of_no_others() {
    const CABLE: &str = "chardev.lab.node7.con0.in";
    let secure = Secure::with(|dir, text| {
        let key = std::fs::read_to_string(dir.join("NODE8")).unwrap();
        let key = KeyPair::from_seed(&key).unwrap().public_key();
        let (begin, rest) = text.split_once("  NODE7 {").unwrap();
        let (seven, eight) = rest.split_once("  NODE8 {").unwrap();
        let export = format!(
            "exports: [\n{{ service: \"{CABLE}\", response_type: \"Stream\", accounts: [NODE8] }}"
        );
        let import =
            format!("imports: [\n{{ service: {{ account: NODE7, subject: \"{CABLE}\" }} }}");
        let seven = seven.replace("exports: [", &export);
        let eight = eight
            .replace("imports: [", &import)
            .replace("publish: [", &format!("publish: [\"{CABLE}\", "))
            .replace(
                "subscribe: [",
                &format!("subscribe: [\"_CHARDEV.{key}.>\", "),
            );
        format!("{begin}  NODE7 {{{seven}  NODE8 {{{eight}")
    });
    let dir = tempfile::tempdir().unwrap();
    let start = |name: &str, to: &str| {
        let fleet = format!(
            "servers = {:?}\nca = '{}'\nnkey = '{}'",
            secure.servers.addresses("tls"),
            secure.ca().display(),
            secure.key(&name.to_uppercase()).display()
        );
        Host::with(dir.path(), &fleet, name, to)
    };
    let to = "x-nats,host=node7,console=con0,reconnect-ms=50";
    let hosts = [start("node7", "x-nats"), start("node8", to)];
    until("they are each other's peers", || {
        hosts.iter().all(Host::is_connected)
    });
    let mut fars = [hosts[0].far(), hosts[1].far()];
    let mut text = [0; 100];
    for (from, to) in [(0, 1), (1, 0)] {
        fars[from].write_all(&expected(from as u64, 100)).unwrap();
        fars[to].read_exact(&mut text).unwrap();
        assert!(text == *expected(from as u64, 100));
    }
    // The other way round, and any other console, the servers refuse.
    for (host, whose) in [(0, "node8"), (1, "node7")] {
        let wanted =
            format!(r#"{{"type": "x-nats", "data": {{"host": "{whose}", "console": "con1"}}}}"#);
        let refused = hosts[host].refused("con1", &wanted);
        assert!(refused.contains("servers refuse: "), "{refused}");
        assert!(
            refused.to_lowercase().contains("permissions violation"),
            "{refused}"
        );
    }
    assert!(hosts.iter().all(Host::is_connected));
}

#[test]
fn what_a_peer_has_sent_waits_for_a_front_end_that_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let servers = Servers::start();
    let to = "x-nats,host=node.7,console=con0,reconnect-ms=50";
    let hosts = [
        Host::start(dir.path(), &servers, "node.7", "x-nats"),
        Host::start(dir.path(), &servers, "node.8", to),
    ];
    until("they are each other's peers", || {
        hosts.iter().all(Host::is_connected)
    });
    let mut near = hosts[0].far();
    let mut far = hosts[1].far();
    far.set_nonblocking(true).unwrap();
    let text = expected(0, 32 << 20);
    let (mut taken, mut idle) = (0, 0);
    until("nothing more is taken", || {
        match far.write(&text[taken..][..64 << 10]) {
            Ok(count) => (taken, idle) = (taken + count, 0),
            Err(_) => idle += 1,
        }
        idle > 50
    });
    hosts[0].change(r#"{"type": "null", "data": {}}"#);
    let mut all = vec![0; taken];
    near.set_nonblocking(true).unwrap();
    let (mut at, mut idle) = (0, 0);
    until("what is of the first peer is read", || {
        match near.read(&mut all[at..]) {
            Ok(count) => (at, idle) = (at + count, 0),
            Err(_) => idle += 1,
        }
        idle > 50
    });
    hosts[0].change(r#"{"type": "x-nats", "data": {}}"#);
    until("the rest", || {
        if let Ok(count) = near.read(&mut all[at..]) {
            at += count;
        }
        at == taken
    });
    assert!(all == text[..taken]);
}
