//! A change that fails or is refused never happened: the old back end keeps its connected peer
//! and its log, files in use are not truncated, and the front end sees no event.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{add, change, read_until, ring, text, wait_for};
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{Answers, Chardevs, Event, FrontEnd, FrontEndHooks};
use tempfile::TempDir;

const PRECIOUS: &str = "must survive\n";

/// A console on a Unix socket with a connected peer and a log, in a directory full of obstacles.
struct Rig {
    dir: TempDir,
    chardevs: Chardevs,
    front: FrontEnd,
    peer: UnixStream,
    taken_tcp: std::net::TcpListener,
    taken_udp: std::net::UdpSocket,
    veto: Arc<Veto>,
}

#[derive(Default)]
struct Veto {
    refuse: AtomicBool,
    fixed: AtomicBool,
}

impl FrontEndHooks for Veto {
    fn swappable(&self) -> bool {
        !self.fixed.load(Ordering::SeqCst)
    }

    fn backend_change(&self, _: &Answers) -> Result<(), String> {
        if self.refuse.load(Ordering::SeqCst) {
            Err("in the middle of a frame".to_owned())
        } else {
            Ok(())
        }
    }
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("precious"), PRECIOUS).unwrap();
        fs::create_dir(path("folder")).unwrap();
        drop(UnixListener::bind(path("stale.sock")).unwrap());
        let chardevs = Chardevs::new().unwrap();
        let options = unix(&path("con0.sock"), true).with("logfile", text(path("con0.log")));
        add(&chardevs, "con0", &options);
        let veto = Arc::new(Veto::default());
        let front = chardevs.front_end("con0", veto.clone()).unwrap();
        let peer = UnixStream::connect(path("con0.sock")).unwrap();
        assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);
        assert_eq!(front.write(b"before "), 7);
        let taken_tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken_udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        Rig {
            dir,
            chardevs,
            front,
            peer,
            taken_tcp,
            taken_udp,
            veto,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// The console works as if nothing had been asked.
    fn check_untouched(&mut self, case: &str) {
        assert_eq!(
            self.front.next_event(),
            None,
            "{case}: the front end saw an event"
        );
        assert_eq!(self.front.write(b"out"), 3, "{case}");
        let mut got = [0; 3];
        self.peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"out", "{case}");
        self.peer.write_all(b"in").unwrap();
        assert_eq!(read_until(&self.front, 2), b"in", "{case}");
        assert_eq!(
            fs::read_to_string(self.path("precious")).unwrap(),
            PRECIOUS,
            "{case}"
        );
        let log = self.path("con0.log");
        wait_for("the log", || {
            fs::read_to_string(&log)
                .unwrap()
                .ends_with("out")
                .then_some(())
        });
        assert!(
            fs::read_to_string(&log).unwrap().starts_with("before "),
            "{case}: log truncated"
        );
        let kind = self.chardevs.list()[0].kind;
        assert_eq!(kind, "socket", "{case}");
    }
}

fn unix(path: &Path, server: bool) -> Options {
    let path = path.to_str().unwrap().to_owned();
    let addr = SocketAddress::Unix {
        path,
        abstract_name: false,
        tight: true,
    };
    socket(addr, server)
}

fn inet(host: &str, port: &str) -> SocketAddress {
    SocketAddress::Inet(InetAddress {
        host: host.to_owned(),
        port: port.to_owned(),
        ..InetAddress::default()
    })
}

fn socket(addr: SocketAddress, server: bool) -> Options {
    Options::new("socket")
        .with("addr", OptionValue::Address(addr))
        .with("server", OptionValue::Bool(server))
}

fn file(path: &Path) -> Options {
    Options::new("file").with("out", text(path))
}

/// Every obstacle, with the end of the error that it must give.
fn cases(rig: &Rig) -> Vec<(Options, String)> {
    let path = |name: &str| rig.path(name);
    let shown = |name: &str| rig.path(name).to_str().unwrap().to_owned();
    let tcp_port = rig.taken_tcp.local_addr().unwrap().port().to_string();
    let udp_port = rig.taken_udp.local_addr().unwrap().port().to_string();
    let yes = OptionValue::Bool(true);
    let precious = || file(&path("precious"));
    let long = path(&"x".repeat(120));
    let mut cases: Vec<(Options, String)> = Vec::new();
    let mut case = |options: Options, text: String| cases.push((options, text));

    case(
        file(&path("no/dir")),
        format!(
            "Could not open '{}': No such file or directory",
            shown("no/dir")
        ),
    );
    case(
        file(&path("folder")),
        format!("Could not open '{}': Is a directory", shown("folder")),
    );
    case(
        file(Path::new("/sys/kernel/notes")),
        "Could not open '/sys/kernel/notes': Permission denied".into(),
    );
    case(
        precious().with("in", text(path("none"))),
        format!(
            "Could not open '{}': No such file or directory",
            shown("none")
        ),
    );
    case(
        precious().with("logfile", text(path("no/log"))),
        "No such file or directory".into(),
    );
    case(
        precious().with("logfile", text(path("folder"))),
        "Is a directory".into(),
    );
    case(
        Options::new("pty").with("path", text(path("precious"))),
        "Failed to create PTY symlink: File exists".into(),
    );
    case(
        Options::new("pty").with("path", text(path("no/link"))),
        "Failed to create PTY symlink: No such file or directory".into(),
    );
    case(
        Options::new("pipe").with("device", text(path("none"))),
        format!(
            "Could not open '{}': No such file or directory",
            shown("none")
        ),
    );
    case(
        Options::new("pipe").with("device", text(path("folder"))),
        format!("Could not open '{}': Is a directory", shown("folder")),
    );
    case(
        unix(&path("no/sock"), true),
        format!(
            "Failed to bind socket to {}: No such file or directory",
            shown("no/sock")
        ),
    );
    case(
        unix(&path("folder"), true),
        format!(
            "Failed to unlink socket {}: Is a directory",
            shown("folder")
        ),
    );
    case(
        unix(&path("precious"), true),
        format!("Failed to bind socket to {}: ", shown("precious")),
    );
    case(
        unix(&long, true),
        format!("UNIX socket path '{}' is too long", long.display()),
    );
    case(
        unix(&path("none.sock"), false),
        format!(
            "Failed to connect to '{}': No such file or directory",
            shown("none.sock")
        ),
    );
    case(
        unix(&path("stale.sock"), false),
        format!(
            "Failed to connect to '{}': Connection refused",
            shown("stale.sock")
        ),
    );
    case(
        socket(inet("127.0.0.1", &tcp_port), true),
        "Failed to find an available port: Address already in use".into(),
    );
    case(
        socket(inet("192.0.2.1", "0"), true),
        "Cannot assign requested address".into(),
    );
    case(
        socket(inet("127.0.0.1", "1"), false),
        "Failed to connect to '127.0.0.1:1': Connection refused".into(),
    );
    case(
        socket(inet("no.such.host.invalid", "1"), false),
        "address resolution failed for no.such.host.invalid:1: ".into(),
    );
    case(
        socket(inet("127.0.0.1", "no-such-port"), false),
        "address resolution failed for 127.0.0.1:no-such-port: ".into(),
    );
    case(
        socket(SocketAddress::Fd("nope".into()), true),
        "File descriptor named 'nope' has not been found".into(),
    );
    case(
        ring(5),
        "size of ringbuf chardev must be power of two".into(),
    );
    case(ring(0), "size".into());
    case(ring(-4096), "size".into());
    case(ring(1 << 62), "size".into());
    let udp = |remote| Options::new("udp").with("remote", OptionValue::Address(remote));
    case(
        udp(SocketAddress::Fd("x".into())),
        "socket type unsupported for datagram".into(),
    );
    case(
        udp(inet("127.0.0.1", "9"))
            .with("local", OptionValue::Address(inet("127.0.0.1", &udp_port))),
        "Address already in use".into(),
    );
    case(
        unix(&path("new.sock"), false).with("wait", yes.clone()),
        "'wait' option is incompatible with socket in client connect mode".into(),
    );
    case(
        unix(&path("new.sock"), true).with("reconnect", OptionValue::Int(1)),
        "'reconnect' option is incompatible with socket in server listen mode".into(),
    );
    case(
        socket(inet("127.0.0.1", "1"), false).with("websocket", yes),
        "Websocket client is not implemented".into(),
    );
    case(
        socket(inet("127.0.0.1", "0"), true).with("tls-creds", text("creds0")),
        "No TLS credentials with id 'creds0'".into(),
    );
    cases
}

#[test]
fn a_change_that_cannot_open_leaves_everything_as_it_was() {
    let mut rig = Rig::new();
    let mut got = [0; 7];
    rig.peer.read_exact(&mut got).unwrap();
    let cases = cases(&rig);
    assert!(cases.len() >= 25);
    for (number, (options, expected)) in cases.into_iter().enumerate() {
        let case = format!("case {number} ({options:?})");
        let error = change(&rig.chardevs, "con0", &options)
            .expect_err(&case)
            .to_string();
        assert!(
            error.contains(&expected),
            "{case}: got '{error}', expected '{expected}'"
        );
        rig.check_untouched(&case);
    }
    let stats = rig.front.stats();
    assert_eq!((stats.changes, stats.output_discarded), (0, 0));
    assert!(!rig.path("new.sock").exists());
}

#[test]
fn a_front_end_can_refuse() {
    let mut rig = Rig::new();
    rig.peer.read_exact(&mut [0; 7]).unwrap();
    let target = file(&rig.path("precious"));
    rig.veto.refuse.store(true, Ordering::SeqCst);
    let error = change(&rig.chardevs, "con0", &target).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Chardev 'con0' change failed: in the middle of a frame"
    );
    rig.check_untouched("refused by the handler");
    rig.veto.fixed.store(true, Ordering::SeqCst);
    let error = change(&rig.chardevs, "con0", &target).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Chardev user does not support chardev hotswap"
    );
    rig.check_untouched("not swappable");
    let error = change(&rig.chardevs, "nobody", &target).unwrap_err();
    assert_eq!(error.to_string(), "Chardev 'nobody' does not exist");
}

#[test]
fn a_change_that_is_given_up_while_it_waits_never_happened() {
    let mut rig = Rig::new();
    rig.peer.read_exact(&mut [0; 7]).unwrap();
    let waiting = rig.path("waiting.sock");
    let options = unix(&waiting, true).with("wait", OptionValue::Bool(true));
    let chardevs = rig.chardevs.clone();
    let task = rig
        .chardevs
        .spawn(async move { chardevs.change("con0", &options).await });
    wait_for("the listener", || waiting.exists().then_some(()));
    let busy = change(&rig.chardevs, "con0", &ring(64)).unwrap_err();
    assert!(
        busy.to_string().contains("is already being changed"),
        "{busy}"
    );
    task.give_up();
    wait_for("the listener's end", || (!waiting.exists()).then_some(()));
    rig.check_untouched("given up");
    // The chardev is free only once everything the change had taken is let go, its path among it.
    wait_for("a change", || {
        match change(&rig.chardevs, "con0", &ring(64)) {
            Err(error) if error.to_string().contains("is already being changed") => None,
            done => Some(done.unwrap()),
        }
    });
}
