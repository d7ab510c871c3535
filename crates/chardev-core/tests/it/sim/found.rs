//! What the simulator found, each as the shortest script that shows it.

use std::sync::Arc;

use chardev_core::{BackendId, Change, ChardevRef, Closed, FrontEnd, NewBackend, Old, Ready};

use super::peer::{Kind, Peer, SharedBook};
use crate::rig::{Woken, everything};

const STREAM: Kind = Kind::Stream { latency: false };

fn console(kind: Kind) -> (ChardevRef, Peer) {
    let peer = Peer::new(1, kind, &SharedBook::default());
    peer.world().live = true;
    let backend = peer.backend(false);
    let chardev = ChardevRef::new("con0", BackendId(1), backend, Closed::Discard, None);
    (chardev, peer)
}

fn change(chardev: &ChardevRef, number: u64, kind: Kind, closed: Closed) -> Peer {
    let peer = Peer::new(number, kind, &SharedBook::default());
    let change = Change::begin(chardev).unwrap();
    let mut new = NewBackend::new(BackendId(number), peer.backend(false));
    new.policy.closed = Some(closed);
    let offer = change.offer(&mut new).unwrap();
    drop(change.commit(offer, new, Old::Retire).unwrap());
    peer
}

fn kick(chardev: &ChardevRef, number: u64) {
    chardev.with(|chardev| chardev.handle_ready(BackendId(number), Ready::all()));
}

#[test]
fn input_that_waited_for_a_front_end_stands_between_an_opening_and_a_closing() {
    let (chardev, peer) = console(STREAM);
    peer.come(9);
    kick(&chardev, 1);
    peer.send(2, std::time::Duration::ZERO);
    peer.end();
    kick(&chardev, 1);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    assert_eq!(everything(&front), "<Opened>Y`<Closed>");
}

#[test]
fn a_peer_that_a_change_finds_is_shown_before_its_input() {
    let (chardev, peer) = console(STREAM);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    peer.come(9);
    peer.send(2, std::time::Duration::ZERO);
    change(&chardev, 2, Kind::Null, Closed::Discard);
    assert_eq!(everything(&front), "<Opened>Y`<Closed><Changed>");
}

#[test]
fn a_departure_seen_behind_older_output_is_told() {
    let (chardev, _) = console(Kind::Ring { capacity: 8 });
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    assert_eq!(front.write(b"abc"), 3);
    let peer = change(&chardev, 2, STREAM, Closed::Discard);
    peer.come(1);
    kick(&chardev, 2);
    assert_eq!(everything(&front), "<Changed><Opened>");
    let (woken, waker) = Woken::new();
    front.set_waker(Ready::READ, &waker);
    assert!(woken.take());
    peer.vanish();
    assert_eq!(front.write(b"d"), 1);
    assert!(woken.take());
    assert_eq!(everything(&front), "<Closed>");
}

#[test]
fn what_is_put_into_a_full_ring_comes_after_what_waits_for_room() {
    let (chardev, _) = console(Kind::Ring { capacity: 8 });
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    assert_eq!(front.write(b"abcd"), 4);
    change(&chardev, 2, Kind::Ring { capacity: 2 }, Closed::Hold);
    chardev.with(|chardev| chardev.ring_write(b"ef").unwrap());
    let mut read = Vec::new();
    while let Some(bytes) = chardev.with(|chardev| chardev.with_ring(|ring| ring.take(9))) {
        if bytes.is_empty() {
            break;
        }
        read.extend(bytes);
    }
    assert_eq!(read, b"abcdef");
}

#[test]
fn every_output_byte_is_counted_in_one_place() {
    let (chardev, _) = console(Kind::Ring { capacity: 4 });
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    assert_eq!(front.write(b"abcdef"), 6);
    chardev.with(|chardev| chardev.ring_write(b"gh").unwrap());
    let stats = front.stats();
    assert_eq!((stats.output_accepted, stats.output_injected), (6, 2));
    assert_eq!((stats.output_delivered, stats.output_overwritten), (4, 4));
    change(&chardev, 2, STREAM, Closed::Discard);
    let pending = chardev.with(|chardev| chardev.output_pending());
    assert_eq!((front.stats().output_delivered, pending), (0, 4));
}
