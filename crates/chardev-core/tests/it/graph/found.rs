//! What the simulator of graphs found, each as the shortest script that shows it.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use chardev_core::{
    Backend, BackendId, Change, ChangeError, ChardevRef, Closed, DrainStep, Drainer, Event,
    FrontEnd, Hub, Link, LinkHooks, Mux, NewBackend, Old, Ready, Step, commit,
};

use super::Host;
use super::wire::Peer;

pub(super) fn chardev(label: &str, backend: Box<dyn Backend>) -> ChardevRef {
    ChardevRef::new(label, BackendId(1), backend, Closed::Discard, None)
}

pub(super) fn link(below: &ChardevRef) -> Link {
    let hooks = Arc::new(LinkHooks::default());
    Link::new(FrontEnd::attach(below, hooks.clone()).unwrap(), hooks)
}

pub(super) fn over(kind: &str, below: &ChardevRef) -> Box<dyn Backend> {
    let link = link(below);
    let waker = Waker::noop().clone();
    match kind {
        "mux" => Mux::new(link, 1, Arc::new(Host), waker).slot(),
        _ => Hub::new(vec![link], waker).backend(),
    }
}

pub(super) fn change(chardev: &ChardevRef, number: u64, backend: Box<dyn Backend>) -> Step {
    change_from(chardev, number, backend, Old::Retire)
}

pub(super) fn change_from(
    chardev: &ChardevRef,
    number: u64,
    backend: Box<dyn Backend>,
    old: Old,
) -> Step {
    let change = Change::begin(chardev).unwrap();
    let mut new = NewBackend::new(BackendId(number), backend);
    let offer = change.offer(&mut new).unwrap();
    Step::Change {
        change,
        offer,
        new,
        old,
    }
}

/// All input there is, and how many bytes of it the peer `number` sent.
pub(super) fn read_from(front: &FrontEnd, number: u8) -> usize {
    let mut buf = [0; 64];
    let mut total = 0;
    loop {
        let count = front.read(&mut buf);
        let is_its = |byte: &&u8| **byte >> 4 & 7 == number;
        total += buf[..count].iter().filter(is_its).count();
        if count == 0 && front.next_event().is_none() {
            return total;
        }
    }
}

pub(super) fn drain(mut drainers: Vec<Drainer>, peer: &Peer) {
    let mut now = Duration::ZERO;
    while !drainers.is_empty() && now < Duration::from_secs(20) {
        peer.arrive(now);
        drainers.retain_mut(|drainer| drainer.poll(now) != DrainStep::Done);
        now += Duration::from_millis(5);
    }
    assert!(drainers.is_empty());
}

/// A console on a base whose peer has sent 20 bytes.
fn console(kind: &str, latency: bool) -> (ChardevRef, ChardevRef, FrontEnd, Peer) {
    let peer = Peer::new(1, latency);
    let base = chardev("base", peer.backend());
    let top = chardev("top", over(kind, &base));
    let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
    peer.send(20, false, Duration::ZERO, 0);
    (base, top, front, peer)
}

#[test]
fn input_of_a_base_that_changes_with_what_rests_on_it_is_read() {
    for kind in ["mux", "hub"] {
        for latency in [false, true] {
            for base_first in [false, true] {
                let (base, top, front, peer) = console(kind, latency);
                let other = chardev("other", Peer::new(2, false).backend());
                let new_base = Peer::new(3, false);
                let mut steps = vec![
                    change(&base, 2, new_base.backend()),
                    change(&top, 2, over(kind, &other)),
                ];
                if !base_first {
                    steps.reverse();
                }
                let drainers = commit(steps).unwrap();
                new_base.send(7, false, Duration::ZERO, 0);
                drain(drainers, &peer);
                assert_eq!(read_from(&front, 1), 20, "{kind} {latency} {base_first}");
                // The base is free, and what its new peer sends is for whoever comes.
                let next = FrontEnd::attach(&base, Arc::new(())).unwrap();
                assert_eq!(read_from(&next, 3), 7);
            }
        }
    }
}

#[test]
fn input_of_a_base_that_still_settles_is_read_by_what_rested_on_it() {
    for kind in ["mux", "hub"] {
        let (base, top, front, peer) = console(kind, true);
        let mut drainers = commit(vec![change(&base, 2, Peer::new(3, false).backend())]).unwrap();
        let new_top = Peer::new(4, false);
        drainers.extend(commit(vec![change(&top, 2, new_top.backend())]).unwrap());
        new_top.send(5, false, Duration::ZERO, 0);
        assert_eq!(read_from(&front, 4), 0, "not before what was sent earlier");
        drain(drainers, &peer);
        let mut buf = [0; 64];
        let mut all = Vec::new();
        loop {
            let count = front.read(&mut buf);
            all.extend_from_slice(&buf[..count]);
            if count == 0 && front.next_event().is_none() {
                break;
            }
        }
        let numbers: Vec<u8> = all.iter().map(|byte| byte >> 4 & 7).collect();
        assert_eq!(numbers, [vec![1; 20], vec![4; 5]].concat(), "{kind}");
    }
}

/// All that comes, a break as `!`.
pub(super) fn text(front: &FrontEnd) -> String {
    let all = crate::rig::everything(front);
    let all = all.replace("<Break>", "!");
    let others = ["<Opened>", "<Closed>", "<Changed>", "<MuxIn>", "<MuxOut>"];
    let without = |all: String, event: &str| all.replace(event, "");
    others.into_iter().fold(all, without)
}

#[test]
fn a_break_on_its_way_to_what_is_replaced_keeps_its_place() {
    for kind in ["mux", "hub"] {
        let peer = Peer::new(1, true);
        let base = chardev("base", peer.backend());
        let top = chardev("top", over(kind, &base));
        let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
        // A multiplexer is asked for a break with keys, which are under way with the input.
        let (first, sent) = match kind {
            "mux" => ("ab!cd", &b"ab\x01bcd"[..]),
            _ => ("abcd", &b"abcd"[..]),
        };
        peer.send_untracked(sent, Duration::ZERO);
        let next = Peer::new(3, false);
        let mut drainers = commit(vec![change(&base, 2, next.backend())]).unwrap();
        next.send_break();
        base.with(|base| base.handle_ready(BackendId(2), Ready::READ));
        next.send_untracked(b"ef", Duration::ZERO);
        let new_top = Peer::new(4, false);
        drainers.extend(commit(vec![change(&top, 2, new_top.backend())]).unwrap());
        new_top.send_untracked(b"gh", Duration::ZERO);
        drain(drainers, &peer);
        assert_eq!(text(&front), format!("{first}!efgh"), "{kind}");
        for chardev in [&base, &top] {
            assert_eq!(chardev.with(|chardev| chardev.stats().breaks_dropped), 0);
        }
    }
}

#[test]
fn a_break_on_its_way_is_not_for_who_comes_to_the_base_next() {
    let (base, top, front, peer) = console("hub", true);
    let next = Peer::new(3, false);
    let mut drainers = commit(vec![change(&base, 2, next.backend())]).unwrap();
    next.send_break();
    base.with(|base| base.handle_ready(BackendId(2), Ready::READ));
    drainers.extend(commit(vec![change(&top, 2, Peer::new(4, false).backend())]).unwrap());
    let other = FrontEnd::attach(&base, Arc::new(())).unwrap();
    next.send_break();
    base.with(|base| base.handle_ready(BackendId(2), Ready::READ));
    next.send_untracked(b"mine", Duration::ZERO);
    drain(drainers, &peer);
    assert_eq!(text(&other), "!mine");
    let mut breaks = 0;
    loop {
        match front.next_event() {
            Some(event) => breaks += u32::from(event == Event::Break),
            None if front.read(&mut [0; 64]) == 0 => break,
            None => {}
        }
    }
    assert_eq!(breaks, 1);
}

#[test]
fn a_break_that_nobody_takes_is_counted() {
    let peer = Peer::new(1, false);
    let base = chardev("base", peer.backend());
    let dropped = || base.with(|base| base.stats().breaks_dropped);
    base.with(|base| base.send_break());
    assert_eq!(dropped(), 1);
    let front = FrontEnd::attach(&base, Arc::new(())).unwrap();
    base.with(|base| base.send_break());
    base.with(|base| base.send_break());
    assert_eq!(front.next_event(), Some(Event::Opened));
    assert_eq!(front.next_event(), Some(Event::Break));
    drop(front);
    assert_eq!(dropped(), 2);
}

#[test]
fn every_front_end_of_a_multiplexer_that_is_replaced_has_its_break() {
    let peer = Peer::new(1, false);
    let base = chardev("base", peer.backend());
    let mux = Mux::new(link(&base), 1, Arc::new(Host), Waker::noop().clone());
    let tops = ["first", "second"].map(|label| chardev(label, mux.slot()));
    let fronts = [0, 1].map(|at| FrontEnd::attach(&tops[at], Arc::new(())).unwrap());
    peer.send_break();
    let other = chardev("other", Peer::new(2, false).backend());
    let next = Mux::new(link(&other), 1, Arc::new(Host), Waker::noop().clone());
    let steps = [0, 1].map(|at| change(&tops[at], 3, next.slot()));
    commit(steps.into()).unwrap();
    for front in fronts {
        assert_eq!(text(&front), "!");
    }
}

#[test]
fn who_comes_to_a_base_together_with_what_is_added_over_it_is_shown() {
    for kind in ["mux", "hub"] {
        for open in [true, false] {
            let (before, after) = (Peer::new(1, false), Peer::new(2, false));
            let absent = if open { &before } else { &after };
            absent.come_or_go();
            let base = chardev("base", before.backend());
            let above = over(kind, &base);
            let top = ChardevRef::prepare("top", BackendId(1), above, Closed::Discard, None);
            let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
            let reservation = chardev_core::Registry::default().reserve("top").unwrap();
            let chardev = top.clone();
            let add = Step::Add {
                reservation,
                chardev,
            };
            commit(vec![add, change(&base, 2, after.backend())]).unwrap();
            if open {
                after.send_untracked(b"x", Duration::ZERO);
            }
            let expected = if open { "<Opened>x" } else { "" };
            let all = crate::rig::everything(&front);
            let all = all.replace("<Changed>", "").replace("<MuxIn>", "");
            assert_eq!(all.replace("<Opened><Closed>", ""), expected, "{kind}");
        }
    }
}

#[test]
fn two_chardevs_cannot_come_to_rest_on_one() {
    let base = chardev("base", Peer::new(1, false).backend());
    let first = chardev("first", over("mux", &base));
    let second = chardev("second", Peer::new(2, false).backend());
    let wanted = chardev_core::WantLink("base".to_owned());
    let lent = || {
        let lent = first.with(|first| first.lend(&wanted));
        *lent.unwrap().downcast::<Link>().unwrap()
    };
    let hub = || Hub::new(vec![lent()], Waker::noop().clone()).backend();
    let steps = vec![change(&first, 2, hub()), change(&second, 2, hub())];
    let refused = commit(steps).unwrap_err();
    assert_eq!(refused.step, 1);
    let expected = ChangeError::Refused {
        id: "second".to_owned(),
        reason: "chardev 'base' is already in use".to_owned(),
    };
    assert_eq!(refused.error, expected);
}

#[test]
fn what_a_replaced_back_end_still_reads_stays_in_order() {
    for kind in ["mux", "hub"] {
        let (first, second) = (Peer::new(1, true), Peer::new(2, true));
        let base = chardev("base", first.backend());
        let mid = chardev("mid", over(kind, &base));
        let top = chardev("top", over(kind, &mid));
        let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
        first.send_untracked(b"first", Duration::ZERO);
        let mut earlier = commit(vec![change(&base, 2, second.backend())]).unwrap();
        let wanted = chardev_core::WantLink("base".to_owned());
        let lent = mid.with(|mid| mid.lend(&wanted)).unwrap();
        let link = *lent.downcast::<Link>().unwrap();
        let next = Hub::new(vec![link], Waker::noop().clone()).backend();
        earlier.extend(commit(vec![change(&mid, 2, next)]).unwrap());
        second.send_untracked(b"second", Duration::ZERO);
        let mut later = commit(vec![change(&base, 3, Peer::new(3, false).backend())]).unwrap();
        later.extend(commit(vec![change(&top, 2, Peer::new(4, false).backend())]).unwrap());
        // What was sent first comes last.
        second.arrive(Duration::MAX);
        for now in [0, 100, 200].map(Duration::from_millis) {
            later.retain_mut(|drainer| drainer.poll(now) != DrainStep::Done);
        }
        assert_eq!(text(&front), "", "{kind}");
        earlier.extend(later);
        drain(earlier, &first);
        assert_eq!(text(&front), "firstsecond", "{kind}");
    }
}

#[test]
fn a_member_that_leaves_a_hub_leaves_what_is_still_on_its_way() {
    let peer = Peer::new(1, true);
    let base = chardev("base", peer.backend());
    let other = chardev("other", Peer::new(2, false).backend());
    let hub = Hub::new(vec![link(&base), link(&other)], Waker::noop().clone());
    let top = chardev("top", hub.backend());
    let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
    peer.send(20, false, Duration::ZERO, 0);
    let drainers = commit(vec![change(&base, 2, Peer::new(3, false).backend())]).unwrap();
    assert!(hub.remove("base"));
    let _next = FrontEnd::attach(&base, Arc::new(())).unwrap();
    drain(drainers, &peer);
    assert_eq!(read_from(&front, 1), 20);
}

#[test]
fn what_rests_on_each_other_is_not_deeper_than_a_stack_carries() {
    let test = || {
        let registry = chardev_core::Registry::default();
        let add = |label: &str, backend: Box<dyn Backend>| {
            let chardev = ChardevRef::prepare(label, BackendId(1), backend, Closed::Discard, None);
            let reservation = registry.reserve(label).unwrap();
            let added = commit(vec![Step::Add {
                reservation,
                chardev: chardev.clone(),
            }]);
            added.map(|_| chardev)
        };
        let peer = Peer::new(1, false);
        let base = add("c1", peer.backend()).unwrap();
        let mut top = base.clone();
        let mut depth = 1;
        let refused = loop {
            let label = format!("c{}", depth + 1);
            let kind = if depth % 2 == 0 { "mux" } else { "hub" };
            match add(&label, over(kind, &top)) {
                Ok(chardev) => top = chardev,
                Err(refused) => break refused,
            }
            depth += 1;
        };
        assert_eq!(depth, 32);
        assert_eq!(
            refused.error.to_string(),
            "chardev 'c33': more than 32 chardevs would be stacked on each other"
        );
        // Nor does the bottom become deeper.
        let deeper = over("mux", &add("under", Peer::new(2, false).backend()).unwrap());
        let refused = commit(vec![change(&base, 2, deeper)]).unwrap_err();
        assert!(refused.error.to_string().contains("stacked on each other"));
        let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
        peer.send(20, false, Duration::ZERO, 0);
        assert_eq!(read_from(&front, 1), 20);
        assert_eq!(front.write(b"through all"), 11);
        drop((front, top, registry));
    };
    // What a thread of the daemon has, or half of it.
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(test);
    thread.unwrap().join().unwrap();
}

#[test]
fn what_is_removed_takes_nothing_from_who_comes_to_its_base() {
    let peer = Peer::new(1, false);
    let base = chardev("base", peer.backend());
    let registry = chardev_core::Registry::default();
    let settling = Peer::new(2, true);
    let mid = chardev("mid", settling.backend());
    registry.reserve("mid").unwrap().fill(mid.clone());
    let top = chardev("top", Peer::new(3, false).backend());
    let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
    settling.send_untracked(b"to nobody", Duration::ZERO);
    let _drainers = commit(vec![change(&mid, 2, over("mux", &base))]).unwrap();
    peer.send_untracked(b"x", Duration::ZERO);
    let wanted = chardev_core::WantLink("base".to_owned());
    let lent = mid.with(|mid| mid.lend(&wanted)).unwrap();
    let hub = Hub::new(
        vec![*lent.downcast::<Link>().unwrap()],
        Waker::noop().clone(),
    );
    let removal = registry.begin_removal("mid").unwrap();
    commit(vec![change(&top, 2, hub.backend()), Step::Remove(removal)]).unwrap();
    assert_eq!(text(&front), "x");
}
