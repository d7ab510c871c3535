//! front → chardev → [back] → host: a listening socket, one client at a time.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use chardev_core::spec::{InetAddress, SocketAddress};
use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType, acceptfrom_with, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::connect::{host_port, unix_name};
use super::unix::{self, BoundPath};
use crate::back::resolve::{Purpose, resolve};
use crate::port::Port;
use crate::sys::{async_fd, strerror};

/// Clients that wait in the kernel while another one is served.
const BACKLOG: i32 = 16;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    fd: Arc<OwnedFd>,
    name: String,
    bound: Option<BoundPath>,
}

impl Listener {
    /// Binds and listens at `address`. With `wait` the address must be reachable before the
    /// change is decided, so nothing live may be at a path.
    ///
    /// # Errors
    /// The cause in QEMU's words.
    pub(super) async fn bind(
        address: &SocketAddress,
        wait: bool,
        port: &Port,
    ) -> Result<Self, String> {
        match address {
            SocketAddress::Unix {
                path,
                abstract_name,
                tight,
            } => bind_unix(path, *abstract_name, *tight, wait),
            SocketAddress::Inet(inet) => {
                let inet = inet.clone();
                let addresses = {
                    let inet = inet.clone();
                    super::on_io_thread(port, async move { resolve(&inet, Purpose::Bind).await })
                        .await?
                };
                bind_inet(&inet, &addresses)
            }
            SocketAddress::Vsock { .. } | SocketAddress::Fd(_) => {
                Err("address type is not supported for a server of this build".to_owned())
            }
        }
    }

    /// Serves the listening socket that was given as `name`.
    ///
    /// # Errors
    /// It does not listen.
    pub(super) fn given(fd: &Arc<OwnedFd>, name: &str) -> Result<Self, String> {
        if !is_stream_socket(fd) || sockopt::socket_acceptconn(fd) != Ok(true) {
            return Err(format!(
                "File descriptor '{name}' is not a listening stream socket"
            ));
        }
        let _ = rustix::io::ioctl_fionbio(fd, true);
        Ok(Listener {
            fd: Arc::clone(fd),
            name: format!("fd:{name}"),
            bound: None,
        })
    }

    /// The address as QEMU writes it.
    pub(super) fn filename(&self) -> String {
        format!("{},server=on", self.name)
    }

    /// The descriptor, for watching.
    pub(super) fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Takes the next client, if one waits.
    pub(super) fn accept(&self) -> Option<OwnedFd> {
        accept(&self.fd)
    }

    /// Waits for the first client; runs on the I/O thread.
    pub(super) fn first_client(
        &self,
    ) -> impl Future<Output = Result<OwnedFd, String>> + Send + 'static {
        let fd = Arc::clone(&self.fd);
        async move {
            let copy = fd.as_fd().try_clone_to_owned().map_err(strerror)?;
            let watched = async_fd(copy).map_err(strerror)?;
            loop {
                let mut ready = watched.readable().await.map_err(strerror)?;
                match accept(&fd) {
                    Some(client) => return Ok(client),
                    None => ready.clear_ready(),
                }
            }
        }
    }

    /// Puts a socket bound under a hidden name into its place.
    pub(super) fn activate(&mut self) -> Result<(), String> {
        self.bound.as_mut().map_or(Ok(()), BoundPath::activate)
    }
}

/// Whether `fd` is a stream socket.
pub(super) fn is_stream_socket(fd: &OwnedFd) -> bool {
    sockopt::socket_type(fd) == Ok(SocketType::STREAM)
}

fn accept(fd: &OwnedFd) -> Option<OwnedFd> {
    loop {
        match acceptfrom_with(fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok((client, _)) => return Some(client),
            // A client that gave up while it waited; the next one may be there.
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => return None,
            Err(error) => {
                tracing::warn!("cannot accept a client: {}", strerror(error));
                return None;
            }
        }
    }
}

fn bind_unix(path: &str, abstract_name: bool, tight: bool, wait: bool) -> Result<Listener, String> {
    let socket = unix::stream()?;
    let failed = |error: Errno| format!("Failed to bind socket to {path}: {}", strerror(error));
    let bound = if abstract_name {
        let address = unix::address(path, true, tight)?;
        rustix::net::bind(&socket, &address).map_err(failed)?;
        None
    } else {
        Some(BoundPath::bind(&socket, path)?)
    };
    rustix::net::listen(&socket, BACKLOG)
        .map_err(|error| format!("Failed to listen on socket: {}", strerror(error)))?;
    let name = unix_name(path, abstract_name, tight);
    let mut listener = Listener {
        fd: Arc::new(socket),
        name,
        bound,
    };
    if let Some(bound) = listener
        .bound
        .as_mut()
        .filter(|bound| wait && bound.is_hidden())
    {
        if !bound.is_stale() {
            return Err(failed(Errno::ADDRINUSE));
        }
        bound.activate()?;
    }
    Ok(listener)
}

fn bind_inet(inet: &InetAddress, addresses: &[SocketAddr]) -> Result<Listener, String> {
    let mut last = Errno::ADDRINUSE.into();
    for address in addresses {
        let first = address.port();
        for port in first..=inet.to.unwrap_or(first).max(first) {
            let address = SocketAddr::new(address.ip(), port);
            match listen_tcp(&address) {
                Ok(socket) => {
                    let bound = socket.local_addr().ok().and_then(|name| name.as_socket());
                    let port = bound.map_or(port, |bound| bound.port()).to_string();
                    let host = if inet.host.is_empty() {
                        address.ip().to_string()
                    } else {
                        inet.host.clone()
                    };
                    let name = format!("tcp:{}", host_port(&host, &port));
                    let fd = Arc::new(OwnedFd::from(socket));
                    return Ok(Listener {
                        fd,
                        name,
                        bound: None,
                    });
                }
                Err(error) => last = error,
            }
        }
    }
    let last: io::Error = last;
    if last.kind() == io::ErrorKind::AddrInUse {
        return Err("Failed to find an available port: Address already in use".to_owned());
    }
    Err(format!(
        "Failed to bind socket to {}:{}: {}",
        inet.host,
        inet.port,
        strerror(last)
    ))
}

fn listen_tcp(address: &SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(*address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&(*address).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
