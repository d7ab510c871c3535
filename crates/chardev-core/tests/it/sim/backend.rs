//! front → chardev → [back] → host: back ends without a host.
//!
//! A departure is noticed where a real back end notices it: in a failing call, or when readiness
//! is reported.

use std::any::Any;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev_core::{
    Answer, Answers, Backend, BackendEvent, Channel, Drain, Late, Line, LineControl, Medium,
    NothingToDrain, OpenError, Peers, Ready, RingBuffer, RingControl, Sent, Sharing, Splicing,
};

use super::peer::{Kind, Peer, SharedConn};
use crate::rig::TestPipe;

/// A wish for the connection of a back end that is replaced by one of this kind.
struct WantConn(Kind);

/// A back end of any [`Kind`].
pub(super) struct SimBackend {
    peer: Peer,
    events: VecDeque<BackendEvent>,
    ring: Option<RingBuffer>,
    hold: bool,
    overwritten: u64,
}

impl SimBackend {
    pub(super) fn new(peer: Peer, capacity: Option<usize>, hold: bool) -> Self {
        let mut backend = SimBackend {
            peer,
            events: VecDeque::new(),
            ring: capacity.map(RingBuffer::new),
            hold,
            overwritten: 0,
        };
        backend.peer.world().holds = hold;
        backend.find_peer();
        backend
    }

    fn find_peer(&mut self) {
        let mut world = self.peer.world();
        if !world.connected && !world.conns.is_empty() {
            world.connected = true;
            world.armed = Ready::HANGUP;
            self.events.push_back(BackendEvent::Opened);
        }
    }

    fn lose_peer(&mut self) {
        let mut world = self.peer.world();
        if world.connected {
            world.connected = false;
            world.armed = Ready::empty();
            let conn = world.conns.pop_front();
            let unread = conn.map(|conn| std::mem::take(&mut conn.lock().unwrap().to_read));
            self.events.push_back(BackendEvent::Closed {
                unread: unread.unwrap_or_default().into(),
            });
        }
    }

    fn has_ended(&self) -> bool {
        let world = self.peer.world();
        world.connected && world.conn().is_some_and(|conn| conn.has_ended())
    }

    fn write_ring(&mut self, bufs: &[IoSlice<'_>]) -> Sent {
        let Some(ring) = &mut self.ring else {
            return Sent::NoPeer;
        };
        let mut taken = 0;
        for buf in bufs {
            if self.hold {
                taken += ring.push(buf);
            } else {
                self.overwritten += ring.push_overwriting(buf) as u64;
                taken += buf.len();
            }
        }
        if taken == 0 {
            Sent::Full
        } else {
            Sent::Taken(taken)
        }
    }

    fn write_stream(&mut self, bufs: &[IoSlice<'_>]) -> Sent {
        let world = self.peer.world();
        if !world.connected {
            return Sent::NoPeer;
        }
        let Some(mut conn) = world.conn() else {
            return Sent::NoPeer;
        };
        if conn.gone {
            drop(conn);
            drop(world);
            self.lose_peer();
            return Sent::NoPeer;
        }
        let mut taken = 0;
        for buf in bufs {
            let count = buf.len().min(conn.room.saturating_sub(conn.kernel.len()));
            conn.kernel.extend(&buf[..count]);
            self.peer.book().take(&buf[..count]);
            taken += count;
        }
        if taken == 0 {
            Sent::Full
        } else {
            Sent::Taken(taken)
        }
    }
}

impl Backend for SimBackend {
    fn kind(&self) -> &'static str {
        "sim"
    }

    fn filename(&self) -> String {
        self.peer.number.to_string()
    }

    fn is_open(&self) -> bool {
        self.ring.is_some() || self.peer.world().connected
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _: &mut Vec<OwnedFd>) -> Sent {
        match self.peer.kind() {
            Kind::Stream { .. } => self.write_stream(bufs),
            Kind::Ring { .. } => self.write_ring(bufs),
            Kind::Null => {
                let mut book = self.peer.book();
                bufs.iter().for_each(|buf| book.take(buf));
                Sent::Taken(bufs.iter().map(|buf| buf.len()).sum())
            }
        }
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let world = self.peer.world();
        if !world.connected {
            return 0;
        }
        let Some(mut conn) = world.conn() else {
            return 0;
        };
        let mut read = Vec::new();
        for slot in bufs.iter_mut().flat_map(|buf| buf.iter_mut()) {
            let Some(byte) = conn.to_read.pop_front() else {
                break;
            };
            *slot = byte;
            read.push(byte);
        }
        conn.handed += read.len() as u64;
        drop(conn);
        drop(world);
        if read.is_empty() && self.has_ended() {
            self.lose_peer();
        } else {
            self.peer.book().hand(&read, false);
        }
        read.len()
    }

    fn has_read_all(&self) -> bool {
        let world = self.peer.world();
        world.conn().is_some_and(|conn| conn.to_read.is_empty())
    }

    fn watch(&mut self, interest: Ready) {
        let mut world = self.peer.world();
        if world.connected {
            world.armed |= interest;
        }
    }

    fn update(&mut self, ready: Ready) {
        if ready.contains(Ready::HANGUP) {
            if self.has_ended() {
                self.lose_peer();
            } else {
                self.watch(Ready::HANGUP);
            }
        }
        self.find_peer();
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        let event = self.events.pop_front()?;
        if let BackendEvent::Closed { unread } = &event {
            self.peer.book().hand(unread, false);
        }
        Some(event)
    }

    fn set_attached(&mut self, attached: bool) {
        self.peer.world().attached = attached;
    }

    fn refuse_input(&mut self) {
        self.find_peer();
        let world = self.peer.world();
        if world.connected {
            world
                .conn()
                .into_iter()
                .for_each(|mut conn| conn.refused = true);
        }
    }

    fn set_hold(&mut self, hold: bool) {
        let mut world = self.peer.world();
        world.touched.held += 1;
        world.holds = hold;
        self.hold = hold;
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        self.find_peer();
        let mut world = self.peer.world();
        world.touched.cut += 1;
        if !world.connected {
            return (Vec::new(), false);
        }
        let latency = world.kind == Kind::Stream { latency: true };
        // A peer that another back end has taken over stays: that one reads on.
        let stays = world.is_shared();
        let Some(mut conn) = world.conn() else {
            return (Vec::new(), false);
        };
        let unread: Vec<u8> = conn.to_read.drain(..).collect();
        let more = latency && !conn.has_ended();
        conn.handed += unread.len() as u64;
        conn.sent_at_cut = conn.sent;
        drop(conn);
        let settles = more && !stays;
        let segment = self.peer.book().hand(&unread, settles);
        world.segment = settles.then_some(segment);
        (unread, more)
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        let lost = |event: &BackendEvent| match event {
            BackendEvent::Closed { unread } => !unread.is_empty(),
            _ => false,
        };
        let mut world = self.peer.world();
        let unread = world.connected && world.conn().is_some_and(|conn| !conn.to_read.is_empty());
        if unread || self.events.iter().any(lost) {
            self.peer
                .book()
                .fail("a back end was retired with unread input");
        }
        if self.ring.as_ref().is_some_and(|ring| !ring.is_empty()) && world.touched.cut > 0 {
            self.peer
                .book()
                .fail("a ring was replaced with its content");
        }
        world.retired = true;
        world.touched.retired += 1;
        let connected = world.connected;
        world.conns.truncate(usize::from(connected));
        drop(world);
        if connected {
            Box::new(SimDrain(self.peer.clone()))
        } else {
            Box::new(NothingToDrain)
        }
    }

    fn line(&mut self) -> Option<&mut dyn LineControl> {
        Some(self)
    }

    /// Streams have it, but for some.
    fn splicing(&mut self) -> Option<&mut dyn Splicing> {
        let stream = matches!(self.peer.kind(), Kind::Stream { .. });
        match stream && self.peer.number % 3 != 0 && self.peer.world().connected {
            true => Some(self),
            false => None,
        }
    }

    fn peers(&mut self) -> Option<&mut dyn Peers> {
        Some(self)
    }

    fn ring(&mut self) -> Option<&mut dyn RingControl> {
        match self.ring {
            Some(_) => Some(self),
            None => None,
        }
    }

    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }
}

impl LineControl for SimBackend {
    fn apply(&mut self, line: &Line) -> Answers {
        let open = self.is_open();
        let mut world = self.peer.world();
        world.line = line.clone();
        world.touched.applied += 1;
        let mut answers = Answers::unsupported(line, open);
        if line.serial.is_some() {
            answers.serial = Answer::Done;
        }
        answers
    }
}

impl Splicing for SimBackend {
    fn medium(&mut self) -> Medium {
        Medium::Local
    }

    fn fill(&mut self, channel: &mut dyn Channel, most: usize) -> Option<usize> {
        let pipe = TestPipe::as_one(channel)?;
        let count = pipe.fill(most, |buf| self.read(&mut [IoSliceMut::new(buf)]));
        self.peer.book().filled += count as u64;
        Some(count)
    }

    fn pour(&mut self, channel: &mut dyn Channel) -> Option<Sent> {
        let pipe = TestPipe::as_one(channel)?;
        let sent = pipe.pour(|bytes| self.write_stream(&[IoSlice::new(bytes)]));
        if let Sent::Taken(count) = sent {
            self.peer.book().poured += count as u64;
        }
        Some(sent)
    }
}

impl Peers for SimBackend {
    fn disconnect(&mut self) {
        self.peer.world().touched.disconnected += 1;
        self.lose_peer();
    }
}

impl RingControl for SimBackend {
    fn buffer(&mut self) -> &mut RingBuffer {
        self.ring.as_mut().expect("only a ring has the facet")
    }

    fn take_overwritten(&mut self) -> u64 {
        std::mem::take(&mut self.overwritten)
    }
}

impl Sharing for SimBackend {
    fn activate(&mut self) -> Result<(), OpenError> {
        let mut world = self.peer.world();
        if world.fail_activate {
            return Err("no".into());
        }
        world.touched.activated += 1;
        world.live = true;
        Ok(())
    }

    fn deactivate(&mut self) {
        let mut world = self.peer.world();
        world.live = false;
        // The peer is the other's again; that of a stream which had one of its own was never seen.
        world.conns.clear();
        world.connected = false;
        drop(world);
        self.events.clear();
    }

    fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        let WantConn(kind) = wanted.downcast_ref()?;
        let world = self.peer.world();
        let same = world.connected && world.kind == *kind;
        let conn = world.conns.front().filter(|_| same)?;
        Some(Box::new(Arc::clone(conn)))
    }

    fn adopt(&mut self, old: &mut dyn Backend) -> bool {
        let lent = old.lend(&WantConn(self.peer.kind()));
        let Some(conn) = lent.and_then(|lent| lent.downcast::<SharedConn>().ok()) else {
            return false;
        };
        let mut world = self.peer.world();
        if world.connected {
            return false;
        }
        world.conns.push_front(*conn);
        world.connected = true;
        world.armed = Ready::HANGUP;
        // Some kinds tell of a peer that they have taken over, others do not.
        if self.peer.number % 2 == 0 {
            self.events.push_back(BackendEvent::Opened);
        }
        true
    }

    fn hand_over(&mut self) {
        let mut world = self.peer.world();
        if !world.is_shared() {
            self.peer.book().fail("nobody has taken this peer over");
        }
        world.retired = true;
        world.connected = false;
        world.conns.clear();
    }
}

impl Drop for SimBackend {
    fn drop(&mut self) {
        let world = self.peer.world();
        let ring = self.ring.as_ref().is_some_and(|ring| !ring.is_empty());
        // A temporary one ends with its peer; the next that came was never shown.
        let shown = world.connected && !self.events.contains(&BackendEvent::Opened);
        if world.live && !world.retired && (shown || ring) {
            self.peer
                .book()
                .fail("a live back end was dropped with its peer");
        }
    }
}

struct SimDrain(Peer);

impl Drain for SimDrain {
    fn pending(&mut self) -> u64 {
        let world = self.0.world();
        world.conn().map_or(0, |conn| conn.kernel.len() as u64)
    }

    fn read_late(&mut self, buf: &mut [u8]) -> Late {
        let mut world = self.0.world();
        let Some(mut conn) = world.conn() else {
            return Late::End;
        };
        let count = buf.len().min(conn.to_read.len());
        if count == 0 {
            return if conn.has_ended() {
                Late::End
            } else {
                Late::Quiet
            };
        }
        let read: Vec<u8> = conn.to_read.drain(..count).collect();
        buf[..count].copy_from_slice(&read);
        drop(conn);
        world.late.extend(read);
        Late::Data(count)
    }

    fn half_close(&mut self) {
        if let Some(mut conn) = self.0.world().conn() {
            conn.told_end = true;
        }
    }
}

impl Drop for SimDrain {
    fn drop(&mut self) {
        let mut world = self.0.world();
        let left = world
            .conns
            .pop_front()
            .map_or(0, |conn| conn.lock().unwrap().kernel.len());
        self.0.book().undrained += left as u64;
    }
}
