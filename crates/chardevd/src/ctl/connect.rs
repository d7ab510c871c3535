//! The way to the daemon's monitor: a unix socket, or TCP.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use chardev_qmp::client::{Client, ClientError};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Where the daemon's monitor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket; descriptors can be passed over it.
    Unix(PathBuf),
    /// `HOST:PORT`
    Tcp(String),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => path.display().fmt(f),
            Address::Tcp(host) => host.fmt(f),
        }
    }
}

/// A connection to a monitor that can send a descriptor along with what is written next.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    passing: Option<OwnedFd>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A negotiated connection to a monitor.
pub type Monitor = Client<Stream>;

impl Stream {
    /// Connects without negotiating.
    ///
    /// # Errors
    /// The address, the cause, and what to do about it.
    pub fn open(address: &Address) -> Result<Stream, String> {
        let socket = match address {
            Address::Unix(path) => UnixStream::connect(path).map(Socket::Unix),
            Address::Tcp(host) => TcpStream::connect(host.as_str()).map(Socket::Tcp),
        };
        let socket = socket.map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    "start the daemon with 'chardevd', or name its monitor with --socket PATH"
                }
                io::ErrorKind::PermissionDenied => {
                    "the monitor belongs to the user who started the daemon"
                }
                _ => "name the daemon's monitor with --socket PATH or --host HOST:PORT",
            };
            format!("no chardevd at {address}: {error}\n{remedy}")
        })?;
        Ok(Stream {
            socket,
            passing: None,
        })
    }

    /// Passes `fd` along with the next bytes written. Only a unix socket can.
    pub fn pass(&mut self, fd: OwnedFd) {
        self.passing = Some(fd);
    }

    /// The unix socket, if it is one.
    pub fn unix(&self) -> Option<&UnixStream> {
        match &self.socket {
            Socket::Unix(socket) => Some(socket),
            Socket::Tcp(_) => None,
        }
    }
}

/// Connects and negotiates.
///
/// # Errors
/// As for [`Stream::open`], or what is wrong with the server.
pub fn connect(address: &Address) -> Result<Monitor, String> {
    Client::connect(Stream::open(address)?).map_err(|error| match error {
        ClientError::Command(error) => error.to_string(),
        error => format!("the monitor at {address}: {error}"),
    })
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Unix(socket) => socket.as_fd(),
            Socket::Tcp(socket) => socket.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.socket {
            Socket::Unix(socket) => socket.read(buffer),
            Socket::Tcp(socket) => socket.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(fd) = &self.passing else {
            return match &mut self.socket {
                Socket::Unix(socket) => socket.write(bytes),
                Socket::Tcp(socket) => socket.write(bytes),
            };
        };
        let fds = [fd.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let sent = sendmsg(
            self.as_fd(),
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        self.passing = None;
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
