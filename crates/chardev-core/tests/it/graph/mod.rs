//! The seeded simulator of transactions over graphs: consoles on multiplexers and hubs over others,
//! with base chardevs whose former peers' input is still on its way.
//!
//! Each transaction changes some of them together, in any order, and may fail. Every byte a peer
//! sent before its path to a console was cut must be read by that console, once and in order, and
//! before what is sent to it afterwards. `GRAPH_SEED=0x…` runs one script again, `SIM_STEPS=…` sets
//! how many steps the test takes, and `GRAPH_FIRST=0x…` with which script it begins.

mod aside;
mod awaited;
mod found;
mod plan;
mod returns;
mod shrink;
mod turns;
mod wire;

use std::fmt::Write as _;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chardev_core::{
    BackendId, ChardevRef, Closed, DrainStep, Drainer, Event, FrontEnd, Input, Mux, MuxHost, Ready,
    Registry, Users,
};

use crate::rig::{Woken, number};
use crate::sim::Rng;
use wire::{Peer, Reader};

const STEPS: u64 = 60_000;
const SCRIPT: u64 = 200;
/// Chardevs with a peer of their own, those that may rest on them, and consoles that may on both.
const LEAVES: usize = 3;
const MIDDLES: usize = 3;
const TOPS: usize = 2;
const NODES: usize = LEAVES + MIDDLES + TOPS;

struct Host;

impl MuxHost for Host {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn quit(&self) {
        panic!("nobody asked to quit");
    }
}

/// What a chardev rests on.
#[derive(Clone, Debug)]
enum Rests {
    Own(Peer),
    Mux(usize),
    Hub(Vec<usize>),
    /// It is not there: it was removed, and can be added again.
    Nothing,
}

impl Rests {
    fn on(&self) -> &[usize] {
        match self {
            Rests::Own(_) | Rests::Nothing => &[],
            Rests::Mux(below) => std::slice::from_ref(below),
            Rests::Hub(below) => below,
        }
    }
}

struct Node {
    chardev: ChardevRef,
    rests: Rests,
    mux: Option<Mux>,
    users: Option<Users>,
    /// Whether those above are to look.
    woken: (Arc<Woken>, Waker),
}

/// A front end that reads.
struct Console {
    reader: Reader,
    node: usize,
    chardev: ChardevRef,
    front: FrontEnd,
    waker: (Arc<Woken>, Waker),
    open: bool,
    asleep: bool,
}

struct Graph {
    seed: u64,
    rng: Rng,
    trace: Vec<String>,
    /// How much of it a failure prints.
    shown: usize,
    registry: Registry,
    nodes: Vec<Node>,
    consoles: Vec<Console>,
    /// Streams that are in a slot, or whose bytes are not all read.
    peers: Vec<Peer>,
    /// Which chardevs have their back end set aside.
    aside: Vec<usize>,
    drains: Vec<(Drainer, Duration)>,
    now: Duration,
    epoch: u64,
    next_id: u64,
    next_reader: Reader,
    /// Transactions that happened, that failed, bytes that were read after their cut, chardevs that
    /// were removed and added, and back ends that were set aside and came back.
    reached: [u64; 6],
}

#[test]
fn transactions_over_graphs_keep_all_input() {
    if let Some(seed) = number("GRAPH_SEED") {
        shrink::run(seed);
        return;
    }
    let scripts = number("SIM_STEPS").unwrap_or(STEPS).div_ceil(SCRIPT);
    let first = number("GRAPH_FIRST").unwrap_or(0);
    let mut reached = [0; 6];
    for seed in first..first + scripts {
        for (sum, more) in reached.iter_mut().zip(Graph::new(seed).run(&[])) {
            *sum += more;
        }
    }
    assert!(
        reached.iter().all(|count| *count > 0) || scripts < 100,
        "never happened: {reached:?}"
    );
}

impl Graph {
    fn new(seed: u64) -> Self {
        let mut graph = Graph {
            seed,
            rng: Rng(seed),
            trace: Vec::new(),
            shown: 16,
            registry: Registry::default(),
            nodes: Vec::new(),
            consoles: Vec::new(),
            peers: Vec::new(),
            aside: Vec::new(),
            drains: Vec::new(),
            now: Duration::ZERO,
            epoch: 0,
            next_id: 1,
            next_reader: 0,
            reached: [0; 6],
        };
        for at in 0..NODES {
            let peer = graph.new_peer().unwrap_or_default();
            let (label, id) = (format!("c{at}"), graph.id());
            let chardev =
                ChardevRef::new(label.as_str(), id, peer.backend(), Closed::Discard, None);
            graph
                .registry
                .reserve(&label)
                .unwrap()
                .fill(chardev.clone());
            graph.nodes.push(Node {
                chardev: chardev.clone(),
                rests: Rests::Own(peer),
                mux: None,
                users: None,
                woken: Woken::new(),
            });
            if at >= NODES - TOPS {
                graph.attach(at, chardev);
            }
        }
        graph
    }

    fn id(&mut self) -> BackendId {
        self.next_id += 1;
        BackendId(self.next_id)
    }

    /// A stream whose bytes cannot be taken for those of another; `None` while there are too many.
    fn new_peer(&mut self) -> Option<Peer> {
        let idle = |peer: &Peer| peer.wire().retired && peer.wire().ledger.is_empty();
        self.peers.retain(|peer| !idle(peer));
        let taken: Vec<u8> = self.peers.iter().map(|peer| peer.wire().number).collect();
        let number = (0..8).find(|number| !taken.contains(number))?;
        let peer = Peer::new(number, self.rng.one_in(2));
        self.peers.push(peer.clone());
        Some(peer)
    }

    fn attach(&mut self, node: usize, chardev: ChardevRef) {
        let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
        let waker = Woken::new();
        front.set_waker(Ready::READ, &waker.1);
        self.consoles.push(Console {
            reader: self.next_reader,
            node,
            chardev,
            front,
            waker,
            open: false,
            asleep: false,
        });
        self.next_reader += 1;
    }

    /// Takes all steps but those `left_out`; each is made from a seed of its own, so that what is
    /// left stays as it is.
    fn run(mut self, left_out: &[u64]) -> [u64; 6] {
        for step in 0..SCRIPT {
            let mut seed = Rng(self.seed ^ step << 32);
            self.rng = Rng(seed.below(u64::MAX));
            if left_out.contains(&step) {
                continue;
            }
            match self.rng.below(20) {
                0..=5 => self.send(),
                6..=8 => self.read(),
                9 | 10 => self.rest(),
                11 | 12 => self.time_passes(),
                13 => self.come_or_go(),
                14 => self.further_comes_or_goes(),
                15 => self.set_aside(),
                _ => self.transaction(),
            }
        }
        self.finish();
        self.reached
    }

    fn note(&mut self, step: impl Into<String>) {
        self.trace.push(step.into());
    }

    fn fail(&self, what: &str) -> ! {
        let mut text = format!("{what}\n  at step {} of", self.trace.len());
        let _ = write!(text, " GRAPH_SEED={:#x}; the last steps:", self.seed);
        let last = self.trace.len().saturating_sub(self.shown);
        for step in &self.trace[last..] {
            let _ = write!(text, "\n    {step}");
        }
        for (at, node) in self.nodes.iter().enumerate() {
            let _ = write!(text, "\n  c{at} {}", plan::describe(&node.rests));
        }
        panic!("{text}");
    }

    /// The I/O thread: everybody looks until nobody is woken any more.
    fn rest(&mut self) {
        for node in &self.nodes {
            let id = node.chardev.with(|chardev| chardev.backend_id());
            node.chardev
                .with(|chardev| chardev.handle_ready(id, Ready::READ | Ready::WRITE));
        }
        for _ in 0..200 {
            let woken = self.nodes.iter().filter(|node| node.woken.0.take());
            let users: Vec<_> = woken.filter_map(|node| node.users.clone()).collect();
            if users.is_empty() {
                return;
            }
            users.iter().for_each(Users::kick);
        }
        self.fail("wake-ups never end");
    }

    fn send(&mut self) {
        let at = self.rng.below(NODES as u64) as usize;
        let (now, epoch) = (self.now, self.epoch);
        let count = 1 + self.rng.below(30) as usize;
        let rotates = self.rng.one_in(3);
        let over_hub = self.is_over_hub(at);
        // What comes while nobody is above is for whoever comes, and could be anywhere.
        if self.readers_above(at).is_empty() {
            return;
        }
        if let Rests::Own(peer) = &self.nodes[at].rests {
            peer.send(count, rotates && !over_hub, now, epoch);
            self.note(format!("c{at} sends {count}"));
        }
    }

    /// Keys of one peer must not be torn apart by those of another.
    fn is_over_hub(&self, below: usize) -> bool {
        self.is_over_hub_where(below, &|above| &self.nodes[above].rests)
    }

    fn is_over_hub_where<'a>(&self, below: usize, rests: &impl Fn(usize) -> &'a Rests) -> bool {
        (0..NODES).any(|above| {
            rests(above).on().contains(&below)
                && (matches!(rests(above), Rests::Hub(_)) || self.is_over_hub_where(above, rests))
        })
    }

    fn come_or_go(&mut self) {
        let at = self.rng.below(NODES as u64) as usize;
        if let Rests::Own(peer) = &self.nodes[at].rests {
            peer.come_or_go();
            let chardev = &self.nodes[at].chardev;
            let id = chardev.with(|chardev| chardev.backend_id());
            chardev.with(|chardev| chardev.handle_ready(id, Ready::READ | Ready::WRITE));
            self.note(format!("the peer of c{at} comes or goes"));
        }
    }

    fn read(&mut self) {
        let at = self.rng.below(self.consoles.len() as u64) as usize;
        let count = 1 + self.rng.below(60) as usize;
        self.note(format!(
            "console {} reads {count}",
            self.consoles[at].reader
        ));
        self.read_once(at, count);
    }

    fn read_once(&mut self, at: usize, count: usize) -> bool {
        let mut buf = vec![0; count];
        let console = &mut self.consoles[at];
        let mut cx = Context::from_waker(&console.waker.1);
        console.waker.0.take();
        let input = console.front.poll_read(&mut cx, &mut buf);
        console.asleep = input.is_pending();
        let reader = console.reader;
        match input {
            Poll::Pending => return false,
            Poll::Ready(Input::Data(count)) => {
                if !console.open {
                    self.fail("input came while no peer was shown");
                }
                for byte in buf[..count].iter().filter(|byte| **byte >= 0x80) {
                    self.take(reader, *byte);
                }
            }
            Poll::Ready(Input::Event(Event::Opened)) if console.open => self.fail("opened twice"),
            Poll::Ready(Input::Event(Event::Closed)) if !console.open => self.fail("closed twice"),
            Poll::Ready(Input::Event(Event::Opened)) => console.open = true,
            Poll::Ready(Input::Event(Event::Closed)) => console.open = false,
            Poll::Ready(Input::Event(_)) => {}
        }
        true
    }

    /// `reader` has read `value`, which must be what is next for it.
    fn take(&mut self, reader: Reader, value: u8) {
        let peer = self.peer(value >> 4 & 7);
        let above = self.readers(&peer);
        let mut wire = peer.wire();
        let may = |owners: &Option<Vec<Reader>>| match owners {
            Some(owners) => owners.is_empty() || owners.contains(&reader),
            None => above.contains(&reader),
        };
        let found = wire
            .ledger
            .iter()
            .position(|byte| byte.value == value && may(&byte.owners));
        let passed = wire
            .ledger
            .iter()
            .take(found.unwrap_or_default())
            .any(|byte| !byte.beside && byte.owners.as_ref().unwrap_or(&above)[..] == [reader]);
        let Some(found) = found.filter(|_| !passed) else {
            let next: Vec<_> = wire
                .ledger
                .iter()
                .map(|byte| (byte.value, &byte.owners))
                .collect();
            let text = format!("{value} was read by {reader} where {next:?} are next");
            drop(wire);
            self.fail(&text);
        };
        let byte = wire.ledger.remove(found).unwrap();
        drop(wire);
        self.reached[2] += u64::from(byte.owners.is_some());
        let overtaken = self.peers.iter().any(|peer| {
            peer.wire().ledger.iter().any(|other| {
                other.owners.as_deref() == Some(&[reader])
                    && other.before.is_some_and(|before| byte.epoch >= before)
            })
        });
        if overtaken {
            self.fail(&format!("{byte:?} overtook input from before a change"));
        }
    }

    fn peer(&self, number: u8) -> Peer {
        let found = self.peers.iter().find(|peer| peer.wire().number == number);
        found
            .unwrap_or_else(|| self.fail("a byte of nobody"))
            .clone()
    }

    /// The consoles above the chardev that has `peer` in its slot.
    fn readers(&self, peer: &Peer) -> Vec<Reader> {
        let number = peer.wire().number;
        let holds = |node: &Node| match &node.rests {
            Rests::Own(own) => own.wire().number == number && !own.wire().retired,
            _ => false,
        };
        match self.nodes.iter().position(holds) {
            Some(at) => self.readers_above(at),
            None => Vec::new(),
        }
    }

    fn readers_above(&self, at: usize) -> Vec<Reader> {
        self.readers_over(at, &|above| &self.nodes[above].rests)
    }

    /// The consoles above, where each chardev rests on what `rests` says.
    fn readers_over<'a>(&self, at: usize, rests: &impl Fn(usize) -> &'a Rests) -> Vec<Reader> {
        let own = self.consoles.iter().filter(|console| console.node == at);
        let mut readers: Vec<_> = own.map(|console| console.reader).collect();
        for above in 0..NODES {
            if rests(above).on().contains(&at) {
                readers.extend(self.readers_over(above, rests));
            }
        }
        readers
    }

    fn time_passes(&mut self) {
        let millis = 1 + self.rng.below(60);
        self.note(format!("{millis} ms pass"));
        self.pass(Duration::from_millis(millis));
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let step = Duration::from_millis(5).max(time / 100);
        while self.now < until {
            self.now = until.min(self.now + step);
            for peer in &self.peers {
                peer.arrive(self.now);
            }
            let now = self.now;
            self.drains.retain_mut(|(drainer, due)| {
                if *due > now {
                    return true;
                }
                match drainer.poll(now) {
                    DrainStep::Again(pause) => {
                        *due = now + pause;
                        true
                    }
                    DrainStep::Done => false,
                }
            });
        }
    }

    /// All input there is reaches who is to read it.
    fn read_all(&mut self) {
        let mut idle = 0;
        for _ in 0..2_000 {
            let mut read = false;
            self.pass(Duration::from_millis(20));
            self.rest();
            for at in 0..self.consoles.len() {
                let console = &self.consoles[at];
                let slept = console.asleep && console.waker.0.count() == 0;
                let more = self.read_once(at, 50);
                if slept && more {
                    self.fail("a reader was not woken");
                }
                read |= more;
            }
            read |= self.peers.iter().any(Peer::has_in_flight);
            idle = if read { 0 } else { idle + 1 };
            // As long as anything may still settle.
            if idle > 30 || (idle > 0 && self.drains.is_empty()) {
                return;
            }
        }
        self.fail("input never ends");
    }

    fn finish(&mut self) {
        self.note("the end");
        self.pass(Duration::from_secs(2));
        self.read_all();
        for peer in self.peers.clone() {
            let above = self.readers(&peer);
            let wire = peer.wire();
            let due =
                |byte: &&wire::Sending| byte.due || (byte.owners.is_none() && !above.is_empty());
            if let Some(byte) = wire.ledger.iter().find(due) {
                let text = format!("{byte:?} was never read");
                drop(wire);
                self.fail(&text);
            }
        }
        self.pass(Duration::from_secs(15));
        if !self.drains.is_empty() {
            self.fail("a replaced back end never ends");
        }
        for node in &self.nodes {
            if matches!(node.rests, Rests::Nothing) {
                continue;
            }
            let stats = node.chardev.with(|chardev| chardev.stats());
            if stats.input_late + stats.input_overflowed > 0 {
                self.fail("input was late or did not fit");
            }
        }
    }
}
