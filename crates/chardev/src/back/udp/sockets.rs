//! front → chardev → back → [host]: where a UDP back end sends and receives, and how it takes over
//! its predecessor's port.
//!
//! The same address: both have one socket, and what it holds unread is read once, by whoever is in
//! the slot. One that only overlaps (every interface, or one of them): the new socket is bound
//! beside the old one when the change is decided. Nobody else is let in: without a share of the old
//! socket the port is in use. Only a group's port is for everybody; there, too, a successor shares
//! the socket, or it would hear twice what came meanwhile.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

use chardev_core::OpenError;
use chardev_core::spec::InetAddress;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, connect_unspec, getsockname, socket_with,
};

use super::group::{Group, with_port};
use crate::back::OpenContext;
use crate::back::resolve::{Purpose, resolve};
use crate::sys::{failed, refused};

/// Of how many back ends in a row the own datagrams are known.
const SENDERS_KEPT: usize = 16;

/// Both ends of the traffic.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    own: SocketAddr,
    peer: SocketAddr,
    /// The group that is heard instead of the peer alone.
    group: Option<Group>,
    /// The peer as it was given, for messages.
    shown: String,
}

/// A wish for the socket of a back end about to be replaced that receives at this address, or for
/// leave to receive beside it.
pub(super) struct WantPort(pub(super) SocketAddr);

/// A share in a socket.
pub(super) struct LentPort {
    socket: OwnedFd,
    at: SocketAddr,
    former: Former,
    /// Who has sent for those before.
    senders: Vec<SocketAddr>,
}

/// What a socket that is shared was set up for.
pub(super) struct Former {
    peer: SocketAddr,
    group: Option<Group>,
    _share: Arc<()>,
}

/// What a back end works with.
pub(super) struct Opened {
    /// Receives, and sends unless there is `output`.
    pub(super) socket: OwnedFd,
    /// Sends, where `socket` hears a group.
    pub(super) output: Option<OwnedFd>,
    pub(super) way: Way,
    /// What comes from here are our own datagrams.
    pub(super) senders: Vec<SocketAddr>,
}

/// What is left to do with a socket that was opened beside the one to be replaced.
pub(super) enum Way {
    /// Nothing.
    Open,
    /// It is shared, and still set up for the one who has it.
    Shared(Former),
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
        let group = Group::of(own, peer)?;
        Ok(Addresses {
            own,
            peer,
            group,
            shown,
        })
    }

    /// Where datagrams are received.
    pub(super) fn at(&self) -> SocketAddr {
        self.group.map_or(self.own, |group| group.at())
    }

    /// Whether they come from many.
    pub(super) fn hears_group(&self) -> bool {
        self.group.is_some()
    }

    /// Has `socket`, which is bound, hear those that it is for.
    fn set_up(&self, socket: BorrowedFd<'_>) -> Result<(), OpenError> {
        match self.group {
            Some(group) => group.join(socket),
            None => self.connect(socket),
        }
    }

    /// A socket that sends for one that hears a group.
    fn output(&self) -> Result<OwnedFd, OpenError> {
        let from = match self.own.ip().is_multicast() {
            true => any_like(self.peer),
            false => with_port(self.own, 0),
        };
        let socket = UdpSocket::bind(from).map_err(not_bound)?;
        self.ready(socket)
    }

    /// `socket` connected to the peer, never to be waited for.
    fn ready(&self, socket: UdpSocket) -> Result<OwnedFd, OpenError> {
        self.connect(socket.as_fd())?;
        socket
            .set_nonblocking(true)
            .map_err(|error| failed("Failed to set FD nonblocking", error))?;
        Ok(socket.into())
    }

    fn bound(&self) -> io::Result<OwnedFd> {
        match self.group {
            Some(group) => group.bound(),
            None => {
                let socket = unbound(self.own)?;
                bind(&socket, &self.own)?;
                Ok(socket)
            }
        }
    }

    fn connect(&self, socket: BorrowedFd<'_>) -> Result<(), OpenError> {
        connect(socket, &self.peer)
            .map_err(|error| refused("Failed to connect to", &self.shown, error))
    }
}

impl LentPort {
    /// A share of `socket`, which has `addresses` and `senders`, for a successor that is to receive
    /// at `wanted`.
    pub(super) fn of(
        socket: BorrowedFd<'_>,
        addresses: &Addresses,
        (wanted, senders): (SocketAddr, &[SocketAddr]),
    ) -> Option<(Self, Weak<()>)> {
        if !overlap(addresses.at(), wanted) {
            return None;
        }
        let share = Arc::new(());
        let weak = Arc::downgrade(&share);
        let lent = LentPort {
            socket: socket.try_clone_to_owned().ok()?,
            at: addresses.at(),
            former: Former {
                peer: addresses.peer,
                group: addresses.group,
                _share: share,
            },
            senders: senders.to_vec(),
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
        // Both have to allow it, for this moment only: later comers find the port in use, unless
        // it is a group's.
        let both = [
            (old.socket.as_fd(), old.former.group.is_some()),
            (socket, addresses.hears_group()),
        ];
        let allow = |moment: bool| {
            let mut all = both.iter();
            all.try_for_each(|(fd, always)| set_socket_reuseaddr(fd, moment || *always))
        };
        let bound = allow(true).and_then(|()| bind(socket, &addresses.at()));
        let _ = allow(false);
        bound.map_err(not_bound)?;
        addresses.set_up(socket)?;
        *self = Way::Open;
        Ok(())
    }

    /// The socket is in use from here on. What it holds from its former peer came before that.
    pub(super) fn go_live(&mut self, socket: BorrowedFd<'_>, addresses: &Addresses) {
        let Way::Shared(former) = std::mem::replace(self, Way::Open) else {
            return;
        };
        if let (Some(group), Some(old)) = (addresses.group, former.group) {
            if group != old {
                // It could be joined when this was opened.
                if let Err(cause) = group.join(socket) {
                    tracing::warn!("a multicast group is not heard: {cause}");
                }
                old.leave(socket);
            }
            return;
        }
        if former.peer == addresses.peer {
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

/// The sockets for `addresses`, opened beside those of the back ends that are to be replaced.
pub(super) fn open(addresses: &Addresses, context: &OpenContext) -> Result<Opened, OpenError> {
    let output = match addresses.hears_group() {
        true => Some(addresses.output()?),
        false => None,
    };
    let at = addresses.at();
    let lent = match at.port() {
        0 => None,
        _ => context.borrow::<WantPort, LentPort>(&WantPort(at)),
    };
    let mut senders = lent
        .as_ref()
        .map_or_else(Vec::new, |lent| lent.senders.clone());
    let (socket, way) = receiving(addresses, lent)?;
    if let Some(output) = &output {
        let sender = getsockname(output).ok().map(SocketAddr::try_from);
        senders.extend(sender.and_then(Result::ok));
        // What those before them have sent has been read long since.
        let old = senders.len().saturating_sub(SENDERS_KEPT);
        senders.drain(..old);
    }
    Ok(Opened {
        socket,
        output,
        way,
        senders,
    })
}

fn receiving(addresses: &Addresses, lent: Option<LentPort>) -> Result<(OwnedFd, Way), OpenError> {
    match lent {
        Some(lent) if lent.at == addresses.at() => {
            // Whether another interface or peer can be reached is seen with a socket of its own.
            match addresses.group {
                Some(group) => group.join(unbound(group.at()).map_err(not_created)?)?,
                None if lent.former.peer != addresses.peer => {
                    let probe = UdpSocket::bind(any_like(addresses.peer)).map_err(not_bound)?;
                    addresses.connect(probe.as_fd())?;
                }
                None => {}
            }
            Ok((lent.socket, Way::Shared(lent.former)))
        }
        Some(lent) => match addresses.bound() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let socket = unbound(addresses.at()).map_err(not_created)?;
                Ok((socket, Way::Beside(lent)))
            }
            socket => set_up(socket, addresses),
        },
        None => set_up(addresses.bound(), addresses),
    }
}

fn set_up(socket: io::Result<OwnedFd>, addresses: &Addresses) -> Result<(OwnedFd, Way), OpenError> {
    let socket = socket.map_err(not_bound)?;
    addresses.set_up(socket.as_fd())?;
    Ok((socket, Way::Open))
}

/// A socket of the family of `like` that has no address yet.
pub(super) fn unbound(like: SocketAddr) -> io::Result<OwnedFd> {
    let family = match like {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::DGRAM, flags, None)?)
}

fn not_created(error: io::Error) -> OpenError {
    failed("Failed to create socket", error)
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
