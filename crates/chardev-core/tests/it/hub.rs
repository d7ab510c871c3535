//! A hub: what each member gets, and what the front end sees of all.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use chardev_core::{
    Answer, BackendEvent, BackendId, Change, ChardevRef, Closed, DrainStep, Event, FrontEnd, Hub,
    Link, ModemLines, Mux, Old, Parity, Ready, SerialParams, WantLink,
};

use crate::rig::{NoClock, Peer, Woken, everything, link};

/// A hub over two peers.
struct HubRig {
    peers: [Peer; 2],
    members: [ChardevRef; 2],
    hub: Hub,
    chardev: ChardevRef,
    front: FrontEnd,
    woken: Arc<Woken>,
}

impl HubRig {
    fn new(present: [bool; 2], policy: [Closed; 2]) -> Self {
        let peers = present.map(|present| Peer::new(present, 99));
        let member = |at: usize| {
            let label = format!("m{at}");
            let backend = peers[at].backend();
            ChardevRef::new(
                label.as_str(),
                BackendId(at as u64 + 1),
                backend,
                policy[at],
                None,
            )
        };
        let members = [member(0), member(1)];
        let (woken, waker) = Woken::new();
        let hub = Hub::new(members.iter().map(link).collect(), waker);
        let chardev = ChardevRef::new("hub0", BackendId(9), hub.backend(), Closed::Discard, None);
        HubRig {
            front: FrontEnd::attach(&chardev, Arc::new(())).unwrap(),
            peers,
            members,
            hub,
            chardev,
            woken,
        }
    }

    fn settle(&self) {
        for (at, member) in self.members.iter().enumerate() {
            let id = BackendId(at as u64 + 1);
            member.with(|member| member.handle_ready(id, Ready::all()));
        }
        self.kick();
    }

    /// What the I/O thread would do once the hub has asked for it.
    fn kick(&self) {
        while self.woken.take() {
            self.hub.users().kick();
        }
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

/// A third chardev, to be a member.
fn third(present: bool) -> (Peer, ChardevRef) {
    let peer = Peer::new(present, 99);
    let chardev = ChardevRef::new("m2", BackendId(3), peer.backend(), Closed::Discard, None);
    (peer, chardev)
}

#[test]
fn a_slow_member_keeps_the_oldest_or_the_newest_as_its_policy_is() {
    const LIMIT: usize = 256 << 10;
    for (policy, kept, discarded, overwritten) in
        [(Closed::Discard, 0, 10, 0), (Closed::History, 10, 0, 10)]
    {
        let rig = HubRig::new([true, true], [policy, Closed::Discard]);
        rig.peers[0].world().room = 5;
        rig.peers[1].world().room = usize::MAX;
        let text: Vec<u8> = (0..LIMIT + 15).map(|at| (at % 251) as u8).collect();
        // The first five are taken, out of more than one buffer.
        let (a, rest) = text.split_at(3);
        let (b, c) = rest.split_at(4);
        let bufs = [a, b, c].map(IoSlice::new);
        assert_eq!(rig.front.write_vectored(&bufs), text.len());
        let stats = rig.members[0].with(|member| member.stats());
        assert_eq!(stats.output_discarded, discarded, "{policy:?}");
        assert_eq!(stats.output_overwritten, overwritten, "{policy:?}");
        rig.peers[0].world().room = usize::MAX;
        rig.settle();
        let expected = [&text[..5], &text[5 + kept..5 + kept + LIMIT]].concat();
        assert!(rig.peers[0].world().received == expected, "{policy:?}");
        assert!(rig.peers[1].world().received == text, "{policy:?}");
        let stats = rig.members[0].with(|member| member.stats());
        assert_eq!(stats.output_accepted, text.len() as u64);
    }
}

#[test]
fn whoever_waits_is_woken_by_what_a_member_brings() {
    let rig = HubRig::new([true, true], [Closed::Discard; 2]);
    everything(&rig.front);
    let (woken, waker) = Woken::new();
    rig.front.set_waker(Ready::READ, &waker);
    for at in [0, 1] {
        woken.take();
        rig.peers[at].send(b"x");
        rig.settle();
        assert!(woken.take(), "member {at}");
        assert_eq!(everything(&rig.front), "x");
    }
    // Those that join and leave later too.
    let (peer, chardev) = third(true);
    rig.hub.add(link(&chardev)).unwrap();
    rig.kick();
    assert_eq!(rig.hub.labels(), ["m0", "m1", "m2"]);
    woken.take();
    peer.send(b"y");
    chardev.with(|chardev| chardev.handle_ready(BackendId(3), Ready::all()));
    rig.kick();
    assert!(woken.take());
    assert_eq!(everything(&rig.front), "y");
    peer.send(b"z");
    assert!(rig.hub.remove("m2"));
    rig.kick();
    assert!(woken.take());
    assert_eq!(everything(&rig.front), "z");
    assert_eq!(rig.hub.labels(), ["m0", "m1"]);
}

#[test]
fn a_member_that_joins_opens_the_hub_if_it_is_the_first_with_a_peer() {
    for (others, joins, seen) in [
        ([false, false], true, "<Opened>"),
        ([false, false], false, ""),
        ([false, true], true, ""),
        ([true, false], false, ""),
    ] {
        let rig = HubRig::new(others, [Closed::Discard; 2]);
        everything(&rig.front);
        let (_peer, chardev) = third(joins);
        rig.hub.add(link(&chardev)).unwrap();
        rig.kick();
        assert_eq!(everything(&rig.front), seen, "{others:?} {joins}");
        assert_eq!(rig.front.is_open(), joins || others.contains(&true));
    }
}

#[test]
fn no_member_may_make_the_hub_rest_on_itself_or_on_too_many() {
    let rig = HubRig::new([true, true], [Closed::Discard; 2]);
    let (_peer, bottom) = third(true);
    let mut top = bottom.clone();
    let mut grow = |id: u64| {
        let hub = Hub::new(vec![link(&top)], std::task::Waker::noop().clone());
        top = ChardevRef::new("tower", BackendId(id), hub.backend(), Closed::Discard, None);
        top.clone()
    };
    // With the hub itself there are 32.
    let tower = (4..34).map(&mut grow).last().unwrap();
    let highest = grow(34);
    let refused = rig.hub.add(link(&highest)).unwrap_err().to_string();
    assert!(
        refused.contains("'tower' cannot be a member: more than 32"),
        "{refused}"
    );
    drop((tower, highest));

    drop(rig.front);
    let refused = rig.hub.add(link(&rig.chardev)).unwrap_err().to_string();
    assert_eq!(
        refused,
        "chardev 'hub0' cannot be a member: it would create a cycle"
    );
    assert_eq!(rig.hub.labels(), ["m0", "m1"]);
}

const PARAMS: SerialParams = SerialParams {
    speed: 9600,
    parity: Parity::None,
    data_bits: 8,
    stop_bits: 1,
};

#[test]
fn what_a_hub_answers_is_the_best_that_a_member_did() {
    use Answer::{Done, Failed, Unsupported};
    for (members, answer) in [
        ([Unsupported, Done], Done),
        ([Done, Unsupported], Done),
        ([Failed, Done], Done),
        ([Done, Failed], Done),
        ([Failed, Unsupported], Failed),
        ([Unsupported, Failed], Failed),
        ([Unsupported, Unsupported], Unsupported),
    ] {
        let rig = HubRig::new([true, true], [Closed::Discard; 2]);
        for (peer, member) in rig.peers.iter().zip(members) {
            let mut world = peer.world();
            world.serial = (member != Unsupported).then(ModemLines::empty);
            world.fails = member == Failed;
        }
        assert_eq!(rig.front.set_serial(PARAMS), answer, "{members:?}");
    }
}

#[test]
fn a_hub_can_what_one_of_its_members_can() {
    for able in 0..3 {
        let rig = HubRig::new([true, true], [Closed::Discard; 2]);
        if let Some(peer) = rig.peers.get(able) {
            peer.world().serial = Some(ModemLines::CTS);
        }
        let (answer, inputs) = match able {
            2 => (Answer::Unsupported, None),
            _ => (Answer::Done, Some(ModemLines::CTS)),
        };
        assert_eq!(rig.front.set_serial(PARAMS), answer, "member {able}");
        assert_eq!(rig.front.modem_inputs(), inputs, "member {able}");
        rig.front.disconnect();
        for peer in &rig.peers {
            assert_eq!(peer.world().line.serial, Some(PARAMS));
            assert!(peer.world().disconnected);
        }
        // A member that joins is set up as the others are.
        let (peer, chardev) = third(true);
        rig.hub.add(link(&chardev)).unwrap();
        assert_eq!(peer.world().line.serial, Some(PARAMS));
    }
}

#[test]
fn members_take_turns_at_being_read() {
    let rig = HubRig::new([true, true], [Closed::Discard; 2]);
    everything(&rig.front);
    rig.peers[0].send(b"aaaaaa");
    rig.peers[1].send(b"bbbbbb");
    rig.settle();
    let read = |_| {
        let mut buf = [0; 2];
        assert_eq!(rig.front.read(&mut buf), 2);
        String::from_utf8(buf.to_vec()).unwrap()
    };
    let seen: Vec<_> = (0..6).map(read).collect();
    assert_eq!(seen, ["aa", "bb", "aa", "bb", "aa", "bb"]);
}

#[test]
fn what_a_member_tells_stands_where_it_stood_in_its_input() {
    let rig = HubRig::new([true, true], [Closed::Discard; 2]);
    everything(&rig.front);
    let (cols, rows) = (80, 25);
    let size = chardev_core::TerminalSize { cols, rows };
    let tell = |event| rig.peers[0].world().events.push_back(event);
    tell(BackendEvent::Break);
    tell(BackendEvent::Resized(size));
    rig.settle();
    rig.peers[0].send(b"after");
    // Nobody has to read for it.
    assert_eq!(rig.front.next_event(), Some(Event::Break));
    assert_eq!(
        everything(&rig.front),
        "<Resized(TerminalSize { cols: 80, rows: 25 })>after"
    );
    let (new, change) = (Peer::new(true, 99), Change::begin(&rig.members[0]).unwrap());
    let mut next = new.as_new(20);
    let offer = change.offer(&mut next).unwrap();
    rig.peers[0].send(b"old ");
    change.commit(offer, next, Old::Retire).unwrap();
    new.send(b"new");
    rig.settle();
    assert_eq!(everything(&rig.front), "old <Changed>new");
}

#[test]
fn a_hub_gives_way_to_another_over_the_same_members() {
    let rig = HubRig::new([true, false], [Closed::Discard; 2]);
    everything(&rig.front);
    let lent = |label: &str| {
        let wanted = WantLink(label.to_owned());
        let lent = rig.chardev.with(|chardev| chardev.lend(&wanted))?;
        Some(*lent.downcast::<Link>().unwrap())
    };
    assert!(lent("another").is_none());
    let links = vec![lent("m1").unwrap(), lent("m0").unwrap()];
    let next = Hub::new(links, std::task::Waker::noop().clone());
    let change = Change::begin(&rig.chardev).unwrap();
    let mut new = chardev_core::NewBackend::new(BackendId(10), next.backend());
    let offer = change.offer(&mut new).unwrap();
    // The old one still takes what its members tell.
    rig.peers[0].close();
    rig.settle();
    change.commit(offer, new, Old::Retire).unwrap();
    assert_eq!(next.labels(), ["m1", "m0"]);
    assert_eq!(
        (next.users().all().len(), rig.hub.users().all().len()),
        (1, 0)
    );
    assert_eq!(everything(&rig.front), "<Closed><Changed>");
    assert!(!rig.front.is_open());
    rig.peers[1].open();
    rig.peers[1].send(b"input");
    next.users().kick();
    assert_eq!(everything(&rig.front), "<Opened>input");
    assert!(rig.chardev.rests_on(&rig.members[0]) && !rig.members[0].rests_on(&rig.chardev));
    let shown = rig.chardev.with(|hub| (hub.kind(), hub.filename()));
    assert_eq!(shown, ("hub", "hub".to_owned()));
    let labels = rig.chardev.with(|hub| hub.hub().map(Hub::labels));
    assert_eq!(labels, Some(next.labels()));
}

#[test]
fn with_nobody_there_a_member_that_keeps_output_gets_it() {
    for (policies, discarded, kept) in [
        ([Closed::Discard, Closed::Discard], 4, ""),
        ([Closed::Discard, Closed::Hold], 0, "text"),
        ([Closed::History, Closed::Discard], 0, "text"),
    ] {
        let rig = HubRig::new([false, false], policies);
        assert_eq!(rig.front.write(b"text"), 4);
        assert_eq!(
            rig.front.stats().output_discarded,
            discarded,
            "{policies:?}"
        );
        rig.peers.iter().for_each(Peer::open);
        rig.settle();
        let received = rig.peers.each_ref().map(Peer::received).concat();
        assert_eq!(received, kept, "{policies:?}");
    }
}

#[test]
fn where_nothing_is_under_way_nothing_is_waited_for_when_something_above_changes() {
    let rig = HubRig::new([true, true], [Closed::Discard; 2]);
    drop(rig.front);
    let waker = std::task::Waker::noop().clone();
    let mux = Mux::new(link(&rig.chardev), 1, Arc::new(NoClock), waker);
    let top = ChardevRef::new("top", BackendId(20), mux.slot(), Closed::Discard, None);
    let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
    everything(&front);
    let new = Peer::new(true, 99);
    let change = Change::begin(&top).unwrap();
    let mut next = new.as_new(30);
    let offer = change.offer(&mut next).unwrap();
    rig.peers[0].send(b"old ");
    // Nobody looks at what is left of the old one.
    let _drainers = change.commit(offer, next, Old::Retire).unwrap();
    new.send(b"new");
    assert_eq!(everything(&front), "old <Changed>new");
}

#[test]
fn nobody_waits_for_a_member_that_joins_while_something_is_under_way() {
    let rig = HubRig::new([true, true], [Closed::Discard; 2]);
    drop(rig.front);
    let waker = std::task::Waker::noop().clone();
    let mux = Mux::new(link(&rig.chardev), 1, Arc::new(NoClock), waker);
    let top = ChardevRef::new("top", BackendId(20), mux.slot(), Closed::Discard, None);
    let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
    everything(&front);
    let replace = |chardev: &ChardevRef, new: &Peer, id| {
        let change = Change::begin(chardev).unwrap();
        let mut next = new.as_new(id);
        let offer = change.offer(&mut next).unwrap();
        change.commit(offer, next, Old::Retire).unwrap()
    };
    rig.peers[0].world().settles = true;
    let mut settling = replace(&rig.members[0], &Peer::new(true, 99), 21);
    let new = Peer::new(true, 99);
    let mut left = replace(&top, &new, 30);
    new.send(b"new");
    let (_peer, chardev) = third(true);
    rig.hub.add(link(&chardev)).unwrap();
    assert_eq!(everything(&front), "");
    for drainer in settling.iter_mut().chain(&mut left) {
        let ends = |at| drainer.poll(Duration::from_millis(at)) == DrainStep::Done;
        assert!((0..1000).any(ends));
    }
    assert_eq!(everything(&front), "<Changed>new");
}

#[test]
fn all_is_read_that_members_had_who_left_together() {
    for (had, seen) in [
        (["one ", "two "], "one two <Closed>"),
        (["!", "!"], "<Break><Break><Closed>"),
        (["!", "two "], "<Break>two <Closed>"),
        (["one ", "!"], "one <Break><Closed>"),
    ] {
        let rig = HubRig::new([true, true], [Closed::Discard; 2]);
        everything(&rig.front);
        for (peer, had) in rig.peers.iter().zip(had) {
            match had {
                "!" => peer.world().events.push_back(BackendEvent::Break),
                text => peer.send(text.as_bytes()),
            }
        }
        assert!(rig.hub.remove("m0") && rig.hub.remove("m1"));
        rig.kick();
        assert_eq!(everything(&rig.front), seen);
    }
}
