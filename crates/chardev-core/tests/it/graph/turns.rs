//! Input over what rests on others that is for those who were above it, one after the other.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use chardev_core::{DrainStep, FrontEnd, Hub, Mux, Registry, commit};

use super::Host;
use super::found::{change, chardev, drain, link, over, text};
use super::wire::Peer;

/// What each of `formers` that were above a hub reads, and the last, whose hub is replaced before
/// anything has come of the member at `late`, from whose peers input is on its way for long.
fn read_in_turn(kind: &str, formers: u64, late: usize) -> Vec<String> {
    let (mut slow, prompt) = (Peer::new(1, true), Peer::new(2, false));
    let members = [0, 1].map(|at| {
        let peer = if at == late { &slow } else { &prompt };
        chardev(&format!("m{at}"), peer.backend())
    });
    let hub = Hub::new(members.iter().map(link).collect(), Waker::noop().clone());
    let mid = chardev("mid", hub.backend());
    let (mut fronts, mut drainers, mut slow_ones) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..formers {
        let top = chardev("top", over(kind, &mid));
        fronts.push(FrontEnd::attach(&top, Arc::new(())).unwrap());
        slow.send_untracked(format!("s{turn}").as_bytes(), Duration::ZERO);
        prompt.send_untracked(format!("p{turn}").as_bytes(), Duration::ZERO);
        let next = Peer::new(1, true);
        let steps = vec![change(&members[late], 2 + turn, next.backend())];
        drainers.extend(commit(steps).unwrap());
        let steps = vec![change(&top, 9, Peer::new(4, false).backend())];
        drainers.extend(commit(steps).unwrap());
        slow_ones.push(std::mem::replace(&mut slow, next));
    }
    fronts.push(FrontEnd::attach(&mid, Arc::new(())).unwrap());
    prompt.send_untracked(format!("p{formers}").as_bytes(), Duration::ZERO);
    let steps = vec![change(&mid, 9, Peer::new(5, false).backend())];
    let mut last = commit(steps).unwrap();
    // The last drainer is asked before anything has come, too.
    last.retain_mut(|drainer| drainer.poll(Duration::ZERO) != DrainStep::Done);
    slow_ones.iter().for_each(|peer| peer.arrive(Duration::MAX));
    drainers.extend(last);
    drain(drainers, &prompt);
    fronts.iter().map(text).collect()
}

#[test]
fn what_comes_over_a_hub_that_is_replaced_is_for_those_to_whom_it_was_sent() {
    for kind in ["mux", "hub"] {
        for (formers, late) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
            let read = read_in_turn(kind, formers, late);
            for (turn, read) in (0..formers).zip(&read) {
                // Between members there is no order.
                let (slow, prompt) = (format!("s{turn}"), format!("p{turn}"));
                let orders = [format!("{slow}{prompt}"), format!("{prompt}{slow}")];
                assert!(orders.contains(read), "{turn} of {formers}: {read}, {kind}");
            }
            let last = format!("p{formers}");
            assert_eq!(read.last(), Some(&last), "{formers} {late} {kind}");
        }
    }
}

#[test]
fn what_was_above_a_hub_that_is_removed_has_its_input() {
    for kind in ["mux", "hub"] {
        let peer = Peer::new(1, true);
        let base = chardev("base", peer.backend());
        let mid = chardev("mid", over("hub", &base));
        let registry = Registry::default();
        registry.reserve("mid").unwrap().fill(mid.clone());
        let top = chardev("top", over(kind, &mid));
        let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
        peer.send_untracked(b"before", Duration::ZERO);
        let mut drainers = commit(vec![change(&base, 2, Peer::new(2, false).backend())]).unwrap();
        let steps = vec![change(&top, 2, Peer::new(3, false).backend())];
        drainers.extend(commit(steps).unwrap());
        drainers.extend(registry.remove("mid").unwrap());
        drain(drainers, &peer);
        assert_eq!(text(&front), "before", "{kind}");
    }
}

#[test]
fn where_nothing_is_on_its_way_what_comes_next_is_read_at_once() {
    for (kind, below) in [
        ("mux", "mux"),
        ("mux", "hub"),
        ("hub", "mux"),
        ("hub", "hub"),
    ] {
        let mid = chardev(
            "mid",
            over(below, &chardev("base", Peer::new(1, false).backend())),
        );
        let top = chardev("top", over(kind, &mid));
        let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
        let next = Peer::new(2, false);
        let _drainers = commit(vec![change(&top, 2, next.backend())]).unwrap();
        next.send_untracked(b"next", Duration::ZERO);
        assert_eq!(text(&front), "next", "{kind} over {below}");
    }
}

#[test]
fn who_was_above_a_front_end_that_loses_the_focus_waits_for_nothing_more() {
    for kind in ["mux", "hub"] {
        let peer = Peer::new(1, true);
        let base = chardev("base", peer.backend());
        let mux = Mux::new(link(&base), 1, Arc::new(Host), Waker::noop().clone());
        let [mid, other] = ["mid", "other"].map(|label| chardev(label, mux.slot()));
        let top = chardev("top", over(kind, &mid));
        let _front = FrontEnd::attach(&top, Arc::new(())).unwrap();
        peer.send_untracked(b"for the focus", Duration::ZERO);
        let drainers = commit(vec![change(&base, 2, Peer::new(2, false).backend())]).unwrap();
        let steps = vec![change(&top, 2, Peer::new(3, false).backend())];
        let mut drainer = commit(steps).unwrap().remove(0);
        assert_ne!(drainer.poll(Duration::ZERO), DrainStep::Done, "{kind}");
        let front = FrontEnd::attach(&other, Arc::new(())).unwrap();
        assert_eq!(drainer.poll(Duration::ZERO), DrainStep::Done, "{kind}");
        drain(drainers, &peer);
        assert_eq!(text(&front), "for the focus", "{kind}");
    }
}

#[test]
fn what_comes_over_a_multiplexer_that_is_replaced_is_for_those_to_whom_it_was_sent() {
    for kind in ["mux", "hub"] {
        let peers = [Peer::new(1, true), Peer::new(2, true)];
        let base = chardev("base", peers[0].backend());
        let mid = chardev("mid", over("mux", &base));
        let top = chardev("top", over(kind, &mid));
        let former = FrontEnd::attach(&top, Arc::new(())).unwrap();
        peers[0].send_untracked(b"first", Duration::ZERO);
        let mut drainers = commit(vec![change(&base, 2, peers[1].backend())]).unwrap();
        let steps = vec![change(&top, 2, Peer::new(3, false).backend())];
        drainers.extend(commit(steps).unwrap());
        let front = FrontEnd::attach(&mid, Arc::new(())).unwrap();
        peers[1].send_untracked(b"second", Duration::ZERO);
        let steps = vec![change(&base, 3, Peer::new(4, false).backend())];
        drainers.extend(commit(steps).unwrap());
        let steps = vec![change(&mid, 2, Peer::new(5, false).backend())];
        drainers.extend(commit(steps).unwrap());
        peers[1].arrive(Duration::MAX);
        drain(drainers, &peers[0]);
        assert_eq!(text(&former), "first", "{kind}");
        assert_eq!(text(&front), "second", "{kind}");
    }
}
