//! Every future of `Chardevs` works on whatever polls it: here a loop of a few lines that knows
//! nothing of the I/O thread's runtime.

use std::future::Future;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::common::{DEADLINE, ring, terminal, text};
use crate::dbus_rig::on_no_bus;
use chardev::back::KINDS;
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{Action, Chardevs};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Wakes the thread that polls.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls `future` here, whatever here is.
fn poll_alone<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let end = Instant::now() + DEADLINE;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let left = end.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero(),
            "the future was not ready within {DEADLINE:?}"
        );
        thread::park_timeout(left);
    }
}

fn unix(path: &Path) -> SocketAddress {
    SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    }
}

fn inet(port: u16) -> SocketAddress {
    SocketAddress::Inet(InetAddress {
        host: "localhost".to_owned(),
        port: port.to_string(),
        ..InetAddress::default()
    })
}

fn socket(address: SocketAddress, server: bool) -> Options {
    Options::new("socket")
        .with("addr", OptionValue::Address(address))
        .with("server", OptionValue::Bool(server))
}

/// One back end of every kind there is, and of every kind of socket. What they reach is in `dir`
/// and stays as long as the second value.
fn one_of_each(dir: &Path) -> (Vec<Options>, impl Sized) {
    let unix_server = UnixListener::bind(dir.join("there")).unwrap();
    let tcp_server = TcpListener::bind("localhost:0").unwrap();
    let udp_peer = UdpSocket::bind("localhost:0").unwrap();
    let (cable, device) = terminal();
    let fifo = FileType::Fifo;
    mknodat(CWD, dir.join("fifo"), fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    std::fs::write(dir.join("in"), "input").unwrap();
    let tcp_port = tcp_server.local_addr().unwrap().port();
    let udp_port = udp_peer.local_addr().unwrap().port();
    let all = vec![
        Options::new("null"),
        ring(4096),
        Options::new("memory"),
        Options::new("mux").with("chardev", OptionValue::Str("ringbuf1".to_owned())),
        Options::new("hub").with("chardevs", OptionValue::List(vec!["memory2".to_owned()])),
        Options::new("file")
            .with("in", text(dir.join("in")))
            .with("out", text(dir.join("out"))),
        Options::new("pipe").with("device", text(dir.join("fifo"))),
        Options::new("pty").with("path", text(dir.join("link"))),
        Options::new("serial").with("device", text(device)),
        Options::new("stdio"),
        Options::new("testdev"),
        on_no_bus(Options::new("dbus"), "console"),
        Options::new("msmouse"),
        Options::new("wctablet"),
        Options::new("udp").with("remote", OptionValue::Address(inet(udp_port))),
        Options::new("vc"),
        Options::new("x-rfc2217").with("addr", OptionValue::Address(inet(tcp_port))),
        socket(unix(&dir.join("here")), true),
        socket(unix(&dir.join("there")), false),
        socket(inet(0), true),
        socket(inet(tcp_port), false),
        socket(unix(&dir.join("later")), false).with("reconnect", OptionValue::Int(60)),
    ];
    (all, (unix_server, tcp_server, udp_peer, cable))
}

#[test]
fn every_kind_is_added_changed_and_removed_by_any_executor() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let (all, _peers) = one_of_each(dir.path());
    // A parallel port is none of what can be made up.
    for kind in KINDS.iter().filter(|kind| kind.spec.name != "parallel") {
        let listed = all.iter().any(|options| options.kind() == kind.spec.name);
        assert!(listed, "the kind {} is in no test here", kind.spec.name);
    }
    for (number, options) in all.iter().enumerate() {
        let id = format!("{}{number}", options.kind());
        let log = text(dir.path().join(format!("{id}.log")));
        let options = options.clone().with("logfile", log);
        let added = poll_alone(chardevs.add(&id, &options));
        assert_eq!(added.unwrap().kind, options.kind());
        let changed = poll_alone(chardevs.change(&id, &options));
        // A device that is used keeps a multiplexer or hub where it is; all others move.
        assert!(changed.is_ok(), "{id}: {changed:?}");
    }
    poll_alone(chardevs.reopen_logs(None)).unwrap();
    // What rests on others goes before them.
    for info in chardevs.list().iter().rev() {
        poll_alone(chardevs.remove(&info.label)).unwrap();
    }
    assert_eq!(chardevs.list(), []);
    poll_alone(chardevs.shut_down(Duration::from_millis(100)));
}

#[test]
fn what_is_no_single_change_works_on_any_executor_too() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let file = Options::new("file").with("out", text(dir.path().join("out")));
    let actions = [
        Action::Add {
            id: "a".to_owned(),
            options: file.clone(),
        },
        Action::Add {
            id: "b".to_owned(),
            options: ring(4096),
        },
    ];
    let done = poll_alone(chardevs.transaction(&actions));
    assert_eq!(done.unwrap().len(), 2);
    let (_peer, ours) = UnixStream::pair().unwrap();
    poll_alone(chardevs.attach_peer("b", ours.into())).unwrap();
    let missing = file.with("in", text(dir.path().join("missing")));
    let refused = poll_alone(chardevs.change("a", &missing));
    assert!(refused.is_err());
    poll_alone(chardevs.shut_down(Duration::from_millis(100)));
}
