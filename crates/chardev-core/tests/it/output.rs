//! The way of the output: who gets what is written while nobody is there, and what waits before it.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chardev_core::{
    Backend, BackendId, Change, ChardevRef, Closed, Drain, FrontEnd, Hub, Mux, NewBackend,
    NothingToDrain, Old, PolicyChange, Ready, RingBuffer, RingControl, Sent,
};

use crate::rig::{NoClock, Peer, SmallLog, Woken, link};

/// A ring buffer that counts the bytes it was given to copy.
struct Ring {
    ring: RingBuffer,
    copied: Arc<AtomicUsize>,
}

impl Ring {
    fn backend(capacity: usize) -> (Box<dyn Backend>, Arc<AtomicUsize>) {
        let copied = Arc::new(AtomicUsize::new(0));
        let ring = Ring {
            ring: RingBuffer::new(capacity),
            copied: Arc::clone(&copied),
        };
        (Box::new(ring), copied)
    }
}

impl Backend for Ring {
    fn kind(&self) -> &'static str {
        "ring"
    }

    fn filename(&self) -> String {
        "ring".to_owned()
    }

    fn is_open(&self) -> bool {
        true
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _: &mut Vec<OwnedFd>) -> Sent {
        let total = bufs.iter().map(|buf| buf.len()).sum();
        self.copied.fetch_add(total, Ordering::Relaxed);
        for buf in bufs {
            assert_eq!(self.ring.push_overwriting(buf), 0);
        }
        Sent::Taken(total)
    }

    fn read(&mut self, _: &mut [IoSliceMut<'_>]) -> usize {
        0
    }

    fn watch(&mut self, _: Ready) {}

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        Box::new(NothingToDrain)
    }

    fn ring(&mut self) -> Option<&mut dyn RingControl> {
        Some(self)
    }
}

impl RingControl for Ring {
    fn buffer(&mut self) -> &mut RingBuffer {
        &mut self.ring
    }

    fn take_overwritten(&mut self) -> u64 {
        0
    }
}

/// What a ring buffer held goes out over one of these.
enum Way {
    Straight,
    Mux,
    Hub,
}

/// A chardev on a ring buffer, and its front end.
fn on_ring(capacity: usize) -> (ChardevRef, FrontEnd) {
    let (ring, _) = Ring::backend(capacity);
    let chardev = ChardevRef::new("con0", BackendId(1), ring, Closed::Discard, None);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    (chardev, front)
}

fn change(chardev: &ChardevRef, mut new: NewBackend, old: Old) {
    let change = Change::begin(chardev).unwrap();
    let offer = change.offer(&mut new).unwrap();
    change.commit(offer, new, old).unwrap();
}

#[test]
fn a_peer_that_is_found_out_about_by_a_write_gets_it() {
    for (room, taken) in [(99, 5), (2, 2), (0, 0)] {
        let peer = Peer::new(false, room);
        let chardev = peer.chardev(None);
        let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
        peer.world().knocks = true;
        assert_eq!(front.write(b"hello"), taken);
        assert_eq!(peer.received(), "hello"[..taken]);
        assert_eq!(front.stats().output_discarded, 0);
    }
}

#[test]
fn room_is_asked_for_where_there_was_too_little_and_only_there() {
    for (room, asked) in [(99, false), (5, false), (4, true), (0, true)] {
        let peer = Peer::new(true, room);
        let front = FrontEnd::attach(&peer.chardev(None), Arc::new(())).unwrap();
        peer.world().watched = Ready::empty();
        assert_eq!(front.write(b"hello"), room.min(5));
        assert_eq!(peer.world().watched == Ready::WRITE, asked, "{room}");
    }
}

#[test]
fn a_log_is_asked_to_report_room_where_it_had_too_little_and_only_there() {
    for (room, asked) in [(6, false), (5, false), (4, true), (0, true)] {
        let (peer, log) = (Peer::new(true, 99), SmallLog::default());
        log.0.lock().unwrap().0 = room;
        let chardev = peer.chardev(Some(Box::new(log.clone())));
        let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
        assert_eq!(front.write(b"hello"), room.min(5));
        assert_eq!(log.0.lock().unwrap().1, asked, "{room}");
    }
}

#[test]
fn behind_what_a_ring_held_as_much_is_kept_as_the_ring_had_room_for_or_as_history() {
    for (closed, kept) in [(Closed::Discard, "cdef"), (Closed::History, "abcdef")] {
        let (chardev, front) = on_ring(4);
        assert_eq!(front.write(b"abcd"), 4);
        let peer = Peer::new(false, 99);
        change(&chardev, peer.as_new(2), Old::Retire);
        chardev.with(|chardev| {
            chardev.set_policy(PolicyChange {
                closed: Some(closed),
                history: Some(6),
                ..PolicyChange::default()
            });
        });
        assert_eq!(front.write(b"ef"), 2);
        peer.open();
        chardev.with(|chardev| chardev.handle_ready(BackendId(2), Ready::all()));
        assert_eq!(peer.received(), kept, "{closed:?}");
    }
}

#[test]
fn what_is_written_when_a_temporary_peer_has_just_left_goes_to_the_parked_one() {
    let (parked, temporary) = (Peer::new(true, 99), Peer::new(true, 99));
    let chardev = parked.chardev(None);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    change(&chardev, temporary.as_new(2), Old::Park);
    temporary.close();
    assert_eq!(front.write(b"to whom?"), 8);
    assert_eq!(parked.received(), "to whom?");
    assert_eq!(front.stats().output_discarded, 0);
}

#[test]
fn an_empty_ring_goes_on_as_one_until_somebody_comes() {
    let (chardev, front) = on_ring(4);
    let peer = Peer::new(false, 99);
    change(&chardev, peer.as_new(2), Old::Retire);
    assert_eq!(front.write(b"abcdef"), 6);
    assert_eq!(chardev.with(|chardev| chardev.output_pending()), 4);
    peer.open();
    assert_eq!(front.write(b"gh"), 2);
    assert_eq!(peer.received(), "cdefgh");
    peer.close();
    assert_eq!(front.write(b"nobody"), 6);
    let stats = front.stats();
    assert_eq!((stats.output_overwritten, stats.output_discarded), (2, 6));
}

#[test]
fn what_a_ring_held_is_written_a_mebibyte_at_a_time() {
    let mebibyte = 1 << 20;
    for way in [Way::Straight, Way::Mux, Way::Hub] {
        let (chardev, front) = on_ring(5 * mebibyte);
        let text: Vec<u8> = (0..5 * mebibyte).map(|at| (at / 1000) as u8).collect();
        assert_eq!(front.write(&text), text.len());
        let peer = Peer::new(true, usize::MAX);
        let (woken, waker) = Woken::new();
        let below = ChardevRef::new("m0", BackendId(3), peer.backend(), Closed::Hold, None);
        let new = match way {
            Way::Straight => peer.backend(),
            Way::Mux => Mux::new(link(&below), 1, Arc::new(NoClock), waker).slot(),
            // A member that holds is given no more at once than it would keep.
            Way::Hub => Hub::new(vec![link(&below)], waker).backend(),
        };
        if !matches!(way, Way::Hub) {
            peer.world().most = Some(64 << 10);
        }
        woken.take();
        change(&chardev, NewBackend::new(BackendId(2), new), Old::Retire);
        let received = || peer.world().received.len();
        assert!((mebibyte..text.len()).contains(&received()));
        while received() < text.len() {
            // Somebody sees to it that it goes on.
            assert!(woken.take() || matches!(way, Way::Straight));
            let before = received();
            chardev.with(|chardev| chardev.handle_ready(BackendId(2), Ready::WRITE));
            assert_eq!(received() - before, mebibyte);
        }
        assert!(peer.world().received == text);
    }
}

#[test]
fn from_one_ring_into_another_the_content_moves_without_being_copied() {
    let (chardev, front) = on_ring(99);
    assert_eq!(front.write(b"0123456789"), 10);
    let (ring, copied) = Ring::backend(8);
    let new = NewBackend::new(BackendId(2), ring);
    change(&chardev, new, Old::Retire);
    let content = chardev.with(|chardev| chardev.with_ring(|ring| ring.take(99)));
    assert_eq!(content.as_deref(), Some(&b"23456789"[..]));
    assert_eq!(copied.load(Ordering::Relaxed), 0);
    assert_eq!(front.stats().output_overwritten, 2);
}

#[test]
fn history_is_replayed_to_the_next_peer_without_a_seam() {
    let peer = Peer::new(false, 10_000);
    let chardev = peer.chardev(None);
    chardev.with(|chardev| {
        chardev.set_policy(PolicyChange {
            closed: Some(Closed::History),
            history: Some(8),
            ..PolicyChange::default()
        });
    });
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    assert_eq!(front.write(b"0123456789ab"), 12);
    assert_eq!(front.stats().output_overwritten, 4);
    peer.open();
    assert_eq!(front.write(b"cd"), 2);
    chardev.with(|chardev| chardev.handle_ready(BackendId(1), Ready::all()));
    assert_eq!(front.write(b"ef"), 2);
    assert_eq!(peer.received(), "456789abcdef");
    let stats = front.stats();
    assert_eq!(
        stats.output_accepted,
        stats.output_delivered + stats.output_overwritten
    );
}
