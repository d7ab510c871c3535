//! The seeded simulator of chardevs that rest on each other: one console at the top that is plain,
//! a multiplexer or a hub over others, all of which change, alone and together, at any moment.
//!
//! Every back end's peer must have received exactly what the front ends above it wrote while they
//! were above it, in order, and every byte a peer sent must have been read once. `NET_SEED=0x…`
//! runs one script again, `NET_STEPS=…` sets how many steps the test takes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use chardev_core::{
    BackendId, Change, ChardevRef, Closed, FrontEnd, Hub, Link, LinkHooks, Mux, MuxHost,
    NewBackend, Old, Ready, Slow, Step, Users, ViewFrom, Viewed, Viewer, WantLink, commit,
};

use crate::rig::{Peer, Woken, number};
use crate::sim::Rng;

const STEPS: u64 = 2_000_000;
const SCRIPT: u64 = 400;
/// The chardevs below, and the number of the console's own peers.
const LEAVES: usize = 3;
const OWN: usize = LEAVES;

struct Host;

impl MuxHost for Host {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn quit(&self) {
        panic!("nobody asked to quit");
    }
}

/// A place where bytes come out and go in: a leaf, or the console's own back ends.
#[derive(Default)]
struct Source {
    peer: Peer,
    /// Received by its former peers.
    received: Vec<u8>,
    expected: Vec<u8>,
    sent: u64,
    read: u64,
}

impl Source {
    fn all_received(&self) -> Vec<u8> {
        [&self.received[..], &self.peer.world().received[..]].concat()
    }

    fn replace_peer(&mut self, peer: Peer) {
        let old = std::mem::replace(&mut self.peer, peer);
        self.received.append(&mut old.world().received);
    }
}

struct Net {
    seed: u64,
    rng: Rng,
    trace: Vec<&'static str>,
    next_id: u64,
    leaves: Vec<ChardevRef>,
    sources: Vec<Source>,
    top: ChardevRef,
    /// What the console rests on: its own peer if nothing.
    below: Vec<usize>,
    mux: Option<Mux>,
    users: Option<Users>,
    woken: Arc<Woken>,
    first: FrontEnd,
    second: Option<(FrontEnd, ChardevRef)>,
    written: u64,
    viewer: Option<(usize, Viewer)>,
}

#[test]
fn chardevs_that_rest_on_each_other_lose_nothing() {
    if let Some(seed) = number("NET_SEED") {
        Net::new(seed).run();
        return;
    }
    let scripts = number("NET_STEPS").unwrap_or(STEPS).div_ceil(SCRIPT);
    let mut changes = [0; 3];
    for seed in 0..scripts {
        for (sum, more) in changes.iter_mut().zip(Net::new(seed).run()) {
            *sum += more;
        }
    }
    assert!(
        changes.iter().all(|count| *count > 0) || scripts < 100,
        "never happened: {changes:?}"
    );
}

impl Net {
    fn new(seed: u64) -> Self {
        let sources: Vec<Source> = (0..=LEAVES)
            .map(|_| Source {
                peer: Peer::new(true, usize::MAX),
                ..Source::default()
            })
            .collect();
        let chardev = |at: usize, name: &str| {
            let backend = sources[at].peer.backend();
            ChardevRef::new(name, BackendId(at as u64 + 1), backend, Closed::Hold, None)
        };
        let leaves: Vec<_> = (0..LEAVES)
            .map(|at| chardev(at, &format!("leaf{at}")))
            .collect();
        let top = chardev(OWN, "top");
        let (woken, _) = Woken::new();
        Net {
            seed,
            rng: Rng(seed),
            trace: Vec::new(),
            next_id: 100,
            first: FrontEnd::attach(&top, Arc::new(())).unwrap(),
            leaves,
            sources,
            top,
            below: Vec::new(),
            mux: None,
            users: None,
            woken,
            second: None,
            written: 0,
            viewer: None,
        }
    }

    /// Changes of the console, changes below, refused ones.
    fn run(mut self) -> [u64; 3] {
        let mut changes = [0; 3];
        for _ in 0..SCRIPT {
            match self.rng.below(16) {
                0..=3 => self.write(),
                4 | 5 => self.send(),
                6 | 7 => self.read(),
                8 => self.stall(),
                9 => self.step("settle", Net::settle),
                10 => self.second_comes_or_goes(),
                11 => self.watch(),
                12 | 13 => changes[0] += u64::from(self.change_top(false)),
                14 => changes[1] += u64::from(self.change_leaf()),
                _ => changes[2] += u64::from(self.change_top(true)),
            }
            self.look_at_viewer();
        }
        self.finish();
        changes
    }

    fn step(&mut self, name: &'static str, step: impl FnOnce(&mut Self)) {
        self.trace.push(name);
        step(self);
    }

    fn fail(&self, what: &str) -> ! {
        let mut text = format!("{what}\n  at step {} of", self.trace.len());
        let _ = write!(text, " NET_SEED={:#x}; the last steps:", self.seed);
        let last = self.trace.len().saturating_sub(12);
        for step in &self.trace[last..] {
            let _ = write!(text, "\n    {step}");
        }
        panic!("{text}");
    }

    /// The I/O thread: everybody looks until nobody is woken any more.
    fn settle(&mut self) {
        for (at, leaf) in self.leaves.iter().enumerate() {
            let id = leaf.with(|leaf| leaf.backend_id());
            let ready = match self.sources[at].peer.world().room {
                0 => Ready::READ,
                _ => Ready::READ | Ready::WRITE,
            };
            leaf.with(|leaf| leaf.handle_ready(id, ready));
        }
        for _ in 0..100 {
            let users = self.users.clone();
            users.iter().for_each(Users::kick);
            if !self.woken.take() {
                return;
            }
        }
        self.fail("wake-ups never end");
    }

    fn write(&mut self) {
        self.trace.push("write");
        let count = 1 + self.rng.below(40) as usize;
        let second = self.rng.one_in(2);
        let front = match &self.second {
            Some((front, _)) if second => front,
            _ => &self.first,
        };
        let bytes: Vec<u8> = (0..count).map(|_| self.rng.below(94) as u8 + 33).collect();
        let taken = front.write(&bytes);
        self.written += taken as u64;
        let places = match self.below.is_empty() {
            true => vec![OWN],
            false => self.below.clone(),
        };
        for at in places {
            self.sources[at].expected.extend(&bytes[..taken]);
        }
    }

    /// Byte `number` of what the peers of source `at` send; never the escape.
    fn token(at: usize, number: u64) -> u8 {
        0x80 | (at as u8) << 5 | (number % 32) as u8
    }

    fn send(&mut self) {
        self.trace.push("send");
        let at = self.rng.below(LEAVES as u64 + 1) as usize;
        if at == OWN && !self.below.is_empty() {
            return;
        }
        let source = &mut self.sources[at];
        for _ in 0..1 + self.rng.below(20) {
            source.peer.send(&[Net::token(at, source.sent)]);
            source.sent += 1;
        }
    }

    fn read(&mut self) {
        self.trace.push("read");
        let second = self.second.as_ref().map(|(front, _)| front);
        let mut got = Vec::new();
        for front in std::iter::once(&self.first).chain(second) {
            let mut buf = [0; 50];
            let count = front.read(&mut buf);
            got.extend_from_slice(&buf[..count]);
            while count == 0 && front.next_event().is_some() {}
        }
        for byte in got {
            self.take(byte);
        }
    }

    /// Each source's bytes come once. With two readers they come in order at each.
    fn take(&mut self, byte: u8) {
        let at = usize::from(byte >> 5 & 3);
        let source = &mut self.sources[at];
        let expected = Net::token(at, source.read);
        source.read += 1;
        if self.second.is_none() && byte != expected {
            let read = source.read;
            self.fail(&format!("byte {read} of source {at} is out of order"));
        }
    }

    fn stall(&mut self) {
        self.trace.push("stall or go on");
        let at = self.rng.below(LEAVES as u64 + 1) as usize;
        let room = match self.rng.below(3) {
            0 => 0,
            1 => self.rng.below(60) as usize,
            _ => usize::MAX,
        };
        self.sources[at].peer.world().room = room;
    }

    /// All input of a second front end is read before it leaves.
    fn second_comes_or_goes(&mut self) {
        self.trace.push("second front end comes or goes");
        if self.second.is_some() {
            self.drain_input();
            self.second = None;
            return;
        }
        let Some(mux) = &self.mux else { return };
        self.next_id += 1;
        let id = BackendId(self.next_id);
        let chardev = ChardevRef::new("top", id, mux.slot(), Closed::Hold, None);
        let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
        self.drain_input();
        self.second = Some((front, chardev));
    }

    fn drain_input(&mut self) {
        for _ in 0..1000 {
            let before: u64 = self.sources.iter().map(|source| source.read).sum();
            self.settle();
            self.read();
            self.read();
            let after: u64 = self.sources.iter().map(|source| source.read).sum();
            if before == after {
                return;
            }
        }
        self.fail("input never ends");
    }

    fn watch(&mut self) {
        self.trace.push("a viewer of a leaf");
        let at = self.rng.below(LEAVES as u64) as usize;
        let viewer = self.leaves[at].view(ViewFrom::Oldest, Slow::Skip).unwrap();
        self.viewer = Some((at, viewer));
    }

    fn look_at_viewer(&mut self) {
        let Some((at, viewer)) = &mut self.viewer else {
            return;
        };
        let mut buf = [0; 64];
        let expected = &self.sources[*at].expected;
        if let Some(Viewed::Data { offset, count }) = viewer.read(&mut buf) {
            let (from, to) = (offset as usize, offset as usize + count);
            if expected.get(from..to) != Some(&buf[..count]) {
                self.fail("a viewer saw something else");
            }
        }
    }

    fn new_back_end(&mut self, peer: &Peer) -> NewBackend {
        self.next_id += 1;
        NewBackend::new(BackendId(self.next_id), peer.backend())
    }

    fn change_step(chardev: &ChardevRef, mut new: NewBackend) -> Step {
        let change = Change::begin(chardev).unwrap();
        let offer = change.offer(&mut new).unwrap();
        Step::Change {
            change,
            offer,
            new,
            old: Old::Retire,
        }
    }

    fn change_leaf(&mut self) -> bool {
        self.trace.push("change below");
        let at = self.rng.below(LEAVES as u64) as usize;
        let peer = Peer::new(true, usize::MAX);
        let mut new = self.new_back_end(&peer);
        new.handover = self.rng.one_in(3);
        let kept = new.handover;
        commit(vec![Net::change_step(&self.leaves[at], new)]).unwrap();
        if !kept {
            self.sources[at].replace_peer(peer);
        }
        true
    }

    /// A link to a leaf, shared with what the console rests on now.
    fn link(&self, at: usize) -> Link {
        let wanted = WantLink(format!("leaf{at}"));
        let lent = self.top.with(|top| top.lend(&wanted));
        if let Some(link) = lent.and_then(|lent| lent.downcast::<Link>().ok()) {
            return *link;
        }
        let hooks = Arc::new(LinkHooks::default());
        let front = FrontEnd::attach(&self.leaves[at], hooks.clone()).unwrap();
        Link::new(front, hooks)
    }

    /// Changes the console, perhaps together with a leaf that makes it fail.
    fn change_top(&mut self, fails: bool) -> bool {
        self.trace.push(match fails {
            true => "a change of the console that fails",
            false => "change of the console",
        });
        let waker = std::task::Waker::from(self.woken.clone());
        let peer = Peer::new(true, usize::MAX);
        let mut below = Vec::new();
        let mut mux = None;
        let mut users = None;
        self.next_id += 1;
        let id = BackendId(self.next_id);
        let kind = if self.second.is_some() {
            1
        } else {
            self.rng.below(3)
        };
        let backend = match kind {
            0 => peer.backend(),
            1 => {
                below.push(self.rng.below(LEAVES as u64) as usize);
                let new = Mux::new(self.link(below[0]), 1, Arc::new(Host), waker);
                users = Some(new.users().clone());
                let slot = new.slot();
                mux = Some(new);
                slot
            }
            _ => {
                below.extend((0..LEAVES).filter(|_| self.rng.one_in(2)));
                if below.is_empty() {
                    below.push(0);
                }
                let links = below.iter().map(|at| self.link(*at)).collect();
                let hub = Hub::new(links, waker);
                users = Some(hub.users());
                hub.backend()
            }
        };
        let mut steps = vec![Net::change_step(&self.top, NewBackend::new(id, backend))];
        if let (Some((_, chardev)), Some(mux)) = (&self.second, &mux) {
            self.next_id += 1;
            let new = NewBackend::new(BackendId(self.next_id), mux.slot());
            steps.push(Net::change_step(chardev, new));
        }
        if fails {
            let spoiler = Peer::new(true, 0);
            spoiler.world().fail_activate = true;
            let new = self.new_back_end(&spoiler);
            let at = self.rng.below(LEAVES as u64) as usize;
            steps.push(Net::change_step(&self.leaves[at], new));
            let before = self
                .top
                .with(|top| (top.stats().output_accepted, top.backend_id()));
            if commit(steps).is_ok() {
                self.fail("a transaction with a step that fails happened");
            }
            let after = self
                .top
                .with(|top| (top.stats().output_accepted, top.backend_id()));
            if before != after {
                self.fail("a transaction that did not happen shows");
            }
            return true;
        }
        commit(steps).unwrap();
        if below.is_empty() {
            self.sources[OWN].replace_peer(peer);
        }
        self.below = below;
        self.mux = mux;
        self.users = users;
        true
    }

    fn finish(&mut self) {
        self.trace.push("the end");
        for source in &self.sources {
            source.peer.world().room = usize::MAX;
        }
        self.drain_input();
        self.second = None;
        self.settle();
        for (at, source) in self.sources.iter().enumerate() {
            let received = source.all_received();
            if received != source.expected {
                let wrong = received.iter().zip(&source.expected);
                let first = wrong.take_while(|(a, b)| a == b).count();
                self.fail(&format!(
                    "the peers of {at} received {} bytes, {} were written; they differ from {first} on",
                    received.len(),
                    source.expected.len(),
                ));
            }
        }
        // What still waits below is read by a hub over everything.
        let links = (0..LEAVES).map(|at| self.link(at)).collect();
        let hub = Hub::new(links, std::task::Waker::from(self.woken.clone()));
        self.users = Some(hub.users());
        self.mux = None;
        self.next_id += 1;
        let new = NewBackend::new(BackendId(self.next_id), hub.backend());
        commit(vec![Net::change_step(&self.top, new)]).unwrap();
        self.drain_input();
        for (at, source) in self.sources.iter().enumerate() {
            if source.read != source.sent {
                let (sent, read) = (source.sent, source.read);
                self.fail(&format!("{sent} bytes came from {at}, {read} were read"));
            }
        }
    }
}
