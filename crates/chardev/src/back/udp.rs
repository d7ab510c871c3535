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
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

use super::resolve::{Purpose, resolve};
use super::{Kind, OpenContext};
use crate::reactor::FdWatch;
use crate::sys::strerror;

/// The largest payload of a datagram.
const DATAGRAM_LIMIT: usize = 65507;
/// The most buffers the kernel takes in one call.
const BUFS_LIMIT: usize = 1024;
/// Empty datagrams and errors skipped in one read before others get their turn.
const SKIP_LIMIT: usize = 64;

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
    // Looking up needs the I/O thread, whatever executor the caller is on.
    let connecting = async move { connect(&remote, local.as_ref()).await };
    let socket = context
        .port
        .spawn(connecting)
        .await
        .map_err(|error| error.to_string())??;
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
        Some(local) => {
            // Both ends are of one family, and the remote one has decided which.
            let family = InetAddress {
                ipv4: Some(peer.is_ipv4()),
                ipv6: Some(peer.is_ipv6()),
                ..local.clone()
            };
            resolve(&family, Purpose::Bind).await?[0]
        }
        None if peer.is_ipv4() => SocketAddr::from(([0, 0, 0, 0], 0)),
        None => SocketAddr::from(([0u16; 8], 0)),
    };
    let failed = |what: &str, error: io::Error| format!("Failed to {what}: {}", strerror(error));
    let shown = format!("connect to '{}:{}'", remote.host, remote.port);
    let socket = UdpSocket::bind(own).map_err(|error| failed("bind socket", error))?;
    socket
        .connect(peer)
        .map_err(|error| failed(&shown, error))?;
    socket
        .set_nonblocking(true)
        .map_err(|error| failed("set FD nonblocking", error))?;
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
        self.read = 0;
        for _ in 0..SKIP_LIMIT {
            let size = ioctl_fionread(self.socket.fd()).unwrap_or(0);
            self.received
                .resize(usize::try_from(size).unwrap_or(DATAGRAM_LIMIT).max(1), 0);
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

    /// Sends one datagram. A refusal that an earlier one met on its way comes back here first, so
    /// it is consumed and the datagram sent again.
    fn send(&self, bufs: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let mut control = SendAncillaryBuffer::default();
        let sent = sendmsg(self.socket.fd(), bufs, &mut control, flags);
        match sent {
            Err(Errno::CONNREFUSED | Errno::INTR) => {
                sendmsg(self.socket.fd(), bufs, &mut control, flags)
            }
            sent => sent,
        }
    }
}

fn gather(bufs: &[IoSlice<'_>], count: usize) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(count);
    for buf in bufs {
        let left = count - datagram.len();
        datagram.extend_from_slice(&buf[..buf.len().min(left)]);
    }
    datagram
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
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        let count = total.min(DATAGRAM_LIMIT);
        let sent = if total == count && bufs.len() <= BUFS_LIMIT {
            self.send(bufs)
        } else {
            self.send(&[IoSlice::new(&gather(bufs, count))])
        };
        match sent {
            Err(Errno::AGAIN | Errno::NOBUFS) => Sent::Full,
            // Nobody can say where a datagram gets lost; this one was lost early.
            Ok(_) | Err(_) => Sent::Taken(count),
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
