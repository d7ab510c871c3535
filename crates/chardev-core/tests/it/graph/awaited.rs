//! When what is on its way through a back end that was set aside is fetched, and how much of it.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use chardev_core::{
    BackendEvent, CARRY_LIMIT, DrainStep, FrontEnd, Notice, Observed, Ready, Registry, commit,
};

use super::found::{change, chardev, drain, over, read_from, text};
use super::returns::{Reader, leave, set_aside, under_way};
use super::wire::Peer;
use crate::rig::{self, Woken};

#[test]
fn who_waits_for_it_is_woken_only_when_it_comes() {
    for kind in ["mux", "hub"] {
        let mut under = under_way(kind, Reader::Itself, b"before");
        assert_eq!(text(&under.front), "");
        let (woken, waker) = Woken::new();
        under.front.set_waker(Ready::READ, &waker);
        woken.take();
        let mut poll = |now| {
            for drainer in &mut under.drainers {
                assert_ne!(drainer.poll(now), DrainStep::Done);
            }
        };
        (0..30).map(Duration::from_millis).for_each(&mut poll);
        assert_eq!(woken.count(), 0, "{kind}");
        drain(under.drainers, &under.peer);
        assert!(woken.take(), "{kind}");
    }
}

#[test]
fn one_look_fetches_all_that_has_come() {
    for (kind, returns) in [("mux", false), ("hub", false), ("mux", true), ("hub", true)] {
        let mut under = under_way(kind, Reader::Itself, b"before");
        if returns {
            leave(&under.mid, &under.temporary);
        }
        under.peer.arrive(Duration::MAX);
        for drainer in &mut under.drainers {
            assert_eq!(drainer.poll(Duration::ZERO), DrainStep::Done, "{kind}");
        }
        assert_eq!(text(&under.front), "before", "{kind}");
    }
}

#[test]
fn it_is_waited_for_however_long_it_takes() {
    for kind in ["mux", "hub"] {
        let mut under = under_way(kind, Reader::Itself, b"be");
        // Longer than a silent peer of a socket is waited for.
        under
            .peer
            .send_untracked(b"fore", Duration::from_millis(30));
        under.temporary.send_untracked(b"meanwhile", Duration::ZERO);
        drain(std::mem::take(&mut under.drainers), &under.peer);
        assert_eq!(text(&under.front), "beforemeanwhile", "{kind}");
    }
}

#[test]
fn who_comes_next_does_not_read_what_a_former_reader_waits_for() {
    for kind in ["mux", "hub"] {
        let (peer, new_base, temporary) =
            (Peer::new(1, true), Peer::new(3, false), Peer::new(5, false));
        let base = chardev("base", peer.backend());
        let mid = chardev("mid", over(kind, &base));
        let top = chardev("top", over(kind, &mid));
        let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
        peer.send_untracked(b"before", Duration::ZERO);
        let mut drainers = commit(vec![change(&base, 2, new_base.backend())]).unwrap();
        drainers.extend(set_aside(&mid, 3, &temporary));
        drainers.extend(commit(vec![change(&top, 2, Peer::new(4, false).backend())]).unwrap());
        leave(&mid, &temporary);
        let next = FrontEnd::attach(&mid, Arc::new(())).unwrap();
        peer.arrive(Duration::MAX);
        // It has come as far as the base, and nobody has looked further yet.
        assert_eq!(drainers[0].poll(Duration::ZERO), DrainStep::Done);
        new_base.send(7, false, Duration::ZERO, 0);
        assert_eq!(read_from(&next, 3), 7, "{kind}");
        drain(drainers, &peer);
        assert_eq!(text(&front), "before", "{kind}");
    }
}

#[test]
fn what_is_set_aside_is_not_told_as_drained() {
    let mut under = under_way("mux", Reader::Itself, b"before");
    let registry = Registry::default();
    let mut observer = registry.observe();
    registry.reserve("mid").unwrap().fill(under.mid.clone());
    let mut drained = || {
        let mut any = false;
        loop {
            match observer.poll(Waker::noop(), Duration::ZERO) {
                Observed::Notice(_, _, Notice::Drained { .. }) => any = true,
                Observed::Nothing(_) => return any,
                _ => {}
            }
        }
    };
    drain(std::mem::take(&mut under.drainers), &under.peer);
    assert!(!drained());
    let step = change(&under.mid, 5, Peer::new(7, false).backend());
    drain(commit(vec![step]).unwrap(), &under.peer);
    assert!(drained());
}

#[test]
fn a_peer_that_is_set_aside_for_good_is_refused_before_it_is_read() {
    let peer = rig::Peer::new(true, 0);
    let con0 = peer.chardev(None);
    let front = FrontEnd::attach(&con0, Arc::new(())).unwrap();
    set_aside(&con0, 2, &Peer::new(2, false));
    peer.send(b"meanwhile");
    let asked = peer.world().asked;
    commit(vec![change(&con0, 3, Peer::new(3, false).backend())]).unwrap();
    // One that never stops sending would be read for as long as there is room.
    assert_eq!(peer.world().asked, asked);
    assert!(peer.world().refused);
    assert_eq!(text(&front), "meanwhile");
}

#[test]
fn no_more_is_cut_off_than_the_queue_has_room_for() {
    // A multiplexer hands over as much again by itself.
    for (kind, aside, expected) in [
        ("hub", false, CARRY_LIMIT),
        ("hub", true, CARRY_LIMIT),
        ("mux", false, 2 * CARRY_LIMIT),
        ("mux", true, CARRY_LIMIT + 1),
    ] {
        let peer = rig::Peer::new(true, 0);
        let base = peer.chardev(None);
        let mid = chardev("mid", over(kind, &base));
        let front = FrontEnd::attach(&mid, Arc::new(())).unwrap();
        if aside {
            set_aside(&mid, 2, &Peer::new(2, false));
        }
        let sent = 2 * CARRY_LIMIT;
        let unread = vec![b'.'; sent];
        peer.world()
            .events
            .push_back(BackendEvent::Closed { unread });
        // What is read in pieces does not end where the room does.
        assert_eq!(mid.with(|mid| mid.type_in(b"x")), 1);
        commit(vec![change(&mid, 3, Peer::new(3, false).backend())]).unwrap();
        let pending = mid.with(|mid| mid.input_pending());
        assert_eq!(pending, expected, "{kind} {aside}");
        // The rest is for whoever comes next.
        let left = base.with(|base| base.input_pending());
        assert_eq!(pending + left, 1 + sent, "{kind} {aside}");
        assert_eq!(front.stats().input_overflowed, 0, "{kind} {aside}");
    }
}
