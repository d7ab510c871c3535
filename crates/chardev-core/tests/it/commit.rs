//! A transaction of several steps: what is undone when one of them fails.

use std::sync::Arc;

use chardev_core::{
    BackendId, Change, ChangeError, ChardevRef, Closed, FrontEnd, NewBackend, Old, Policy,
    Registry, Step, commit,
};

use crate::rig::{Peer, everything};

/// Makes `new` the back end of `chardev`, and has it take its peer over if wanted.
fn part(chardev: &ChardevRef, new: &Peer, handover: bool) -> Step {
    let change = Change::begin(chardev).unwrap();
    let mut new = new.as_new(2);
    new.handover = handover;
    let offer = change.offer(&mut new).unwrap();
    Step::Change {
        change,
        offer,
        new,
        old: Old::Retire,
    }
}

#[test]
fn what_was_activated_is_undone_when_a_later_step_cannot_be_taken() {
    // Activating fails in the second step, or, when all were activated, taking a peer over.
    for (fail_activate, undone) in [(true, 2), (false, 3)] {
        let olds: Vec<_> = (0..3).map(|_| Peer::new(true, 99)).collect();
        let news: Vec<_> = (0..3).map(|_| Peer::new(true, 99)).collect();
        let chardevs: Vec<_> = olds.iter().map(|old| old.chardev(None)).collect();
        let front = FrontEnd::attach(&chardevs[0], Arc::new(())).unwrap();
        news[2].world().fail_activate = fail_activate;
        news[2].world().fail_adopt = !fail_activate;
        let parts = chardevs.iter().zip(&news).enumerate();
        let steps = parts.map(|(step, (chardev, new))| part(chardev, new, step == 2));
        let refused = commit(steps.collect()).unwrap_err();
        assert_eq!(refused.step, 2);
        let balance = |new: &Peer| {
            let world = new.world();
            (world.activated, world.active)
        };
        for new in &news[..undone] {
            assert_eq!(balance(new), (1, 0));
        }
        assert!(!olds[0].world().retired);
        assert_eq!(everything(&front), "<Opened>");
        assert_eq!(front.write(b"old"), 3);
        assert_eq!(olds[0].received(), "old");
    }
}

#[test]
fn a_chardev_that_was_to_be_added_is_undone_too() {
    let (old, new, added) = (
        Peer::new(true, 99),
        Peer::new(true, 99),
        Peer::new(true, 99),
    );
    new.world().fail_activate = true;
    let registry = Registry::default();
    let prepared = ChardevRef::prepare(
        "con1",
        BackendId(3),
        added.backend(),
        Policy::default(),
        None,
    );
    let add = Step::Add {
        reservation: registry.reserve("con1").unwrap(),
        chardev: prepared,
    };
    let steps = vec![add, part(&old.chardev(None), &new, false)];
    let refused = commit(steps).unwrap_err();
    assert_eq!(refused.error, ChangeError::Open("no".into()));
    assert_eq!(added.world().activated, 1);
    assert_eq!(refused.step, 1);
    assert_eq!(added.world().active, 0);
    assert!(registry.get("con1").is_none());
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
