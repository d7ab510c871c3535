//! back ◀── [peer]: a real peer of a back end, on a thread of its own, that can be told to stop
//! reading, to say its last word, or to leave.

use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{Chardevs, Info};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::arrival::{STUCK, arrives_from, has_arrived, port};
use super::speech::{Dressed, Escaped, Speech};
use super::stream;
use crate::common::{hold, text};
use crate::dbus_rig;
use crate::vsock;

/// The keys of either end.
pub(crate) const SERVER_KEYS: &str = "server-keys";
pub(crate) const CLIENT_KEYS: &str = "client-keys";
/// What a peer sends at most, so that a chardev that settles need not carry too much.
const INPUT: usize = 16 << 10;
/// What it sends at a time.
const TYPED: usize = 96;
/// The pause between two sendings of a peer that never stops, so that a walk stays in memory.
const FLOOD_PAUSE: Duration = Duration::from_micros(200);

/// The kinds of back ends that are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    File,
    Unix,
    Tcp,
    Pty,
    Pipe,
    Ringbuf,
    /// Sockets that speak the toy protocol.
    EscapedUnix,
    EscapedTcp,
    /// TCP sockets in one of their dresses.
    Websocket,
    Tls,
    Telnet,
    Rfc2217,
    /// Whose peer is registered over D-Bus.
    Dbus,
    /// A socket of this machine's own vsock.
    Vsock,
    /// TCP, but Multipath.
    Mptcp,
}

impl Kind {
    /// Those that users know.
    pub(crate) const ALL: [Kind; 6] = [
        Kind::File,
        Kind::Unix,
        Kind::Tcp,
        Kind::Pty,
        Kind::Pipe,
        Kind::Ringbuf,
    ];

    pub(crate) const ESCAPED: [Kind; 2] = [Kind::EscapedUnix, Kind::EscapedTcp];

    /// Those that are spoken to in a protocol that users know.
    pub(crate) const DRESSED: [Kind; 2] = [Kind::Websocket, Kind::Tls];

    /// The others of those.
    pub(crate) const TERMINALS: [Kind; 2] = [Kind::Telnet, Kind::Rfc2217];

    /// One whose peer comes by another way; the other is there to have a pair.
    pub(crate) const REGISTERED: [Kind; 2] = [Kind::Dbus, Kind::EscapedUnix];

    /// Where the kernel has it.
    pub(crate) const MULTIPATH: [Kind; 2] = [Kind::Mptcp, Kind::EscapedUnix];

    /// Where the kernel has its loopback.
    pub(crate) const MACHINES: [Kind; 2] = [Kind::Vsock, Kind::EscapedTcp];

    fn is_escaped(self) -> bool {
        Kind::ESCAPED.contains(&self)
    }

    /// The same without a protocol above bytes.
    pub(crate) fn plain(self) -> Self {
        match self {
            Kind::EscapedUnix | Kind::Dbus => Kind::Unix,
            Kind::EscapedTcp
            | Kind::Websocket
            | Kind::Tls
            | Kind::Telnet
            | Kind::Rfc2217
            | Kind::Vsock
            | Kind::Mptcp => Kind::Tcp,
            plain => plain,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::EscapedUnix => "escaped-unix",
            Kind::EscapedTcp => "escaped-tcp",
            Kind::Websocket => "websocket",
            Kind::Tls => "tls",
            Kind::Telnet => "telnet",
            Kind::Rfc2217 => "rfc2217",
            Kind::Dbus => "dbus",
            Kind::Vsock => "vsock",
            Kind::Mptcp => "mptcp",
            Kind::File => "file",
            Kind::Unix => "unix",
            Kind::Tcp => "tcp",
            Kind::Pty => "pty",
            Kind::Pipe => "pipe",
            Kind::Ringbuf => "ringbuf",
        }
    }
}

/// What a back end needs before it is opened, and how its peer gets there afterwards.
pub(crate) struct Place {
    pub(crate) number: usize,
    pub(crate) kind: Kind,
    pub(crate) options: Options,
    path: PathBuf,
    listener: Option<Listener>,
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
    Vsock(socket2::Socket),
}

impl Place {
    /// The `number`th place in `dir`. A socket listens, or connects if `connects`; one that is to
    /// stay alone connects to where nobody listens.
    pub(crate) fn new(dir: &Path, number: usize, kind: Kind, connects: bool, alone: bool) -> Self {
        let path = dir.join(format!("{}{number}", kind.name()));
        let mut listener = None;
        let socket = |address| socket(kind, address, connects, alone);
        let options = match kind.plain() {
            _ if kind == Kind::Dbus => dbus_rig::on_no_bus(hold("dbus"), "console"),
            _ if kind == Kind::Vsock => {
                let mut port = u32::MAX;
                if connects {
                    let (vsock, at) = vsock::listener().unwrap();
                    port = at;
                    listener = (!alone).then_some(Listener::Vsock(vsock));
                }
                socket(SocketAddress::Vsock {
                    cid: vsock::LOCAL.to_string(),
                    port: port.to_string(),
                })
            }
            Kind::File => hold("file").with("out", text(&path)),
            Kind::Ringbuf => hold("ringbuf"),
            Kind::Pty => hold("pty"),
            Kind::Pipe => {
                for end in ["in", "out"] {
                    let fifo = path.with_extension(end);
                    let mode = Mode::from_raw_mode(0o600);
                    mknodat(CWD, &fifo, FileType::Fifo, mode, 0).unwrap();
                }
                hold("pipe").with("device", text(&path))
            }
            Kind::Unix => {
                if connects && !alone {
                    listener = Some(Listener::Unix(UnixListener::bind(&path).unwrap()));
                }
                socket(SocketAddress::Unix {
                    path: path.to_str().unwrap().to_owned(),
                    abstract_name: false,
                    tight: true,
                })
            }
            _ => {
                let mut port = if connects { 1 } else { 0 };
                if connects && !alone {
                    let tcp = match kind {
                        Kind::Mptcp => mptcp_listener(),
                        _ => TcpListener::bind("127.0.0.1:0").unwrap(),
                    };
                    port = tcp.local_addr().unwrap().port();
                    listener = Some(Listener::Tcp(tcp));
                }
                let inet = InetAddress {
                    host: "127.0.0.1".to_owned(),
                    port: port.to_string(),
                    mptcp: kind == Kind::Mptcp,
                    ..InetAddress::default()
                };
                socket(SocketAddress::Inet(inet))
            }
        };
        Place {
            number,
            kind,
            options,
            path,
            listener,
        }
    }

    /// The file a file back end writes.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The peer's descriptors: to read output from, and to send input to.
    fn join(
        &self,
        info: &Info,
        chardevs: &Chardevs,
        talks: bool,
    ) -> (Option<OwnedFd>, Option<OwnedFd>) {
        let both = |fd: OwnedFd| (Some(fd.try_clone().unwrap()), Some(fd));
        if self.kind == Kind::Dbus {
            return both(dbus_rig::register(chardevs, "con0").into());
        }
        match (&self.listener, self.kind.plain()) {
            (Some(Listener::Vsock(listener)), _) => both(listener.accept().unwrap().0.into()),
            (None, _) if self.kind == Kind::Vsock => {
                let port = info.filename.rsplit_once(':').unwrap().1.parse().unwrap();
                both(vsock::connect(port).into())
            }
            (Some(Listener::Unix(listener)), _) => both(listener.accept().unwrap().0.into()),
            (Some(Listener::Tcp(listener)), _) => both(at_once(listener.accept().unwrap().0)),
            (None, Kind::Unix) => both(UnixStream::connect(&self.path).unwrap().into()),
            (None, Kind::Pty) => both(open(info.pty.as_ref().unwrap().as_ref(), true, true)),
            (None, Kind::Pipe) => (
                Some(open(&self.path.with_extension("out"), true, false)),
                talks.then(|| open(&self.path.with_extension("in"), false, true)),
            ),
            (None, Kind::File | Kind::Ringbuf) => (None, None),
            (None, _) => {
                let address = info.filename.strip_suffix(",server=on").unwrap();
                let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                both(at_once(match self.kind {
                    Kind::Mptcp => {
                        let socket = mptcp().unwrap();
                        socket.connect(&address.into()).unwrap();
                        socket.into()
                    }
                    _ => TcpStream::connect(address).unwrap(),
                }))
            }
        }
    }
}

/// A socket of Multipath TCP.
///
/// # Errors
/// The kernel has none.
pub(crate) fn mptcp() -> std::io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))
}

fn mptcp_listener() -> TcpListener {
    let socket = mptcp().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    socket.listen(1).unwrap();
    socket.into()
}

/// What is sent leaves at once, and no more than a little is received unread.
fn at_once(peer: TcpStream) -> OwnedFd {
    peer.set_nodelay(true).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&peer, 64 << 10).unwrap();
    peer.into()
}

fn socket(kind: Kind, address: SocketAddress, connects: bool, alone: bool) -> Options {
    let name = match kind.is_escaped() {
        true => "escaped",
        false => "socket",
    };
    let options = match (kind, connects) {
        (Kind::Rfc2217, true) => hold("x-rfc2217"),
        _ => hold(name).with("server", OptionValue::Bool(!connects)),
    };
    let options = options.with("addr", OptionValue::Address(address));
    let options = dressed(options, kind, !connects);
    if connects && alone {
        // The pause between two attempts: the first fails, and the chardev goes on waiting.
        return options.with("reconnect-ms", OptionValue::Int(20));
    }
    options
}

/// With the protocol of `kind`, for a server or a client.
fn dressed(options: Options, kind: Kind, server: bool) -> Options {
    let keys = if server { SERVER_KEYS } else { CLIENT_KEYS };
    match (kind, server) {
        (Kind::Websocket, true) => options.with("websocket", OptionValue::Bool(true)),
        (Kind::Websocket, false) => options.with("x-websocket-client", OptionValue::Bool(true)),
        (Kind::Tls, _) => options.with("tls-creds", text(keys)),
        (Kind::Telnet, _) => options.with("telnet", OptionValue::Bool(true)),
        (Kind::Rfc2217, true) => options.with("x-rfc2217", OptionValue::Bool(true)),
        _ => options,
    }
}

/// How a peer of `kind` speaks.
fn speech(kind: Kind, serves: bool, chardevs: &Chardevs) -> Option<Speech> {
    if kind.is_escaped() {
        return Some(Speech::Escaped(Escaped::default()));
    }
    let address = SocketAddress::Inet(InetAddress {
        host: "127.0.0.1".to_owned(),
        ..InetAddress::default()
    });
    let options = Options::new("socket")
        .with("addr", OptionValue::Address(address))
        .with("server", OptionValue::Bool(serves));
    let options = dressed(options, kind, serves);
    let layer = match kind {
        Kind::Websocket => chardev::back::websocket(&options).unwrap(),
        Kind::Telnet => chardev::back::telnet(&options),
        Kind::Rfc2217 if serves => chardev::back::rfc2217(&options),
        Kind::Rfc2217 => Some(chardev::back::rfc2217_client()),
        Kind::Tls => chardev::back::tls(&options, chardevs.objects()).unwrap(),
        _ => None,
    };
    layer.map(|layer| Speech::Dressed(Box::new(Dressed::new(&layer, kind))))
}

fn open(path: &Path, read: bool, write: bool) -> OwnedFd {
    let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
    let file: File = OpenOptions::new()
        .read(read)
        .write(write)
        .custom_flags(flags.bits() as i32)
        .open(path)
        .unwrap();
    file.into()
}

/// What a peer is told, and what it tells.
#[derive(Debug, Default)]
struct Shared {
    got: Mutex<Vec<u8>>,
    sent: AtomicUsize,
    reads: AtomicBool,
    silent: AtomicBool,
    floods: AtomicBool,
    ends: AtomicBool,
    leaves: AtomicBool,
    /// Its own end of a TCP connection; 0 if it has none.
    port: AtomicU16,
}

/// A peer.
pub(crate) struct Peer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    pub(crate) has_input: bool,
}

impl Peer {
    /// Joins `place`; its input, if it has any, is the stream from `seed` on. A ring's peer is
    /// whoever reads it.
    pub(crate) fn join(
        place: &Place,
        info: &Info,
        chardevs: &Chardevs,
        (reads, seed): (bool, Option<usize>),
    ) -> Self {
        let shared = Arc::new(Shared::default());
        shared.reads.store(reads, Ordering::SeqCst);
        shared.silent.store(seed.is_none(), Ordering::SeqCst);
        let seen = Arc::clone(&shared);
        let (output, input) = place.join(info, chardevs, seed.is_some());
        let has_input = input.is_some() && seed.is_some();
        let speech = speech(place.kind, place.listener.is_some(), chardevs);
        let thread = match output {
            Some(output) => {
                let seed = seed.unwrap_or(0);
                std::thread::spawn(move || serve(&seen, output, input, (seed, speech)))
            }
            None => {
                let chardevs = chardevs.clone();
                std::thread::spawn(move || read_ring(&seen, &chardevs))
            }
        };
        Peer {
            shared,
            thread,
            has_input,
        }
    }

    pub(crate) fn got(&self) -> usize {
        self.shared.got.lock().unwrap().len()
    }

    /// The first bytes it read.
    pub(crate) fn first(&self) -> Vec<u8> {
        let got = self.shared.got.lock().unwrap();
        got[..got.len().min(64)].to_vec()
    }

    pub(crate) fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// How much it has sent that is out of its own kernel: one whose receive buffer is full may
    /// drop even the word that something has arrived, and then sends the rest much later.
    pub(crate) fn sent_for_sure(&self) -> usize {
        let (sent, port) = (self.sent(), self.shared.port.load(Ordering::SeqCst));
        match port == 0 || arrives_from(port) {
            true => sent,
            false => 0,
        }
    }

    /// From now on the peer reads, or does not.
    pub(crate) fn read(&self, reads: bool) {
        self.shared.reads.store(reads, Ordering::SeqCst);
    }

    /// The peer sends nothing more.
    pub(crate) fn fall_silent(&self) {
        self.shared.silent.store(true, Ordering::SeqCst);
    }

    /// The peer goes on sending until it is refused, whatever it is told.
    pub(crate) fn flood(&self) {
        self.shared.floods.store(true, Ordering::SeqCst);
    }

    /// The peer closes its sending direction.
    pub(crate) fn end(&self) {
        self.shared.ends.store(true, Ordering::SeqCst);
    }

    /// The peer closes everything, whatever is unread.
    pub(crate) fn leave(&self) {
        self.shared.leaves.store(true, Ordering::SeqCst);
    }

    /// Waits for the end and returns all output the peer read, and how much input it sent.
    pub(crate) fn finish(self) -> (Vec<u8>, usize) {
        self.thread.join().unwrap();
        let got = std::mem::take(&mut *self.shared.got.lock().unwrap());
        (got, self.shared.sent.load(Ordering::SeqCst))
    }
}

fn serve(
    shared: &Shared,
    output: OwnedFd,
    mut input: Option<OwnedFd>,
    (seed, mut speech): (usize, Option<Speech>),
) {
    shared
        .port
        .store(port(&output).unwrap_or(0), Ordering::SeqCst);
    for fd in [Some(&output), input.as_ref()].into_iter().flatten() {
        rustix::io::ioctl_fionbio(fd, true).unwrap();
    }
    if let Some(speech) = &mut speech {
        match speech.greet(&output, || shared.leaves.load(Ordering::SeqCst)) {
            Some(bytes) => shared.got.lock().unwrap().extend(bytes),
            None => return,
        }
    }
    let mut buf = vec![0; stream::PIECE];
    let mut ended = false;
    let mut leaving: Option<Instant> = None;
    while !shared.leaves.load(Ordering::SeqCst) || !has_arrived(&output) {
        if shared.ends.load(Ordering::SeqCst) && input.is_some() {
            if let Some(speech) = &mut speech {
                speech.end(&output);
            }
            // Only a socket can be closed in one direction alone.
            let _ = rustix::net::shutdown(&output, rustix::net::Shutdown::Write);
            input = None;
        }
        let leaves = shared.leaves.load(Ordering::SeqCst);
        // With its receive buffer full, a kernel may drop even the word that something has arrived.
        let stuck = leaves && leaving.get_or_insert_with(Instant::now).elapsed() > STUCK;
        let reads = stuck || shared.reads.load(Ordering::SeqCst);
        let floods = shared.floods.load(Ordering::SeqCst);
        let silent = leaves || shared.silent.load(Ordering::SeqCst);
        let sent = shared.sent.load(Ordering::SeqCst);
        let more = floods || (!silent && sent < INPUT);
        let sender = input.as_ref().filter(|_| more);
        wait((reads && !ended).then_some(&output), sender);
        if reads && !ended {
            let read = rustix::io::read(&output, &mut buf[..]);
            if let Some(speech) = speech.as_mut().filter(|_| read == Ok(0)) {
                assert!(speech.has_ended(), "nobody said the end");
            }
            match read {
                // Whoever floods learns from its own writes that nobody listens.
                Ok(0) if floods && input.is_some() => ended = true,
                Ok(0) => return,
                Ok(count) => match &mut speech {
                    None => shared.got.lock().unwrap().extend(&buf[..count]),
                    Some(speech) => {
                        let bytes = speech.hear(&output, &buf[..count]);
                        shared.got.lock().unwrap().extend(bytes);
                    }
                },
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return,
            }
        }
        let Some(sender) = input.as_ref().filter(|_| more) else {
            if ended {
                return;
            }
            continue;
        };
        let typed = stream::at(seed + sent, TYPED);
        let written = match &mut speech {
            None => rustix::io::write(sender, typed),
            Some(speech) => speech.say(sender, typed),
        };
        match written {
            Ok(count) => shared.sent.store(sent + count, Ordering::SeqCst),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) if floods => input = None,
            Err(_) => {}
        }
        if floods {
            std::thread::park_timeout(FLOOD_PAUSE);
        }
    }
}

/// Waits until something can be done, or for a moment, to see what it is told.
fn wait(reader: Option<&OwnedFd>, writer: Option<&OwnedFd>) {
    let mut fds = Vec::new();
    fds.extend(reader.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
    fds.extend(writer.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::OUT)));
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 2_000_000,
    };
    let _ = poll(&mut fds, Some(&moment));
}

fn read_ring(shared: &Shared, chardevs: &Chardevs) {
    while !shared.leaves.load(Ordering::SeqCst) {
        if !shared.reads.load(Ordering::SeqCst) {
            wait(None, None);
            continue;
        }
        let bytes = chardevs.ring_read("con0", stream::PIECE).unwrap();
        if bytes.is_empty() {
            wait(None, None);
        }
        shared.got.lock().unwrap().extend(bytes);
    }
}
