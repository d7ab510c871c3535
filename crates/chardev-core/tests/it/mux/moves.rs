//! Front ends that move from one multiplexer to another, or elsewhere.

use std::sync::Arc;
use std::task::Waker;

use chardev_core::{
    Backend, BackendEvent, BackendId, CARRY_LIMIT, Change, ChangeError, ChardevRef, FrontEnd, Link,
    Mux, NewBackend, Old, Ready, Refused, Step, WantLink, commit,
};

use super::MuxRig;
use crate::rig::{Peer, everything};

/// Makes `backend` that of `chardev`.
fn part(chardev: &ChardevRef, backend: Box<dyn Backend>, id: u64, old: Old) -> Step {
    let change = Change::begin(chardev).unwrap();
    let mut new = NewBackend::new(BackendId(id), backend);
    let offer = change.offer(&mut new).unwrap();
    Step::Change {
        change,
        offer,
        new,
        old,
    }
}

impl MuxRig {
    /// What a multiplexer that is to replace this one rests on.
    fn lent(&self, label: &str) -> Option<Link> {
        let wanted = WantLink(label.to_owned());
        let lent = self.chardevs[0].with(|chardev| chardev.lend(&wanted))?;
        Some(*lent.downcast().unwrap())
    }

    fn another(&self) -> Mux {
        let link = self.lent("con0").unwrap();
        Mux::new(link, 1, Arc::clone(&self.host) as _, Waker::noop().clone())
    }

    /// Moves the first front end and the second to these multiplexers.
    fn move_to(&self, muxes: [&Mux; 2]) -> Result<(), Refused> {
        let part = |at: usize| {
            let (chardev, slot) = (&self.chardevs[at], muxes[at].slot());
            part(chardev, slot, 20 + at as u64, Old::Retire)
        };
        commit(vec![part(0), part(1)]).map(drop)
    }
}

#[test]
fn front_ends_move_together_to_another_multiplexer_over_the_same_chardev() {
    let rig = MuxRig::new();
    assert!(rig.lent("another").is_none());
    let (next, other) = (rig.another(), rig.another());
    let refused = rig.move_to([&next, &other]).unwrap_err();
    let reason = "chardev 'con0' is already in use".to_owned();
    let id = "mux0".to_owned();
    assert_eq!(refused.error, ChangeError::Refused { id, reason });

    assert_eq!(next.attached(), 0);
    rig.move_to([&next, &next]).unwrap();
    assert_eq!((next.attached(), rig.mux.attached()), (2, 0));
    assert!(rig.mux.users().all().is_empty());
    everything(&rig.first);
    everything(&rig.second);
    rig.peer.send(b"keys");
    assert_eq!(everything(&rig.second), "keys");
    assert_eq!(rig.first.write(b"output"), 6);
    assert_eq!(rig.peer.received(), "output");
}

#[test]
fn what_became_of_the_peer_before_a_move_is_known_after_it() {
    for (comes_back, seen) in [
        (false, "<Closed><Changed>"),
        (true, "<Closed><Opened><Changed>"),
    ] {
        let rig = MuxRig::new();
        everything(&rig.first);
        let next = rig.another();
        rig.peer.close();
        rig.settle();
        if comes_back {
            rig.peer.open();
            rig.settle();
        }
        rig.move_to([&next, &next]).unwrap();
        let focus = "<MuxIn><MuxOut>";
        assert_eq!(everything(&rig.first), format!("{seen}{focus}"));
        assert_eq!(rig.first.is_open(), comes_back);
        rig.peer.open();
        rig.base
            .with(|base| base.handle_ready(BackendId(1), Ready::all()));
        next.users().kick();
        let opened = if comes_back { "" } else { "<Opened>" };
        assert_eq!(everything(&rig.first), opened);
    }
}

#[test]
fn nobody_is_left_behind_on_a_multiplexer_that_goes_but_on_one_that_comes_back() {
    for (old, stays) in [(Old::Retire, false), (Old::Park, true)] {
        let rig = MuxRig::new();
        let (temporary, change) = (
            Peer::new(true, 99),
            Change::begin(&rig.chardevs[0]).unwrap(),
        );
        let mut new = temporary.as_new(30);
        let offer = change.offer(&mut new).unwrap();
        let changed = change.commit(offer, new, old).map(drop);
        assert_eq!(rig.second.write(b"stays"), 5);
        assert_eq!(rig.peer.received(), "stays");
        match stays {
            false => assert_eq!(changed, Err(ChangeError::Busy("mux0".to_owned()))),
            true => assert_eq!(changed, Ok(())),
        }
        temporary.close();
        assert_eq!(rig.first.write(b", back"), 6);
        assert_eq!(rig.peer.received(), "stays, back");
    }
}

#[test]
fn who_leaves_a_multiplexer_gives_the_focus_on_if_it_had_it() {
    for has_it in [true, false] {
        let rig = MuxRig::new();
        let third = Peer::new(true, 99).chardev(None);
        let _front = FrontEnd::attach(&third, Arc::new(())).unwrap();
        commit(vec![part(&third, rig.mux.slot(), 30, Old::Park)]).unwrap();
        if !has_it {
            rig.second.take_focus();
        }
        let temporary = Peer::new(true, 99).backend();
        commit(vec![part(&third, temporary, 31, Old::Park)]).unwrap();
        for front in [&rig.first, &rig.second] {
            everything(front);
        }
        rig.peer.send(b"keys");
        let (next, other) = match has_it {
            true => (&rig.first, &rig.second),
            false => (&rig.second, &rig.first),
        };
        assert_eq!(everything(other), "", "{has_it}");
        assert_eq!(everything(next), "keys", "{has_it}");
    }
}

#[test]
fn what_is_too_much_for_front_ends_that_leave_together_stays_below() {
    for order in [[0, 1], [1, 0]] {
        let rig = MuxRig::new();
        let unread = vec![b'.'; 2 * CARRY_LIMIT];
        rig.peer.send(b"first");
        rig.peer
            .world()
            .events
            .push_back(BackendEvent::Closed { unread });
        let leave = |at: usize| {
            let (chardev, new) = (&rig.chardevs[at], Peer::new(true, 99).backend());
            part(chardev, new, 20 + at as u64, Old::Retire)
        };
        commit(order.map(leave).into()).unwrap();
        let [first, second] = &rig.chardevs;
        let pending = [first, second, &rig.base].map(|chardev| {
            let pending = chardev.with(|chardev| chardev.input_pending());
            assert!(pending <= 2 * CARRY_LIMIT);
            pending
        });
        assert_eq!(
            pending.iter().sum::<usize>(),
            2 * CARRY_LIMIT + 5,
            "{order:?}"
        );
    }
}
