//! front → chardev → [back] → host: a stream whose peer's input may be under way for a while, and a
//! ledger of who may read each of its bytes.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chardev_core::{Backend, BackendEvent, Drain, Late, OpenError, Ready, Sent, Sharing};

/// How long input is on its way where there is latency.
const LATENCY: Duration = Duration::from_millis(40);
/// The most bytes of one peer that nobody has read.
const OUTSTANDING: usize = 200;

/// Who reads: the console's place among all that ever were.
pub(super) type Reader = usize;

/// One byte that a peer has sent and nobody has read.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) value: u8,
    /// The transactions that had happened when it was sent.
    pub(super) epoch: u64,
    pub(super) arrived: bool,
    /// The consoles it may come to, once a transaction has settled that; empty for any.
    pub(super) owners: Option<Vec<Reader>>,
    /// It came over a hub, beside which later bytes may come over another member.
    pub(super) beside: bool,
    /// It must be read.
    pub(super) due: bool,
    /// The transaction since which it comes before everything that is sent to its owner.
    pub(super) before: Option<u64>,
}

/// What the peer, the simulator and the back end share.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) number: u8,
    pub(super) latency: bool,
    pub(super) fail_activate: bool,
    pub(super) retired: bool,
    connected: bool,
    sent: u64,
    in_flight: VecDeque<(Duration, Vec<u8>)>,
    to_read: VecDeque<u8>,
    events: VecDeque<BackendEvent>,
    pub(super) ledger: VecDeque<Sending>,
}

/// The simulator's hand on one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer(Arc<Mutex<Wire>>);

impl Peer {
    pub(super) fn new(number: u8, latency: bool) -> Self {
        let peer = Peer::default();
        let mut wire = peer.wire();
        wire.number = number;
        wire.latency = latency;
        wire.connected = true;
        drop(wire);
        peer
    }

    pub(super) fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap()
    }

    pub(super) fn backend(&self) -> Box<dyn Backend> {
        Box::new(Stream(self.clone()))
    }

    /// Sends `count` bytes, and keys that move a multiplexer's focus if `rotates`.
    pub(super) fn send(&self, count: usize, rotates: bool, now: Duration, epoch: u64) {
        let mut wire = self.wire();
        if !wire.connected || wire.retired || wire.ledger.len() > OUTSTANDING {
            return;
        }
        let mut bytes = Vec::new();
        for _ in 0..count {
            let value = 0x80 | wire.number << 4 | (wire.sent % 16) as u8;
            wire.sent += 1;
            bytes.push(value);
            let arrived = !wire.latency;
            wire.ledger.push_back(Sending {
                value,
                epoch,
                arrived,
                owners: None,
                beside: false,
                due: false,
                before: None,
            });
        }
        if rotates {
            bytes.extend(b"\x01c");
        }
        if wire.latency {
            wire.in_flight.push_back((now + LATENCY, bytes));
        } else {
            wire.to_read.extend(bytes);
        }
    }

    /// Sends `bytes` that are in no ledger.
    pub(super) fn send_untracked(&self, bytes: &[u8], now: Duration) {
        let mut wire = self.wire();
        match wire.latency {
            true => wire.in_flight.push_back((now + LATENCY, bytes.to_vec())),
            false => wire.to_read.extend(bytes),
        }
    }

    pub(super) fn send_break(&self) {
        self.wire().events.push_back(BackendEvent::Break);
    }

    /// What has been on its way for long enough arrives.
    pub(super) fn arrive(&self, now: Duration) {
        let mut wire = self.wire();
        while wire.in_flight.front().is_some_and(|(due, _)| *due <= now) {
            let (_, bytes) = wire.in_flight.pop_front().unwrap();
            let tokens = bytes.iter().filter(|byte| **byte >= 0x80).count();
            let waiting = wire.ledger.iter_mut().filter(|sending| !sending.arrived);
            waiting.take(tokens).for_each(|byte| byte.arrived = true);
            wire.to_read.extend(bytes);
        }
    }

    pub(super) fn has_in_flight(&self) -> bool {
        !self.wire().in_flight.is_empty()
    }

    /// The peer leaves, or another comes, where that is told.
    pub(super) fn come_or_go(&self) {
        let mut wire = self.wire();
        if !wire.in_flight.is_empty() || wire.retired {
            return;
        }
        wire.connected = !wire.connected;
        let event = match wire.connected {
            true => BackendEvent::Opened,
            false => BackendEvent::Closed {
                unread: wire.to_read.drain(..).collect(),
            },
        };
        wire.events.push_back(event);
    }
}

struct Stream(Peer);

impl Backend for Stream {
    fn kind(&self) -> &'static str {
        "stream"
    }

    fn filename(&self) -> String {
        format!("stream {}", self.0.wire().number)
    }

    fn is_open(&self) -> bool {
        self.0.wire().connected
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _: &mut Vec<OwnedFd>) -> Sent {
        Sent::Taken(bufs.iter().map(|buf| buf.len()).sum())
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let mut wire = self.0.wire();
        let mut total = 0;
        for slot in bufs.iter_mut().flat_map(|buf| buf.iter_mut()) {
            let Some(byte) = wire.to_read.pop_front() else {
                break;
            };
            *slot = byte;
            total += 1;
        }
        total
    }

    fn watch(&mut self, _: Ready) {}

    fn poll_event(&mut self) -> Option<BackendEvent> {
        self.0.wire().events.pop_front()
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        let mut wire = self.0.wire();
        let more = wire.latency && wire.connected;
        (wire.to_read.drain(..).collect(), more)
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        self.0.wire().retired = true;
        Box::new(Tail(self.0.clone()))
    }

    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }
}

impl Sharing for Stream {
    fn activate(&mut self) -> Result<(), OpenError> {
        match self.0.wire().fail_activate {
            true => Err("no".into()),
            false => Ok(()),
        }
    }
}

struct Tail(Peer);

impl Drain for Tail {
    fn pending(&mut self) -> u64 {
        0
    }

    fn read_late(&mut self, buf: &mut [u8]) -> Late {
        let mut wire = self.0.wire();
        let count = buf.len().min(wire.to_read.len());
        if count == 0 {
            return match wire.in_flight.is_empty() && wire.sent % 3 == 0 {
                true => Late::End,
                false => Late::Quiet,
            };
        }
        for slot in &mut buf[..count] {
            *slot = wire.to_read.pop_front().unwrap();
        }
        Late::Data(count)
    }
}
