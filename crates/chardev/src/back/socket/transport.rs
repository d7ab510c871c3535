//! front → chardev → back → [host]: a connected stream socket, which carries plain bytes and, if it
//! is a Unix socket, descriptors.

#[cfg(test)]
mod calls;

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use chardev_core::{OpenError, Ready};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, getpeername, getsockname, sockopt,
};

use super::vsock;
use crate::port::Port;
use crate::reactor::FdWatch;
use crate::sys::failed;

/// The most descriptors that go with one message, as in QEMU.
const FDS_LIMIT: usize = 16;
/// The most buffers the kernel takes in one call.
const BUFS_LIMIT: usize = 1024;

/// How long a TCP peer may be silent before it is asked for a sign of life, and how often it is.
const KEEP_IDLE: Duration = Duration::from_secs(60);
const KEEP_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_PROBES: u32 = 3;

/// The room that a Unix socket has when much goes out of it, twice the usual. The kernel gives
/// twice what it is asked for, and an unprivileged program may ask for half of this.
const WIDE: usize = 416 << 10;

/// A connected stream socket.
#[derive(Debug)]
pub(super) struct Transport {
    fd: Arc<OwnedFd>,
    watch: FdWatch,
    unix: bool,
    /// There is room for much, or no more can be had.
    wide: bool,
    /// The kernel refuses what the peer still sends.
    refused: bool,
}

impl Transport {
    /// Takes charge of `fd`. From here on a hang-up is reported.
    ///
    /// # Errors
    /// The descriptor cannot be made ready for use.
    pub(super) fn new(port: &Port, fd: Arc<OwnedFd>, nodelay: bool) -> Result<Self, OpenError> {
        rustix::io::ioctl_fionbio(&fd, true)
            .map_err(|error| failed("Failed to set FD nonblocking", error))?;
        let unix = sockopt::socket_domain(&fd) == Ok(AddressFamily::UNIX);
        if nodelay && !unix {
            // A peer that has left already makes this fail; that is noticed soon enough.
            let _ = sockopt::set_tcp_nodelay(&fd, true);
        }
        let watch = FdWatch::new(port, Arc::clone(&fd))
            .map_err(|error| failed("Failed to watch socket", error))?;
        watch.arm(Ready::HANGUP);
        Ok(Transport {
            fd,
            watch,
            unix,
            wide: !unix,
            refused: false,
        })
    }

    /// Much goes out of it, more than there is room for. Who sends to a Unix socket and who reads
    /// it wake each other less often if there is more; TCP sees to that by itself.
    pub(super) fn widen(&mut self) {
        let wide = std::mem::replace(&mut self.wide, true);
        if wide {
            return;
        }
        let room = sockopt::socket_send_buffer_size(&self.fd);
        if room.is_ok_and(|room| room < WIDE) {
            let _ = sockopt::set_socket_send_buffer_size(&self.fd, WIDE / 2);
        }
    }

    /// Finds out whether a silent peer's host is still there: who vanished must not be in the way
    /// of the next one for ever. Of no use on a Unix socket, and does nothing there.
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

    /// The descriptor.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
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
        if let Some(place) = vsock::Place::of_peer(&self.fd) {
            return Some(format!("vsock:{place}"));
        }
        let peer = getpeername(&self.fd).ok().flatten()?;
        Some(SocketAddr::try_from(peer).ok()?.to_string())
    }

    /// Both ends of a TCP connection as QEMU writes them, and of vsock in the same form; nothing
    /// for a Unix socket.
    pub(super) fn live_name(&self, server: bool) -> Option<String> {
        if self.unix {
            return None;
        }
        if let Some(place) = vsock::Place::of(&self.fd) {
            let peer = vsock::Place::of_peer(&self.fd);
            let peer = peer.map_or_else(String::new, |peer| format!(" <-> {peer}"));
            return Some(format!("vsock:{place}{peer}"));
        }
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
        let send = || {
            let mut control = SendAncillaryBuffer::default();
            #[cfg(test)]
            calls::note("sendmsg", bufs);
            retry_on_intr(|| rustix::net::sendmsg(&self.fd, bufs, &mut control, flags))
        };
        match send() {
            Err(Errno::FAULT) => {
                touch(bufs);
                not_now(send())
            }
            sent => not_now(sent),
        }
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
            #[cfg(test)]
            calls::note("sendmsg", bufs);
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
        #[cfg(test)]
        calls::note(if self.unix { "recvmsg" } else { "readv" }, bufs);
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
        if self.unix && !self.refused {
            // What is done here would be reported as the peer's end, to who waits for our lock.
            self.watch.end();
            self.refused = rustix::net::shutdown(&*self.fd, Shutdown::Read).is_ok();
        }
    }

    /// Whether the peer can send nothing more.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Takes what is there, up to `limit` bytes.
    pub(super) fn take_input(&self, limit: usize, fds: &mut Vec<OwnedFd>) -> Vec<u8> {
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

    /// Asks the peer's kernel for what it still holds back.
    pub(super) fn acknowledge(&self) {
        acknowledge(&self.fd);
    }

    /// Ends the watch and leaves the descriptor.
    pub(super) fn into_fd(self) -> Arc<OwnedFd> {
        self.fd
    }
}

/// What a peer's write returned may wait in its kernel for our acknowledgement, which ours would
/// put off; asking for it at once makes silence mean that there is nothing more. Fails, to no
/// harm, on a Unix socket.
pub(super) fn acknowledge(fd: &OwnedFd) {
    let _ = rustix::net::sockopt::set_tcp_quickack(fd, true);
}

/// Sends as much of `bufs`, which are ours, as fits.
///
/// # Errors
/// [`Errno::AGAIN`] if nothing fits now; anything else means that the peer is gone.
pub(super) fn send_plain(fd: &OwnedFd, bufs: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let mut control = SendAncillaryBuffer::default();
    #[cfg(test)]
    calls::note("sendmsg", bufs);
    not_now(retry_on_intr(|| {
        rustix::net::sendmsg(fd, bufs, &mut control, flags)
    }))
}

/// Reads what is there; 0 means that the peer has ended. Descriptors that come along are closed.
///
/// # Errors
/// [`Errno::AGAIN`] if nothing is there; anything else means that the peer is gone.
pub(super) fn receive_plain(fd: &OwnedFd, buf: &mut [u8]) -> Result<usize, Errno> {
    #[cfg(test)]
    calls::note("recv", &[IoSlice::new(buf)]);
    let received = retry_on_intr(|| rustix::net::recv(fd, &mut *buf, RecvFlags::DONTWAIT));
    not_now(received).map(|(count, _)| count)
}

/// Reads a byte of each page of `bufs`. The kernel has found a hole in a guest's memory, which says
/// nothing about the peer: whoever guards that memory learns of it by our own access and fills it.
fn touch(bufs: &[IoSlice<'_>]) {
    const PAGE: usize = 4 << 10;
    for buf in bufs {
        let last = buf.last().copied();
        std::hint::black_box((
            buf.iter().step_by(PAGE).fold(0, |all, byte| all ^ byte),
            last,
        ));
    }
}

/// A kernel that is short of memory says "not now" in its own way, and so does one that finds a
/// hole in ours.
fn not_now<T>(result: Result<T, Errno>) -> Result<T, Errno> {
    match result {
        Err(Errno::NOBUFS | Errno::NOMEM | Errno::FAULT) => Err(Errno::AGAIN),
        result => result,
    }
}

pub(super) fn poll_now(fd: &OwnedFd, interest: PollFlags) -> PollFlags {
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
