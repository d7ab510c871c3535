//! front → chardev → [back] → host: one connected peer of a socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use chardev_core::{CARRY_LIMIT, Drain, Late, Ready};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, recv, recvmsg, sendmsg, shutdown,
};

use crate::port::Port;
use crate::reactor::FdWatch;
use crate::sys::unsent;

/// The most buffers the kernel takes at once is 1024; fewer cost nothing.
const BUFFERS: usize = 64;
/// The most descriptors passed with one message (QEMU's limit).
const FDS: usize = 16;

/// The peer is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// A connected stream socket.
#[derive(Debug)]
pub(super) struct Connection {
    watch: FdWatch,
    pub(super) unix: bool,
    received: Vec<OwnedFd>,
}

impl Connection {
    /// Takes over the connected socket `fd`.
    pub(super) fn new(port: &Port, fd: Arc<OwnedFd>) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let unix = rustix::net::sockopt::socket_domain(&fd)? == AddressFamily::UNIX;
        let watch = FdWatch::new(port, fd)?;
        watch.arm(Ready::HANGUP);
        Ok(Connection {
            watch,
            unix,
            received: Vec::new(),
        })
    }

    /// Sends what fits; 0 means not now.
    pub(super) fn write(
        &self,
        bufs: &[IoSlice<'_>],
        fds: &mut Vec<OwnedFd>,
    ) -> Result<usize, Gone> {
        let bufs = &bufs[..bufs.len().min(BUFFERS)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let passing = self.unix && !fds.is_empty();
        let sent = if passing {
            let borrowed: Vec<_> = fds.iter().take(FDS).map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
            sendmsg(self.watch.fd(), bufs, &mut ancillary, flags)
        } else {
            sendmsg(
                self.watch.fd(),
                bufs,
                &mut SendAncillaryBuffer::default(),
                flags,
            )
        };
        match sent {
            Ok(count) => {
                if passing && count > 0 {
                    fds.clear();
                }
                Ok(count)
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(0),
            Err(_) => Err(Gone),
        }
    }

    /// Receives what is there; 0 means nothing now.
    pub(super) fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> Result<usize, Gone> {
        let count = bufs.len().min(BUFFERS);
        let bufs = &mut bufs[..count];
        let result = if self.unix {
            self.receive_with_fds(bufs)
        } else {
            rustix::io::readv(self.watch.fd(), bufs)
        };
        match result {
            Ok(0) => Err(Gone),
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(_) => Err(Gone),
        }
    }

    fn receive_with_fds(&mut self, bufs: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let message = recvmsg(self.watch.fd(), bufs, &mut ancillary, flags)?;
        let fds: Vec<OwnedFd> = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        if !fds.is_empty() {
            self.received = fds;
        }
        Ok(message.bytes)
    }

    /// Descriptors that came with the input received last.
    pub(super) fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.received)
    }

    /// Asks for readiness.
    pub(super) fn watch(&self, interest: Ready) {
        self.watch.arm(interest);
    }

    /// Whether the peer has closed at least its sending side, or vanished.
    pub(super) fn has_left(&self) -> bool {
        self.poll(PollFlags::RDHUP)
            .intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }

    /// Everything that has arrived and was not read.
    pub(super) fn unread(&self) -> Vec<u8> {
        self.take_input(CARRY_LIMIT)
    }

    /// What has arrived by now; the peer may go on sending meanwhile.
    pub(super) fn cut(&self) -> Vec<u8> {
        let arrived = ioctl_fionread(self.watch.fd()).unwrap_or(0);
        self.take_input(
            usize::try_from(arrived)
                .unwrap_or(usize::MAX)
                .min(CARRY_LIMIT),
        )
    }

    /// Ends the connection both ways.
    pub(super) fn shut_down(&self) {
        let _ = shutdown(self.watch.fd(), Shutdown::Both);
    }

    fn take_input(&self, limit: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < limit {
            let start = bytes.len();
            bytes.resize(start + (limit - start).min(64 << 10), 0);
            let received = recv(self.watch.fd(), &mut bytes[start..], RecvFlags::DONTWAIT);
            let count = received.map_or(0, |(_, count)| count);
            bytes.truncate(start + count);
            if count == 0 && received != Err(Errno::INTR) {
                break;
            }
        }
        bytes
    }

    fn poll(&self, interest: PollFlags) -> PollFlags {
        let mut fds = [PollFd::from_borrowed_fd(self.watch.fd(), interest)];
        let _ = poll(
            &mut fds,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        );
        fds[0].revents()
    }
}

impl Drain for Connection {
    fn pending(&mut self) -> u64 {
        if self
            .poll(PollFlags::empty())
            .intersects(PollFlags::HUP | PollFlags::ERR)
        {
            return 0;
        }
        unsent(self.watch.fd()).unwrap_or(0)
    }

    fn read_late(&mut self, buf: &mut [u8]) -> Late {
        match recv(self.watch.fd(), buf, RecvFlags::DONTWAIT) {
            Ok((_, count)) if count > 0 => Late::Data(count),
            Err(Errno::AGAIN | Errno::INTR) => Late::Quiet,
            _ => Late::End,
        }
    }

    fn half_close(&mut self) {
        let _ = shutdown(self.watch.fd(), Shutdown::Write);
    }
}
