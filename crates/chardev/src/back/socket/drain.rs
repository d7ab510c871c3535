//! front → chardev → back → [host]: what is left of a peer after its back end was replaced, or after
//! it was told to go.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use chardev_core::{Drain, Late};
use rustix::event::PollFlags;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, sockopt};

use super::transport::{Transport, acknowledge, poll_now};
use crate::port::Port;
use crate::sys::{async_fd, unsent};

/// How long a peer that was told to go may take to close its side.
const LINGER: Duration = Duration::from_secs(2);

/// A connection that only delivers what was accepted.
#[derive(Debug)]
pub(super) struct SocketDrain {
    fd: Arc<OwnedFd>,
    refused: bool,
}

impl SocketDrain {
    /// Of the peer at the other end of `transport`.
    pub(super) fn new(transport: Transport) -> Self {
        SocketDrain {
            refused: transport.is_refused(),
            fd: transport.into_fd(),
        }
    }

    /// Tells the peer to go, and takes in what it still sends so that no reset destroys what it
    /// has not read yet.
    pub(super) fn dismiss(mut self, port: &Port) {
        self.half_close();
        port.spawn(async move {
            let _ = tokio::time::timeout(LINGER, self.wait_for_end()).await;
        });
    }

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
