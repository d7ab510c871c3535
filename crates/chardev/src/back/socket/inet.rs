//! front → chardev → back → [host]: a socket for TCP, or for Multipath TCP, which is TCP to whoever
//! does not speak it.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use chardev_core::OpenError;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::sys::failed;

/// A new socket of the family of `address`, with `mptcp` one of Multipath TCP.
///
/// # Errors
/// Why there is none; see [`missing_mptcp`].
pub(super) fn socket(address: SocketAddr, mptcp: bool) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let protocol = mptcp.then_some(ipproto::MPTCP);
    rustix::net::socket_with(family, SocketType::STREAM, flags, protocol)
}

/// Whether this socket is one of Multipath TCP.
pub(super) fn is_mptcp(socket: impl AsFd) -> bool {
    sockopt::socket_protocol(socket) == Ok(Some(ipproto::MPTCP))
}

/// What to say where this is why there is no socket of Multipath TCP.
pub(super) fn missing_mptcp(error: Errno) -> Option<OpenError> {
    let what = match error {
        Errno::PROTONOSUPPORT | Errno::INVAL => {
            "This kernel has no Multipath TCP (CONFIG_MPTCP), so leave out mptcp=on"
        }
        Errno::NOPROTOOPT => {
            "Multipath TCP is turned off: sysctl net.mptcp.enabled=1 allows mptcp=on"
        }
        _ => return None,
    };
    Some(failed(what, error))
}
