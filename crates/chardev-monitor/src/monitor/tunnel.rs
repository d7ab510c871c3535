//! A client whose connection carries the bytes of a descriptor (`x-tunnel-join`).

use std::future::poll_fn;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::task::{Context, Poll};

use chardev::{Event, FrontEnd, Input};
use rustix::net::{Shutdown, shutdown};
use tokio::net::UnixStream;

use super::Monitor;
use crate::tunnels::Tunnel;

/// The most bytes on their way in one direction.
const BUFFER: usize = 16 << 10;
/// How many steps it takes before others have their turn.
const TURN: usize = 16;

/// Both directions, each with what is on its way.
struct Relay<'a> {
    front: &'a FrontEnd,
    local: &'a UnixStream,
    half_close: bool,
    inward: Vec<u8>,
    outward: Vec<u8>,
    /// The client sends no more, and what is behind the descriptor has been told.
    told: bool,
    /// What is behind the descriptor says no more.
    silent: bool,
    over: bool,
}

impl Monitor {
    /// What comes is no conversation any more; nobody waits for its end when the daemon ends, which
    /// is that of what is behind the descriptor.
    pub(super) async fn become_tunnel(mut self, tunnel: Tunnel) {
        self.forget_client();
        let Monitor {
            front,
            post,
            place,
            caller,
            ..
        } = self;
        // As a monitor it is gone.
        drop((place, post, caller));
        relay(&front, tunnel).await;
    }
}

/// Carries bytes until either end has left.
async fn relay(front: &FrontEnd, tunnel: Tunnel) {
    let mut relay = Relay {
        front,
        local: &tunnel.stream,
        half_close: tunnel.half_close,
        inward: Vec::new(),
        outward: Vec::new(),
        told: false,
        silent: false,
        over: false,
    };
    poll_fn(|cx| relay.poll(cx)).await;
    front.disconnect();
}

impl Relay<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURN {
            let moved = self.poll_inward(cx) | self.poll_outward(cx);
            if self.over || (self.silent && self.outward.is_empty()) {
                return Poll::Ready(());
            }
            if !moved {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// From the client.
    fn poll_inward(&mut self, cx: &mut Context<'_>) -> bool {
        if self.inward.is_empty() {
            let mut buffer = vec![0; BUFFER];
            match self.front.poll_read(cx, &mut buffer) {
                Poll::Ready(Input::Data(count)) => {
                    buffer.truncate(count);
                    self.inward = buffer;
                }
                Poll::Ready(Input::Event(Event::Closed)) => {
                    self.over = true;
                    return true;
                }
                Poll::Ready(Input::Event(_)) => return true,
                Poll::Pending => {
                    if self.front.input_ended() && !self.told {
                        self.told = true;
                        self.over = !self.half_close;
                        // It may have left.
                        let _ = shutdown(self.local.as_fd(), Shutdown::Write);
                        return true;
                    }
                    return false;
                }
            }
        }
        match self.local.poll_write_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                self.over = true;
                return true;
            }
            Poll::Pending => return false,
        }
        match self.local.try_write(&self.inward) {
            Ok(count) => drop(self.inward.drain(..count)),
            Err(error) if is_passing(error.kind()) => {}
            // It takes nothing more, but may have more to say.
            Err(_) => self.inward.clear(),
        }
        true
    }

    /// To the client.
    fn poll_outward(&mut self, cx: &mut Context<'_>) -> bool {
        if self.outward.is_empty() && !self.silent {
            if !self.local.poll_read_ready(cx).is_ready() {
                return false;
            }
            let mut buffer = vec![0; BUFFER];
            match self.local.try_read(&mut buffer) {
                Ok(0) => self.silent = true,
                Ok(count) => {
                    buffer.truncate(count);
                    self.outward = buffer;
                }
                Err(error) if is_passing(error.kind()) => {}
                Err(_) => self.silent = true,
            }
            return true;
        }
        if self.outward.is_empty() {
            return false;
        }
        match self.front.poll_answer(cx, &self.outward) {
            Poll::Ready(Some(count)) => drop(self.outward.drain(..count)),
            Poll::Ready(None) => self.over = true,
            Poll::Pending => return false,
        }
        true
    }
}

fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
