//! Where it listens: an address, or a Unix socket.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use chardev_monitor::Origin;
use tokio::net::{TcpStream, UnixStream};

use super::unix::{Name, bind};
use crate::settings::{Listen, Settings};

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Listener<T = tokio::net::TcpListener, U = tokio::net::UnixListener> {
    socket: Socket<T, U>,
    pub(crate) door: Door,
}

/// One that no runtime has yet.
pub(crate) type Bound = Listener<TcpListener, UnixListener>;

#[derive(Debug)]
enum Socket<T, U> {
    Inet(T),
    Unix(U, Name),
}

/// Somebody who has connected.
#[derive(Debug)]
pub(super) enum Client {
    Inet(TcpStream),
    Unix(UnixStream),
}

/// Our end of a connection, as clients have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// An address.
    Inet(SocketAddr),
    /// A path.
    Unix(Arc<str>),
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Whoever is at an address.
    Inet(SocketAddr),
    /// A user of this host, as the kernel says.
    Unix(u32),
}

/// Where somebody comes from, as far as that says who it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Whence {
    Address(IpAddr),
    User(u32),
}

impl Bound {
    /// Waits for a name server, where a name is given, or for the directory of a path.
    ///
    /// # Errors
    /// Why it cannot listen there.
    pub(crate) fn bind(settings: &Settings) -> io::Result<Self> {
        match &settings.listen {
            Listen::Inet { host, port } => {
                let socket = TcpListener::bind((host.as_str(), *port))?;
                let door = Door::Inet(socket.local_addr()?);
                socket.set_nonblocking(true)?;
                let socket = Socket::Inet(socket);
                Ok(Listener { socket, door })
            }
            Listen::Unix(path) => {
                let (socket, name) = bind(path, settings.permit)?;
                socket.set_nonblocking(true)?;
                Ok(Listener {
                    socket: Socket::Unix(socket, name),
                    door: Door::Unix(path.to_string_lossy().into()),
                })
            }
        }
    }

    /// # Errors
    /// The runtime does not take it.
    pub(crate) fn start(self) -> io::Result<Listener> {
        let socket = match self.socket {
            Socket::Inet(socket) => Socket::Inet(tokio::net::TcpListener::from_std(socket)?),
            Socket::Unix(socket, name) => {
                Socket::Unix(tokio::net::UnixListener::from_std(socket)?, name)
            }
        };
        let door = self.door;
        Ok(Listener { socket, door })
    }
}

impl Listener {
    /// The next one who connects, with both ends of the connection.
    pub(super) async fn accept(&self) -> io::Result<(Client, Peer, Door)> {
        match &self.socket {
            Socket::Inet(socket) => {
                let (client, peer) = socket.accept().await?;
                let door = client.local_addr()?;
                // A key press is not to wait for the next.
                let _ = client.set_nodelay(true);
                Ok((Client::Inet(client), Peer::Inet(peer), Door::Inet(door)))
            }
            Socket::Unix(socket, _) => {
                let (client, _) = socket.accept().await?;
                let peer = Peer::Unix(client.peer_cred()?.uid());
                Ok((Client::Unix(client), peer, self.door.clone()))
            }
        }
    }
}

impl Client {
    /// Tells it something if it takes that at once.
    pub(super) fn say(&self, words: &[u8]) {
        // If it is not taken at once it is not worth a wait.
        let _ = match self {
            Client::Inet(client) => client.try_write(words),
            Client::Unix(client) => client.try_write(words),
        };
    }
}

impl Door {
    /// The port, which a path has not.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Door::Inet(address) => Some(address.port()),
            Door::Unix(_) => None,
        }
    }

    /// The address, which a path has not.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self {
            Door::Inet(address) => Some(address.ip()),
            Door::Unix(_) => None,
        }
    }
}

impl Peer {
    /// Where it comes from.
    pub(crate) fn whence(self) -> Whence {
        match self {
            Peer::Inet(address) => Whence::Address(address.ip()),
            Peer::Unix(uid) => Whence::User(uid),
        }
    }

    /// The same, for counting guesses.
    pub(crate) fn origin(self) -> Origin {
        match self {
            Peer::Inet(address) => Origin::of_address(address.ip()),
            Peer::Unix(uid) => Origin::User(uid),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Inet(address) => address.fmt(f),
            Peer::Unix(uid) => write!(f, "uid {uid}"),
        }
    }
}

impl fmt::Display for Whence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whence::Address(address) => address.fmt(f),
            Whence::User(uid) => write!(f, "uid {uid}"),
        }
    }
}
