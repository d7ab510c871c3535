//! front → chardev → [back] → fleet: x-nats as the machine sees it, with or without a peer.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chardev::{
    Backend, BackendEvent, BackendId, Drain, Late, NothingToDrain, Peers, Ready, Sent, WeakChardev,
};

use super::NAME;
use super::cord::Cord;
use super::seat::Seat;

/// How long the peer of a replaced back end may say nothing before what it has accepted and not
/// sent is given up: as long as anybody else in a session.
const PATIENCE: Duration = crate::session::SILENCE;
/// The most that it may still send: what two ends and a network hold of a peer that keeps the rules
/// is less.
const LATE_LIMIT: usize = 4 << 20;

/// The back end: where its peers come from, and the one that is there.
pub(super) struct Plug {
    seat: Arc<Seat>,
    cord: Option<Arc<Cord>>,
    events: Vec<BackendEvent>,
}

impl Plug {
    /// One whose peers come to `seat`, where one may be already.
    pub(super) fn new(seat: Arc<Seat>) -> Plug {
        let mut plug = Plug {
            seat,
            cord: None,
            events: Vec::new(),
        };
        plug.find_peer();
        plug
    }

    fn find_peer(&mut self) {
        if self.cord.is_none() {
            self.cord = self.seat.take();
            if self.cord.is_some() {
                self.events.push(BackendEvent::Opened);
            }
        }
    }

    /// The peer is gone: what it had sent is handed over, and the next one may come.
    fn lose_peer(&mut self) {
        let Some(cord) = self.cord.take() else { return };
        cord.finish();
        let (unread, _) = cord.take_unread();
        self.events.push(BackendEvent::Closed { unread });
        self.seat.peer_left();
    }
}

impl Backend for Plug {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn filename(&self) -> String {
        let name = self.seat.name();
        match &self.cord {
            Some(cord) if self.seat.is_served() => format!("{name} <-> {}", cord.peer),
            Some(_) => name,
            None => format!("disconnected:{name}"),
        }
    }

    fn is_open(&self) -> bool {
        self.cord.is_some()
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        match &self.cord {
            Some(cord) => cord.write(bufs),
            None => Sent::NoPeer,
        }
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        self.cord.as_ref().map_or(0, |cord| cord.read(bufs))
    }

    fn watch(&mut self, interest: Ready) {
        if let Some(cord) = &self.cord {
            cord.watch(interest);
        }
    }

    fn update(&mut self, _ready: Ready) {
        let is_gone = self.cord.as_ref().is_some_and(|cord| cord.is_gone());
        match is_gone {
            // The next one is looked at when the end of this one has been told.
            true => {
                self.lose_peer();
                self.seat.look_soon();
            }
            false => self.find_peer(),
        }
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        (!self.events.is_empty()).then(|| self.events.remove(0))
    }

    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {
        self.seat.open();
    }

    /// It has no path, and lets go of nothing that may wait.
    fn may_wait(&self) -> bool {
        false
    }

    fn refuse_input(&mut self) {
        self.seat.close();
        self.find_peer();
        if let Some(cord) = &self.cord {
            cord.stop();
        }
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        match &self.cord {
            Some(cord) => cord.take_unread(),
            None => (Vec::new(), false),
        }
    }

    fn retire(mut self: Box<Self>) -> Box<dyn Drain> {
        self.seat.close();
        self.find_peer();
        match self.cord.take() {
            Some(cord) => Box::new(CordDrain {
                cord,
                heard: None,
                late: 0,
                has_settled: false,
            }),
            None => Box::new(NothingToDrain),
        }
    }

    fn peers(&mut self) -> Option<&mut dyn Peers> {
        Some(self)
    }
}

impl Peers for Plug {
    fn peer(&self) -> Option<String> {
        self.cord.as_ref().map(|cord| cord.peer.clone())
    }

    fn disconnect(&mut self) {
        let cord = self.cord.clone();
        self.lose_peer();
        if let Some(cord) = cord {
            cord.part();
        }
        self.seat.look_soon();
    }

    fn yankable(&self) -> bool {
        true
    }

    fn yank(&mut self) {
        if let Some(cord) = &self.cord {
            cord.session.give_up("the connection was broken (yank)");
        }
    }
}

impl Drop for Plug {
    /// It never went live, or its chardev is gone at once.
    fn drop(&mut self) {
        self.seat.close();
        if let Some(cord) = self.cord.take().or_else(|| self.seat.take()) {
            cord.part();
        }
    }
}

/// A connection that only delivers what was accepted, in both directions.
struct CordDrain {
    cord: Arc<Cord>,
    /// When something was heard last.
    heard: Option<Instant>,
    late: usize,
    /// What counts as sent before the change has been read.
    has_settled: bool,
}

impl Drain for CordDrain {
    fn pending(&mut self) -> u64 {
        self.cord.pending() as u64
    }

    fn read_late(&mut self, buf: &mut [u8]) -> Late {
        let now = Instant::now();
        if self.late > LATE_LIMIT && !self.has_settled {
            self.has_settled = true;
            return Late::End;
        }
        // What is there was sent in time, however long the front end has taken nothing. Who is
        // gone by now has sent nothing since.
        let is_gone = self.cord.is_gone();
        let count = self.cord.read(&mut [IoSliceMut::new(buf)]);
        if count > 0 {
            self.heard = Some(now);
            self.late += count;
            return Late::Data(count);
        }
        let heard = *self.heard.get_or_insert(now);
        if now.duration_since(heard) >= PATIENCE && !self.has_settled {
            self.has_settled = true;
            return Late::End;
        }
        match is_gone {
            true => Late::End,
            false => Late::Quiet,
        }
    }

    /// The peer was told to say no more, and its end bounds what is still on its way.
    fn is_refused(&self) -> bool {
        !self.has_settled
    }

    fn refuse_input(&mut self) {
        self.cord.stop();
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        match self.cord.write(&[IoSlice::new(bytes)]) {
            Sent::Taken(count) => count,
            Sent::Full | Sent::NoPeer => 0,
        }
    }

    fn give_up(&mut self) -> u64 {
        let lost = self.cord.pending() as u64;
        self.cord
            .session
            .give_up("what it was given was not taken in time");
        lost
    }

    fn half_close(&mut self) {
        self.cord.finish();
    }
}

impl Drop for CordDrain {
    /// What is still to be said goes on by itself.
    fn drop(&mut self) {
        self.cord.part();
    }
}
