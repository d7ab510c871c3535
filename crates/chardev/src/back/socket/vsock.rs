//! front → chardev → back → [host]: addresses of vsock, the sockets between a virtual machine and
//! its host.

use std::os::fd::{AsFd, OwnedFd};

use chardev_core::OpenError;
use rustix::io::Errno;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::connect::finish_connecting;
use super::listen;
use crate::sys::{failed, refused};

/// Where a vsock socket is: which machine, and which port there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    cid: u32,
    port: u32,
}

impl Place {
    /// The place that the texts of an address mean.
    ///
    /// # Errors
    /// QEMU's text for what is not a number of 32 bits.
    pub(super) fn parse(cid: &str, port: &str) -> Result<Self, OpenError> {
        let number = |what: &str, text: &str| {
            // As C's `scanf` reads it: space may stand before the number.
            let digits = text.trim_ascii_start();
            digits
                .parse()
                .map_err(|_| OpenError::new(format!("Failed to parse {what} '{text}'")).about(text))
        };
        Ok(Place {
            cid: number("cid", cid)?,
            port: number("port", port)?,
        })
    }

    /// Where `socket` is bound; nothing for a socket of another family.
    pub(super) fn of(socket: impl AsFd) -> Option<Self> {
        Place::from_address(&SockRef::from(&socket).local_addr().ok()?)
    }

    /// Where the peer of `socket` is; nothing for a socket of another family, or without a peer.
    pub(super) fn of_peer(socket: impl AsFd) -> Option<Self> {
        Place::from_address(&SockRef::from(&socket).peer_addr().ok()?)
    }

    fn from_address(address: &SockAddr) -> Option<Self> {
        let (cid, port) = address.as_vsock_address()?;
        Some(Place { cid, port })
    }

    /// Listens there.
    ///
    /// # Errors
    /// The cause in QEMU's words.
    pub(super) fn listen(self) -> Result<OwnedFd, OpenError> {
        let socket = stream()?;
        socket
            .bind(&self.address())
            .map_err(|error| failed("Failed to bind socket", error).about(self.to_string()))?;
        let socket = OwnedFd::from(socket);
        listen::listen(&socket)?;
        Ok(socket)
    }

    /// Connects to who listens there. Runs on the I/O thread.
    ///
    /// # Errors
    /// The cause in QEMU's words.
    pub(super) async fn connect(self) -> Result<OwnedFd, OpenError> {
        let socket = stream()?;
        let refused = |error: Errno| refused("Failed to connect to", &self.to_string(), error);
        let started = socket.connect(&self.address());
        let socket = OwnedFd::from(socket);
        if let Err(error) = started {
            match Errno::from_io_error(&error).unwrap_or(Errno::IO) {
                Errno::INPROGRESS | Errno::INTR => {
                    finish_connecting(&socket).await.map_err(refused)?;
                }
                error => return Err(refused(error)),
            }
        }
        Ok(socket)
    }

    fn address(self) -> SockAddr {
        SockAddr::vsock(self.cid, self.port)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.cid, self.port)
    }
}

fn stream() -> Result<Socket, OpenError> {
    let kind = Type::STREAM.nonblocking().cloexec();
    Socket::new(Domain::VSOCK, kind, None)
        .map_err(|error| failed("Failed to create a vsock socket", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_of_32_bits_and_decimal() {
        let place = Place::parse("4294967295", " 7").unwrap();
        assert_eq!(place.to_string(), "4294967295:7");
        for (cid, port, error) in [
            ("x", "1", "Failed to parse cid 'x'"),
            ("", "1", "Failed to parse cid ''"),
            ("-1", "1", "Failed to parse cid '-1'"),
            ("4294967296", "1", "Failed to parse cid '4294967296'"),
            ("0x2", "1", "Failed to parse cid '0x2'"),
            ("3 ", "1", "Failed to parse cid '3 '"),
            ("3", "", "Failed to parse port ''"),
            ("3", "y", "Failed to parse port 'y'"),
        ] {
            assert_eq!(Place::parse(cid, port).unwrap_err().to_string(), error);
        }
    }
}
