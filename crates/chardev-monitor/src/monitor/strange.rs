//! A client that has yet to prove who it is.

use std::pin::Pin;
use std::task::Context;

use chardev_qmp::Lock;
use tokio::time::Sleep;

use super::Monitor;
use crate::access::STRANGER;
use crate::strangers::{MOST_INPUT, PATIENCE, Stranger};

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

impl Monitor {
    /// A client has come, or the terms for it have changed.
    pub(super) fn look_whether_strange(&mut self) {
        let monitors = &self.caller.service.monitors;
        let place = monitors.note_stranger(&self.caller.client);
        self.strange = place.map(|place| Strange {
            place,
            time: Box::pin(tokio::time::sleep(PATIENCE)),
            input: MOST_INPUT,
        });
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
        if !self.connected {
            self.strange = None;
            return false;
        }
        self.poll_proof();
        let Some(strange) = &mut self.strange else {
            return false;
        };
        let over = strange.input == 0
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
