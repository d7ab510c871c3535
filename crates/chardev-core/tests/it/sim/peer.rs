//! back ◀── [peer]: who is behind a simulated back end, moved by the simulator.
//!
//! A stream has connections that come, stall, end and vanish, with a bounded buffer for output;
//! with latency its peer's input is under way for a while, as over TCP. A ring is read by whoever
//! asks, and null takes everything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chardev_core::{Backend, Line, Ready};

use super::backend::SimBackend;
use super::book::Book;

/// How long input is on its way where there is latency.
const LATENCY: Duration = Duration::from_millis(50);

pub(super) type SharedBook = Arc<Mutex<Book>>;

/// What a back end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Stream { latency: bool },
    Ring { capacity: usize },
    Null,
}

/// A connection, which two back ends have a hold on while one takes it over from the other.
pub(super) type SharedConn = Arc<Mutex<Conn>>;

/// One connection of a stream.
#[derive(Debug)]
pub(super) struct Conn {
    /// Output the back end wrote and the peer has not read.
    pub(super) kernel: VecDeque<u8>,
    pub(super) room: usize,
    pub(super) stalled: bool,
    /// Input on its way, and when it arrives.
    pub(super) in_flight: VecDeque<(Duration, Vec<u8>)>,
    pub(super) to_read: VecDeque<u8>,
    pub(super) sent: u64,
    /// The peer sends nothing more; what is in flight still arrives.
    pub(super) ended: bool,
    /// The peer takes nothing more.
    pub(super) gone: bool,
    /// The peer has been told that no more output follows.
    pub(super) told_end: bool,
    /// What had been sent when the back end was replaced.
    pub(super) sent_at_cut: u64,
    pub(super) handed: u64,
    /// Its own writes would fail by now.
    pub(super) refused: bool,
}

impl Conn {
    pub(super) fn new(room: usize) -> SharedConn {
        let conn = Conn {
            kernel: VecDeque::new(),
            room,
            stalled: false,
            in_flight: VecDeque::new(),
            to_read: VecDeque::new(),
            sent: 0,
            ended: false,
            gone: false,
            told_end: false,
            sent_at_cut: 0,
            handed: 0,
            refused: false,
        };
        Arc::new(Mutex::new(conn))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.gone || (self.ended && self.in_flight.is_empty())
    }
}

/// What the peer, the simulator and the back end share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) kind: Kind,
    /// The first is connected if `connected` says so; others wait to be accepted.
    pub(super) conns: VecDeque<SharedConn>,
    pub(super) connected: bool,
    /// What the back end was told last: whether a front end is there, and about output that nobody
    /// takes.
    pub(super) attached: bool,
    pub(super) holds: bool,
    pub(super) armed: Ready,
    /// Where input that settles after the change belongs.
    pub(super) segment: Option<u64>,
    /// Bytes read by the drain in its last step.
    pub(super) late: Vec<u8>,
    pub(super) line: Line,
    pub(super) fail_activate: bool,
    pub(super) touched: Touched,
    /// It has been in the slot.
    pub(super) live: bool,
    pub(super) retired: bool,
}

impl World {
    /// The oldest connection.
    pub(super) fn conn(&self) -> Option<MutexGuard<'_, Conn>> {
        self.conns.front().map(|conn| conn.lock().unwrap())
    }

    /// Whether another back end has a hold on the connection, too.
    pub(super) fn is_shared(&self) -> bool {
        let conn = self.conns.front();
        conn.is_some_and(|conn| Arc::strong_count(conn) > 1)
    }
}

/// How often something was done to a back end that a refused change must not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    pub(super) activated: u32,
    pub(super) cut: u32,
    pub(super) retired: u32,
    pub(super) disconnected: u32,
    pub(super) applied: u32,
    pub(super) held: u32,
}

/// The simulator's hand on one back end.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) number: u64,
    world: Arc<Mutex<World>>,
    book: SharedBook,
}

impl Peer {
    pub(super) fn new(number: u64, kind: Kind, book: &SharedBook) -> Self {
        let world = World {
            kind,
            conns: VecDeque::new(),
            connected: false,
            attached: false,
            holds: false,
            armed: Ready::empty(),
            segment: None,
            late: Vec::new(),
            line: Line::default(),
            fail_activate: false,
            touched: Touched::default(),
            live: false,
            retired: false,
        };
        Peer {
            number,
            world: Arc::new(Mutex::new(world)),
            book: Arc::clone(book),
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(super) fn backend(&self, hold: bool) -> Box<dyn Backend> {
        let capacity = match self.world().kind {
            Kind::Ring { capacity } => Some(capacity),
            _ => None,
        };
        Box::new(SimBackend::new(self.clone(), capacity, hold))
    }

    pub(super) fn kind(&self) -> Kind {
        self.world().kind
    }

    /// Somebody connects; at most two wait or are there.
    pub(super) fn come(&self, room: usize) {
        let mut world = self.world();
        if matches!(world.kind, Kind::Stream { .. }) && world.conns.len() < 2 && !world.retired {
            world.conns.push_back(Conn::new(room));
        }
    }

    /// The oldest connection sends `count` bytes of its own sequence.
    pub(super) fn send(&self, count: usize, now: Duration) {
        let world = self.world();
        let latency = world.kind == Kind::Stream { latency: true };
        let seed = self.number * 89;
        let Some(mut conn) = world.conn() else {
            return;
        };
        if conn.ended || conn.gone || conn.to_read.len() > 4096 {
            return;
        }
        let bytes = (conn.sent..)
            .take(count)
            .map(|n| ((n * 7 + seed) % 253) as u8);
        if latency {
            conn.in_flight.push_back((now + LATENCY, bytes.collect()));
        } else {
            conn.to_read.extend(bytes);
        }
        conn.sent += count as u64;
    }

    /// What has been on its way for long enough arrives.
    pub(super) fn arrive(&self, now: Duration) {
        for conn in &self.world().conns {
            let mut conn = conn.lock().unwrap();
            while conn.in_flight.front().is_some_and(|(due, _)| *due <= now) {
                let (_, bytes) = conn.in_flight.pop_front().unwrap();
                conn.to_read.extend(bytes);
            }
        }
    }

    /// The oldest connection reads what it was sent, unless it has stalled.
    pub(super) fn receive(&self, count: usize) {
        if let Some(mut conn) = self.world().conn() {
            if !conn.stalled {
                let count = count.min(conn.kernel.len());
                conn.kernel.drain(..count);
            }
        }
    }

    pub(super) fn stall(&self, stalled: bool) {
        if let Some(mut conn) = self.world().conn() {
            conn.stalled = stalled;
        }
    }

    /// The oldest connection sends nothing more.
    pub(super) fn end(&self) {
        if let Some(mut conn) = self.world().conn() {
            conn.ended = true;
        }
    }

    /// The oldest connection is gone without a word; what it had not read is lost with it.
    pub(super) fn vanish(&self) {
        if let Some(mut conn) = self.world().conn() {
            conn.gone = true;
            conn.kernel.clear();
            let lost = conn.in_flight.drain(..).map(|(_, bytes)| bytes.len());
            conn.sent -= lost.sum::<usize>() as u64;
            conn.sent_at_cut = conn.sent_at_cut.min(conn.sent);
        }
    }

    /// A peer that behaves: it reads everything and leaves when told that no more follows.
    pub(super) fn behave(&self) {
        self.stall(false);
        self.receive(usize::MAX);
        let told = self.world().conn().is_some_and(|conn| conn.told_end);
        if told {
            self.end();
        }
    }

    /// Readiness the I/O thread would report now, once.
    pub(super) fn ready(&self) -> Option<Ready> {
        let mut world = self.world();
        if !world.connected {
            return (!world.conns.is_empty()).then_some(Ready::empty());
        }
        let conn = world.conn()?;
        let ended = conn.has_ended();
        let mut ready = Ready::empty();
        ready.set(Ready::HANGUP, ended);
        ready.set(Ready::READ, ended || !conn.to_read.is_empty());
        ready.set(Ready::WRITE, conn.gone || conn.kernel.len() < conn.room);
        drop(conn);
        ready &= world.armed;
        world.armed -= ready;
        (!ready.is_empty()).then_some(ready)
    }

    /// Whether output has nobody to go to, as far as the back end can know.
    pub(super) fn has_nobody(&self) -> bool {
        let world = self.world();
        matches!(world.kind, Kind::Stream { .. }) && !world.connected
    }

    /// Whether its peer's own writes would fail.
    pub(super) fn is_refused(&self) -> bool {
        let world = self.world();
        world.connected && world.conn().is_some_and(|conn| conn.refused)
    }

    /// After a step of its drain: `late` of the bytes it read were too late.
    pub(super) fn account_late(&self, late: u64) {
        let mut world = self.world();
        let bytes = std::mem::take(&mut world.late);
        let segment = world.segment;
        let settled = bytes.len().saturating_sub(late as usize);
        let mut book = self.book();
        book.late += late;
        if (bytes.len() as u64) < late {
            book.fail("more late input was counted than there was");
        }
        if settled > 0 {
            match segment {
                Some(segment) => book.settle(segment, &bytes[..settled]),
                None => book.fail("input settled that had no place"),
            }
        }
        if let Some(mut conn) = world.conn() {
            conn.handed += settled as u64;
            if late > 0 && conn.handed < conn.sent_at_cut {
                book.fail("input sent before the change was too late");
            }
        }
    }
}
