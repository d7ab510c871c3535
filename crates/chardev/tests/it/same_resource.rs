//! The new back end wants what the old one has: the same path, port, name, link. It moves, and
//! when the change fails it has not moved.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use crate::common::{add, change, hold, read_until, ring, text, wait_for};
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{Action, Chardevs, Event, FrontEnd, Info};

fn socket(addr: SocketAddress, server: bool) -> Options {
    hold("socket")
        .with("addr", OptionValue::Address(addr))
        .with("server", OptionValue::Bool(server))
}

fn unix(path: &std::path::Path) -> SocketAddress {
    SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    }
}

fn inet(port: u16) -> SocketAddress {
    SocketAddress::Inet(InetAddress {
        host: "127.0.0.1".to_owned(),
        port: port.to_string(),
        ..InetAddress::default()
    })
}

fn port_of(info: &Info) -> u16 {
    let (_, rest) = info.filename.split_once("127.0.0.1:").unwrap();
    rest.split([',', ' ']).next().unwrap().parse().unwrap()
}

fn with(options: &Options, name: &'static str) -> Options {
    options.clone().with(name, OptionValue::Bool(true))
}

fn say(front: &FrontEnd, peer: &mut impl Read, text: &str) {
    assert_eq!(front.write(text.as_bytes()), text.len());
    let mut heard = vec![0; text.len()];
    peer.read_exact(&mut heard).unwrap();
    assert_eq!(heard, text.as_bytes());
}

fn opened(front: &FrontEnd) {
    wait_for("a peer", || front.is_open().then_some(()));
}

fn console(options: &Options) -> (Chardevs, Info, FrontEnd) {
    let chardevs = Chardevs::new().unwrap();
    let info = add(&chardevs, "con0", options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    (chardevs, info, front)
}

#[test]
fn a_tcp_port_moves_with_the_clients_that_wait_in_its_queue() {
    let (chardevs, info, front) = console(&socket(inet(0), true));
    let port = port_of(&info);
    let mut old = TcpStream::connect(("127.0.0.1", port)).unwrap();
    opened(&front);
    let mut queued = TcpStream::connect(("127.0.0.1", port)).unwrap();
    queued.write_all(b"queued").unwrap();
    say(&front, &mut old, "to the old one");
    let options = with(&socket(inet(port), true), "nodelay");
    change(&chardevs, "con0", &options).unwrap();
    opened(&front);
    assert_eq!(read_until(&front, 6), b"queued");
    say(&front, &mut queued, "to the new one");
    assert_eq!(old.read(&mut [0; 9]).unwrap(), 0);
}

#[test]
fn a_refused_change_leaves_port_and_queue_where_they_were() {
    struct Refuses;
    impl chardev::FrontEndHooks for Refuses {
        fn backend_change(&self, _: &chardev::Answers) -> Result<(), String> {
            Err("no".to_owned())
        }
    }
    let chardevs = Chardevs::new().unwrap();
    let info = add(&chardevs, "con0", &socket(inet(0), true));
    let port = port_of(&info);
    let front = chardevs.front_end("con0", Arc::new(Refuses)).unwrap();
    for _ in 0..3 {
        let error = change(&chardevs, "con0", &socket(inet(port), true)).unwrap_err();
        assert_eq!(error.to_string(), "Chardev 'con0' change failed: no");
    }
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    opened(&front);
    say(&front, &mut peer, "still here");
}

#[test]
fn an_abstract_name_moves() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("chardev-test-{}", std::process::id());
    let addr = SocketAddress::Unix {
        path: name.clone(),
        abstract_name: true,
        tight: true,
    };
    let (chardevs, _, front) = console(&socket(addr.clone(), true));
    for round in 0..3 {
        change(&chardevs, "con0", &socket(addr.clone(), true)).unwrap();
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let mut peer = UnixStream::connect_addr(&address).unwrap();
        opened(&front);
        say(&front, &mut peer, &format!("round {round}"));
    }
}

#[test]
fn with_handover_the_connected_peer_stays_and_only_options_change() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix_listener = UnixListener::bind(dir.path().join("there")).unwrap();
    let servers = [
        (socket(inet(0), true), None),
        (socket(unix(&dir.path().join("con0")), true), None),
        (
            socket(inet(listener.local_addr().unwrap().port()), false),
            Some(0),
        ),
        (socket(unix(&dir.path().join("there")), false), Some(1)),
    ];
    for (options, accepts) in servers {
        let (chardevs, info, front) = console(&options);
        let mut peer: Box<dyn ReadWrite> = match accepts {
            Some(0) => Box::new(listener.accept().unwrap().0),
            Some(_) => Box::new(unix_listener.accept().unwrap().0),
            None if info.filename.contains("tcp") => {
                Box::new(TcpStream::connect(("127.0.0.1", port_of(&info))).unwrap())
            }
            None => Box::new(UnixStream::connect(dir.path().join("con0")).unwrap()),
        };
        opened(&front);
        let mut same = options.clone();
        if info.filename.contains("tcp") && accepts.is_none() {
            same.set("addr", OptionValue::Address(inet(port_of(&info))));
        }
        assert_eq!(front.next_event(), Some(Event::Opened));
        for round in 0..50 {
            let line = format!("line {round:04} ");
            peer.write_all(line.as_bytes()).unwrap();
            change(
                &chardevs,
                "con0",
                &with(&with(&same, "x-handover"), "nodelay"),
            )
            .unwrap();
            say(&front, &mut peer, &line);
            assert_eq!(read_until(&front, line.len()), line.as_bytes());
        }
        while let Some(event) = front.next_event() {
            assert!(matches!(event, Event::Changed(_)), "{event:?}");
        }
        drop(peer);
        wait_for("the end", || (!front.is_open()).then_some(()));
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[test]
fn with_handover_a_terminal_on_a_pty_stays_under_another_link() {
    let dir = tempfile::tempdir().unwrap();
    let link = |name: &str| hold("pty").with("path", text(dir.path().join(name)));
    let (chardevs, info, front) = console(&link("one"));
    let slave = info.pty.unwrap();
    let mut peer = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&slave)
        .unwrap();
    opened(&front);
    for name in ["two", "two", "one"] {
        let changed = change(&chardevs, "con0", &with(&link(name), "x-handover")).unwrap();
        assert_eq!(changed.pty.as_deref(), Some(slave.as_str()));
        let points = std::fs::read_link(dir.path().join(name)).unwrap();
        assert_eq!(points.to_str(), Some(slave.as_str()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "{name}");
        say(&front, &mut peer, name);
        peer.write_all(b"key").unwrap();
        assert_eq!(read_until(&front, 3), b"key");
    }
}

#[test]
fn a_handover_that_cannot_be_is_refused_and_the_peer_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let (chardevs, _, front) = console(&socket(unix(&path), true));
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    let error = change(&chardevs, "con0", &with(&hold("pty"), "x-handover")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Chardev 'con0' change failed: x-handover: a pty cannot keep the peer of unix:{},server=on",
            path.display()
        )
    );
    say(&front, &mut peer, "still here");
    // Without a peer there is nothing to keep, and the change goes ahead.
    drop(peer);
    wait_for("the end", || (!front.is_open()).then_some(()));
    change(&chardevs, "con0", &with(&hold("pty"), "x-handover")).unwrap();
}

#[test]
fn two_consoles_swap_their_paths_in_one_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["one", "two"].map(|name| dir.path().join(name));
    let chardevs = Chardevs::new().unwrap();
    let fronts = [0, 1].map(|at| {
        let id = format!("con{at}");
        add(&chardevs, &id, &socket(unix(&paths[at]), true));
        chardevs.front_end(&id, Arc::new(())).unwrap()
    });
    for round in 1..=4 {
        let action = |at: usize| Action::Change {
            id: format!("con{at}"),
            options: socket(unix(&paths[(at + round) % 2]), true),
        };
        let actions = [action(0), action(1)];
        chardevs.block_on(chardevs.transaction(&actions)).unwrap();
        for (at, front) in fronts.iter().enumerate() {
            let mut peer = UnixStream::connect(&paths[(at + round) % 2]).unwrap();
            opened(front);
            say(front, &mut peer, &format!("con{at}"));
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_transaction_that_fails_at_its_end_undoes_what_it_had_begun() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one");
    let file = dir.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    add(&chardevs, "con1", &ring(64));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    // A socket that somebody left, so that a name has to be exchanged, and exchanged back.
    let other = dir.path().join("other");
    drop(UnixListener::bind(&other).unwrap());
    let left = std::fs::metadata(&other).unwrap().ino();
    let actions = [
        Action::Change {
            id: "con0".to_owned(),
            options: socket(unix(&other), true),
        },
        Action::Add {
            id: "new".to_owned(),
            options: Options::new("file").with("out", text(&file)),
        },
        Action::Change {
            id: "con1".to_owned(),
            options: Options::new("pty").with("path", text("/nonexistent/link")),
        },
    ];
    let error = chardevs
        .block_on(chardevs.transaction(&actions))
        .unwrap_err();
    assert_eq!(error.action, 2);
    assert!(error.to_string().contains("PTY symlink"), "{error}");
    assert_eq!(chardevs.list().len(), 2);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(front.next_event(), None);
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    say(&front, &mut peer, "as it was");
    assert_eq!(std::fs::metadata(&other).unwrap().ino(), left);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn what_a_removed_chardev_held_may_be_taken_in_the_same_transaction() {
    let chardevs = Chardevs::new().unwrap();
    let port = port_of(&add(&chardevs, "old", &socket(inet(0), true)));
    let actions = [
        Action::Remove {
            id: "old".to_owned(),
        },
        Action::Add {
            id: "new".to_owned(),
            options: socket(inet(port), true),
        },
        Action::Add {
            id: "mux0".to_owned(),
            options: Options::new("mux").with("chardev", text("new")),
        },
    ];
    chardevs.block_on(chardevs.transaction(&actions)).unwrap();
    let front = chardevs.front_end("mux0", Arc::new(())).unwrap();
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    wait_for("a peer", || front.is_open().then_some(()));
    say(&front, &mut peer, "over a mux");
    assert!(chardevs.front_end("old", Arc::new(())).is_err());
}
