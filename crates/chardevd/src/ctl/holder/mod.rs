//! Who has a monitor that does not answer: its daemon, and the clients it serves.
//!
//! The kernel's list of sockets names pairs of them, and `/proc` the processes that hold them. What
//! belongs to another user, or is in another namespace, stays unknown.

mod process;
mod tcp;
mod unix;

use std::net::SocketAddr;
use std::os::fd::AsFd;

use rustix::fs::fstat;

use super::connect::{Address, Stream};
pub(super) use process::Process;

/// What can be seen of a monitor's socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    /// Who listens there.
    pub(super) server: Option<Process>,
    /// Whether the server has taken our own connection.
    pub(super) accepted: bool,
    /// Whose connections it has taken besides.
    pub(super) clients: Vec<Client>,
}

/// Somebody a server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// A process here.
    Process(Process),
    /// One on another machine.
    Remote(SocketAddr),
    /// One of which nothing can be known.
    Unknown,
}

/// The inodes of the sockets that make up what can be seen.
#[derive(Clone, Debug, Default)]
struct Sockets {
    listening: Vec<u64>,
    accepted: bool,
    /// The client's end, where it is on this machine, and its address.
    clients: Vec<(Option<u64>, Option<SocketAddr>)>,
}

/// Looks at the monitor at `address`; `own` is our connection, if there is one already.
pub(super) fn look(address: &Address, own: Option<&Stream>) -> Sight {
    let inode = own.and_then(|own| Some(fstat(own.as_fd()).ok()?.st_ino));
    let sockets = match address {
        Address::Unix(path) => unix::sockets(path, inode),
        Address::Fleet(_) => None,
        Address::Tcp(_) => own.and_then(|own| tcp::sockets(own.tcp()?)),
    };
    let Some(sockets) = sockets else {
        return Sight::default();
    };
    let ends = sockets.clients.iter().filter_map(|(inode, _)| *inode);
    let wanted = ends.chain(sockets.listening.iter().copied()).collect();
    let found = process::holders(&wanted);
    let process = |inode: &u64| found.get(inode).cloned();
    let name = |(inode, peer): &(Option<u64>, Option<SocketAddr>)| match inode {
        Some(inode) => process(inode).map_or(Client::Unknown, Client::Process),
        None => peer.map_or(Client::Unknown, Client::Remote),
    };
    Sight {
        server: sockets.listening.iter().find_map(process),
        accepted: sockets.accepted,
        clients: sockets.clients.iter().map(name).collect(),
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Client::Process(process) => process.fmt(f),
            Client::Remote(address) => write!(f, "a client at {address}"),
            Client::Unknown => f.write_str("another client"),
        }
    }
}
