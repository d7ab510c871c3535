//! What rested on another chardev comes to be below it, in one transaction.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use chardev_core::{
    BackendId, Change, ChardevRef, FrontEnd, Link, Mux, MuxHost, NewBackend, Old, Step, commit,
};

use crate::rig::{Peer, link};

pub(crate) struct Host;

impl MuxHost for Host {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn quit(&self) {}
}

fn over(link: Link, id: u64) -> NewBackend {
    let mux = Mux::new(link, 1, Arc::new(Host), Waker::noop().clone());
    NewBackend::new(BackendId(id), mux.slot())
}

pub(crate) fn change(chardev: &ChardevRef, mut new: NewBackend) -> Step {
    let change = Change::begin(chardev).unwrap();
    let offer = change.offer(&mut new).unwrap();
    Step::Change {
        change,
        offer,
        new,
        old: Old::Retire,
    }
}

/// Done in the order it is written down, `upper` would for a moment rest on itself, and the thread
/// that installs it wait for itself.
#[test]
fn what_was_above_goes_below_in_one_transaction() {
    let peers = [Peer::new(true, 99), Peer::new(true, 99)];
    let (upper, lower) = (peers[0].chardev(None), peers[1].chardev(None));
    // Prepared while `lower` rests on nothing, decided when it rests on `upper`.
    let to_upper = link(&upper);
    let upwards = change(&upper, over(link(&lower), 10));
    commit(vec![change(&lower, over(to_upper, 11))]).unwrap();
    let last = Peer::new(true, 99);
    commit(vec![upwards, change(&lower, last.as_new(12))]).unwrap();
    let front = FrontEnd::attach(&upper, Arc::new(())).unwrap();
    assert_eq!(front.write(b"down"), 4);
    assert_eq!(last.received(), "down");
}
