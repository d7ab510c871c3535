//! Multiplexers, hubs and transactions: who gets which bytes, and what is all or nothing.

use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use chardev_core::{
    BackendId, Change, ChardevRef, Closed, FrontEnd, Hub, Link, LinkHooks, Mux, MuxHost,
    NewBackend, Old, PolicyChange, Registry, Step, Users, commit,
};

use crate::rig::{Peer, Woken, everything};

/// A host with a clock that the test sets.
#[derive(Default)]
struct Host {
    now: Mutex<Duration>,
    quit: Mutex<bool>,
}

impl MuxHost for Host {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn quit(&self) {
        *self.quit.lock().unwrap() = true;
    }
}

fn link(chardev: &ChardevRef) -> Link {
    let hooks = Arc::new(LinkHooks::default());
    let front = FrontEnd::attach(chardev, Arc::clone(&hooks) as _).unwrap();
    Link::new(front, hooks)
}

/// Two front ends over one peer.
struct MuxRig {
    peer: Peer,
    base: ChardevRef,
    host: Arc<Host>,
    users: Users,
    mux: Mux,
    first: FrontEnd,
    second: FrontEnd,
    woken: Arc<Woken>,
}

impl MuxRig {
    fn new() -> Self {
        let peer = Peer::new(true, 9999);
        let base = peer.chardev(None);
        let host = Arc::new(Host::default());
        let (woken, waker) = Woken::new();
        let mux = Mux::new(link(&base), 1, Arc::clone(&host) as _, waker);
        let front = |id| {
            let chardev = ChardevRef::new("mux0", BackendId(id), mux.slot(), Closed::Discard, None);
            FrontEnd::attach(&chardev, Arc::new(())).unwrap()
        };
        MuxRig {
            first: front(10),
            second: front(11),
            users: mux.users().clone(),
            peer,
            base,
            host,
            mux,
            woken,
        }
    }

    /// What the I/O thread would do: look at everything until nobody is woken any more.
    fn settle(&self) {
        self.base
            .with(|base| base.handle_ready(BackendId(1), chardev_core::Ready::all()));
        while self.woken.take() {
            self.users.kick();
        }
    }

    fn types(&self, keys: &str) {
        self.peer.send(keys.as_bytes());
        self.settle();
    }
}

#[test]
fn keys_go_to_the_focus_and_the_escape_moves_it() {
    for (keys, first, second) in [
        ("ab", "<Opened><MuxIn><MuxOut>", "<Opened><MuxIn>ab"),
        (
            "a\u{1}cb",
            "<Opened><MuxIn><MuxOut><MuxIn>b",
            "<Opened><MuxIn>a<MuxOut>",
        ),
        (
            "a\u{1}cb\u{1}cd",
            "<Opened><MuxIn><MuxOut><MuxIn>b<MuxOut>",
            "<Opened><MuxIn>a<MuxOut><MuxIn>d",
        ),
        (
            "\u{1}b",
            "<Opened><MuxIn><MuxOut>",
            "<Opened><MuxIn><Break>",
        ),
        (
            "\u{1}\u{1}",
            "<Opened><MuxIn><MuxOut>",
            "<Opened><MuxIn>\u{1}",
        ),
        ("\u{1}zq", "<Opened><MuxIn><MuxOut>", "<Opened><MuxIn>q"),
    ] {
        let rig = MuxRig::new();
        rig.types(keys);
        assert_eq!(everything(&rig.first), first, "{keys:?}");
        assert_eq!(everything(&rig.second), second, "{keys:?}");
    }
}

#[test]
fn a_tower_of_multiplexers_asks_once_for_input() {
    let peer = Peer::new(true, 9999);
    let mut top = peer.chardev(None);
    for id in 10..20 {
        let (host, waker) = (Arc::new(Host::default()), Waker::noop().clone());
        let mux = Mux::new(link(&top), 1, host, waker);
        top = ChardevRef::new("mux0", BackendId(id), mux.slot(), Closed::Discard, None);
    }
    let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
    everything(&front);
    for (sent, came) in [("", ""), ("abc", "abc")] {
        peer.send(sent.as_bytes());
        peer.world().asked = 0;
        let mut buf = [0; 16];
        let count = front.read(&mut buf);
        assert_eq!(&buf[..count], came.as_bytes());
        let asked = peer.world().asked;
        assert_eq!(asked, 1, "{sent:?}");
    }
}

#[test]
fn output_of_all_is_passed_on_and_stamped_when_asked() {
    let rig = MuxRig::new();
    assert_eq!(rig.first.write(b"one\n"), 4);
    assert_eq!(rig.second.write(b"two"), 3);
    rig.types("\u{1}t");
    assert_eq!(rig.first.write(b"!\nthree\n"), 8);
    *rig.host.now.lock().unwrap() = Duration::from_millis(3_723_004);
    assert_eq!(rig.second.write(b"four"), 4);
    assert_eq!(
        rig.peer.received(),
        "one\ntwo!\n[00:00:00.000] three\n[01:02:03.004] four"
    );
    rig.types("\u{1}x");
    assert!(*rig.host.quit.lock().unwrap());
    rig.types("\u{1}h");
    assert!(rig.peer.received().contains("C-a x"));
}

#[test]
fn comings_and_goings_reach_all_and_a_chardev_below_may_change() {
    let rig = MuxRig::new();
    everything(&rig.first);
    everything(&rig.second);
    rig.peer.send(b"last words");
    rig.peer.close();
    rig.settle();
    assert_eq!(everything(&rig.first), "<Closed>");
    assert_eq!(everything(&rig.second), "last words<Closed>");

    let next = Peer::new(true, 99);
    let change = Change::begin(&rig.base).unwrap();
    let mut new = next.as_new(2);
    let offer = change.offer(&mut new).unwrap();
    change.commit(offer, new, Old::Retire).unwrap();
    rig.settle();
    assert_eq!(everything(&rig.first), "<Changed><Opened>");
    assert_eq!(everything(&rig.second), "<Changed><Opened>");
    assert_eq!(rig.second.write(b"hello"), 5);
    assert_eq!(next.received(), "hello");
}

#[test]
fn when_the_focused_one_leaves_another_has_the_focus() {
    let rig = MuxRig::new();
    assert_eq!(rig.mux.attached(), 2);
    everything(&rig.first);
    drop(rig.second);
    rig.peer.send(b"to whoever is left");
    rig.users.kick();
    assert_eq!(everything(&rig.first), "<MuxIn>to whoever is left");
    assert_eq!(rig.mux.attached(), 1);
}

#[test]
fn a_slow_front_end_holds_its_peer_back() {
    let rig = MuxRig::new();
    rig.peer.send(&[b'#'; 100_000]);
    rig.settle();
    assert!(rig.peer.world().to_read.len() > 90_000);
    assert_eq!(everything(&rig.second).matches('#').count(), 100_000);
}

/// A hub over two peers.
struct HubRig {
    peers: [Peer; 2],
    members: [ChardevRef; 2],
    hub: Hub,
    chardev: ChardevRef,
    front: FrontEnd,
}

impl HubRig {
    fn new(present: [bool; 2], policy: [Closed; 2]) -> Self {
        let peers = present.map(|present| Peer::new(present, 99));
        let member = |at: usize| {
            let label = format!("m{at}");
            let backend = peers[at].backend();
            ChardevRef::new(&label, BackendId(at as u64 + 1), backend, policy[at], None)
        };
        let members = [member(0), member(1)];
        let hub = Hub::new(members.iter().map(link).collect(), Waker::noop().clone());
        let chardev = ChardevRef::new("hub0", BackendId(9), hub.backend(), Closed::Discard, None);
        HubRig {
            front: FrontEnd::attach(&chardev, Arc::new(())).unwrap(),
            peers,
            members,
            hub,
            chardev,
        }
    }

    fn settle(&self) {
        for (at, member) in self.members.iter().enumerate() {
            let id = BackendId(at as u64 + 1);
            member.with(|member| member.handle_ready(id, chardev_core::Ready::all()));
        }
        self.hub.users().kick();
    }
}

#[test]
fn a_slow_member_delays_nobody_and_gets_everything_later() {
    let rig = HubRig::new([true, true], [Closed::Discard; 2]);
    rig.peers[0].world().room = 2;
    assert_eq!(rig.front.write(b"abcdef"), 6);
    assert_eq!(rig.front.write(b"ghi"), 3);
    assert_eq!(rig.peers[1].received(), "abcdefghi");
    assert_eq!(rig.peers[0].received(), "ab");
    rig.peers[0].world().room = 99;
    rig.settle();
    assert_eq!(rig.peers[0].received(), "abcdefghi");
    // Beyond the limit its own policy decides, and the drop is counted.
    rig.peers[0].world().room = 0;
    rig.peers[1].world().room = usize::MAX;
    for _ in 0..100 {
        assert_eq!(rig.front.write(&[b'z'; 10_000]), 10_000);
    }
    let dropped = rig.members[0].with(|member| member.stats().output_discarded);
    assert!(dropped > 0 && dropped < 1_000_000, "{dropped}");
    assert_eq!(rig.peers[1].world().received.len(), 1_000_009);
}

#[test]
fn a_member_that_holds_is_waited_for() {
    let rig = HubRig::new([true, true], [Closed::Hold, Closed::Discard]);
    rig.peers[0].world().room = 0;
    rig.peers[1].world().room = usize::MAX;
    let mut taken = 0;
    for _ in 0..100 {
        taken += rig.front.write(&[b'z'; 10_000]);
    }
    assert!(taken < 1_000_000);
    assert_eq!(rig.peers[1].world().received.len(), taken);
    rig.peers[0].world().room = usize::MAX;
    rig.settle();
    assert_eq!(rig.peers[0].world().received.len(), taken);
    assert_eq!(rig.front.write(b"on"), 2);
}

#[test]
fn input_of_all_members_is_read_and_the_first_opens_and_the_last_closes() {
    let rig = HubRig::new([false, false], [Closed::Discard; 2]);
    assert_eq!(everything(&rig.front), "");
    assert_eq!(rig.front.write(b"nobody"), 6);
    assert_eq!(rig.chardev.with(|hub| hub.stats().output_discarded), 6);
    rig.peers[1].open();
    rig.settle();
    rig.peers[0].open();
    rig.settle();
    rig.peers[0].send(b"A");
    rig.peers[1].send(b"B");
    rig.settle();
    let seen = everything(&rig.front);
    assert!(seen == "<Opened>AB" || seen == "<Opened>BA", "{seen}");
    rig.peers[1].close();
    rig.settle();
    assert_eq!(everything(&rig.front), "");
    rig.peers[0].close();
    rig.settle();
    assert_eq!(everything(&rig.front), "<Closed>");
}

#[test]
fn members_come_and_go() {
    let rig = HubRig::new([true, true], [Closed::Discard; 2]);
    let third = Peer::new(true, 99);
    let chardev = ChardevRef::new("m2", BackendId(3), third.backend(), Closed::Discard, None);
    assert_eq!(rig.front.write(b"two "), 4);
    rig.hub.add(link(&chardev)).unwrap();
    assert_eq!(rig.front.write(b"three "), 6);
    rig.peers[0].send(b"sent before it left");
    assert!(rig.hub.remove("m0") && !rig.hub.remove("m0"));
    assert_eq!(rig.front.write(b"two again"), 9);
    rig.settle();
    assert_eq!(rig.peers[0].received(), "two three ");
    assert_eq!(rig.peers[1].received(), "two three two again");
    assert_eq!(third.received(), "three two again");
    assert!(everything(&rig.front).contains("sent before it left"));
    assert!(FrontEnd::attach(&rig.members[0], Arc::new(())).is_ok());
}

#[test]
fn history_is_replayed_to_the_next_peer_without_a_seam() {
    let peer = Peer::new(false, 10_000);
    let chardev = peer.chardev(None);
    chardev.with(|chardev| {
        chardev.set_policy(PolicyChange {
            closed: Some(Closed::History),
            history: Some(8),
            ..PolicyChange::default()
        });
    });
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    assert_eq!(front.write(b"0123456789ab"), 12);
    assert_eq!(front.stats().output_overwritten, 4);
    peer.open();
    assert_eq!(front.write(b"cd"), 2);
    chardev.with(|chardev| chardev.handle_ready(BackendId(1), chardev_core::Ready::all()));
    assert_eq!(front.write(b"ef"), 2);
    assert_eq!(peer.received(), "456789abcdef");
    let stats = front.stats();
    assert_eq!(
        stats.output_accepted,
        stats.output_delivered + stats.output_overwritten
    );
}

#[test]
fn steps_of_a_transaction_happen_together_or_not_at_all() {
    for fails in [false, true] {
        let olds = [Peer::new(true, 99), Peer::new(true, 99)];
        let news = [Peer::new(true, 99), Peer::new(true, 99)];
        news[1].world().fail_activate = fails;
        let registry = Registry::default();
        let chardevs: Vec<_> = (0..2)
            .map(|at| {
                let id = ["a", "b"][at];
                let chardev = ChardevRef::new(
                    id,
                    BackendId(at as u64 + 1),
                    olds[at].backend(),
                    Closed::Discard,
                    None,
                );
                registry.reserve(id).unwrap().fill(chardev.clone());
                chardev
            })
            .collect();
        let fronts: Vec<_> = chardevs
            .iter()
            .map(|chardev| FrontEnd::attach(chardev, Arc::new(())).unwrap())
            .collect();
        let step = |at: usize| {
            let change = Change::begin(&chardevs[at]).unwrap();
            let mut new: NewBackend = news[at].as_new(at as u64 + 10);
            let offer = change.offer(&mut new).unwrap();
            Step::Change {
                change,
                offer,
                new,
                old: Old::Retire,
            }
        };
        let added = Peer::new(true, 99);
        let third = ChardevRef::prepare("c", BackendId(30), added.backend(), Closed::Discard, None);
        let add = Step::Add {
            reservation: registry.reserve("c").unwrap(),
            chardev: third,
        };
        let outcome = commit(vec![step(0), add, step(1)]);
        for front in &fronts {
            assert_eq!(front.write(b"x"), 1);
        }
        let received = |peers: &[Peer]| peers.iter().map(Peer::received).collect::<String>();
        if fails {
            assert_eq!(outcome.unwrap_err().step, 2);
            assert_eq!((received(&olds), received(&news)), ("xx".into(), "".into()));
            assert!(registry.get("c").is_none() && !olds[0].world().retired);
            assert_eq!(everything(&fronts[0]), "<Opened>");
        } else {
            assert_eq!(outcome.unwrap().len(), 2);
            assert_eq!((received(&olds), received(&news)), ("".into(), "xx".into()));
            assert!(registry.get("c").is_some());
            assert_eq!(everything(&fronts[0]), "<Opened><Changed>");
        }
    }
}
