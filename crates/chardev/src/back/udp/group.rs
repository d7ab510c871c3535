//! front → chardev → back → [host]: the multicast group that a UDP back end hears.
//!
//! Its socket is bound to the group, so that others on this host may hear the group as well and
//! what is sent to this host alone stays out. It is not connected: a group has many senders. What
//! is sent goes through a socket of its own, whose address tells our own datagrams, which come
//! back to this host, from those of others.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use chardev_core::OpenError;
use rustix::io::Errno;
use rustix::net::bind;
use rustix::net::sockopt::{
    set_ip_add_membership, set_ip_drop_membership, set_ipv6_add_membership,
    set_ipv6_drop_membership, set_socket_reuseaddr,
};

use super::sockets::unbound;
use crate::sys::refused;

/// A group, the port there, and the interface on which to hear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    at: SocketAddr,
    /// Of IPv4, whose groups have no scope that says it: the interface with this address.
    interface: Ipv4Addr,
}

impl Group {
    /// The group that is heard by one that receives at `own` and sends to `peer`: a local address
    /// that is a group's, or else the remote one if there is a local port to hear it at.
    ///
    /// # Errors
    /// Nobody sends to a port that nobody knows.
    pub(super) fn of(own: SocketAddr, peer: SocketAddr) -> Result<Option<Self>, OpenError> {
        let at = match (own.ip().is_multicast(), peer.ip().is_multicast()) {
            (true, _) if own.port() == 0 => {
                let group = own.ip().to_string();
                let text = format!("local port not specified for the group {group}");
                return Err(OpenError::new(text).about(group));
            }
            (true, _) => own,
            (false, true) if own.port() != 0 => with_port(peer, own.port()),
            (false, _) => return Ok(None),
        };
        let interface = match own.ip() {
            IpAddr::V4(ip) if !ip.is_multicast() => ip,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        Ok(Some(Group { at, interface }))
    }

    /// The group and the port.
    pub(super) fn at(&self) -> SocketAddr {
        self.at
    }

    /// A socket that hears the group.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] if somebody has the port to himself.
    pub(super) fn bound(&self) -> io::Result<OwnedFd> {
        let socket = unbound(self.at)?;
        set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &self.at)?;
        Ok(socket)
    }

    /// Has `socket` hear the group, if it does not yet.
    ///
    /// # Errors
    /// There is no such interface, or it has no groups.
    pub(super) fn join(&self, socket: impl AsFd) -> Result<(), OpenError> {
        let joined = match self.at {
            SocketAddr::V4(at) => set_ip_add_membership(socket, at.ip(), &self.interface),
            SocketAddr::V6(at) => set_ipv6_add_membership(socket, at.ip(), at.scope_id()),
        };
        match joined {
            Ok(()) | Err(Errno::ADDRINUSE) => Ok(()),
            Err(error) => Err(refused(
                "Failed to join group",
                &self.at.ip().to_string(),
                error,
            )),
        }
    }

    /// Has `socket` hear the group no longer, on this interface.
    pub(super) fn leave(&self, socket: impl AsFd) {
        // It is left with the socket at the latest.
        let _ = match self.at {
            SocketAddr::V4(at) => set_ip_drop_membership(socket, at.ip(), &self.interface),
            SocketAddr::V6(at) => set_ipv6_drop_membership(socket, at.ip(), at.scope_id()),
        };
    }
}

/// The same address with this port.
pub(super) fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}
