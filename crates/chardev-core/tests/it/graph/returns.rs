//! Input that is on its way through a back end when that is set aside.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use chardev_core::{
    BackendId, ChardevRef, Drainer, FrontEnd, Hub, Link, Old, Ready, Registry, Step, WantLink,
    commit,
};

use super::found::{change, change_from, chardev, drain, link, over, read_from, text};
use super::wire::Peer;

/// A multiplexer or hub `mid` over a base whose former peer's input is still on its way.
pub(super) struct Under {
    pub(super) mid: ChardevRef,
    pub(super) front: FrontEnd,
    pub(super) peer: Peer,
    pub(super) new_base: Peer,
    /// That of the base is the first, that of what is set aside the last.
    pub(super) drainers: Vec<Drainer>,
    pub(super) temporary: Peer,
}

/// Who reads what comes through `mid`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reader {
    Itself,
    /// Something above that has been replaced since.
    Former,
}

/// What happens while the input is still on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Nothing,
    /// The temporary peer leaves, so the back end comes back.
    Returns,
    /// So it does, and is set aside once more.
    ReturnsAndGoes,
    /// The temporary back end is replaced, and with it what was set aside.
    Replaced,
}

const ALL: [Then; 4] = [
    Then::Nothing,
    Then::Returns,
    Then::ReturnsAndGoes,
    Then::Replaced,
];

pub(super) fn set_aside(mid: &ChardevRef, number: u64, temporary: &Peer) -> Vec<Drainer> {
    commit(vec![change_from(
        mid,
        number,
        temporary.backend(),
        Old::Park,
    )])
    .unwrap()
}

pub(super) fn leave(mid: &ChardevRef, temporary: &Peer) {
    temporary.come_or_go();
    temporary.wire().retired = true;
    let id = mid.with(|mid| mid.backend_id());
    mid.with(|mid| mid.handle_ready(id, Ready::READ));
}

pub(super) fn under_way(kind: &str, reader: Reader, sent: &[u8]) -> Under {
    let peer = Peer::new(1, true);
    let base = chardev("base", peer.backend());
    let mid = chardev("mid", over(kind, &base));
    let top = match reader {
        Reader::Itself => mid.clone(),
        Reader::Former => chardev("top", over(kind, &mid)),
    };
    let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
    peer.send_untracked(sent, Duration::ZERO);
    let new_base = Peer::new(3, false);
    let mut drainers = commit(vec![change(&base, 2, new_base.backend())]).unwrap();
    if reader == Reader::Former {
        let new_top = Peer::new(4, false);
        drainers.extend(commit(vec![change(&top, 2, new_top.backend())]).unwrap());
    }
    let temporary = Peer::new(5, false);
    drainers.extend(set_aside(&mid, 3, &temporary));
    Under {
        mid,
        front,
        peer,
        new_base,
        drainers,
        temporary,
    }
}

impl Under {
    fn go_on(&mut self, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Returns => leave(&self.mid, &self.temporary),
            Then::ReturnsAndGoes => {
                leave(&self.mid, &self.temporary);
                self.temporary = Peer::new(6, false);
                self.drainers
                    .extend(set_aside(&self.mid, 4, &self.temporary));
            }
            Then::Replaced => {
                let next = Peer::new(7, false);
                let step = change(&self.mid, 5, next.backend());
                self.drainers.extend(commit(vec![step]).unwrap());
            }
        }
        drain(std::mem::take(&mut self.drainers), &self.peer);
    }
}

#[test]
fn what_was_sent_before_a_back_end_is_set_aside_comes_first() {
    for kind in ["mux", "hub"] {
        for then in ALL {
            let mut under = under_way(kind, Reader::Itself, b"before");
            under.temporary.send_untracked(b"meanwhile", Duration::ZERO);
            assert_eq!(text(&under.front), "", "{kind} {then:?}");
            let id = under.mid.with(|mid| mid.backend_id());
            under.mid.with(|mid| mid.handle_ready(id, Ready::READ));
            under.go_on(then);
            assert_eq!(text(&under.front), "beforemeanwhile", "{kind} {then:?}");
        }
    }
}

#[test]
fn what_was_above_a_back_end_that_is_set_aside_has_its_input() {
    for kind in ["mux", "hub"] {
        for then in ALL {
            let mut under = under_way(kind, Reader::Former, b"before");
            under.go_on(then);
            assert_eq!(text(&under.front), "before", "{kind} {then:?}");
            let next = FrontEnd::attach(&under.mid, Arc::new(())).unwrap();
            if matches!(then, Then::Nothing | Then::ReturnsAndGoes) {
                under.temporary.send(5, false, Duration::ZERO, 0);
                let number = under.temporary.wire().number;
                assert_eq!(read_from(&next, number), 5, "{kind} {then:?}");
                leave(&under.mid, &under.temporary);
            }
            under.new_base.send(7, false, Duration::ZERO, 0);
            let expected = if then == Then::Replaced { 0 } else { 7 };
            assert_eq!(read_from(&next, 3), expected, "{kind} {then:?}");
        }
    }
}

#[test]
fn a_break_on_its_way_through_what_is_set_aside_keeps_its_place() {
    for then in ALL {
        let mut under = under_way("mux", Reader::Itself, b"be\x01bfore");
        under.go_on(then);
        assert_eq!(text(&under.front), "be!fore", "{then:?}");
        let dropped = under.mid.with(|mid| mid.stats().breaks_dropped);
        assert_eq!(dropped, 0, "{then:?}");
    }
}

#[test]
fn a_back_end_with_nothing_on_its_way_is_set_aside_without_a_trace() {
    for kind in ["mux", "hub"] {
        let base = chardev("base", Peer::new(1, false).backend());
        let mid = chardev("mid", over(kind, &base));
        let _front = FrontEnd::attach(&mid, Arc::new(())).unwrap();
        assert!(set_aside(&mid, 3, &Peer::new(2, false)).is_empty());
        assert_eq!(mid.with(|mid| mid.parked_id()), Some(BackendId(1)));
    }
}

#[test]
fn a_hub_that_has_lost_its_members_comes_back() {
    let peer = Peer::new(1, true);
    let base = chardev("base", peer.backend());
    let hub = Hub::new(vec![link(&base)], Waker::noop().clone());
    let mid = chardev("mid", hub.backend());
    let front = FrontEnd::attach(&mid, Arc::new(())).unwrap();
    peer.send_untracked(b"before", Duration::ZERO);
    let mut drainers = commit(vec![change(&base, 2, Peer::new(2, false).backend())]).unwrap();
    assert!(hub.remove("base"));
    let temporary = Peer::new(3, false);
    drainers.extend(set_aside(&mid, 3, &temporary));
    temporary.send_untracked(b"meanwhile", Duration::ZERO);
    drain(drainers, &peer);
    assert_eq!(text(&front), "beforemeanwhile");
    leave(&mid, &temporary);
    let next = Peer::new(4, false);
    hub.add(link(&chardev("next", next.backend()))).unwrap();
    next.send_untracked(b"after", Duration::ZERO);
    assert_eq!(text(&front), "after");
}

#[test]
fn a_break_of_a_peer_that_is_set_aside_for_good_is_not_lost() {
    let peer = Peer::new(1, false);
    let mid = chardev("mid", peer.backend());
    let front = FrontEnd::attach(&mid, Arc::new(())).unwrap();
    set_aside(&mid, 2, &Peer::new(2, false));
    peer.send_break();
    commit(vec![change(&mid, 3, Peer::new(3, false).backend())]).unwrap();
    assert_eq!(text(&front), "!");
}

#[test]
fn what_is_set_aside_for_good_leaves_its_input() {
    for kind in ["mux", "hub"] {
        let peer = Peer::new(1, false);
        let mid = chardev("mid", over(kind, &chardev("base", peer.backend())));
        let front = FrontEnd::attach(&mid, Arc::new(())).unwrap();
        set_aside(&mid, 2, &Peer::new(2, false));
        peer.send_untracked(b"meanwhile", Duration::ZERO);
        let next = Peer::new(3, false);
        commit(vec![change(&mid, 3, next.backend())]).unwrap();
        next.send_untracked(b"after", Duration::ZERO);
        assert_eq!(text(&front), "meanwhileafter", "{kind}");
    }
}

#[test]
fn what_is_set_aside_and_removed_leaves_its_base_to_who_comes_next() {
    for (kind, late) in [("mux", false), ("hub", false), ("mux", true), ("hub", true)] {
        let peer = Peer::new(1, late);
        let base = chardev("base", peer.backend());
        let mid = chardev("mid", over(kind, &base));
        let registry = Registry::default();
        registry.reserve("mid").unwrap().fill(mid.clone());
        let top = chardev("top", Peer::new(3, false).backend());
        let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
        set_aside(&mid, 2, &Peer::new(2, false));
        peer.send_untracked(b"for whoever comes", Duration::ZERO);
        let mut drainers = Vec::new();
        if late {
            drainers = commit(vec![change(&base, 2, Peer::new(4, false).backend())]).unwrap();
        }
        let lent = mid.with(|mid| mid.lend(&WantLink("base".to_owned())));
        let link = *lent.unwrap().downcast::<Link>().unwrap();
        let hub = Hub::new(vec![link], Waker::noop().clone());
        let removal = registry.begin_removal("mid").unwrap();
        let steps = vec![change(&top, 2, hub.backend()), Step::Remove(removal)];
        drainers.extend(commit(steps).unwrap());
        drain(drainers, &peer);
        assert_eq!(text(&front), "for whoever comes", "{kind} {late}");
    }
}

#[test]
fn what_was_above_what_is_set_aside_and_removed_has_its_input() {
    // A multiplexer that has come back is in use as long as it brings input.
    for (kind, returns) in [("mux", false), ("hub", false), ("hub", true)] {
        let mut under = under_way(kind, Reader::Former, b"before");
        if returns {
            leave(&under.mid, &under.temporary);
        }
        let registry = Registry::default();
        registry.reserve("mid").unwrap().fill(under.mid.clone());
        under.drainers.extend(registry.remove("mid").unwrap());
        under.go_on(Then::Nothing);
        assert_eq!(text(&under.front), "before", "{kind} {returns}");
    }
}
