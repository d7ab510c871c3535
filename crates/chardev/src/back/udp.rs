//! front → chardev → [back] → host: udp, one datagram for every write.
//!
//! As in QEMU it never counts as open, and still takes output. A datagram that nobody receives
//! is lost on the network, not here. Where the remote or the local address is a multicast group's,
//! the group is heard.

mod group;
mod sockets;

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use chardev_core::spec::{
    InetAddress, KindSpec, OptionSpec, OptionType, Options, Short, SocketAddress,
};
use chardev_core::{
    Backend, BackendId, Drain, NothingToDrain, OpenError, Ready, Sent, Sharing, WeakChardev,
};
use rustix::io::Errno;
use rustix::net::sockopt::socket_recv_buffer_size;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrAny, recv, recvfrom, sendmsg,
};

use self::sockets::{Addresses, LentPort, WantPort, Way};
use super::short;
use super::{Kind, OpenContext};
use crate::reactor::FdWatch;
use crate::sys::strerror;
use crate::tasks::TaskKind;

/// The largest payload of a datagram.
const DATAGRAM_LIMIT: usize = 65507;
/// What the longest datagram that UDP can say the length of fits in, headers and all.
const LONGEST: usize = 1 << 16;
/// What the kernel counts at least for a datagram that it holds.
const SMALLEST_HELD: usize = 256;
/// The most buffers the kernel takes in one call.
const BUFS_LIMIT: usize = 1024;
/// Empty datagrams and errors skipped in one read before others get their turn.
const SKIP_LIMIT: usize = 64;

/// The kind `udp` (QAPI `ChardevUdp`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec::new(
        "udp",
        "datagrams to and from one remote address, or a multicast group",
        &[
            OptionSpec::new(
                "remote",
                OptionType::Address,
                "where to send: host=… (default localhost), port=…",
            )
            .key("")
            .required_or("chardev: udp: remote port not specified"),
            OptionSpec::new(
                "local",
                OptionType::Address,
                "where to receive: localaddr=…, localport=…; a group is joined if this is its address, or if the remote one is and there is a localport",
            )
            .key(""),
        ],
    )
    .spelled(&[Short::Text(short::udp)]),
    open: |options, context| Box::pin(open(options, context)),
};

async fn open(options: &Options, context: &OpenContext) -> Result<Box<dyn Backend>, OpenError> {
    let remote = inet(options.address("remote"))?.ok_or("remote port not specified")?;
    if remote.port.is_empty() {
        return Err("remote port not specified".into());
    }
    let local = inet(options.address("local"))?;
    // Looking up needs the I/O thread, whatever executor the caller is on.
    let looking_up = async move { Addresses::resolve(remote, local.as_ref()).await };
    let addresses = context
        .port
        .spawn_listed(TaskKind::Connect, looking_up)
        .await
        .map_err(|error| error.to_string())??;
    let opened = sockets::open(&addresses, context)?;
    let watched = |socket| {
        FdWatch::new(&context.port, Arc::new(socket))
            .map_err(|error| OpenError::new(strerror(error)))
    };
    Ok(Box::new(Udp {
        socket: watched(opened.socket)?,
        output: opened.output.map(watched).transpose()?,
        senders: opened.senders,
        addresses,
        way: opened.way,
        share: Weak::new(),
        received: Vec::new(),
        read: 0,
    }))
}

fn inet(address: Option<&SocketAddress>) -> Result<Option<InetAddress>, OpenError> {
    match address {
        None => Ok(None),
        Some(SocketAddress::Inet(inet)) => Ok(Some(inet.clone())),
        Some(_) => Err("socket type unsupported for datagram".into()),
    }
}

struct Udp {
    socket: FdWatch,
    /// Sends, where `socket` hears a group.
    output: Option<FdWatch>,
    /// What comes from here are our own datagrams, which a group brings back.
    senders: Vec<SocketAddr>,
    addresses: Addresses,
    /// What is left to do with the socket until it is in use.
    way: Way,
    /// What a successor has of the socket; one at most.
    share: Weak<()>,
    /// The datagram being read, and how much of it has been.
    received: Vec<u8>,
    read: usize,
}

/// What a look for the next datagram found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Datagram,
    /// Nothing that has bytes; others first, there may be more.
    OnlySkipped,
    Nothing,
}

impl Udp {
    /// Receives the next datagram that is not empty; errors such as a refusal that the network
    /// reported for an earlier datagram are consumed.
    fn receive(&mut self) -> Found {
        self.read = 0;
        self.received = Vec::new();
        // Large enough for any datagram, whatever arrived since anybody asked for its length.
        let mut buffer = [MaybeUninit::<u8>::uninit(); LONGEST];
        for _ in 0..SKIP_LIMIT {
            let found = match self.addresses.hears_group() {
                false => recv(self.socket.fd(), &mut buffer, RecvFlags::DONTWAIT)
                    .map(|((datagram, _), _)| (datagram, None)),
                true => recvfrom(self.socket.fd(), &mut buffer, RecvFlags::DONTWAIT)
                    .map(|((datagram, _), _, from)| (datagram, from)),
            };
            match found {
                Ok((_, from)) if is_one_of(&self.senders, from.as_ref()) => {}
                Ok((datagram, _)) if !datagram.is_empty() => {
                    self.received.extend_from_slice(datagram);
                    return Found::Datagram;
                }
                Err(Errno::AGAIN) => return Found::Nothing,
                Ok(_) | Err(_) => {}
            }
        }
        Found::OnlySkipped
    }

    /// Sends one datagram. A refusal that an earlier one met on its way comes back here first, so
    /// it is consumed and the datagram sent again.
    fn send(&self, bufs: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let mut control = SendAncillaryBuffer::default();
        let socket = self.output.as_ref().unwrap_or(&self.socket).fd();
        let sent = sendmsg(socket, bufs, &mut control, flags);
        match sent {
            Err(Errno::CONNREFUSED | Errno::INTR) => sendmsg(socket, bufs, &mut control, flags),
            sent => sent,
        }
    }
}

/// Whether `from` is one of `senders`; the scope of an address of IPv6 is not compared.
fn is_one_of(senders: &[SocketAddr], from: Option<&SocketAddrAny>) -> bool {
    let from = from.and_then(|from| SocketAddr::try_from(from.clone()).ok());
    from.is_some_and(|from| {
        let is_from =
            |sender: &SocketAddr| (sender.ip(), sender.port()) == (from.ip(), from.port());
        senders.iter().any(is_from)
    })
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

    fn reaches_somebody(&self) -> bool {
        true
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
        if self.read == self.received.len() && self.receive() != Found::Datagram {
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
        match &self.output {
            None => self.socket.arm(interest),
            Some(output) => {
                self.socket.arm(interest - Ready::WRITE);
                output.arm(interest & Ready::WRITE);
            }
        }
    }

    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {
        self.way.go_live(self.socket.fd(), &self.addresses);
    }

    /// The kernel holds no more than its buffer is large, which bounds this, however fast the peer
    /// goes on sending.
    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        let mut unread = self.received.split_off(self.read);
        let held = socket_recv_buffer_size(self.socket.fd()).unwrap_or(LONGEST);
        for _ in 0..=held / SMALLEST_HELD {
            if unread.len() > held || self.receive() == Found::Nothing {
                break;
            }
            unread.append(&mut self.received);
        }
        (self.received, self.read) = (Vec::new(), 0);
        (unread, false)
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        Box::new(NothingToDrain)
    }

    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }
}

impl Sharing for Udp {
    fn activate(&mut self) -> Result<(), OpenError> {
        self.way.activate(self.socket.fd(), &self.addresses)
    }

    /// One successor at a time may have the port.
    fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        let WantPort(own) = wanted.downcast_ref()?;
        if self.share.strong_count() > 0 {
            return None;
        }
        let wanted = (*own, &self.senders[..]);
        let (lent, share) = LentPort::of(self.socket.fd(), &self.addresses, wanted)?;
        self.share = share;
        Some(Box::new(lent))
    }
}
