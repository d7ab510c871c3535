//! Where the server of this test lives: a directory, sockets of the loopback and a terminal of its
//! own, and the far ends of its descriptors.
//!
//! Nothing here blocks: what hangs is the server.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chardev::Chardevs;
use chardev_monitor::{Server, Stop};
use chardev_qapi::Json;
use chardev_qmp::{Session, SessionConfig};
use chardevd::devices::Roll;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use super::limits::Limits;

/// Whether standard input and output may be used; a fuzz target sets it after replacing them.
pub(crate) static OWNS_STDIO: AtomicBool = AtomicBool::new(false);

/// How long what an input left behind may go on; after 20 s libFuzzer would end that, and would not
/// say what it is.
const SETTLE: Duration = Duration::from_secs(15);
/// How often to look whether it has ended.
const LOOK: Duration = Duration::from_millis(1);
/// Descriptors that may come and go beside the server.
const SLACK: usize = 8;

/// The server and everything it can reach.
pub(super) struct World {
    pub(super) server: Server,
    /// What `query-qmp-schema` answers.
    pub(super) schema: Json,
    pub(super) owns_stdio: bool,
    /// A terminal, for what wants one.
    pub(super) tty: String,
    pub(super) tcp_port: u16,
    /// Nobody listens there, and nobody can.
    pub(super) refusing_port: u16,
    pub(super) udp_port: u16,
    pub(super) tcp: TcpListener,
    pub(super) udp: UdpSocket,
    pub(super) tty_master: OwnedFd,
    dir: TempDir,
    descriptors: usize,
    _refusing: OwnedFd,
}

/// The one world of this process.
pub(super) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::new)
}

impl World {
    fn new() -> Self {
        super::confine::check_tables();
        abort_on_panic();
        let chardevs = Chardevs::new().expect("a thread");
        // Its descriptors are counted, and a thread that is made later has some.
        chardevs.set_io_threads(1, 0);
        let server = Server::builder(&chardevs).on_io_thread();
        let devices = Roll::new(server.events().clone(), Stop::default());
        let server = server.devices(Arc::new(devices)).start();
        // What Rust does for its own programs; the handler stays for good.
        let _ = chardevs.block_on(async { signal(SignalKind::pipe()) });
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        tcp.set_nonblocking(true).expect("a flag");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        udp.set_nonblocking(true).expect("a flag");
        let (refusing, refusing_port) = bound_only();
        let (tty_master, tty) = terminal();
        // Memory where there is some, so that no disk wears out.
        let parent = Path::new("/dev/shm");
        let parent = if parent.is_dir() {
            parent.to_owned()
        } else {
            std::env::temp_dir()
        };
        let server = server.expect("no thread of its own");
        let world = World {
            schema: schema(&server),
            server,
            owns_stdio: OWNS_STDIO.load(Ordering::Relaxed),
            tcp_port: tcp.local_addr().expect("a port").port(),
            udp_port: udp.local_addr().expect("a port").port(),
            refusing_port,
            tty,
            tty_master,
            tcp,
            udp,
            dir: tempfile::tempdir_in(parent).expect("a directory"),
            descriptors: 0,
            _refusing: refusing,
        };
        world.furnish();
        World {
            descriptors: descriptors(),
            ..world
        }
    }

    /// The path of a file of that name.
    pub(super) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.dir.path().display())
    }

    /// An abstract name nobody else uses.
    pub(super) fn abstract_name(&self, name: &str) -> String {
        format!("chardev-fuzz-{}-{name}", std::process::id())
    }

    /// The directory with what every input finds in it.
    fn furnish(&self) {
        for name in ["fifo", "pair.in", "pair.out"] {
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, self.file(name), FileType::Fifo, mode, 0)
                .expect("a FIFO");
        }
        fs::write(self.file("text"), "some input\n".repeat(100)).expect("a file");
        fs::create_dir(self.file("dir")).expect("a directory");
    }

    /// Takes away everything an input has made, and what was left unread.
    pub(super) fn clean(&self, limits: &Limits) {
        let chardevs = self.server.chardevs();
        // A multiplexer or a hub goes before what it uses, and not before its output has gone
        // there.
        let none_left = || {
            for info in chardevs.list() {
                let _ = limits.step(|| chardevs.blocking_remove(&info.label));
            }
            chardevs.list().is_empty()
        };
        let stuck = || format!("they cannot be removed: {:?}", chardevs.list());
        self.until(none_left, stuck);
        let sets = self.server.fd_sets().query();
        for set in sets.as_array().unwrap_or_default() {
            let id = set.get("fdset-id").and_then(Json::as_i64);
            let _ = self.server.fd_sets().remove(id.unwrap_or(0), None);
        }
        let objects = chardevs.objects();
        let none_left = || {
            for (id, _) in objects.list() {
                let _ = objects.remove(&id);
            }
            objects.list().is_empty()
        };
        self.until(none_left, || "objects cannot be removed".to_owned());
        self.server.run_state().set_running(true);
        while self.tcp.accept().is_ok() {}
        while self.udp.recv(&mut [0; 1]).is_ok() {}
        while rustix::io::read(&self.tty_master, &mut [0; 4096]).is_ok_and(|count| count > 0) {}
        for entry in fs::read_dir(self.dir.path()).expect("the directory") {
            let path = entry.expect("an entry").path();
            let removed = match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
                _ => fs::remove_file(&path),
            };
            // What drains may remove its own link or socket at the same time.
            assert!(
                removed
                    .as_ref()
                    .map_err(std::io::Error::kind)
                    .err()
                    .is_none_or(|kind| kind == ErrorKind::NotFound),
                "{}: {removed:?}",
                path.display()
            );
        }
        self.furnish();
    }

    /// Looks again and again until `done`, since neither the kernel nor a drain tells; in between
    /// the I/O thread and its timers go on.
    fn until(&self, done: impl Fn() -> bool, stuck: impl Fn() -> String) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < SETTLE, "{}", stuck());
            let chardevs = self.server.chardevs();
            chardevs.block_on(async { tokio::time::sleep(LOOK).await });
        }
    }

    /// Waits until nothing of former inputs is left, and sees that nothing leaks.
    pub(super) fn settle(&self) {
        let few = || descriptors() <= self.descriptors + SLACK;
        let leak = || {
            format!(
                "{} descriptors are open, {} were at first: {:?}",
                descriptors(),
                self.descriptors,
                kinds_of_descriptors()
            )
        };
        self.until(few, leak);
    }
}

/// What a client is told that there is, with what the server adds itself.
fn schema(server: &Server) -> Json {
    let config = SessionConfig {
        version: server.version().clone(),
        pretty: false,
        oob_offered: false,
        kinds: chardev::back::specs(),
    };
    let mut session = Session::new(config).with_own(server.own());
    session.handle_connect();
    let requests = "{'execute':'qmp_capabilities'}{'execute':'query-qmp-schema'}";
    session.handle_bytes(requests.as_bytes());
    let mut said = Vec::new();
    while !session.output().is_empty() {
        said.extend_from_slice(session.output());
        session.consume_output(usize::MAX);
        assert!(session.poll_request().is_none(), "it is answered at once");
    }
    let said = String::from_utf8(said).expect("output is text");
    let answer = said.lines().last().expect("an answer");
    let answer = Json::parse(answer).expect("output is JSON");
    answer.get("return").expect("what there is").clone()
}

/// A panic in any thread ends the test, also where somebody would catch it.
fn abort_on_panic() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        told(info);
        std::process::abort();
    }));
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn kinds_of_descriptors() -> HashMap<String, usize> {
    let mut kinds = HashMap::new();
    for entry in fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
    {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_string_lossy().into_owned();
        *kinds
            .entry(target.split(':').next().unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    kinds
}

fn bound_only() -> (OwnedFd, u16) {
    let socket =
        rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    let any = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);
    rustix::net::bind(&socket, &any).expect("a port");
    let address =
        std::net::SocketAddr::try_from(rustix::net::getsockname(&socket).expect("a name"));
    let port = address.expect("an address").port();
    (socket, port)
}

/// A terminal's master, and the path of its slave.
pub(crate) fn terminal() -> (OwnedFd, String) {
    let flags = rustix::pty::OpenptFlags::RDWR
        | rustix::pty::OpenptFlags::NOCTTY
        | rustix::pty::OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).expect("a terminal");
    rustix::pty::unlockpt(&master).expect("a terminal");
    rustix::io::ioctl_fionbio(&master, true).expect("a flag");
    let name = rustix::pty::ptsname(&master, Vec::new()).expect("a name");
    let name = name.into_string().expect("a path");
    (master, name)
}

/// Opens a path without waiting.
pub(super) fn open(path: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

/// Connects to a Unix socket without waiting.
pub(super) fn connect_unix(path: &str) -> Option<OwnedFd> {
    let address = SocketAddrUnix::new(Path::new(path).as_os_str().as_bytes()).ok()?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    rustix::net::connect(&socket, &address).ok()?;
    Some(socket)
}

/// Connects to a port of the loopback without waiting.
pub(super) fn connect_tcp(port: u16) -> Option<OwnedFd> {
    let address = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port);
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).ok()?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Some(socket),
        Err(_) => None,
    }
}

/// A descriptor for a client to pass, of a sort that the name chooses, and its far end if it has
/// one.
pub(super) fn passable(name: &str, world: &World) -> (OwnedFd, Option<OwnedFd>) {
    let pair = || {
        let (ours, theirs) = UnixStream::pair().expect("two sockets");
        ours.set_nonblocking(true).expect("a flag");
        (theirs.into(), Some(ours.into()))
    };
    let file = |name, flags| {
        let mode = Mode::RUSR | Mode::WUSR;
        let opened = rustix::fs::open(world.file(name), flags | OFlags::CREATE, mode);
        opened.map(|fd| (fd, None))
    };
    match name {
        "g" => file("given", OFlags::RDWR).unwrap_or_else(|_| pair()),
        "w" => file("given", OFlags::WRONLY | OFlags::APPEND).unwrap_or_else(|_| pair()),
        "p" => {
            let (read, write) =
                rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).expect("a pipe");
            (write, Some(read))
        }
        "l" => (
            world.tcp.as_fd().try_clone_to_owned().expect("a copy"),
            None,
        ),
        _ => pair(),
    }
}
