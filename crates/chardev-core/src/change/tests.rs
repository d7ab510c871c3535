//! A ring buffer's content, and what a peer is still owed, when there is no memory to carry them.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;

use crate::backend::{Backend, BackendId, Ready, RingControl, Sent};
use crate::chardev::ChardevRef;
use crate::drain::{Drain, NothingToDrain};
use crate::memory::scarce;
use crate::policy::Closed;
use crate::ringbuf::RingBuffer;

const LARGE: usize = 512 << 10;

/// A back end that is a ring and waits for room.
struct Ring(RingBuffer);

impl Backend for Ring {
    fn kind(&self) -> &'static str {
        "ringbuf"
    }

    fn filename(&self) -> String {
        "ringbuf".to_owned()
    }

    fn is_open(&self) -> bool {
        true
    }

    fn write(&mut self, _: &[IoSlice<'_>], _: &mut Vec<OwnedFd>) -> Sent {
        Sent::Full
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
        &mut self.0
    }

    fn take_overwritten(&mut self) -> u64 {
        0
    }
}

/// A chardev whose full ring buffer holds "old ", with `held` waiting for room there.
fn chardev(held: RingBuffer) -> ChardevRef {
    let ring = Box::new(Ring(RingBuffer::new(4)));
    let chardev = ChardevRef::new("con0", BackendId(1), ring, Closed::Hold, None);
    chardev.with(|chardev| {
        chardev.ring_write(b"old ").unwrap();
        assert_eq!(chardev.stats.output_delivered, 4);
        chardev.stats.output_injected += held.len() as u64;
        *chardev.preface = held;
    });
    chardev
}

#[test]
fn what_a_ring_buffer_holds_and_what_waits_for_it_go_on_together() {
    for held in ["", "n", "newer", "much newer"] {
        let waiting = RingBuffer::from(held.as_bytes().to_vec());
        chardev(waiting).with(|chardev| {
            chardev.keep_ring_content();
            let all = format!("old {held}").into_bytes();
            let pieces: Vec<_> = chardev.preface.slices().collect();
            assert_eq!(pieces.concat(), all);
            let stats = chardev.stats();
            assert_eq!((stats.output_overwritten, stats.output_delivered), (0, 0));
        });
    }
}

#[test]
fn of_what_goes_on_all_that_is_lost_for_want_of_memory_is_counted() {
    let mut held = RingBuffer::from(vec![b'#'; LARGE]);
    // Such a piece cannot be moved as it is.
    held.consume(1);
    chardev(held).with(|chardev| {
        scarce::leave(0);
        chardev.keep_ring_content();
        scarce::leave(usize::MAX);
        let lost = chardev.stats().output_overwritten as usize;
        assert_eq!(lost + chardev.preface.len(), 4 + LARGE - 1);
        assert!(lost > 0 && !chardev.preface.is_empty());
    });
}

#[test]
fn of_what_a_peer_that_stays_is_to_get_all_that_is_lost_for_want_of_memory_is_counted() {
    chardev(RingBuffer::from(b"waits".to_vec())).with(|chardev| {
        scarce::leave(0);
        chardev.add_final_output(&vec![b'#'; LARGE]);
        scarce::leave(usize::MAX);
        let lost = chardev.stats().output_overwritten as usize;
        assert_eq!(lost + chardev.preface.len(), 5 + LARGE);
        assert!(lost > 0 && !chardev.preface.is_empty());
    });
}
