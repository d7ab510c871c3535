//! front → chardev → [back] → host: connecting to a server, without holding anything up.

use std::os::fd::OwnedFd;
use std::time::Duration;

use chardev_core::spec::{InetAddress, SocketAddress};
use rustix::io::Errno;

use super::unix;
use crate::back::resolve::{Purpose, resolve};
use crate::sys::strerror;

/// How long to wait before trying again to get into a Unix server's full queue.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// Where a client connects to.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Unix {
        path: String,
        abstract_name: bool,
        tight: bool,
    },
    Inet(InetAddress),
}

impl Target {
    /// Checks what can be checked before connecting.
    ///
    /// # Errors
    /// The cause in QEMU's words.
    pub(super) fn new(address: &SocketAddress) -> Result<Self, String> {
        match address {
            SocketAddress::Unix {
                path,
                abstract_name,
                tight,
            } => {
                unix::address(path, *abstract_name, *tight)?;
                Ok(Target::Unix {
                    path: path.clone(),
                    abstract_name: *abstract_name,
                    tight: *tight,
                })
            }
            SocketAddress::Inet(inet) => Ok(Target::Inet(inet.clone())),
            SocketAddress::Vsock { .. } | SocketAddress::Fd(_) => {
                Err("address type is not supported for a client of this build".to_owned())
            }
        }
    }

    /// Connects; runs on the I/O thread.
    ///
    /// # Errors
    /// The cause in QEMU's words.
    pub(super) async fn connect(self) -> Result<OwnedFd, String> {
        match &self {
            Target::Unix {
                path,
                abstract_name,
                tight,
            } => connect_unix(path, *abstract_name, *tight).await,
            Target::Inet(inet) => connect_inet(inet).await,
        }
    }

    /// The address as QEMU writes it.
    pub(super) fn filename(&self) -> String {
        match self {
            Target::Unix {
                path,
                abstract_name,
                tight,
            } => unix_name(path, *abstract_name, *tight),
            Target::Inet(inet) => format!("tcp:{}", host_port(&inet.host, &inet.port)),
        }
    }
}

/// `unix:<path>` with what distinguishes an abstract name.
pub(super) fn unix_name(path: &str, abstract_name: bool, tight: bool) -> String {
    let kind = match (abstract_name, tight) {
        (false, _) => "",
        (true, false) => ",abstract=on",
        (true, true) => ",abstract=on,tight=on",
    };
    format!("unix:{path}{kind}")
}

/// `host:port` with an IPv6 address in brackets.
pub(super) fn host_port(host: &str, port: &str) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Refuses a descriptor that is not a connected stream socket.
///
/// # Errors
/// Names the descriptor and says what it is not.
pub(super) fn check_connected(fd: &OwnedFd, name: &str) -> Result<(), String> {
    let connected = super::listen::is_stream_socket(fd) && rustix::net::getpeername(fd).is_ok();
    if connected {
        return Ok(());
    }
    Err(format!(
        "File descriptor '{name}' is not a connected stream socket"
    ))
}

async fn connect_unix(path: &str, abstract_name: bool, tight: bool) -> Result<OwnedFd, String> {
    let address = unix::address(path, abstract_name, tight)?;
    let socket = unix::stream()?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::AGAIN) => tokio::time::sleep(QUEUE_PAUSE).await,
            Err(Errno::INTR) => {}
            Err(error) => {
                return Err(format!(
                    "Failed to connect to '{path}': {}",
                    strerror(error)
                ));
            }
        }
    }
}

async fn connect_inet(inet: &InetAddress) -> Result<OwnedFd, String> {
    let mut last = String::new();
    for address in resolve(inet, Purpose::Connect).await? {
        match tokio::net::TcpStream::connect(address)
            .await
            .and_then(|tcp| tcp.into_std())
        {
            Ok(tcp) => {
                if inet.keep_alive {
                    let _ = rustix::net::sockopt::set_socket_keepalive(&tcp, true);
                }
                return Ok(OwnedFd::from(tcp));
            }
            Err(error) => last = strerror(error),
        }
    }
    Err(format!(
        "Failed to connect to '{}:{}': {last}",
        inet.host, inet.port
    ))
}
