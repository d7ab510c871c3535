//! front → chardev → back → [host]: where a UDP back end sends and receives, and how it takes over
//! its predecessor's port.
//!
//! The same address: both have one socket, and what it holds unread is read once, by whoever is in
//! the slot. One that only overlaps (every interface, or one of them): the new socket is bound
//! beside the old one when the change is decided. Nobody else is let in: without a share of the old
//! socket the port is in use.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

use chardev_core::OpenError;
use chardev_core::spec::InetAddress;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, connect_unspec, socket_with,
};

use crate::back::OpenContext;
use crate::back::resolve::{Purpose, resolve};
use crate::sys::{failed, refused};

/// Both ends of the traffic.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    own: SocketAddr,
    peer: SocketAddr,
    /// The peer as it was given, for messages.
    shown: String,
}

/// A wish for the socket of a back end about to be replaced that receives at this address, or for
/// leave to receive beside it.
pub(super) struct WantPort(pub(super) SocketAddr);

/// A share in a socket.
pub(super) struct LentPort {
    socket: OwnedFd,
    own: SocketAddr,
    peer: SocketAddr,
    share: Arc<()>,
}

/// What is left to do with a socket that was opened beside the one to be replaced.
pub(super) enum Way {
    /// Nothing.
    Open,
    /// It is shared, and still connected to this peer.
    Shared(
        SocketAddr,
        #[expect(dead_code, reason = "held, not read")] Arc<()>,
    ),
    /// It has no address yet, since this one has the port.
    Beside(LentPort),
}

impl Addresses {
    /// Looks both up. Runs on the I/O thread.
    pub(super) async fn resolve(
        mut remote: InetAddress,
        local: Option<&InetAddress>,
    ) -> Result<Self, OpenError> {
        if remote.host.is_empty() {
            "localhost".clone_into(&mut remote.host);
        }
        let peer = resolve(&remote, Purpose::Connect).await?[0];
        let own = match local {
            Some(local) => {
                // Both ends are of one family, and the remote one has decided which.
                let family = InetAddress {
                    ipv4: Some(peer.is_ipv4()),
                    ipv6: Some(peer.is_ipv6()),
                    ..local.clone()
                };
                resolve(&family, Purpose::Bind).await?[0]
            }
            None => any_like(peer),
        };
        let shown = format!("{}:{}", remote.host, remote.port);
        Ok(Addresses { own, peer, shown })
    }

    fn connect(&self, socket: BorrowedFd<'_>) -> Result<(), OpenError> {
        connect(socket, &self.peer)
            .map_err(|error| refused("Failed to connect to", &self.shown, error))
    }
}

impl LentPort {
    /// A share of `socket`, which has `addresses`, for a successor that is to receive at `own`.
    pub(super) fn of(
        socket: BorrowedFd<'_>,
        addresses: &Addresses,
        own: SocketAddr,
    ) -> Option<(Self, Weak<()>)> {
        if !overlap(addresses.own, own) {
            return None;
        }
        let share = Arc::new(());
        let weak = Arc::downgrade(&share);
        let lent = LentPort {
            socket: socket.try_clone_to_owned().ok()?,
            own: addresses.own,
            peer: addresses.peer,
            share,
        };
        Some((lent, weak))
    }
}

impl Way {
    /// Takes a port that the back end to be replaced has as well.
    pub(super) fn activate(
        &mut self,
        socket: BorrowedFd<'_>,
        addresses: &Addresses,
    ) -> Result<(), OpenError> {
        let Way::Beside(old) = self else {
            return Ok(());
        };
        // Both have to allow it, for this moment only: later comers find the port in use.
        let both = [old.socket.as_fd(), socket];
        let allow = |on: bool| both.iter().try_for_each(|fd| set_socket_reuseaddr(fd, on));
        let bound = allow(true).and_then(|()| bind(socket, &addresses.own));
        let _ = allow(false);
        bound.map_err(not_bound)?;
        addresses.connect(socket)?;
        *self = Way::Open;
        Ok(())
    }

    /// The socket is in use from here on. What it holds from its former peer came before that.
    pub(super) fn go_live(&mut self, socket: BorrowedFd<'_>, addresses: &Addresses) {
        let Way::Shared(former, _) = std::mem::replace(self, Way::Open) else {
            return;
        };
        if former == addresses.peer {
            return;
        }
        if addresses.own.ip().is_unspecified() {
            // The first peer has narrowed it to the interface that leads there.
            let _ = connect_unspec(socket);
        }
        // It could be reached when this was opened.
        if let Err(cause) = addresses.connect(socket) {
            tracing::warn!("datagrams cannot be sent: {cause}");
        }
    }
}

/// A socket for `addresses`, opened beside those of the back ends that are to be replaced.
pub(super) fn open(
    addresses: &Addresses,
    context: &OpenContext,
) -> Result<(OwnedFd, Way), OpenError> {
    let lent = match addresses.own.port() {
        0 => None,
        _ => context.borrow::<WantPort, LentPort>(&WantPort(addresses.own)),
    };
    if let Some(lent) = lent {
        if lent.own == addresses.own {
            // Whether the other peer can be reached is seen now, with a socket of its own.
            if lent.peer != addresses.peer {
                let probe = UdpSocket::bind(any_like(addresses.peer)).map_err(not_bound)?;
                addresses.connect(probe.as_fd())?;
            }
            return Ok((lent.socket, Way::Shared(lent.peer, lent.share)));
        }
        return match bound(addresses) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Ok((unbound(addresses)?, Way::Beside(lent)))
            }
            socket => connected(socket, addresses),
        };
    }
    connected(bound(addresses), addresses)
}

fn connected(
    socket: io::Result<UdpSocket>,
    addresses: &Addresses,
) -> Result<(OwnedFd, Way), OpenError> {
    let socket = socket.map_err(not_bound)?;
    addresses.connect(socket.as_fd())?;
    socket
        .set_nonblocking(true)
        .map_err(|error| failed("Failed to set FD nonblocking", error))?;
    Ok((socket.into(), Way::Open))
}

fn bound(addresses: &Addresses) -> io::Result<UdpSocket> {
    UdpSocket::bind(addresses.own)
}

fn unbound(addresses: &Addresses) -> Result<OwnedFd, OpenError> {
    let family = match addresses.own {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::DGRAM, flags, None)
        .map_err(|error| failed("Failed to create socket", error))
}

fn not_bound(error: impl Into<io::Error>) -> OpenError {
    failed("Failed to bind socket", error)
}

/// Every interface, and any port, in the family of `peer`.
fn any_like(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], 0)),
    }
}

/// Whether the kernel would not let two sockets have these addresses.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}
