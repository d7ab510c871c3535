//! What the two sides see of a change, a refusal, a departure, and who is woken by each.

use std::sync::{Arc, Mutex};

use chardev_core::{
    BackendEvent, BackendId, CARRY_LIMIT, Change, ChangeError, ChardevRef, Closed, FreezeWatch,
    FrontEnd, FrontEndHooks, Old, Policy, PolicyChange, Ready, Registry, Step, commit,
};

use crate::rig::{Peer, Woken, everything};

fn change(chardev: &ChardevRef, id: u64, new: &Peer, old: Old) -> Result<(), ChangeError> {
    let change = Change::begin(chardev)?;
    let mut new = new.as_new(id);
    let offer = change.offer(&mut new)?;
    change.commit(offer, new, old).map(drop)
}

/// A change as a part of a transaction.
fn part(chardev: &ChardevRef, id: u64, new: &Peer) -> Step {
    let change = Change::begin(chardev).unwrap();
    let mut new = new.as_new(id);
    let offer = change.offer(&mut new).unwrap();
    Step::Change {
        change,
        offer,
        new,
        old: Old::Retire,
    }
}

fn kick(chardev: &ChardevRef, id: u64) {
    chardev.with(|chardev| chardev.handle_ready(BackendId(id), Ready::empty()));
}

#[test]
fn a_change_brings_old_input_then_the_closing_then_the_new_back_end() {
    let (old, new) = (Peer::new(true, 99), Peer::new(false, 99));
    let chardev = old.chardev(None);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    assert_eq!(front.write(b"to old"), 6);
    old.send(b"unread");
    change(&chardev, 2, &new, Old::Retire).unwrap();
    new.open();
    new.send(b"new");
    kick(&chardev, 2);
    assert_eq!(front.write(b"to new"), 6);
    assert_eq!(
        everything(&front),
        "<Opened>unread<Closed><Changed><Opened>new"
    );
    assert_eq!(
        (old.received(), new.received()),
        ("to old".into(), "to new".into())
    );
    assert!(old.world().retired);
}

#[test]
fn a_change_that_fails_at_its_last_step_is_invisible() {
    let (old, new) = (Peer::new(true, 99), Peer::new(true, 99));
    new.world().fail_activate = true;
    let chardev = old.chardev(None);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    old.send(b"input");
    let error = change(&chardev, 2, &new, Old::Retire).unwrap_err();
    assert_eq!(error, ChangeError::Open("no".into()));
    assert_eq!(everything(&front), "<Opened>input");
    assert!(!old.world().retired && front.stats().changes_failed == 1);
}

struct Fixed;
impl FrontEndHooks for Fixed {
    fn swappable(&self) -> bool {
        false
    }
}

#[test]
fn a_fixed_front_end_is_asked_even_if_it_came_after_the_beginning() {
    let (old, new) = (Peer::new(true, 99), Peer::new(true, 99));
    let chardev = old.chardev(None);
    let change = Change::begin(&chardev).unwrap();
    let _front = FrontEnd::attach(&chardev, Arc::new(Fixed)).unwrap();
    let error = change.offer(&mut new.as_new(2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Chardev user does not support chardev hotswap"
    );
}

/// Agrees, or does not, and counts how often it was asked.
struct Asked(Mutex<usize>, Result<(), String>);
impl FrontEndHooks for Asked {
    fn backend_change(&self, _: &chardev_core::Answers) -> Result<(), String> {
        *self.0.lock().unwrap() += 1;
        self.1.clone()
    }
}

#[test]
fn a_front_end_that_attached_after_the_others_were_asked_is_asked_as_well() {
    for verdict in [Ok(()), Err("not this one".to_owned())] {
        let (old, new) = (Peer::new(true, 99), Peer::new(true, 99));
        let chardev = old.chardev(None);
        let part = part(&chardev, 2, &new);
        let hooks = Arc::new(Asked(Mutex::new(0), verdict.clone()));
        let front = FrontEnd::attach(&chardev, hooks.clone()).unwrap();
        let changed = commit(vec![part])
            .map(drop)
            .map_err(|refused| refused.error);
        assert_eq!(*hooks.0.lock().unwrap(), 1);
        let refused = verdict.map_err(|reason| ChangeError::Refused {
            id: "con0".to_owned(),
            reason,
        });
        assert_eq!(changed, refused);
        let seen = match changed {
            Ok(()) => "<Opened><Changed>",
            Err(_) => "<Opened>",
        };
        assert_eq!(everything(&front), seen);
        assert_eq!(front.stats().changes, u64::from(changed.is_ok()));
    }
}

#[test]
fn who_attaches_while_a_transaction_is_decided_waits_for_it() {
    let (old, new) = (Peer::new(true, 99), Peer::new(true, 99));
    let chardev = old.chardev(None);
    for round in 0..500 {
        let part = part(&chardev, 10 + round, &new);
        let attached = std::thread::scope(|scope| {
            let attaching = scope.spawn(|| FrontEnd::attach(&chardev, Arc::new(())));
            commit(vec![part]).unwrap();
            attaching.join().unwrap()
        });
        drop(attached.unwrap());
    }
}

#[test]
fn nothing_is_installed_in_a_chardev_that_was_retired_meanwhile() {
    let (old, new) = (Peer::new(true, 99), Peer::new(true, 99));
    let chardev = old.chardev(None);
    let registry = Registry::default();
    registry.reserve("con0").unwrap().fill(chardev.clone());
    let change = Change::begin(&chardev).unwrap();
    let mut n = new.as_new(2);
    let offer = change.offer(&mut n).unwrap();
    drop(registry.retire_all());
    let error = change.commit(offer, n, Old::Retire).unwrap_err();
    assert_eq!(error, ChangeError::NotFound("con0".to_owned()));
}

#[test]
fn what_a_parked_back_ends_peer_sent_is_not_lost_when_both_are_retired() {
    for leaves in [false, true] {
        let (parked, temporary, new) = (
            Peer::new(true, 99),
            Peer::new(true, 99),
            Peer::new(true, 99),
        );
        let chardev = parked.chardev(None);
        let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
        change(&chardev, 2, &temporary, Old::Park).unwrap();
        parked.send(b"P");
        if leaves {
            parked.close();
        }
        temporary.send(b"T");
        change(&chardev, 3, &new, Old::Retire).unwrap();
        new.send(b"N");
        assert_eq!(
            everything(&front),
            "<Opened><Changed>TP<Changed>N",
            "{leaves}"
        );
    }
}

#[test]
fn a_writer_is_woken_when_a_full_peer_leaves() {
    let peer = Peer::new(true, 0);
    let chardev = peer.chardev(None);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    let (woken, waker) = Woken::new();
    front.set_waker(Ready::WRITE, &waker);
    assert_eq!(front.write(b"x"), 0);
    peer.close();
    kick(&chardev, 1);
    assert!(woken.take());
    assert_eq!(front.write(b"x"), 1);
}

#[test]
fn events_nobody_takes_do_not_pile_up() {
    let peer = Peer::new(true, 99);
    let chardev = peer.chardev(None);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    for _ in 0..5000 {
        peer.send(b"i");
        peer.close();
        peer.open();
        peer.world().events.push_back(BackendEvent::Break);
        kick(&chardev, 1);
    }
    let seen = everything(&front);
    assert_eq!(seen.matches('i').count(), 5000);
    assert!(seen.matches('<').count() < 1000);
    let mut open = false;
    for part in seen
        .split(['<', '>'])
        .filter(|part| ["Opened", "Closed"].contains(part))
    {
        assert_eq!(part == "Opened", !open);
        open = !open;
    }
    assert!(open);
}

/// Notes when holds begin and end.
#[derive(Clone, Default)]
struct Holds(Arc<Mutex<String>>);

impl FreezeWatch for Holds {
    fn begin(&mut self) {
        *self.0.lock().unwrap() += "<";
    }

    fn end(&mut self) {
        *self.0.lock().unwrap() += ">";
    }
}

impl Holds {
    fn seen(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn a_hold_lasts_until_what_it_refused_is_tried_again() {
    let (old, new) = (Peer::new(true, 99), Peer::new(true, 99));
    let chardev = old.chardev(None);
    let holds = Holds::default();
    chardev.with(|chardev| chardev.watch_freezes(Box::new(holds.clone())));
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    front.write(b"a");
    change(&chardev, 2, &new, Old::Retire).unwrap();
    assert_eq!(holds.seen(), "<>");
    // The front end tries while both chardevs of a transaction are held.
    let (third, taker) = (Peer::new(true, 99), Peer::new(true, 99));
    let beside = Peer::new(true, 99).chardev(None);
    let both = |id| {
        let mut takes_over = part(&beside, id, &taker);
        if let Step::Change { new, .. } = &mut takes_over {
            new.handover = true;
        }
        commit(vec![part(&chardev, id, &third), takes_over])
    };
    taker.world().tries = Some(front);
    both(3).unwrap();
    assert_eq!(holds.seen(), "<><");
    let front = taker.world().tries.take().unwrap();
    assert_eq!(front.write(b"b"), 1);
    assert_eq!(holds.seen(), "<><>");
    // A front end that leaves is not held any more, and one that was refused is held once.
    taker.world().fail_adopt = true;
    taker.world().tries = Some(front);
    for id in [4, 5] {
        both(id).unwrap_err();
    }
    assert_eq!(holds.seen(), "<><><");
    let front = taker.world().tries.take();
    drop(front);
    assert_eq!(holds.seen(), "<><><>");
}

#[test]
fn a_front_end_that_reads_nothing_gets_no_more_changes_than_its_queue_has_room_for() {
    let (old, new) = (Peer::new(true, 99), Peer::new(true, 99));
    let chardev = old.chardev(None);
    let _front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    old.send(&vec![b'x'; CARRY_LIMIT]);
    change(&chardev, 2, &new, Old::Retire).unwrap();
    let refused = change(&chardev, 3, &Peer::new(true, 99), Old::Retire);
    assert!(matches!(
        refused,
        Err(ChangeError::Backlog {
            unread: CARRY_LIMIT,
            ..
        })
    ));
    // It was found before anything was asked of the new one.
    assert!(!new.world().refused && !new.world().retired);
}

#[test]
fn output_that_waited_for_a_peer_goes_to_it_when_the_chardev_is_removed() {
    let registry = Registry::default();
    let peer = Peer::new(false, 0);
    let policy = Policy::default().with(PolicyChange {
        closed: Some(Closed::History),
        history: Some(99),
        ..PolicyChange::default()
    });
    let chardev = ChardevRef::new("con0", BackendId(1), peer.backend(), policy, None);
    registry.reserve("con0").unwrap().fill(chardev.clone());
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    assert_eq!(front.write(b"waiting"), 7);
    peer.world().room = 1;
    peer.open();
    kick(&chardev, 1);
    drop(front);
    registry.remove("con0").unwrap();
    let stats = chardev.with(|chardev| chardev.stats());
    assert_eq!((stats.output_accepted, stats.output_delivered), (7, 7));
}
