//! front → chardev → back → [host]: what is left of a peer after its back end was replaced, or
//! after it was told to go.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use chardev_core::{BackendEvent, DRAIN_LIMIT, Drain, Late};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, sockopt};

use super::inet;
use super::layered::Layered;
use super::transport::{Transport, acknowledge, poll_now, receive_plain, send_plain};
use crate::port::Port;
use crate::sys::{async_fd, unsent};
use crate::tasks::TaskKind;

/// How long a peer that was told to go may take to close its side.
const LINGER: Duration = Duration::from_secs(2);

/// A connection that only delivers what was accepted.
#[derive(Debug)]
pub(super) struct SocketDrain {
    fd: Arc<OwnedFd>,
    refused: bool,
    layers: Option<Layered>,
    /// What comes still counts as sent before the change, and there is a bound to it.
    settles: bool,
    /// Breaks that reading has come to.
    breaks: u64,
    /// The closing messages of the layers are on their way, and then the end.
    ends: bool,
    /// The peer was told the end.
    parted: bool,
}

impl SocketDrain {
    /// Of the peer at the other end of `transport`, which is spoken to over `layers`.
    pub(super) fn new(transport: Transport, layers: Option<Layered>) -> Self {
        SocketDrain {
            refused: transport.is_refused(),
            fd: transport.into_fd(),
            layers,
            settles: true,
            breaks: 0,
            ends: false,
            parted: false,
        }
    }

    /// Tells the peer to go, and takes in what it still sends so that no reset destroys what it
    /// has not read yet.
    pub(super) fn dismiss(mut self, port: &Port) {
        self.settles = false;
        self.half_close();
        port.spawn_listed(TaskKind::Drain, async move {
            let _ = tokio::time::timeout(DRAIN_LIMIT, self.flushed()).await;
            let _ = tokio::time::timeout(LINGER, self.wait_for_end()).await;
        });
    }

    /// Waits until the layers have nothing more to send.
    async fn flushed(&mut self) {
        if !self.ends {
            return;
        }
        let Ok(watched) = self.fd.try_clone().and_then(async_fd) else {
            return;
        };
        while let Ok(mut guard) = watched.writable().await {
            self.end_once_flushed();
            if !self.ends {
                return;
            }
            guard.clear_ready();
        }
    }

    /// Sends what waits; behind the last of it comes the end, if that is due.
    fn end_once_flushed(&mut self) {
        let Some(layers) = &self.layers else { return };
        let flushed = layers.flush(&self.fd).unwrap_or(true);
        if flushed && std::mem::take(&mut self.ends) {
            let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
        }
    }

    /// Reads on through the layers, which may be in the middle of something.
    fn read_layered(&mut self, buf: &mut [u8]) -> Late {
        self.end_once_flushed();
        let Some(layers) = &self.layers else {
            return Late::End;
        };
        let finite = self.refused || self.settles;
        loop {
            let mut bufs = [IoSliceMut::new(&mut *buf)];
            match layers.receive(&self.fd, &mut bufs, finite) {
                Ok(0) => return Late::End,
                Ok(count) => {
                    acknowledge(&self.fd);
                    return Late::Data(count);
                }
                Err(Errno::AGAIN) => match layers.poll_event() {
                    Some(BackendEvent::Break) => {
                        self.breaks += 1;
                        return Late::Quiet;
                    }
                    // Nobody is told anything else any more.
                    Some(_) => {}
                    None => return Late::Quiet,
                },
                Err(_) => return Late::End,
            }
        }
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

impl Drop for SocketDrain {
    /// TCP answers what comes after the end with a reset. Multipath TCP takes it in for a minute,
    /// unless it is told to let go; by now the peer has everything, or will not take it.
    fn drop(&mut self) {
        let delivered = || unsent(self.fd.as_fd()) == Ok(0);
        if self.parted && inet::is_mptcp(&self.fd) && delivered() {
            let _ = rustix::net::connect_unspec(&self.fd);
        }
    }
}

impl Drain for SocketDrain {
    fn pending(&mut self) -> u64 {
        if poll_now(&self.fd, PollFlags::empty()).intersects(PollFlags::HUP | PollFlags::ERR) {
            return 0;
        }
        self.end_once_flushed();
        let layers = self.layers.as_ref();
        let waiting = layers.map_or(0, |layers| layers.stack().pending());
        waiting as u64 + unsent(self.fd.as_fd()).unwrap_or(0)
    }

    fn read_late(&mut self, buf: &mut [u8]) -> Late {
        if self.layers.is_some() {
            return self.read_layered(buf);
        }
        match receive_plain(&self.fd, buf) {
            Ok(0) => Late::End,
            Ok(count) => {
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
        self.settles = false;
        let family = sockopt::socket_domain(&self.fd);
        if !self.refused && !matches!(family, Ok(AddressFamily::INET | AddressFamily::INET6)) {
            let _ = rustix::net::shutdown(&*self.fd, Shutdown::Read);
        }
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        if let Some(layers) = &self.layers {
            return layers.send(&self.fd, &[IoSlice::new(bytes)]).unwrap_or(0);
        }
        send_plain(&self.fd, &[IoSlice::new(bytes)]).unwrap_or(0)
    }

    fn take_breaks(&mut self) -> u64 {
        std::mem::take(&mut self.breaks)
    }

    fn half_close(&mut self) {
        self.parted = true;
        if let Some(layers) = &self.layers {
            layers.send_end();
            self.ends = true;
            return self.end_once_flushed();
        }
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
    }
}
