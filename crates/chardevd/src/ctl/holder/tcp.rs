//! The sockets of a TCP listener, from `/proc/net/tcp` and `tcp6`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use super::Sockets;

const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// One line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry<'a> {
    local: SocketAddr,
    remote: SocketAddr,
    state: &'a str,
    /// 0 for a connection that nobody has accepted yet.
    inode: u64,
}

/// The sockets at the other end of `own`, as far as that is on this machine.
pub(super) fn sockets(own: &TcpStream) -> Option<Sockets> {
    let ours = plain(own.local_addr().ok()?);
    let server = plain(own.peer_addr().ok()?);
    let text = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).ok());
    let text = text.into_iter().flatten().collect::<String>();
    Some(sort(text.lines().filter_map(read_line), ours, server))
}

fn sort<'a>(
    entries: impl Iterator<Item = Entry<'a>>,
    ours: SocketAddr,
    server: SocketAddr,
) -> Sockets {
    let entries: Vec<_> = entries.collect();
    let mut sockets = Sockets::default();
    for entry in &entries {
        let here = entry.local.ip() == server.ip() || entry.local.ip().is_unspecified();
        if entry.state == LISTEN && entry.local.port() == server.port() && here {
            sockets.listening.push(entry.inode);
        }
        let accepted = entry.state == ESTABLISHED && entry.inode != 0;
        if !accepted || entry.local != server {
            continue;
        }
        if entry.remote == ours {
            sockets.accepted = true;
            continue;
        }
        let other = |other: &&Entry<'_>| other.local == entry.remote && other.remote == server;
        let end = entries.iter().find(other).map(|other| other.inode);
        sockets.clients.push((end, Some(entry.remote)));
    }
    sockets
}

fn read_line(line: &str) -> Option<Entry<'_>> {
    let mut fields = line.split_whitespace().skip(1);
    let local = read_address(fields.next()?)?;
    let remote = read_address(fields.next()?)?;
    let state = fields.next()?;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Entry {
        local,
        remote,
        state,
        inode,
    })
}

/// The address in hexadecimal, in words of the host's byte order, and the port.
fn read_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for word in ip.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip: IpAddr = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(bytes) => Ipv4Addr::from(bytes).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?).into(),
    };
    Some(plain(SocketAddr::new(ip, port)))
}

/// An IPv4 address in IPv6's clothes is that IPv4 address.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::{read_address, sockets};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_accepted_are_told_from_those_who_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        let _served = TcpStream::connect(address).expect("a connection");
        let _accepted = listener.accept().expect("a client");
        let waiting = TcpStream::connect(address).expect("a connection");
        let seen = sockets(&waiting).expect("a list");
        assert_eq!(seen.listening.len(), 1);
        assert_eq!(seen.clients.len(), 1);
        assert!(seen.clients[0].0.is_some() && !seen.accepted);
        let _accepted = listener.accept().expect("a client");
        assert!(sockets(&waiting).expect("a list").accepted);
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let written = |bytes: &[u8]| {
            let words = bytes.chunks(4).map(|word| {
                let word: [u8; 4] = word.try_into().expect("a word");
                format!("{:08X}", u32::from_ne_bytes(word))
            });
            words.collect::<String>() + ":11DE"
        };
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
        let long = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        for (bytes, address) in [
            (&[192, 0, 2, 1][..], "192.0.2.1:4574"),
            (&mapped, "192.0.2.1:4574"),
            (&long, "[2001:db8::7]:4574"),
        ] {
            assert_eq!(read_address(&written(bytes)), address.parse().ok());
        }
        assert_eq!(read_address("0100007F"), None);
    }
}
