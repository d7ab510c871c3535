//! Whether what was sent over TCP has left the kernel of the one who sent it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::common::LOOK_AGAIN;

/// One that leaves waits for this long until what it has sent has arrived, and then makes room.
pub(super) const STUCK: Duration = Duration::from_secs(2);

/// Whether our kernel has acknowledged all that was sent over this TCP connection: what has not
/// been dies with a reset, in the peer's own kernel.
pub(super) fn has_arrived(peer: &OwnedFd) -> bool {
    port(peer).is_none_or(has_arrived_from)
}

/// The number of its own end, if it is a TCP connection.
pub(super) fn port(peer: &OwnedFd) -> Option<u16> {
    let address = rustix::net::getsockname(peer).ok()?;
    Some(SocketAddr::try_from(address).ok()?.port())
}

fn has_arrived_from(port: u16) -> bool {
    let local = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).all(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let ours = fields.next().is_some_and(|field| field.ends_with(&local));
        let queued = fields
            .nth(2)
            .is_some_and(|queues| !queues.starts_with("00000000:"));
        !(ours && queued && line.contains(" 01 "))
    })
}

/// Waits for that, no longer than [`STUCK`]; whether it came.
pub(super) fn arrives_from(port: u16) -> bool {
    let limit = Instant::now() + STUCK;
    while !has_arrived_from(port) {
        if Instant::now() >= limit {
            return false;
        }
        std::thread::park_timeout(LOOK_AGAIN);
    }
    true
}
