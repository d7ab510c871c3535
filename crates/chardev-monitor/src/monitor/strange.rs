//! A client that has yet to prove who it is.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;

use chardev::{Accepted, Presence};
use chardev_qmp::Lock;
use rustix::net::getpeername;
use tokio::time::Sleep;

use super::Monitor;
use crate::access::STRANGER;
use crate::monitors::Monitors;
use crate::strangers::{MOST_INPUT, PATIENCE, Stranger};
use crate::tokens::Origin;

/// The one command that it may use.
const LOCK: Lock = Lock {
    allowed: "x-authenticate",
    refusal: STRANGER,
};

/// What it has left.
pub(super) struct Strange {
    place: Stranger,
    time: Pin<Box<Sleep>>,
    input: usize,
}

impl Strange {
    /// A client that is still shaking hands, if its connection begins with that.
    pub(super) fn arriving(peer: &Accepted, monitors: &Monitors) -> Option<Self> {
        peer.means.as_ref()?;
        let address = getpeername(&peer.fd).ok().flatten();
        let address = address.and_then(|it| SocketAddr::try_from(it).ok());
        let origin = match address {
            Some(address) => Origin::of_address(address.ip()),
            None => Origin::of_peer(None, None),
        };
        Some(Strange::in_place(monitors.enter_stranger(origin)))
    }

    fn in_place(place: Stranger) -> Self {
        Strange {
            place,
            time: Box::pin(tokio::time::sleep(PATIENCE)),
            input: MOST_INPUT,
        }
    }
}

impl Monitor {
    /// A client has come, or the terms for it have changed.
    pub(super) fn look_whether_strange(&mut self) {
        let monitors = &self.caller.service.monitors;
        let place = monitors.note_stranger(&self.caller.client);
        self.strange = place.map(Strange::in_place);
        let lock = self.strange.is_some().then_some(LOCK);
        self.session.set_lock(lock);
    }

    /// It has sent `count` bytes.
    pub(super) fn count_input(&mut self, count: usize) {
        if let Some(strange) = &mut self.strange {
            strange.input = strange.input.saturating_sub(count);
        }
    }

    /// It may have proven who it is, or may have to now.
    pub(super) fn poll_proof(&mut self) {
        if self.connected && self.caller.client.is_stranger() != self.strange.is_some() {
            self.look_whether_strange();
        }
    }

    /// Whether it has had its chance.
    pub(super) fn poll_strange(&mut self, cx: &mut Context<'_>) -> bool {
        if self.connected {
            self.poll_proof();
        }
        let Some(strange) = &mut self.strange else {
            return false;
        };
        let is_late = !self.connected && self.front.presence() == Presence::Gone;
        let over = is_late
            || strange.input == 0
            || strange.place.is_displaced(cx)
            || strange.time.as_mut().poll(cx).is_ready();
        if !over {
            return false;
        }
        self.front.disconnect();
        self.forget_client();
        self.ended = self.place.is_some();
        true
    }
}
