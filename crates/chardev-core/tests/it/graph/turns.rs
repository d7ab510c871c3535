//! Input over what rests on others that is for those who were above it, one after the other.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use chardev_core::{DrainStep, FrontEnd, Hub, Registry, commit};

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
