//! A change that keeps the connected peer (`x-handover`): the peer notices nothing, and nothing of
//! either direction is lost on the way.

use std::sync::Arc;

use chardev_core::{
    Answers, BackendId, Change, ChardevRef, Closed, Event, FrontEnd, NewBackend, Old, Policy,
    PolicyChange, Ready, Step, commit,
};

use crate::rig::{Peer, everything};

fn taking_over(id: u64, final_output: &[u8]) -> NewBackend {
    let mut new = Peer::new(false, 0).as_new(id);
    new.handover = true;
    new.final_output = final_output.to_vec();
    new
}

/// Changes `chardev` to `new`; nothing is left to be drained, because the peer has moved.
fn take_over(chardev: &ChardevRef, mut new: NewBackend, old: Old) {
    let change = Change::begin(chardev).unwrap();
    let offer = change.offer(&mut new).unwrap();
    let step = Step::Change {
        change,
        offer,
        new,
        old,
    };
    let drainers = commit(vec![step]).unwrap();
    assert!(drainers.is_empty(), "the peer is still in use");
}

fn answers(front: &FrontEnd) -> Answers {
    loop {
        match front.next_event() {
            Some(Event::Changed(answers)) => return answers,
            Some(_) => {}
            None => panic!("the front end was told of no change"),
        }
    }
}

#[test]
fn the_peer_keeps_its_connection_and_gets_everything_in_order() {
    let peer = Peer::new(true, 99);
    let chardev = peer.chardev(None);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    assert_eq!(everything(&front), "<Opened>");
    for (old, id) in [(Old::Retire, 2), (Old::Park, 3)] {
        assert_eq!(front.write(b"before "), 7);
        peer.send(b"typed");
        take_over(&chardev, taking_over(id, b"answer "), old);
        assert!(!peer.world().retired && !peer.world().refused);
        assert_eq!(front.write(b"after "), 6);
        assert_eq!(everything(&front), "typed<Changed>");
    }
    assert_eq!(peer.received(), "before answer after before answer after ");
    // Nothing was parked: when the peer leaves it has left.
    peer.close();
    chardev.with(|chardev| chardev.handle_ready(BackendId(3), Ready::empty()));
    assert_eq!(everything(&front), "<Closed>");
}

#[test]
fn the_front_end_is_told_that_its_peer_is_the_same() {
    for handover in [false, true] {
        let peer = Peer::new(true, 99);
        let chardev = peer.chardev(None);
        let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
        let mut new = Peer::new(true, 99).as_new(2);
        new.handover = handover;
        let change = Change::begin(&chardev).unwrap();
        let offer = change.offer(&mut new).unwrap();
        assert!(offer.answers().open, "the new back end has a peer");
        change.commit(offer, new, Old::Retire).unwrap();
        let answers = answers(&front);
        assert_eq!((answers.same_peer, answers.open), (handover, true));
    }
}

#[test]
fn output_that_waits_for_the_peer_and_the_answer_behind_it_both_arrive() {
    let peer = Peer::new(false, 0);
    let policy = Policy::default().with(PolicyChange {
        closed: Some(Closed::History),
        history: Some(4),
        ..PolicyChange::default()
    });
    let chardev = ChardevRef::new("con0", BackendId(1), peer.backend(), policy, None);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    assert_eq!(front.write(b"abcd"), 4);
    peer.open();
    chardev.with(|chardev| chardev.handle_ready(BackendId(1), Ready::empty()));
    take_over(&chardev, taking_over(2, b"!"), Old::Retire);
    assert_eq!(peer.received(), "");
    peer.world().room = 99;
    chardev.with(|chardev| chardev.handle_ready(BackendId(2), Ready::WRITE));
    assert_eq!(peer.received(), "abcd!");
    let stats = front.stats();
    assert_eq!((stats.output_accepted, stats.output_injected), (4, 1));
    assert_eq!(stats.output_delivered, 5);
}

#[test]
fn a_peer_that_cannot_be_kept_refuses_the_change() {
    let peer = Peer::new(true, 99);
    let chardev = peer.chardev(None);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    let other = Peer::new(false, 0);
    other.world().fail_adopt = true;
    let refused = |present: bool| {
        peer.world().present = present;
        let mut new = other.as_new(2);
        new.handover = true;
        let change = Change::begin(&chardev).unwrap();
        let offer = change.offer(&mut new).unwrap();
        change.commit(offer, new, Old::Retire).err()
    };
    let error = refused(true).unwrap().to_string();
    assert!(
        error.contains("x-handover: a sim cannot keep the peer of sim"),
        "{error}"
    );
    assert_eq!(everything(&front), "<Opened>");
    assert_eq!(front.write(b"as ever"), 7);
    assert_eq!(peer.received(), "as ever");
    // Where there is nobody, there is nobody to keep.
    assert!(refused(false).is_none());
}

#[test]
fn who_is_replaced_for_good_is_refused_and_who_comes_back_is_not() {
    for (old, handover, refused) in [
        (Old::Retire, false, true),
        (Old::Park, false, false),
        (Old::Retire, true, false),
        (Old::Park, true, false),
    ] {
        let peer = Peer::new(true, 99);
        let chardev = peer.chardev(None);
        let mut new = Peer::new(true, 99).as_new(2);
        new.handover = handover;
        let change = Change::begin(&chardev).unwrap();
        let offer = change.offer(&mut new).unwrap();
        change.commit(offer, new, old).unwrap();
        assert_eq!(
            peer.world().refused,
            refused,
            "{old:?}, handover {handover}"
        );
    }
}

#[test]
fn what_was_set_aside_comes_back_after_the_one_that_took_over() {
    let (first, second) = (Peer::new(true, 99), Peer::new(true, 99));
    let chardev = first.chardev(None);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    let mut new = second.as_new(2);
    let change = Change::begin(&chardev).unwrap();
    let offer = change.offer(&mut new).unwrap();
    change.commit(offer, new, Old::Park).unwrap();
    take_over(&chardev, taking_over(3, b""), Old::Retire);
    assert!(!first.world().refused && !first.world().retired);
    let hold = PolicyChange {
        closed: Some(Closed::Hold),
        ..PolicyChange::default()
    };
    chardev.with(|chardev| chardev.set_policy(hold));
    assert_eq!(front.write(b"to second"), 9);
    second.send(b"last");
    second.close();
    chardev.with(|chardev| chardev.handle_ready(BackendId(3), Ready::empty()));
    assert!(everything(&front).contains("last"));
    assert!(first.world().holds, "the policy changed while it was aside");
    assert_eq!(front.write(b"to first"), 8);
    assert_eq!(
        (first.received(), second.received()),
        ("to first".to_owned(), "to second".to_owned())
    );
    // Replaced for good, both are refused.
    let mut new = second.as_new(4);
    let change = Change::begin(&chardev).unwrap();
    let offer = change.offer(&mut new).unwrap();
    change.commit(offer, new, Old::Park).unwrap();
    let mut new = Peer::new(true, 99).as_new(5);
    let change = Change::begin(&chardev).unwrap();
    let offer = change.offer(&mut new).unwrap();
    change.commit(offer, new, Old::Retire).unwrap();
    assert!(first.world().refused && second.world().refused);
}
