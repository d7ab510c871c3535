//! front → chardev → back → [host]: one connected peer of a socket, and what is left of it after
//! its back end was replaced.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use chardev_core::{CARRY_LIMIT, Drain, Late, Ready};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, getpeername, getsockname, sockopt,
};

use crate::port::Port;
use crate::reactor::FdWatch;
use crate::sys::{async_fd, strerror, unsent};

/// The most descriptors that go with one message, as in QEMU.
const FDS_LIMIT: usize = 16;
/// The most buffers the kernel takes in one call.
const BUFS_LIMIT: usize = 1024;
/// The most of a refused peer's input that is fetched under the lock; the drain fetches the rest.
const CUT_AT_ONCE: usize = 1 << 20;
/// How long a peer that was told to go may take to close its side.
const LINGER: Duration = Duration::from_secs(2);

/// How long a TCP peer may be silent before it is asked for a sign of life, and how often it is.
const KEEP_IDLE: Duration = Duration::from_secs(60);
const KEEP_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_PROBES: u32 = 3;

/// A connected stream socket.
#[derive(Debug)]
pub(super) struct Connection {
    fd: Arc<OwnedFd>,
    watch: FdWatch,
    unix: bool,
    /// The kernel refuses what the peer still sends.
    refused: bool,
}

impl Connection {
    /// Takes charge of `fd`. From here on a hang-up is reported.
    ///
    /// # Errors
    /// The descriptor cannot be made ready for use.
    pub(super) fn new(port: &Port, fd: Arc<OwnedFd>, nodelay: bool) -> Result<Self, String> {
        rustix::io::ioctl_fionbio(&fd, true)
            .map_err(|error| format!("Failed to set FD nonblocking: {}", strerror(error)))?;
        let unix = sockopt::socket_domain(&fd) == Ok(AddressFamily::UNIX);
        if nodelay && !unix {
            // A peer that has left already makes this fail; that is noticed soon enough.
            let _ = sockopt::set_tcp_nodelay(&fd, true);
        }
        let watch = FdWatch::new(port, Arc::clone(&fd))
            .map_err(|error| format!("Failed to watch socket: {}", strerror(error)))?;
        watch.arm(Ready::HANGUP);
        Ok(Connection {
            fd,
            watch,
            unix,
            refused: false,
        })
    }

    /// Finds out whether a silent peer's host is still there: who vanished must not be in the way of
    /// the next one for ever. Of no use on a Unix socket, and does nothing there.
    pub(super) fn keep_alive(&self) {
        if self.unix {
            return;
        }
        // A peer that has left already makes these fail; that is noticed soon enough.
        let _ = sockopt::set_tcp_keepidle(&self.fd, KEEP_IDLE);
        let _ = sockopt::set_tcp_keepintvl(&self.fd, KEEP_INTERVAL);
        let _ = sockopt::set_tcp_keepcnt(&self.fd, KEEP_PROBES);
        let _ = sockopt::set_socket_keepalive(&self.fd, true);
    }

    /// Another descriptor of the same connection, for a back end that takes the peer over.
    pub(super) fn share(&self) -> Option<OwnedFd> {
        self.fd.try_clone().ok()
    }

    /// Whether this is a Unix socket.
    pub(super) fn is_unix(&self) -> bool {
        self.unix
    }

    /// Asks for one report of each readiness in `interest`.
    pub(super) fn watch(&self, interest: Ready) {
        self.watch.arm(interest);
    }

    /// Who the peer is: its address, or for a Unix socket the process that connected.
    pub(super) fn peer(&self) -> Option<String> {
        if self.unix {
            let process = sockopt::socket_peercred(&self.fd).ok()?;
            let (pid, uid) = (process.pid.as_raw_nonzero(), process.uid.as_raw());
            return Some(format!("pid {pid}, uid {uid}"));
        }
        let peer = getpeername(&self.fd).ok().flatten()?;
        Some(SocketAddr::try_from(peer).ok()?.to_string())
    }

    /// Both ends of a TCP connection as QEMU writes them; nothing for a Unix socket.
    pub(super) fn tcp_name(&self, server: bool) -> Option<String> {
        let local = SocketAddr::try_from(getsockname(&self.fd).ok()?).ok()?;
        let server = if server { ",server=on" } else { "" };
        // A peer that has just gone has no address any more.
        let peer = getpeername(&self.fd).ok().flatten();
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        let peer = peer.map_or_else(String::new, |peer| format!(" <-> {peer}"));
        Some(format!("tcp:{local}{server}{peer}"))
    }

    /// Sends as much of `bufs` as fits, and up to 16 of `fds` with the first byte.
    ///
    /// # Errors
    /// [`Errno::AGAIN`] if nothing fits now; anything else means that the peer is gone.
    pub(super) fn send(
        &self,
        bufs: &[IoSlice<'_>],
        fds: &mut Vec<OwnedFd>,
    ) -> Result<usize, Errno> {
        let start = bufs.iter().position(|buf| !buf.is_empty()).unwrap_or(0);
        let bufs = &bufs[start..];
        let bufs = &bufs[..bufs.len().min(BUFS_LIMIT)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        if self.unix && !fds.is_empty() {
            return self.send_with_fds(bufs, fds, flags);
        }
        let mut control = SendAncillaryBuffer::default();
        let sent = retry_on_intr(|| rustix::net::sendmsg(&self.fd, bufs, &mut control, flags));
        not_now(sent)
    }

    fn send_with_fds(
        &self,
        bufs: &[IoSlice<'_>],
        fds: &mut Vec<OwnedFd>,
        flags: SendFlags,
    ) -> Result<usize, Errno> {
        let count = fds.len().min(FDS_LIMIT);
        let sent = {
            let borrowed: Vec<_> = fds[..count].iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_LIMIT))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&borrowed));
            retry_on_intr(|| rustix::net::sendmsg(&self.fd, bufs, &mut control, flags))
        };
        match sent {
            Ok(_) => {
                fds.drain(..count);
            }
            // Too many descriptors are under way already: the bytes go without them.
            Err(Errno::TOOMANYREFS) => {
                fds.clear();
                return self.send(bufs, fds);
            }
            Err(_) => {}
        }
        not_now(sent)
    }

    /// Reads what is there; 0 means that the peer has ended. Descriptors that come along
    /// replace what is in `fds`.
    ///
    /// # Errors
    /// [`Errno::AGAIN`] if nothing is there; anything else means that the peer is gone.
    pub(super) fn receive(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        fds: &mut Vec<OwnedFd>,
    ) -> Result<usize, Errno> {
        let count = bufs.len().min(BUFS_LIMIT);
        let bufs = &mut bufs[..count];
        if !self.unix {
            return not_now(retry_on_intr(|| rustix::io::readv(&self.fd, &mut *bufs)));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_LIMIT))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let message = not_now(retry_on_intr(|| {
            rustix::net::recvmsg(&self.fd, &mut *bufs, &mut control, flags)
        }))?;
        let mut came = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                came.extend(rights);
            }
        }
        if !came.is_empty() {
            *fds = came;
        }
        Ok(message.bytes)
    }

    /// Whether the peer has ended: it sends nothing more, or is gone altogether.
    pub(super) fn has_ended(&self) -> bool {
        let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        poll_now(&self.fd, PollFlags::RDHUP).intersects(ended)
    }

    /// Whether the peer is gone altogether. Of TCP nobody can tell before something was sent to it.
    pub(super) fn is_gone(&self) -> bool {
        poll_now(&self.fd, PollFlags::empty()).intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// How many bytes of input wait in the kernel.
    pub(super) fn unread(&self) -> usize {
        let unread = rustix::io::ioctl_fionread(&self.fd).unwrap_or(0);
        usize::try_from(unread).unwrap_or(usize::MAX)
    }

    /// From here on the peer's writes fail with `EPIPE`, where the kernel can do that without
    /// losing what has arrived: on a Unix socket.
    pub(super) fn refuse_input(&mut self) {
        self.refused |= self.unix && rustix::net::shutdown(&*self.fd, Shutdown::Read).is_ok();
    }

    /// Everything that a peer that has ended had sent and nobody read.
    pub(super) fn take_unread(&self, fds: &mut Vec<OwnedFd>) -> Vec<u8> {
        self.take_input(CARRY_LIMIT, fds)
    }

    /// All input that is there by now, or of a refused peer's, which cannot become more, its
    /// beginning; the others may go on sending meanwhile.
    pub(super) fn cut_input(&self, fds: &mut Vec<OwnedFd>) -> Vec<u8> {
        let limit = if self.refused {
            CUT_AT_ONCE
        } else {
            CARRY_LIMIT
        };
        let input = self.take_input(self.unread().min(limit), fds);
        acknowledge(&self.fd);
        input
    }

    fn take_input(&self, limit: usize, fds: &mut Vec<OwnedFd>) -> Vec<u8> {
        let mut input = Vec::new();
        let mut chunk = vec![0; limit.min(64 << 10)];
        while input.len() < limit {
            let wanted = chunk.len().min(limit - input.len());
            match self.receive(&mut [IoSliceMut::new(&mut chunk[..wanted])], fds) {
                Ok(0) | Err(_) => break,
                Ok(count) => input.extend_from_slice(&chunk[..count]),
            }
        }
        input
    }

    /// Ends both directions at once; what is then seen is the end of the peer.
    pub(super) fn shut_down(&self) {
        // A connection that is gone already needs no end.
        let _ = rustix::net::shutdown(&*self.fd, rustix::net::Shutdown::Both);
    }

    /// What is left of the connection when its back end was replaced.
    pub(super) fn into_drain(self) -> SocketDrain {
        SocketDrain {
            fd: self.fd,
            refused: self.refused,
        }
    }

    /// Tells the peer to go, and takes in what it still sends so that no reset destroys what it
    /// has not read yet.
    pub(super) fn dismiss(self, port: &Port) {
        let mut drain = self.into_drain();
        drain.half_close();
        port.spawn(async move {
            let _ = tokio::time::timeout(LINGER, drain.wait_for_end()).await;
        });
    }
}

/// A connection that only delivers what was accepted.
#[derive(Debug)]
pub(super) struct SocketDrain {
    fd: Arc<OwnedFd>,
    refused: bool,
}

impl SocketDrain {
    async fn wait_for_end(mut self) {
        let Ok(watched) = self.fd.try_clone().and_then(async_fd) else {
            return;
        };
        let mut buf = [0; 4096];
        while let Ok(mut guard) = watched.readable().await {
            match self.read_late(&mut buf) {
                Late::Data(_) => tokio::task::yield_now().await,
                Late::Quiet => guard.clear_ready(),
                Late::End => return,
            }
        }
    }
}

impl Drain for SocketDrain {
    fn pending(&mut self) -> u64 {
        if poll_now(&self.fd, PollFlags::empty()).intersects(PollFlags::HUP | PollFlags::ERR) {
            return 0;
        }
        unsent(self.fd.as_fd()).unwrap_or(0)
    }

    fn read_late(&mut self, buf: &mut [u8]) -> Late {
        match retry_on_intr(|| rustix::net::recv(&self.fd, &mut *buf, RecvFlags::DONTWAIT)) {
            Ok((0, _)) => Late::End,
            Ok((count, _)) => {
                acknowledge(&self.fd);
                Late::Data(count)
            }
            Err(Errno::AGAIN) => Late::Quiet,
            Err(_) => Late::End,
        }
    }

    fn is_refused(&self) -> bool {
        self.refused
    }

    /// Of the families that are neither local nor the internet's, some tell the peer (vsock). TCP
    /// does not, and would only hide from us what still comes.
    fn refuse_input(&mut self) {
        let family = sockopt::socket_domain(&self.fd);
        if !self.refused && !matches!(family, Ok(AddressFamily::INET | AddressFamily::INET6)) {
            let _ = rustix::net::shutdown(&*self.fd, Shutdown::Read);
        }
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        retry_on_intr(|| rustix::net::send(&self.fd, bytes, flags)).unwrap_or(0)
    }

    fn half_close(&mut self) {
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
    }
}

/// What a peer's write returned may wait in its kernel for our acknowledgement, which ours would
/// put off; asking for it at once makes silence mean that there is nothing more. Fails, to no
/// harm, on a Unix socket.
fn acknowledge(fd: &OwnedFd) {
    let _ = rustix::net::sockopt::set_tcp_quickack(fd, true);
}

/// A kernel that is short of memory says "not now" in its own way.
fn not_now<T>(result: Result<T, Errno>) -> Result<T, Errno> {
    match result {
        Err(Errno::NOBUFS | Errno::NOMEM) => Err(Errno::AGAIN),
        result => result,
    }
}

fn poll_now(fd: &OwnedFd, interest: PollFlags) -> PollFlags {
    let mut fds = [PollFd::new(fd, interest)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match retry_on_intr(|| poll(&mut fds, Some(&now))) {
        Ok(_) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}
