//! front → chardev → [back] → host: udp, one datagram for every write.
//!
//! As in QEMU it never counts as open, and still takes output. A datagram that nobody receives
//! is lost on the network, not here.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev_core::spec::{InetAddress, KindSpec, OptionSpec, OptionType, Options, SocketAddress};
use chardev_core::{Backend, Drain, NothingToDrain, Ready, Sent};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

use super::resolve::{Purpose, resolve};
use super::{Kind, OpenContext};
use crate::reactor::FdWatch;
use crate::sys::strerror;

/// The largest payload of a datagram.
const DATAGRAM_LIMIT: usize = 65507;

/// The kind `udp` (QAPI `ChardevUdp`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec {
        name: "udp",
        summary: "datagrams to and from one remote address",
        options: &[
            OptionSpec {
                name: "remote",
                cli: "",
                ty: OptionType::Address,
                required: true,
                missing: "chardev: udp: remote port not specified",
                help: "where to send: host=… (default localhost), port=…",
            },
            OptionSpec {
                name: "local",
                cli: "",
                ty: OptionType::Address,
                required: false,
                missing: "",
                help: "where to receive: localaddr=…, localport=…",
            },
        ],
    },
    open: |options, context| Box::pin(open(options, context)),
};

async fn open(options: &Options, context: &OpenContext) -> Result<Box<dyn Backend>, String> {
    let remote = inet(options.address("remote"))?.ok_or("remote port not specified")?;
    if remote.port.is_empty() {
        return Err("remote port not specified".to_owned());
    }
    let local = inet(options.address("local"))?;
    let socket = connect(&remote, local.as_ref()).await?;
    let watch = FdWatch::new(&context.port, Arc::new(OwnedFd::from(socket))).map_err(strerror)?;
    Ok(Box::new(Udp {
        socket: watch,
        received: Vec::new(),
        read: 0,
    }))
}

fn inet(address: Option<&SocketAddress>) -> Result<Option<InetAddress>, String> {
    match address {
        None => Ok(None),
        Some(SocketAddress::Inet(inet)) => Ok(Some(inet.clone())),
        Some(_) => Err("socket type unsupported for datagram".to_owned()),
    }
}

async fn connect(remote: &InetAddress, local: Option<&InetAddress>) -> Result<UdpSocket, String> {
    let mut remote = remote.clone();
    if remote.host.is_empty() {
        "localhost".clone_into(&mut remote.host);
    }
    let peer = resolve(&remote, Purpose::Connect).await?[0];
    let own = match local {
        Some(local) => resolve(local, Purpose::Bind)
            .await?
            .into_iter()
            .find(|address| address.is_ipv4() == peer.is_ipv4())
            .ok_or("local and remote address are of different families")?,
        None if peer.is_ipv4() => SocketAddr::from(([0, 0, 0, 0], 0)),
        None => SocketAddr::from(([0u16; 8], 0)),
    };
    let failed =
        |what: &str, error: io::Error| format!("Failed to {what} socket: {}", strerror(error));
    let socket = UdpSocket::bind(own).map_err(|error| failed("bind", error))?;
    socket
        .connect(peer)
        .map_err(|error| failed("connect", error))?;
    socket
        .set_nonblocking(true)
        .map_err(|error| failed("set up", error))?;
    Ok(socket)
}

struct Udp {
    socket: FdWatch,
    /// The datagram being read, and how much of it has been.
    received: Vec<u8>,
    read: usize,
}

impl Udp {
    /// Receives the next datagram that is not empty; errors such as a refusal that the network
    /// reported for an earlier datagram are consumed.
    fn receive(&mut self) -> bool {
        self.received.resize(DATAGRAM_LIMIT, 0);
        self.read = 0;
        for _ in 0..16 {
            match recv(
                self.socket.fd(),
                &mut self.received[..],
                RecvFlags::DONTWAIT,
            ) {
                Ok((_, count)) if count > 0 => {
                    self.received.truncate(count);
                    return true;
                }
                Err(Errno::AGAIN) => break,
                Ok(_) | Err(_) => {}
            }
        }
        self.received = Vec::new();
        false
    }
}

impl Backend for Udp {
    fn kind(&self) -> &'static str {
        "udp"
    }

    fn filename(&self) -> String {
        "udp".to_owned()
    }

    fn is_open(&self) -> bool {
        false
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        let mut room = DATAGRAM_LIMIT;
        let mut parts = Vec::with_capacity(bufs.len().min(64));
        for buf in bufs.iter().take(64) {
            let part = &buf[..buf.len().min(room)];
            room -= part.len();
            parts.push(IoSlice::new(part));
        }
        let total = DATAGRAM_LIMIT - room;
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(
            self.socket.fd(),
            &parts,
            &mut SendAncillaryBuffer::default(),
            flags,
        ) {
            Err(Errno::AGAIN | Errno::NOBUFS) => Sent::Full,
            // A refusal belongs to an earlier datagram: this one is sent with the next try.
            Err(Errno::CONNREFUSED | Errno::INTR) => {
                let _ = sendmsg(
                    self.socket.fd(),
                    &parts,
                    &mut SendAncillaryBuffer::default(),
                    flags,
                );
                Sent::Taken(total)
            }
            Ok(_) | Err(_) => Sent::Taken(total),
        }
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        if self.read == self.received.len() && !self.receive() {
            return 0;
        }
        let mut total = 0;
        for buf in bufs {
            let rest = &self.received[self.read..];
            let count = rest.len().min(buf.len());
            buf[..count].copy_from_slice(&rest[..count]);
            self.read += count;
            total += count;
        }
        if self.read == self.received.len() {
            (self.received, self.read) = (Vec::new(), 0);
        }
        total
    }

    fn watch(&mut self, interest: Ready) {
        self.socket.arm(interest);
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        let mut unread = self.received.split_off(self.read);
        (self.received, self.read) = (Vec::new(), 0);
        while unread.len() < 1 << 20 && self.receive() {
            unread.append(&mut self.received);
        }
        (self.received, self.read) = (Vec::new(), 0);
        (unread, false)
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        Box::new(NothingToDrain)
    }
}
