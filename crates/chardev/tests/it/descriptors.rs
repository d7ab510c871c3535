//! No back end leaves a descriptor behind: after hundreds of peers, changes, handovers and attached
//! peers there are as many as before. Alone in its process, whose descriptors it counts.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{add, change, hold, ring, terminal, text, wait_for};
use chardev::back::OneFd;
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{Action, Chardevs, FrontEnd, Info};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Rounds before the count, which open what stays, and those after it.
const WARM_UP: usize = 8;
const ROUNDS: usize = 120;
/// How long nothing must have changed: longer than a peer that was told to go is waited for.
const CALM: Duration = Duration::from_millis(2500);

/// Somebody at the other end, who leaves by being dropped.
type Peer = Box<dyn Any>;

/// A kind of back end: its options, and how its peer comes.
struct Kind {
    name: &'static str,
    options: fn(&Stage) -> Options,
    peer: fn(&Stage, &Info) -> Peer,
    /// What the peer has is kept when it is changed to the same again.
    hands_over: bool,
}

static KINDS: &[Kind] = &[
    Kind {
        name: "null",
        options: |_| hold("null"),
        peer: |_, _| Box::new(()),
        hands_over: false,
    },
    Kind {
        name: "ringbuf",
        options: |_| ring(4096),
        peer: |_, _| Box::new(()),
        hands_over: false,
    },
    Kind {
        name: "file",
        options: file,
        peer: |_, _| Box::new(()),
        hands_over: false,
    },
    Kind {
        name: "pipe",
        options: pipe,
        peer: pipe_peer,
        hands_over: false,
    },
    Kind {
        name: "pty",
        options: |_| hold("pty"),
        peer: pty_peer,
        hands_over: true,
    },
    Kind {
        name: "pty with a link",
        options: linked_pty,
        peer: pty_peer,
        hands_over: true,
    },
    Kind {
        name: "serial",
        options: serial,
        peer: |_, _| Box::new(()),
        hands_over: false,
    },
    Kind {
        name: "udp",
        options: udp,
        peer: |_, _| Box::new(()),
        hands_over: false,
    },
    Kind {
        name: "unix server",
        options: unix_server,
        peer: unix_peer,
        hands_over: true,
    },
    Kind {
        name: "unix client",
        options: unix_client,
        peer: accepted,
        hands_over: true,
    },
    Kind {
        name: "tcp server",
        options: tcp_server,
        peer: tcp_peer,
        hands_over: true,
    },
    Kind {
        name: "tcp client",
        options: tcp_client,
        peer: tcp_accepted,
        hands_over: true,
    },
    Kind {
        name: "given socket",
        options: |_| given(),
        peer: |_, _| Box::new(()),
        hands_over: false,
    },
    Kind {
        name: "reconnecting client",
        options: reconnecting,
        peer: |_, _| Box::new(()),
        hands_over: false,
    },
];

/// A console, and what the kinds need beside it.
struct Stage {
    chardevs: Chardevs,
    front: FrontEnd,
    dir: tempfile::TempDir,
    _cable: std::fs::File,
    device: String,
    datagrams: UdpSocket,
    unix: UnixListener,
    tcp: TcpListener,
    /// Ours.
    port: u16,
}

impl Stage {
    fn new() -> Self {
        let chardevs = Chardevs::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        // Each I/O thread has descriptors of its own, and is made when somebody is to live there.
        for number in 0..chardevs.io_threads() {
            add(&chardevs, &format!("resident{number}"), &hold("pty"));
        }
        add(&chardevs, "con0", &ring(4096));
        let front = chardevs.front_end("con0", Arc::new(())).unwrap();
        let (cable, device) = terminal();
        for suffix in ["in", "out"] {
            let path = dir.path().join(format!("pipe.{suffix}"));
            mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }
        let unix = UnixListener::bind(dir.path().join("theirs")).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        Stage {
            port: free.local_addr().unwrap().port(),
            chardevs,
            front,
            dir,
            _cable: cable,
            device,
            datagrams: UdpSocket::bind("127.0.0.1:0").unwrap(),
            unix,
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Changes the console to `kind`; a socket that is given is a new one each time.
    fn change(&self, kind: &Kind, options: &Options) -> (Info, Option<UnixStream>) {
        if kind.name != "given socket" {
            return (change(&self.chardevs, "con0", options).unwrap(), None);
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        let fds = Arc::new(OneFd::new(OwnedFd::from(theirs)));
        let changing = self.chardevs.change_with("con0", options, fds);
        (self.chardevs.block_on(changing).unwrap(), Some(ours))
    }

    fn leave(&self) {
        change(&self.chardevs, "con0", &ring(4096)).unwrap();
    }

    fn talk(&self) {
        while self.front.next_event().is_some() {}
        let mut buf = [0; 4096];
        self.front.read(&mut buf);
        self.front.write(b"output");
    }

    /// Somebody is attached for a moment, in front of whoever is there.
    fn attach(&self) {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let attaching = self.chardevs.attach_peer("con0", theirs.into());
        self.chardevs.block_on(attaching).unwrap();
        ours.write_all(b"typed").unwrap();
        self.talk();
    }

    /// Each way a peer and its back end can end, one after the other.
    fn round(&self, kind: &Kind, number: usize) {
        let options = (kind.options)(self);
        let (info, given) = self.change(kind, &options);
        let peer = (kind.peer)(self, &info);
        self.talk();
        match number % 6 {
            // The peer leaves, and the next one comes.
            0 => {
                drop(peer);
                self.talk();
                let server = kind.name.ends_with("server") || kind.name.starts_with("pty");
                let next = server.then(|| (kind.peer)(self, &info));
                self.talk();
                drop(next);
            }
            // The back end leaves before its peer.
            1 => {
                self.leave();
                drop((peer, given));
                return;
            }
            // It is kept by one like it.
            2 if kind.hands_over => {
                let again = options.with("x-handover", OptionValue::Bool(true));
                change(&self.chardevs, "con0", &again).unwrap();
                self.talk();
                drop(peer);
            }
            3 => {
                self.attach();
                drop(peer);
            }
            // A change that is refused.
            4 => {
                let bad = Options::new("pipe").with("device", text(self.path("absent")));
                change(&self.chardevs, "con0", &bad).unwrap_err();
                drop(peer);
            }
            // With another one, that comes and goes.
            _ => {
                let actions = [
                    Action::Add {
                        id: "beside".into(),
                        options: hold("pty"),
                    },
                    Action::Change {
                        id: "con0".into(),
                        options: ring(4096),
                    },
                ];
                let both = self.chardevs.transaction(&actions);
                self.chardevs.block_on(both).unwrap();
                self.chardevs.blocking_remove("beside").unwrap();
                drop((peer, given));
                return;
            }
        }
        drop(given);
        self.leave();
    }
}

fn inet(port: u16) -> OptionValue {
    OptionValue::Address(SocketAddress::Inet(InetAddress {
        host: "127.0.0.1".to_owned(),
        port: port.to_string(),
        ..InetAddress::default()
    }))
}

fn socket(address: OptionValue, server: bool) -> Options {
    let options = hold("socket").with("addr", address);
    options.with("server", OptionValue::Bool(server))
}

fn unix(path: &Path) -> OptionValue {
    OptionValue::Address(SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    })
}

fn file(stage: &Stage) -> Options {
    hold("file").with("out", text(stage.path("file")))
}

fn pipe(stage: &Stage) -> Options {
    hold("pipe").with("device", text(stage.path("pipe")))
}

fn pipe_peer(stage: &Stage, _: &Info) -> Peer {
    let reader = OpenOptions::new()
        .read(true)
        .open(stage.path("pipe.out"))
        .unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let mut writer = OpenOptions::new()
        .write(true)
        .open(stage.path("pipe.in"))
        .unwrap();
    writer.write_all(b"input").unwrap();
    Box::new((Empties(reader.into()), writer))
}

/// Takes what is there when it leaves, so that nothing is waited for.
struct Empties(OwnedFd);

impl Drop for Empties {
    fn drop(&mut self) {
        let mut buf = [0; 4096];
        while rustix::io::read(&self.0, &mut buf).is_ok_and(|count| count > 0) {}
    }
}

fn linked_pty(stage: &Stage) -> Options {
    hold("pty").with("path", text(stage.path("link")))
}

fn pty_peer(_: &Stage, info: &Info) -> Peer {
    let slave = info.pty.as_ref().unwrap();
    let mut slave = OpenOptions::new()
        .read(true)
        .write(true)
        .open(slave)
        .unwrap();
    slave.write_all(b"input").unwrap();
    Box::new(slave)
}

fn serial(stage: &Stage) -> Options {
    hold("serial").with("device", text(&stage.device))
}

fn udp(stage: &Stage) -> Options {
    let port = stage.datagrams.local_addr().unwrap().port();
    hold("udp").with("remote", inet(port))
}

fn unix_server(stage: &Stage) -> Options {
    socket(unix(&stage.path("ours")), true)
}

/// A client that sends a descriptor with its input.
fn unix_peer(stage: &Stage, _: &Info) -> Peer {
    let stream = UnixStream::connect(stage.path("ours")).unwrap();
    send_with_fd(&stream);
    wait_for("the peer", || stage.front.is_open().then_some(()));
    Box::new(stream)
}

fn send_with_fd(stream: &UnixStream) {
    let fds = [stream.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds));
    let bytes = [std::io::IoSlice::new(b"input")];
    let flags = rustix::net::SendFlags::empty();
    rustix::net::sendmsg(stream, &bytes, &mut control, flags).unwrap();
}

fn unix_client(stage: &Stage) -> Options {
    socket(unix(&stage.path("theirs")), false)
}

fn accepted(stage: &Stage, _: &Info) -> Peer {
    let (stream, _) = stage.unix.accept().unwrap();
    send_with_fd(&stream);
    Box::new(stream)
}

fn tcp_server(stage: &Stage) -> Options {
    socket(inet(stage.port), true)
}

fn tcp_peer(stage: &Stage, _: &Info) -> Peer {
    let mut stream = TcpStream::connect(("127.0.0.1", stage.port)).unwrap();
    stream.write_all(b"input").unwrap();
    wait_for("the peer", || stage.front.is_open().then_some(()));
    Box::new(stream)
}

fn tcp_client(stage: &Stage) -> Options {
    socket(inet(stage.tcp.local_addr().unwrap().port()), false)
}

fn tcp_accepted(stage: &Stage, _: &Info) -> Peer {
    let (mut stream, _) = stage.tcp.accept().unwrap();
    stream.write_all(b"input").unwrap();
    Box::new(stream)
}

fn given() -> Options {
    let address = OptionValue::Address(SocketAddress::Fd("peer".to_owned()));
    socket(address, false)
}

fn reconnecting(stage: &Stage) -> Options {
    socket(unix(&stage.path("nobody")), false).with("reconnect-ms", OptionValue::Int(10))
}

/// Our descriptors by what they refer to, without the numbers that differ each time.
fn descriptors() -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    let entries: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .collect();
    for entry in entries {
        let Ok(target) = std::fs::read_link(entry.path()) else {
            continue;
        };
        let target = target.to_string_lossy();
        let name = target.split(['[', ':']).next().unwrap_or_default();
        let name = match name.starts_with("/proc/") {
            true => continue,
            false if target.contains("/pts/") => "a pty",
            false => name,
        };
        *all.entry(name.to_owned()).or_insert(0) += 1;
    }
    all
}

/// As many as there are once nothing is on its way any more.
fn settled() -> BTreeMap<String, usize> {
    let (mut last, mut since) = (descriptors(), Instant::now());
    wait_for("calm", || {
        let now = descriptors();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() > CALM).then(|| last.clone())
    })
}

#[test]
fn nothing_is_left_open() {
    let stage = Stage::new();
    let all = |rounds: usize| {
        for kind in KINDS {
            (0..rounds).for_each(|number| stage.round(kind, number));
        }
    };
    all(WARM_UP);
    let before = settled();
    all(ROUNDS);
    let after = settled();
    assert_eq!(
        before,
        after,
        "{} kinds, {ROUNDS} rounds of each",
        KINDS.len()
    );
}
