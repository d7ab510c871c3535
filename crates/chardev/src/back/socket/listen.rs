//! front → chardev → back → [host]: listening for clients, on one address or several.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use chardev_core::spec::{InetAddress, SocketAddress};
use chardev_core::text::{from_bytes, to_path};
use chardev_core::{Few, OpenError, Ready};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, accept_with, getsockname, sockopt,
};

use super::config::Config;
use super::unix::{self, BoundPath, Identity};
use super::{connect, inet, on_io_thread, vsock};
use crate::back::OpenContext;
use crate::back::resolve::{Purpose, resolve};
use crate::port::Port;
use crate::reactor::FdWatch;
use crate::shortage::is_shortage;
use crate::sys::{async_fd, failed};

/// Clients that may wait in the kernel while one is served.
const BACKLOG: i32 = 16;
/// The same where they are taken as they come: a crowd must not make the kernel turn away others,
/// who would try again a second later.
const CROWD: i32 = 256;
/// How often a port is looked for that is free on every address.
const PORT_ATTEMPTS: usize = 16;

/// A wish for a listener that a back end about to be replaced has.
#[derive(Debug)]
pub(super) enum WantListener {
    /// An abstract name, as it is shown.
    Name(String),
    /// The socket that is at the path.
    Path(Identity),
    /// These addresses, and whether with Multipath TCP.
    Inet(Vec<SocketAddr>, bool),
    /// This machine and port.
    Vsock(vsock::Place),
}

/// One or more listening sockets under one name.
#[derive(Debug)]
pub(super) struct Listener {
    sockets: Few<Socket>,
    /// The path, shared with a back end that took it over.
    path: Option<Arc<Mutex<BoundPath>>>,
    /// Where it listens: the path as it was given, or what QEMU writes, `tcp:127.0.0.1:1234`.
    place: Arc<str>,
    unix: bool,
}

#[derive(Debug)]
struct Socket {
    fd: Arc<OwnedFd>,
    watch: Option<FdWatch>,
}

impl Listener {
    /// Listens where `config` says. With `wait` clients must find it at once, not only after
    /// [`Listener::activate`], so nobody else may serve a path.
    ///
    /// # Errors
    /// The cause in QEMU's words; nothing is left behind.
    pub(super) async fn bind(config: &Config, context: &OpenContext) -> Result<Self, OpenError> {
        let borrow = |wanted| context.borrow::<WantListener, Listener>(&wanted);
        match &config.address {
            SocketAddress::Unix {
                path,
                abstract_name: true,
                tight,
            } => match borrow(WantListener::Name(unix::show(path, true, *tight))) {
                Some(listener) => Ok(listener),
                None => bind_abstract(path, *tight),
            },
            SocketAddress::Unix { path, .. } => {
                let given = path.clone();
                let (directory, inside) = (config.directory.clone(), context.clone());
                let wait = config.wait;
                let binding = move || bind_path(given, directory.as_deref(), wait, &inside);
                let bound = context.port.offload_open(binding).await;
                bound.map_err(|why| format!("Failed to bind socket to {path}: {why}"))?
            }
            SocketAddress::Inet(inet) => {
                let wanted = inet.clone();
                let resolving = async move { resolve(&wanted, Purpose::Bind).await };
                let addresses = on_io_thread(&context.port, resolving).await?;
                match borrow(WantListener::Inet(addresses.clone(), inet.mptcp)) {
                    Some(listener) => Ok(listener),
                    None => bind_inet(inet, &addresses),
                }
            }
            SocketAddress::Vsock { cid, port } => {
                let place = vsock::Place::parse(cid, port)?;
                match borrow(WantListener::Vsock(place)) {
                    Some(listener) => Ok(listener),
                    None => bind_vsock(place),
                }
            }
            SocketAddress::Fd(_) => {
                Err("address type is not supported for a server of this build".into())
            }
        }
    }

    /// A listener around `fd`, called `name`, that listens already.
    ///
    /// # Errors
    /// Names the descriptor and says what it is not.
    pub(super) fn given(fd: &Arc<OwnedFd>, name: &str) -> Result<Self, OpenError> {
        connect::check_stream(fd, name)?;
        if !sockopt::socket_acceptconn(fd).unwrap_or(false) {
            return Err(connect::is_not(name, "a listening socket"));
        }
        rustix::io::ioctl_fionbio(fd, true)
            .map_err(|error| failed("Failed to set FD nonblocking", error))?;
        let unix = sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX);
        let place = place(fd).unwrap_or_else(|| format!("fd:{name}"));
        Ok(Listener::new(vec![Arc::clone(fd)], None, place, unix))
    }

    fn new(sockets: Vec<Arc<OwnedFd>>, path: Option<BoundPath>, place: String, unix: bool) -> Self {
        let place = path.as_ref().map_or(place.into(), BoundPath::shown);
        let sockets = sockets.into_iter().map(Socket::new).collect();
        let path = path.map(|path| Arc::new(Mutex::new(path)));
        Listener {
            sockets,
            path,
            place,
            unix,
        }
    }

    /// Where it listens, as QEMU writes it.
    fn place(&self) -> String {
        match &self.path {
            Some(_) => unix::show(&self.place, false, true),
            None => self.place.to_string(),
        }
    }

    /// Whether clients come over Unix sockets.
    pub(super) fn is_unix(&self) -> bool {
        self.unix
    }

    /// The name that `query-chardev` shows.
    pub(super) fn filename(&self) -> String {
        // As in QEMU, whose names of vsock sockets do not say it.
        let place = self.place();
        let server = match place.starts_with("vsock:") {
            true => "",
            false => ",server=on",
        };
        place + server
    }

    /// Asks for one report when a client comes.
    ///
    /// # Errors
    /// The host is out of watches.
    pub(super) fn watch(&mut self, port: &Port) -> Result<(), OpenError> {
        for socket in self.sockets.iter_mut() {
            if socket.watch.is_none() {
                let watch = FdWatch::new(port, Arc::clone(&socket.fd));
                let watch = watch.map_err(|error| failed("Failed to watch socket", error))?;
                socket.watch = Some(watch);
            }
        }
        for watch in self.sockets.iter().flat_map(|socket| &socket.watch) {
            watch.arm(Ready::READ);
        }
        Ok(())
    }

    /// Clients wait in the kernel, and nobody is told of them. There may be many listeners, most of
    /// which have a peer.
    pub(super) fn rest(&mut self) {
        for socket in self.sockets.iter_mut() {
            socket.watch = None;
        }
    }

    /// The next client, if one is waiting.
    ///
    /// # Errors
    /// The process or the host is out of something; clients go on waiting.
    pub(super) fn accept(&self) -> Result<Option<OwnedFd>, Errno> {
        for socket in self.sockets.iter() {
            if let Some(client) = accept_one(&socket.fd)? {
                return Ok(Some(client));
            }
        }
        Ok(None)
    }

    /// Clients are taken as they come from now on.
    pub(super) fn expect_many(&self) {
        for socket in self.sockets.iter() {
            // Where that fails fewer can wait.
            let _ = rustix::net::listen(&socket.fd, CROWD);
        }
    }

    /// Waits for the first client. Runs on the I/O thread and keeps nothing borrowed.
    pub(super) fn first_client(
        &self,
    ) -> impl Future<Output = Result<OwnedFd, OpenError>> + Send + use<> {
        let sockets: Vec<_> = self.fds().cloned().collect();
        async move { first_client(&sockets).await }
    }

    /// Takes a path into use: from here on clients come to this listener.
    ///
    /// # Errors
    /// The cause in QEMU's words.
    pub(super) fn activate(&mut self) -> Result<(), OpenError> {
        self.with_path(BoundPath::activate).unwrap_or(Ok(()))
    }

    /// Undoes [`Listener::activate`].
    pub(super) fn deactivate(&mut self) {
        self.with_path(BoundPath::deactivate);
    }

    /// The listener is in use for good.
    pub(super) fn keep(&mut self) {
        self.with_path(BoundPath::keep);
    }

    /// The same sockets under the same name, for a back end that is to listen on `wanted`; clients
    /// that wait are served by whichever of the two is left.
    pub(super) fn lend(&self, wanted: &WantListener) -> Option<Listener> {
        let is_same = match wanted {
            WantListener::Name(place) => *place == *self.place && self.path.is_none(),
            WantListener::Path(found) => self.with_path(|own| own.is(*found)) == Some(true),
            WantListener::Inet(addresses, mptcp) => {
                let sockets = self.fds();
                let sockets = sockets.filter(|fd| inet::is_mptcp(fd) == *mptcp);
                let own: Vec<_> = sockets.filter_map(address).collect();
                own.len() == addresses.len() && addresses.iter().all(|wanted| own.contains(wanted))
            }
            WantListener::Vsock(place) => {
                let own = self.fds().find_map(vsock::Place::of);
                own == Some(*place)
            }
        };
        let again = |fd: &Arc<OwnedFd>| fd.try_clone().ok().map(Arc::new).map(Socket::new);
        let sockets: Option<_> = is_same.then(|| self.fds().map(again))?.collect();
        Some(Listener {
            sockets: sockets?,
            path: self.path.clone(),
            place: Arc::clone(&self.place),
            unix: self.unix,
        })
    }

    fn fds(&self) -> impl Iterator<Item = &Arc<OwnedFd>> {
        self.sockets.iter().map(|socket| &socket.fd)
    }

    fn with_path<R>(&self, action: impl FnOnce(&mut BoundPath) -> R) -> Option<R> {
        let path = self.path.as_ref()?;
        Some(action(
            &mut path.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl Socket {
    fn new(fd: Arc<OwnedFd>) -> Self {
        Socket { fd, watch: None }
    }
}

/// The internet address `socket` is bound to.
fn address(socket: impl AsFd) -> Option<SocketAddr> {
    SocketAddr::try_from(getsockname(socket).ok()?).ok()
}

/// Where `socket` listens. An IPv6 address stands without brackets here, as in QEMU.
fn place(socket: impl AsFd) -> Option<String> {
    if let Some(address) = address(&socket) {
        return Some(format!("tcp:{}:{}", address.ip(), address.port()));
    }
    if let Some(place) = vsock::Place::of(&socket) {
        return Some(format!("vsock:{place}"));
    }
    let local: SocketAddrAny = getsockname(socket).ok()?;
    let address = SocketAddrUnix::try_from(local).ok()?;
    if let Some(path) = address.path_bytes() {
        return Some(format!("unix:{}", from_bytes(path)));
    }
    let name = address.abstract_name()?;
    Some(format!("unix:{},abstract=on,tight=on", from_bytes(name)))
}

async fn first_client(sockets: &[Arc<OwnedFd>]) -> Result<OwnedFd, OpenError> {
    let failed = |error: std::io::Error| failed("Unable to accept", error);
    let mut watched = Vec::with_capacity(sockets.len());
    for socket in sockets {
        watched.push(socket.try_clone().and_then(async_fd).map_err(failed)?);
    }
    poll_fn(|cx| {
        for socket in &watched {
            while let Poll::Ready(guard) = socket.poll_read_ready(cx) {
                let mut guard = guard.map_err(failed)?;
                match accept_one(socket.get_ref()) {
                    Ok(Some(client)) => return Poll::Ready(Ok(client)),
                    Ok(None) => guard.clear_ready(),
                    Err(error) => return Poll::Ready(Err(failed(error.into()))),
                }
            }
        }
        Poll::Pending
    })
    .await
}

fn accept_one(socket: impl AsFd) -> Result<Option<OwnedFd>, Errno> {
    loop {
        match accept_with(&socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(client) => return Ok(Some(client)),
            Err(Errno::AGAIN) => return Ok(None),
            // A client that gave up while it waited; the next one may be there.
            Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO | Errno::PERM) => {}
            // Without a descriptor the kernel does not look whether there is a client.
            Err(error) if is_shortage(error) && !is_anybody_there(&socket) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

fn is_anybody_there(socket: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&socket, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

fn bind_abstract(name: &str, tight: bool) -> Result<Listener, OpenError> {
    let address = unix::abstract_address(name, tight)?;
    let socket = unix::stream()?;
    rustix::net::bind(&socket, &address).map_err(|error| unix::bind_error(name, error))?;
    listen(&socket)?;
    let place = unix::show(name, true, tight);
    Ok(Listener::new(vec![Arc::new(socket)], None, place, true))
}

/// What is at the path is looked up here and not by who may have it: that one is asked under its
/// chardev's lock.
fn bind_path(
    mut given: String,
    directory: Option<&Path>,
    wait: bool,
    context: &OpenContext,
) -> Result<Listener, OpenError> {
    if given.is_empty() {
        given = unix::free_path();
    }
    let path = to_path(&given, directory);
    let wanted = Identity::at(&path).map(WantListener::Path);
    if let Some(lent) = wanted.and_then(|wanted| context.borrow(&wanted)) {
        return Ok(lent);
    }
    let socket = unix::stream()?;
    let mut bound = BoundPath::bind(&socket, &given, &path)?;
    listen(&socket)?;
    if wait {
        bound.activate()?;
    }
    let (socket, place) = (Arc::new(socket), String::new());
    Ok(Listener::new(vec![socket], Some(bound), place, true))
}

fn bind_vsock(place: vsock::Place) -> Result<Listener, OpenError> {
    let socket = place.listen()?;
    let place = self::place(&socket).unwrap_or_else(|| format!("vsock:{place}"));
    Ok(Listener::new(vec![Arc::new(socket)], None, place, false))
}

/// Lets clients come to `socket`, and a few of them wait.
pub(super) fn listen(socket: &OwnedFd) -> Result<(), OpenError> {
    rustix::net::listen(socket, BACKLOG)
        .map_err(|error| failed("Failed to listen on socket", error))
}

fn bind_inet(inet: &InetAddress, addresses: &[SocketAddr]) -> Result<Listener, OpenError> {
    let first = addresses.first().map_or(0, SocketAddr::port);
    let last = inet.to.unwrap_or(first);
    if last < first {
        let text = format!("Ports {first} to {last} are no range: 'to' is less than 'port'");
        return Err(OpenError::new(text).because(std::io::Error::from(Errno::INVAL)));
    }
    let mut failure = BindFailure::Port(Errno::ADDRINUSE);
    let attempts = if first == 0 && last == 0 {
        PORT_ATTEMPTS
    } else {
        1
    };
    for port in (first..=last).flat_map(|port| std::iter::repeat_n(port, attempts)) {
        match bind_port(inet, addresses, port) {
            Ok(sockets) => {
                let place = place(&sockets[0]);
                let place = place.unwrap_or_else(|| format!("tcp:{}:{port}", inet.host));
                return Ok(Listener::new(sockets, None, place, false));
            }
            Err(error @ BindFailure::Port(_)) => failure = error,
            Err(error) => return Err(error.into_error()),
        }
    }
    let error = failure.into_error();
    if first == last {
        return Err(error);
    }
    let text = format!("{error} (all ports from {first} to {last})");
    Err(error.shown_as(text))
}

/// Why a port was not bound.
enum BindFailure {
    /// It is taken; another one may do.
    Port(Errno),
    Create(Errno),
    /// There is no Multipath TCP.
    NoMptcp(OpenError),
    Bind(Errno),
    Listen(Errno),
}

impl BindFailure {
    fn into_error(self) -> OpenError {
        let (what, error) = match self {
            BindFailure::Port(error) => ("Failed to find an available port", error),
            BindFailure::Create(error) => ("Failed to create a socket", error),
            BindFailure::NoMptcp(error) => return error,
            BindFailure::Bind(error) => ("Failed to bind socket", error),
            BindFailure::Listen(error) => ("Failed to listen on socket", error),
        };
        failed(what, error)
    }
}

/// Binds the same port on every address. An address that this host does not have is left out as
/// long as there is another; one that is taken is not.
fn bind_port(
    inet: &InetAddress,
    addresses: &[SocketAddr],
    mut port: u16,
) -> Result<Vec<Arc<OwnedFd>>, BindFailure> {
    let chosen = inet.ipv6 == Some(true) && inet.ipv4 != Some(true);
    let only_v6 = chosen || inet.ipv4 == Some(false) || addresses.iter().any(SocketAddr::is_ipv4);
    let mut sockets = Vec::new();
    let mut failure = BindFailure::Port(Errno::INVAL);
    for &(mut address) in addresses {
        address.set_port(port);
        match bind_one(address, inet.mptcp, only_v6) {
            Ok(socket) => {
                if let Some(Ok(bound)) = getsockname(&socket).ok().map(SocketAddr::try_from) {
                    port = bound.port();
                }
                sockets.push(Arc::new(socket));
            }
            Err(
                error @ (BindFailure::Bind(Errno::ADDRNOTAVAIL)
                | BindFailure::Create(Errno::AFNOSUPPORT)),
            ) => failure = error,
            Err(error) => return Err(error),
        }
    }
    if sockets.is_empty() {
        Err(failure)
    } else {
        Ok(sockets)
    }
}

fn bind_one(address: SocketAddr, mptcp: bool, only_v6: bool) -> Result<OwnedFd, BindFailure> {
    let socket = inet::socket(address, mptcp).map_err(|error| {
        match inet::missing_mptcp(error).filter(|_| mptcp) {
            Some(missing) => BindFailure::NoMptcp(missing),
            None => BindFailure::Create(error),
        }
    })?;
    sockopt::set_socket_reuseaddr(&socket, true).map_err(BindFailure::Create)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, only_v6).map_err(BindFailure::Create)?;
    }
    let taken = |error, other: fn(Errno) -> BindFailure| match error {
        Errno::ADDRINUSE => BindFailure::Port(error),
        _ => other(error),
    };
    rustix::net::bind(&socket, &address).map_err(|error| taken(error, BindFailure::Bind))?;
    rustix::net::listen(&socket, BACKLOG).map_err(|error| taken(error, BindFailure::Listen))?;
    Ok(socket)
}
