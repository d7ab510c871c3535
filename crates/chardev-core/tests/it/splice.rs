//! Bytes that go from one chardev to another and that nobody looks at: the same as if they were
//! copied, whatever happens to either chardev meanwhile.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use chardev_core::{
    BackendId, Change, ChardevRef, Closed, Event, FrontEnd, Input, Medium, Old, Ready, Slow,
    ViewFrom, Viewed,
};

use crate::rig::{Peer, SmallLog, TestPipe, Woken};
use crate::sim::Rng;

/// Large enough for everything a test sends.
const PLENTY: usize = 1 << 20;

fn splicing(present: bool, room: usize) -> Peer {
    let peer = Peer::new(present, room);
    peer.world().splices = true;
    peer
}

fn attached(chardev: &ChardevRef) -> FrontEnd {
    FrontEnd::attach(chardev, Arc::new(())).unwrap()
}

fn pour(front: &FrontEnd, pipe: &mut TestPipe) -> Option<Poll<usize>> {
    front.poll_pour(&mut Context::from_waker(Waker::noop()), pipe)
}

fn fill(front: &FrontEnd, pipe: &mut TestPipe) -> Option<Poll<Input>> {
    front.poll_fill(&mut Context::from_waker(Waker::noop()), pipe, 100)
}

/// Replaces the back end of `chardev` by that of `peer`.
fn change(chardev: &ChardevRef, peer: &Peer, id: u64) {
    let change = Change::begin(chardev).unwrap();
    let mut new = peer.as_new(id);
    let offer = change.offer(&mut new).unwrap();
    change.commit(offer, new, Old::Retire).unwrap();
}

#[test]
fn both_ways_count_as_copies_do() {
    let peer = splicing(true, 6);
    let chardev = peer.chardev(None);
    let front = attached(&chardev);
    assert_eq!(fill(&front, &mut TestPipe::default()), None);
    assert_eq!(front.next_event(), Some(Event::Opened));
    assert_eq!(front.medium(), Some(Medium::Local));
    peer.send(b"input");
    let mut pipe = TestPipe::default();
    assert_eq!(fill(&front, &mut pipe), Some(Poll::Ready(Input::Data(5))));
    assert_eq!(pipe.bytes, b"input");
    assert_eq!(fill(&front, &mut TestPipe::default()), Some(Poll::Pending));
    assert!(peer.world().watched.contains(Ready::READ));

    let mut pipe = TestPipe::of(b"output");
    assert_eq!(pour(&front, &mut pipe), Some(Poll::Ready(6)));
    assert_eq!(peer.received(), "output");
    assert_eq!(peer.world().spliced, 11);
    let stats = front.stats();
    assert_eq!(
        (
            stats.input_delivered,
            stats.output_accepted,
            stats.output_delivered
        ),
        (5, 6, 6)
    );
    assert_eq!((stats.input_spliced, stats.output_spliced), (5, 6));
    peer.world().room = 6;
    assert_eq!(front.write(b"copied"), 6);
    assert_eq!(front.stats().output_spliced, 6);
}

#[test]
fn what_is_not_taken_stays_in_the_pipe_and_is_waited_for() {
    let peer = splicing(true, 4);
    let chardev = peer.chardev(None);
    let front = attached(&chardev);
    let (woken, waker) = Woken::new();
    let mut cx = Context::from_waker(&waker);
    let mut pipe = TestPipe::of(b"output");
    assert_eq!(front.poll_pour(&mut cx, &mut pipe), Some(Poll::Ready(4)));
    assert!(peer.world().watched.contains(Ready::WRITE));
    assert_eq!(front.poll_pour(&mut cx, &mut pipe), Some(Poll::Pending));
    assert_eq!(pipe.bytes, b"ut");
    peer.world().room = 10;
    assert_eq!(woken.count(), 0);
    chardev.with(|chardev| chardev.handle_ready(BackendId(1), Ready::WRITE));
    assert_eq!(woken.count(), 1);
    assert_eq!(front.poll_pour(&mut cx, &mut pipe), Some(Poll::Ready(2)));
    assert_eq!(peer.received(), "output");
}

/// Each is a state in which somebody has to look, or nobody is there; and what becomes of the
/// bytes.
#[test]
fn whoever_has_to_look_gets_a_copy() {
    type Prepare = fn(&Peer, &ChardevRef, &FrontEnd);
    let cases: [(&str, Prepare); 4] = [
        ("no facet", |peer, _, _| peer.world().splices = false),
        ("nobody there", |peer, chardev, _| {
            peer.close();
            chardev.with(|chardev| chardev.handle_ready(BackendId(1), Ready::HANGUP));
        }),
        ("descriptors go along", |peer, _, front| {
            peer.world().serial = Some(chardev_core::ModemLines::empty());
            assert!(front.pass_fds(Vec::new()));
            assert!(front.pass_fds(vec![std::fs::File::open("/dev/null").unwrap().into()]));
        }),
        ("a log", |_, _, _| {}),
    ];
    for (what, prepare) in cases {
        let peer = splicing(true, PLENTY);
        let log = SmallLog(Arc::new(std::sync::Mutex::new((PLENTY, false))));
        let log = (what == "a log").then(|| Box::new(log) as _);
        let chardev = ChardevRef::new("con0", BackendId(1), peer.backend(), Closed::Hold, log);
        let front = attached(&chardev);
        prepare(&peer, &chardev, &front);
        // That nobody is there shows when something is poured.
        assert_eq!(front.pours() > 0, what == "nobody there", "{what}");
        let mut pipe = TestPipe::of(b"output");
        assert_eq!(pour(&front, &mut pipe), None, "{what}");
        assert_eq!(
            (pipe.bytes, front.stats().output_accepted),
            (b"output"[..].to_vec().into(), 0),
            "{what}"
        );
    }
}

#[test]
fn carried_input_and_a_replaced_rings_content_come_first() {
    let [old, new] = [splicing(true, PLENTY), splicing(true, PLENTY)];
    let chardev = old.chardev(None);
    let front = attached(&chardev);
    assert_eq!(front.next_event(), Some(Event::Opened));
    old.send(b"sent before");
    change(&chardev, &new, 2);
    new.send(b"sent after");
    let mut pipe = TestPipe::default();
    assert_eq!(fill(&front, &mut pipe), None);
    let mut buf = [0; 64];
    assert_eq!(front.read(&mut buf), 11);
    assert_eq!(&buf[..11], b"sent before");
    while front.next_event().is_some() {}
    assert_eq!(fill(&front, &mut pipe), Some(Poll::Ready(Input::Data(10))));
    assert_eq!(pipe.bytes, b"sent after");

    // A peer that takes nothing of what waits for it.
    let slow = splicing(false, 0);
    let chardev = ChardevRef::new("con1", BackendId(1), slow.backend(), Closed::History, None);
    let front = attached(&chardev);
    assert_eq!(front.write(b"kept"), 4);
    slow.open();
    chardev.with(|chardev| chardev.handle_ready(BackendId(1), Ready::WRITE));
    let mut pipe = TestPipe::of(b"later");
    assert_eq!(pour(&front, &mut pipe), None);
    slow.world().room = PLENTY;
    assert_eq!(pour(&front, &mut pipe), Some(Poll::Ready(5)));
    assert_eq!(slow.received(), "keptlater");
}

#[test]
fn what_is_poured_before_the_moment_of_a_change_is_the_old_ones() {
    let [peer, new] = [splicing(true, PLENTY), splicing(true, PLENTY)];
    let chardev = peer.chardev(None);
    let front = attached(&chardev);
    assert_eq!(front.next_event(), Some(Event::Opened));
    let change = Change::begin(&chardev).unwrap();
    let mut opened = new.as_new(2);
    let offer = change.offer(&mut opened).unwrap();
    let mut pipe = TestPipe::of(b"before");
    assert_eq!(pour(&front, &mut pipe), Some(Poll::Ready(6)));
    change.commit(offer, opened, Old::Retire).unwrap();
    let mut pipe = TestPipe::of(b"after");
    assert_eq!(pour(&front, &mut pipe), Some(Poll::Ready(5)));
    assert_eq!(
        (peer.received(), new.received()),
        ("before".to_owned(), "after".to_owned())
    );
}

/// What is kept, and what viewers see, is the same as if each piece had been written.
#[test]
fn the_scrollback_has_what_it_would_have_of_copies() {
    let mut rng = Rng(7);
    for kept in [0, 1, 13, 64, 5000] {
        let chardevs = [0, 1].map(|_| splicing(true, PLENTY).chardev(None));
        let fronts = chardevs.each_ref().map(attached);
        for chardev in &chardevs {
            chardev.with(|chardev| chardev.set_scrollback(kept));
        }
        let mut viewers = Vec::new();
        let mut sent: u64 = 0;
        for _ in 0..60 {
            let count = 1 + rng.below(60);
            let bytes: Vec<u8> = (sent..sent + count).map(|n| n as u8).collect();
            sent += count;
            assert_eq!(fronts[0].write(&bytes), bytes.len());
            let mut pipe = TestPipe::of(&bytes);
            assert_eq!(pour(&fronts[1], &mut pipe), Some(Poll::Ready(bytes.len())));
            let [copied, poured] = chardevs
                .each_ref()
                .map(|chardev| chardev.history(ViewFrom::Oldest, 1 << 16).unwrap());
            assert_eq!(copied, poured, "{kept} bytes are kept");
            if rng.one_in(20) {
                let from = chardevs
                    .each_ref()
                    .map(|one| one.view(ViewFrom::Oldest, Slow::Skip).unwrap());
                viewers.push(from);
            }
            for pair in &mut viewers {
                let seen = pair.each_mut().map(|viewer| {
                    let mut buf = [0; 4096];
                    let viewed = viewer.read(&mut buf);
                    let count = match viewed {
                        Some(Viewed::Data { count, .. }) => count,
                        _ => 0,
                    };
                    (viewed, buf[..count].to_vec())
                });
                assert_eq!(seen[0], seen[1], "{kept} bytes are kept");
            }
        }
        assert!(viewers.len() > 1, "somebody looked");
    }
}

#[test]
fn a_pipe_that_cannot_show_what_it_has_is_copied_for_who_looks() {
    let peer = splicing(true, PLENTY);
    let chardev = peer.chardev(None);
    let front = attached(&chardev);
    let mut pipe = TestPipe::of(b"seen");
    pipe.blind = true;
    assert_eq!(front.pours(), usize::MAX);
    let viewer = chardev.view(ViewFrom::Now, Slow::Skip).unwrap();
    assert_eq!(front.pours(), chardev_core::VIEWED_SCROLLBACK / 4);
    assert_eq!(pour(&front, &mut pipe), None);
    assert_eq!(pipe.bytes, b"seen");
    drop(viewer);
    assert_eq!(pour(&front, &mut pipe), Some(Poll::Ready(4)));
}

/// Two chardevs and a relay between them, while either is changed, comes and goes, is viewed and
/// stalls. What the sources were read, the targets have, in order, each byte once.
#[test]
fn a_relay_loses_nothing_whatever_becomes_of_its_ends() {
    let mut moved = 0;
    for seed in 0..400 {
        moved += Relayed::new(seed).run();
    }
    assert!(moved > 10_000, "{moved} bytes went without a copy");
}

/// One direction of a relay.
struct Relayed {
    rng: Rng,
    chardevs: [ChardevRef; 2],
    fronts: [FrontEnd; 2],
    /// All back ends so far, the newest last.
    sources: Vec<Peer>,
    targets: Vec<Peer>,
    sent: Vec<u8>,
    pipe: TestPipe,
    copy: Vec<u8>,
    id: u64,
}

impl Relayed {
    fn new(seed: u64) -> Self {
        let [source, target] = [splicing(true, 0), splicing(true, 30)];
        let chardevs = [&source, &target]
            .map(|peer| ChardevRef::new("con", BackendId(1), peer.backend(), Closed::Hold, None));
        Relayed {
            rng: Rng(seed),
            fronts: chardevs.each_ref().map(attached),
            chardevs,
            sources: vec![source],
            targets: vec![target],
            sent: Vec::new(),
            pipe: TestPipe::default(),
            copy: Vec::new(),
            id: 1,
        }
    }

    fn run(mut self) -> usize {
        for _ in 0..200 {
            match self.rng.below(12) {
                0..3 => self.send(),
                3..6 => self.relay(),
                6 => self.last_target().world().room += 1 + self.rng.below(60) as usize,
                7 => self.change(0),
                8 => self.change(1),
                9 => {
                    let target = self.last_target();
                    let present = target.world().present;
                    if present {
                        target.close()
                    } else {
                        target.open()
                    }
                    let id = BackendId(self.chardevs[1].with(|chardev| chardev.backend_id().0));
                    self.chardevs[1].with(|chardev| chardev.handle_ready(id, Ready::all()));
                }
                10 => {
                    let splices = self.rng.one_in(3);
                    self.last_target().world().splices = !splices;
                }
                _ => drop(self.chardevs[1].view(ViewFrom::Now, Slow::Skip)),
            }
        }
        self.last_target().world().room = PLENTY;
        if !self.last_target().world().present {
            self.last_target().open();
        }
        self.chardevs[1].with(|chardev| chardev.handle_ready(chardev.backend_id(), Ready::all()));
        for _ in 0..100 {
            self.relay();
        }
        let received: Vec<u8> = self
            .targets
            .iter()
            .flat_map(|peer| peer.world().received.clone())
            .collect();
        assert_eq!(received, self.sent, "seed {:?}", self.rng);
        let delivered = self.fronts[0].stats().input_delivered;
        let accepted = self.fronts[1].stats().output_accepted;
        assert_eq!(
            (delivered, accepted),
            (self.sent.len() as u64, self.sent.len() as u64)
        );
        self.targets.iter().map(|peer| peer.world().spliced).sum()
    }

    fn last_target(&self) -> Peer {
        self.targets.last().unwrap().clone()
    }

    fn send(&mut self) {
        let count = 1 + self.rng.below(40) as usize;
        let bytes: Vec<u8> = (self.sent.len()..)
            .take(count)
            .map(|n| (n % 251) as u8)
            .collect();
        self.sources.last().unwrap().send(&bytes);
        self.sent.extend(bytes);
    }

    fn change(&mut self, which: usize) {
        self.id += 1;
        let room = self.rng.below(60) as usize;
        let peer = splicing(true, room);
        peer.world().splices = !self.rng.one_in(4);
        change(&self.chardevs[which], &peer, self.id);
        [&mut self.sources, &mut self.targets][which].push(peer);
    }

    /// As the null modem does it: nothing is read while anything is in hand.
    fn relay(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        if !self.pipe.bytes.is_empty() && self.fronts[1].poll_pour(cx, &mut self.pipe).is_none() {
            self.copy.extend(self.pipe.bytes.drain(..));
        }
        let count = self.fronts[1].write(&self.copy);
        self.copy.drain(..count);
        while self.fronts[1].next_event().is_some() {}
        if !self.pipe.bytes.is_empty() || !self.copy.is_empty() {
            return;
        }
        let filled = self.fronts[0].poll_fill(cx, &mut self.pipe, 30);
        if filled.is_none() {
            let mut buf = [0; 30];
            if let Poll::Ready(Input::Data(count)) = self.fronts[0].poll_read(cx, &mut buf) {
                self.copy.extend(&buf[..count]);
            }
        }
    }
}
