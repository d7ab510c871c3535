//! front → chardev → [back] → host: a back end in memory, and a peer the test moves by hand.

use std::any::Any;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::drain::Afterlife;
use chardev_core::{
    Answer, Answers, Backend, BackendEvent, BackendId, Channel, ChardevRef, Closed, Drain, Event,
    FrontEnd, Line, LineControl, Link, LinkHooks, LogSink, Medium, ModemLines, MuxHost, NewBackend,
    NothingToDrain, OpenError, Peers, Ready, Sent, Sharing, Splicing,
};

/// What the peer and the back end share.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) present: bool,
    /// Bytes the peer still takes before it is full.
    pub(crate) room: usize,
    /// The most it takes in one write, if that is limited.
    pub(crate) most: Option<usize>,
    pub(crate) received: Vec<u8>,
    /// What it is to report.
    pub(crate) watched: Ready,
    pub(crate) to_read: VecDeque<u8>,
    /// How often it was asked for input.
    pub(crate) asked: usize,
    pub(crate) events: VecDeque<BackendEvent>,
    /// Somebody is at the door, which is found out by a look for events.
    pub(crate) knocks: bool,
    /// What it was told last to do with the line.
    pub(crate) line: Line,
    /// It has a serial line, with these inputs, and passes descriptors.
    pub(crate) serial: Option<ModemLines>,
    /// The line cannot be set up.
    pub(crate) fails: bool,
    /// Its peer was sent away.
    pub(crate) disconnected: bool,
    pub(crate) retired: bool,
    /// Its own writes fail from here on.
    pub(crate) refused: bool,
    /// What it was told last about output that nobody takes.
    pub(crate) holds: bool,
    pub(crate) fail_activate: bool,
    /// How often it was activated, less how often that was undone.
    pub(crate) active: i32,
    pub(crate) activated: i32,
    /// Input is under way when it is cut off.
    pub(crate) settles: bool,
    /// What it leaves behind once it is replaced.
    pub(crate) drain: Option<Afterlife>,
    /// What it answers to a line, where it has one to set up.
    pub(crate) answers: Option<Answers>,
    /// It takes no peer over.
    pub(crate) fail_adopt: bool,
    /// A front end of another chardev that tries to write while a peer is taken over.
    pub(crate) tries: Option<FrontEnd>,
    /// It moves bytes without a copy.
    pub(crate) splices: bool,
    /// How many bytes went that way, in either direction.
    pub(crate) spliced: usize,
}

/// The peer's side of a [`SimBackend`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer(Arc<Mutex<World>>);

impl Peer {
    pub(crate) fn new(present: bool, room: usize) -> Self {
        let peer = Peer::default();
        peer.world().present = present;
        peer.world().room = room;
        peer
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.world().to_read.extend(bytes);
    }

    pub(crate) fn open(&self) {
        let mut world = self.world();
        world.present = true;
        world.events.push_back(BackendEvent::Opened);
    }

    pub(crate) fn close(&self) {
        let mut world = self.world();
        world.present = false;
        let unread = world.to_read.drain(..).collect();
        world.events.push_back(BackendEvent::Closed { unread });
    }

    pub(crate) fn received(&self) -> String {
        String::from_utf8(self.world().received.clone()).unwrap()
    }

    pub(crate) fn backend(&self) -> Box<dyn Backend> {
        Box::new(SimBackend(self.clone()))
    }

    pub(crate) fn chardev(&self, log: Option<Box<dyn LogSink>>) -> ChardevRef {
        ChardevRef::new("con0", BackendId(1), self.backend(), Closed::Discard, log)
    }

    pub(crate) fn as_new(&self, id: u64) -> NewBackend {
        NewBackend::new(BackendId(id), self.backend())
    }
}

/// A wish for the peer of the back end that is replaced.
struct WantPeer;

struct SimBackend(Peer);

impl Backend for SimBackend {
    fn kind(&self) -> &'static str {
        "sim"
    }

    fn filename(&self) -> String {
        "sim".to_owned()
    }

    fn is_open(&self) -> bool {
        self.0.world().present
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _: &mut Vec<OwnedFd>) -> Sent {
        let mut world = self.0.world();
        if !world.present {
            return Sent::NoPeer;
        }
        let mut taken = 0;
        for buf in bufs {
            let most = world.most.map_or(usize::MAX, |most| most - taken);
            let count = buf.len().min(world.room).min(most);
            world.received.extend(&buf[..count]);
            world.room -= count;
            taken += count;
        }
        if taken == 0 {
            Sent::Full
        } else {
            Sent::Taken(taken)
        }
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let mut world = self.0.world();
        world.asked += 1;
        let mut total = 0;
        for slot in bufs.iter_mut().flat_map(|buf| buf.iter_mut()) {
            let Some(byte) = world.to_read.pop_front() else {
                break;
            };
            *slot = byte;
            total += 1;
        }
        total
    }

    fn watch(&mut self, interest: Ready) {
        self.0.world().watched |= interest;
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        if std::mem::take(&mut self.0.world().knocks) {
            self.0.open();
        }
        self.0.world().events.pop_front()
    }

    fn refuse_input(&mut self) {
        self.0.world().refused = true;
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        let mut world = self.0.world();
        (world.to_read.drain(..).collect(), world.settles)
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        let mut world = self.0.world();
        world.retired = true;
        match world.drain.take() {
            Some(drain) => Box::new(drain),
            None => Box::new(NothingToDrain),
        }
    }

    fn line(&mut self) -> Option<&mut dyn LineControl> {
        Some(self)
    }

    fn peers(&mut self) -> Option<&mut dyn Peers> {
        Some(self)
    }

    fn splicing(&mut self) -> Option<&mut dyn Splicing> {
        let splices = self.0.world().splices;
        splices.then_some(self as _)
    }

    fn set_hold(&mut self, hold: bool) {
        self.0.world().holds = hold;
    }

    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }
}

impl LineControl for SimBackend {
    fn apply(&mut self, line: &Line) -> Answers {
        let mut world = self.0.world();
        world.line = line.clone();
        if let Some(answers) = world.answers {
            return answers;
        }
        let mut answers = Answers::unsupported(line, world.present);
        if world.serial.is_some() {
            answers.passes_fds = true;
            if line.serial.is_some() {
                answers.serial = match world.fails {
                    true => Answer::Failed,
                    false => Answer::Done,
                };
            }
        }
        answers.modem_inputs = world.serial;
        answers
    }

    fn modem_inputs(&mut self) -> Option<ModemLines> {
        self.0.world().serial
    }
}

impl Splicing for SimBackend {
    fn medium(&mut self) -> Medium {
        Medium::Local
    }

    fn fill(&mut self, channel: &mut dyn Channel, most: usize) -> Option<usize> {
        let pipe = TestPipe::as_one(channel)?;
        let count = pipe.fill(most, |buf| self.read(&mut [IoSliceMut::new(buf)]));
        self.0.world().spliced += count;
        Some(count)
    }

    fn pour(&mut self, channel: &mut dyn Channel) -> Option<Sent> {
        let pipe = TestPipe::as_one(channel)?;
        let sent = pipe.pour(|bytes| self.write(&[IoSlice::new(bytes)], &mut Vec::new()));
        if let Sent::Taken(count) = sent {
            self.0.world().spliced += count;
        }
        Some(sent)
    }
}

impl Peers for SimBackend {
    fn disconnect(&mut self) {
        self.0.world().disconnected = true;
    }
}

impl Sharing for SimBackend {
    fn activate(&mut self) -> Result<(), OpenError> {
        let mut world = self.0.world();
        if world.fail_activate {
            return Err("no".into());
        }
        world.active += 1;
        world.activated += 1;
        Ok(())
    }

    fn deactivate(&mut self) {
        self.0.world().active -= 1;
    }

    fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        wanted.downcast_ref::<WantPeer>()?;
        Some(Box::new(self.0.clone()))
    }

    fn adopt(&mut self, old: &mut dyn Backend) -> bool {
        let world = self.0.world();
        if let Some(front) = &world.tries {
            assert_eq!(front.write(b"refused"), 0);
            let cx = &mut Context::from_waker(Waker::noop());
            let poured = front.poll_pour(cx, &mut TestPipe::of(b"refused"));
            assert_eq!(poured, Some(Poll::Pending));
        }
        if world.fail_adopt {
            return false;
        }
        drop(world);
        let lent = old.lend(&WantPeer).and_then(|lent| lent.downcast().ok());
        lent.map(|peer| self.0 = *peer).is_some()
    }
}

/// A channel in memory, for back ends in memory.
#[derive(Debug, Default)]
pub(crate) struct TestPipe {
    pub(crate) bytes: VecDeque<u8>,
    /// What was in it when it was made ready to show that.
    copy: Option<Vec<u8>>,
    /// It can show nothing.
    pub(crate) blind: bool,
}

impl TestPipe {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        TestPipe {
            bytes: bytes.iter().copied().collect(),
            ..TestPipe::default()
        }
    }

    /// Moves up to `most` bytes in as `read` brings them.
    pub(crate) fn fill(&mut self, most: usize, read: impl FnOnce(&mut [u8]) -> usize) -> usize {
        let mut buf = vec![0; most];
        let count = read(&mut buf);
        self.bytes.extend(&buf[..count]);
        count
    }

    /// Moves out what `write` takes.
    pub(crate) fn pour(&mut self, write: impl FnOnce(&[u8]) -> Sent) -> Sent {
        let sent = write(self.bytes.make_contiguous());
        if let Sent::Taken(count) = sent {
            self.bytes.drain(..count);
        }
        sent
    }

    pub(crate) fn as_one(channel: &mut dyn Channel) -> Option<&mut TestPipe> {
        let channel: &mut dyn Any = channel;
        channel.downcast_mut()
    }
}

impl Channel for TestPipe {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn tee(&mut self) -> bool {
        assert_eq!(self.copy, None, "what was copied was not asked for");
        if !self.blind {
            self.copy = Some(self.bytes.iter().copied().collect());
        }
        !self.blind
    }

    fn show(&mut self, count: usize, newest: usize, to: &mut dyn FnMut(&[u8])) {
        let copy = self.copy.take().expect("it was made ready");
        copy[count - newest..count].chunks(7).for_each(to);
    }
}

/// What a multiplexer needs of a program, where time does not matter.
pub(crate) struct NoClock;

impl MuxHost for NoClock {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn quit(&self) {}
}

/// What a multiplexer or hub rests on.
pub(crate) fn link(chardev: &ChardevRef) -> Link {
    let hooks = Arc::new(LinkHooks::default());
    let front = FrontEnd::attach(chardev, Arc::clone(&hooks) as _).unwrap();
    Link::new(front, hooks)
}

/// Counts how often it was woken.
#[derive(Debug, Default)]
pub(crate) struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let woken = Arc::new(Woken::default());
        (Arc::clone(&woken), Waker::from(woken))
    }

    /// How often it was woken since it was last asked with [`Woken::take`].
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether it was woken since the last call.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(0, Ordering::Relaxed) > 0
    }
}

/// A log with little room that notes whether it is asked to report.
#[derive(Clone, Debug, Default)]
pub(crate) struct SmallLog(pub(crate) Arc<Mutex<(usize, bool)>>);

impl LogSink for SmallLog {
    fn room(&self) -> usize {
        self.0.lock().unwrap().0
    }

    fn push(&mut self, bytes: &[u8]) -> usize {
        self.0.lock().unwrap().0 -= bytes.len();
        bytes.len()
    }

    fn is_prompt(&self) -> bool {
        true
    }

    fn watch(&mut self) {
        self.0.lock().unwrap().1 = true;
    }
}

/// Everything the front end can get now, events in angle brackets.
pub(crate) fn everything(front: &FrontEnd) -> String {
    let mut out = String::new();
    loop {
        let mut buf = [0; 3];
        let count = front.read(&mut buf);
        if count > 0 {
            out.push_str(std::str::from_utf8(&buf[..count]).unwrap());
        } else if let Some(event) = front.next_event() {
            match event {
                Event::Changed(_) => out.push_str("<Changed>"),
                event => out.push_str(&format!("<{event:?}>")),
            }
        } else {
            return out;
        }
    }
}

/// The number in the environment variable `name`, such as a seed: `0x1bb` or `443`.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("{name} must be a number, not '{text}'")))
}
