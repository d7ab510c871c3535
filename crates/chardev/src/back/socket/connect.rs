//! front → chardev → back → [host]: connecting to a server, or taking over a descriptor that is
//! connected.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chardev_core::spec::{InetAddress, SocketAddress};
use chardev_core::text::to_path;
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, SocketType, getpeername, getsockname, sockopt};
use tokio::runtime::Handle;

use super::{inet, unix, vsock};
use crate::back::resolve::{Purpose, resolve};
use crate::offload::offload_open;
use crate::sys::{async_fd, refused};
use chardev_core::OpenError;

/// The pause between two attempts at a Unix server whose backlog is full.
const BACKLOG_PAUSE: Duration = Duration::from_millis(10);

/// Where a client connects to.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A host and a port, looked up anew for every connection.
    Inet(InetAddress),
    /// A Unix socket, and its name as it was given.
    Unix { given: String, place: Place },
    /// A vsock socket.
    Vsock(vsock::Place),
}

impl Target {
    /// The target that `address` means; a relative path starts at `directory`.
    ///
    /// # Errors
    /// The cause in QEMU's words.
    pub(super) fn new(
        address: &SocketAddress,
        directory: Option<&Path>,
    ) -> Result<Self, OpenError> {
        match address {
            SocketAddress::Inet(inet) => Ok(Target::Inet(inet.clone())),
            SocketAddress::Unix {
                path,
                abstract_name,
                tight,
            } => Ok(Target::Unix {
                given: path.clone(),
                place: if *abstract_name {
                    Place::Abstract(unix::abstract_address(path, *tight)?)
                } else {
                    unix::check_length(path)?;
                    Place::Path(to_path(path, directory))
                },
            }),
            SocketAddress::Vsock { cid, port } => {
                Ok(Target::Vsock(vsock::Place::parse(cid, port)?))
            }
            SocketAddress::Fd(_) => {
                Err("address type is not supported for a client of this build".into())
            }
        }
    }

    /// Whether this is a Unix socket.
    pub(super) fn is_unix(&self) -> bool {
        matches!(self, Target::Unix { .. })
    }

    /// A connection that is there without waiting for the server: to a Unix socket whose queue is
    /// not full. The future may be polled by any executor.
    ///
    /// # Errors
    /// The cause in QEMU's words.
    pub(super) async fn try_unix(&self, runtime: &Handle) -> Result<Option<OwnedFd>, OpenError> {
        match self {
            Target::Unix { given, place } => try_unix(runtime, given, place).await,
            Target::Inet(_) | Target::Vsock(_) => Ok(None),
        }
    }

    /// Connects; takes as long as look-up and server do. Runs on the I/O thread.
    ///
    /// # Errors
    /// The cause in QEMU's words.
    pub(super) async fn connect(self) -> Result<OwnedFd, OpenError> {
        match self {
            Target::Inet(inet) => connect_inet(&inet).await,
            Target::Unix { given, place } => connect_unix(&given, place).await,
            Target::Vsock(place) => place.connect().await,
        }
    }
}

/// Where a Unix socket is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Abstract(SocketAddrUnix),
    Path(PathBuf),
}

impl Place {
    fn connect(&self, socket: &OwnedFd) -> Result<(), Errno> {
        match self {
            Place::Abstract(address) => rustix::net::connect(socket, address),
            Place::Path(path) => {
                unix::at_path(path, |address| rustix::net::connect(socket, address))
            }
        }
    }
}

/// Refuses a descriptor that is not a connected stream socket.
///
/// # Errors
/// Names the descriptor and says what it is not.
pub(crate) fn check_connected(fd: impl AsFd, name: &str) -> Result<(), OpenError> {
    check_stream(&fd, name)?;
    match getpeername(&fd) {
        Ok(_) => Ok(()),
        Err(_) => Err(is_not(name, "a connected socket")),
    }
}

/// Refuses a descriptor that is not a stream socket.
///
/// # Errors
/// Names the descriptor and says what it is not.
pub(super) fn check_stream(fd: impl AsFd, name: &str) -> Result<(), OpenError> {
    match sockopt::socket_type(&fd) {
        Ok(SocketType::STREAM) => Ok(()),
        Ok(_) => Err(is_not(name, "a stream socket")),
        Err(_) => Err(is_not(name, "a socket")),
    }
}

/// The descriptor called `name` is not `what` it should be.
pub(super) fn is_not(name: &str, what: &str) -> OpenError {
    OpenError::new(format!("File descriptor '{name}' is not {what}")).about(name)
}

async fn connect_inet(inet: &InetAddress) -> Result<OwnedFd, OpenError> {
    let mut last = Errno::CONNREFUSED;
    for address in resolve(inet, Purpose::Connect).await? {
        let connected = match inet::socket(address, inet.mptcp) {
            Ok(socket) => connect_address(socket, address).await,
            Err(error) => match inet::missing_mptcp(error).filter(|_| inet.mptcp) {
                Some(missing) => return Err(missing),
                None => Err(error),
            },
        };
        match connected {
            Ok(fd) => return Ok(fd),
            Err(error) => last = error,
        }
    }
    let address = format!("{}:{}", inet.host, inet.port);
    Err(refused("Failed to connect to", &address, last))
}

async fn connect_address(socket: OwnedFd, address: SocketAddr) -> Result<OwnedFd, Errno> {
    match rustix::net::connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::INPROGRESS | Errno::INTR) => finish_connecting(&socket).await?,
        Err(error) => return Err(error),
    }
    // A client of its own host may be given the very port it wants to reach, and meet itself.
    match (getsockname(&socket), getpeername(&socket)) {
        (Ok(own), Ok(Some(peer))) if own == peer => Err(Errno::CONNREFUSED),
        _ => Ok(socket),
    }
}

/// Waits until a connection that was begun is there.
///
/// # Errors
/// Why it is not.
pub(super) async fn finish_connecting(socket: &OwnedFd) -> Result<(), Errno> {
    let watched = socket
        .try_clone()
        .and_then(async_fd)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))?;
    let _ = watched.writable().await;
    sockopt::socket_error(socket)?
}

async fn connect_unix(given: &str, place: Place) -> Result<OwnedFd, OpenError> {
    loop {
        if let Some(connected) = try_unix(&Handle::current(), given, &place).await? {
            return Ok(connected);
        }
        tokio::time::sleep(BACKLOG_PAUSE).await;
    }
}

/// A connection, or nothing if the server's queue of those that wait is full.
async fn try_unix(
    runtime: &Handle,
    given: &str,
    place: &Place,
) -> Result<Option<OwnedFd>, OpenError> {
    let (socket, to) = (unix::stream()?, place.clone());
    // The path may be on a file system that does not answer.
    let attempt = offload_open(runtime, move || (to.connect(&socket), socket)).await;
    let (connected, socket) =
        attempt.map_err(|why| format!("Failed to connect to '{given}': {why}"))?;
    match connected {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(refused("Failed to connect to", given, error)),
    }
}
