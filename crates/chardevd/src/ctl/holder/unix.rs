//! The sockets of a unix listener, from the kernel's `sock_diag`.

use std::os::linux::fs::MetadataExt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{major, minor};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::Sockets;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_DONE: u16 = 3;
const NLMSG_ERROR: u16 = 2;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x301;
/// `UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER`
const SHOW: u32 = 7;
const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;
const NAME: u16 = 0;
const VFS: u16 = 1;
const PEER: u16 = 2;

/// One socket of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    state: u8,
    inode: u32,
    peer: Option<u32>,
    name: Vec<u8>,
    /// Inode and device of the name in the file system.
    file: Option<(u32, u32)>,
}

/// The sockets that listen at `path` or were accepted there; `own` is our end of a connection.
pub(super) fn sockets(path: &Path, own: Option<u64>) -> Option<Sockets> {
    let about = std::fs::metadata(path).ok()?;
    let device = about.st_dev();
    let device = (major(device) << 20) | minor(device);
    // The kernel's list has the lower half of both.
    let file = (about.st_ino() as u32, device);
    let name = path.as_os_str().as_bytes();
    let mut sockets = Sockets::default();
    for entry in list()? {
        let is_there = entry.file == Some(file) || (entry.name == name && !name.is_empty());
        match entry.state {
            _ if !is_there => {}
            LISTEN => sockets.listening.push(entry.inode.into()),
            _ if entry.peer.map(u64::from) == own && own.is_some() => sockets.accepted = true,
            _ => sockets.clients.push((entry.peer.map(u64::from), None)),
        }
    }
    Some(sockets)
}

/// All unix sockets that listen or are connected. Those nobody has accepted yet are not in it.
fn list() -> Option<Vec<Entry>> {
    let flags = SocketFlags::CLOEXEC;
    let protocol = Some(netlink::SOCK_DIAG);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol).ok()?;
    send(&socket, &request(), SendFlags::empty()).ok()?;
    let mut entries = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (count, _) = recv(&socket, &mut buffer[..], RecvFlags::empty()).ok()?;
        let mut rest = buffer.get(..count)?;
        while let Some((kind, message, next)) = take_message(rest) {
            rest = next;
            match kind {
                NLMSG_DONE => return Some(entries),
                NLMSG_ERROR => return None,
                _ => entries.extend(read_entry(message)),
            }
        }
        if count == 0 {
            return None;
        }
    }
}

/// A `nlmsghdr` and a `unix_diag_req`.
fn request() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    bytes.extend(40_u32.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([1, 0, 0, 0]);
    let states: u32 = (1 << ESTABLISHED) | (1 << LISTEN);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(SHOW.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}

/// The type and body of the first message, and what follows it.
fn take_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let kind = u16_at(bytes, 4)?;
    let body = bytes.get(16..length)?;
    Some((kind, body, bytes.get(aligned(length)..).unwrap_or_default()))
}

/// A `unix_diag_msg` and its attributes.
fn read_entry(message: &[u8]) -> Option<Entry> {
    let mut entry = Entry {
        state: *message.get(2)?,
        inode: u32_at(message, 4)?,
        ..Entry::default()
    };
    let mut rest = message.get(16..)?;
    while let Some(length) = u16_at(rest, 0).map(usize::from) {
        let (Some(kind), Some(value)) = (u16_at(rest, 2), rest.get(4..length)) else {
            break;
        };
        match kind {
            NAME => entry.name = value.strip_suffix(b"\0").unwrap_or(value).to_vec(),
            VFS => entry.file = u32_at(value, 0).zip(u32_at(value, 4)),
            PEER => entry.peer = u32_at(value, 0),
            _ => {}
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    Some(entry)
}

fn aligned(length: usize) -> usize {
    length.div_ceil(4) * 4
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::sockets;
    use crate::ctl::holder::process::holders;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn the_accepted_are_told_from_those_who_wait() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        // As the daemon does it: the name that is listened at is not the one that was bound.
        let listener = UnixListener::bind(dir.path().join("bound")).expect("a socket");
        std::fs::rename(dir.path().join("bound"), &path).expect("a name");
        let served = UnixStream::connect(&path).expect("a connection");
        let _accepted = listener.accept().expect("a client");
        let waiting = UnixStream::connect(&path).expect("a connection");
        let inode = |socket: &UnixStream| rustix::fs::fstat(socket.as_fd()).map(|it| it.st_ino);
        let (served, own) = (inode(&served).ok(), inode(&waiting).ok());

        let seen = sockets(&path, own).expect("a list");
        assert_eq!(seen.clients, [(served, None)]);
        assert!(!seen.accepted);
        assert_eq!(seen.listening.len(), 1);
        let _accepted = listener.accept().expect("a client");
        assert!(sockets(&path, own).expect("a list").accepted);

        let wanted = seen.listening.iter().copied().chain(served).collect();
        let found = holders(&wanted);
        assert_eq!(found.len(), 2);
        assert!(found.values().all(|it| it.pid == std::process::id()));
    }
}
