//! What happens to the scrollback when there is no memory for it.

use std::cell::Cell;
use std::io::IoSlice;

use super::Tap;
use super::ring::Found;
use crate::few::Few;
use crate::memory::{self, scarce};

const KIB: usize = 1 << 10;

/// The byte at absolute offset `at`.
fn byte(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// A scrollback of at most `wanted` bytes, and where its output has come to.
struct Output {
    tap: Tap,
    end: u64,
}

impl Output {
    fn new(wanted: usize) -> Self {
        let tap = Tap {
            wanted: wanted as u32,
            ..Tap::default()
        };
        Output { tap, end: 0 }
    }

    /// Goes on by `count` bytes; returns whether that was told to be too much.
    fn push(&mut self, count: usize) -> bool {
        let bytes: Vec<u8> = (self.end..self.end + count as u64).map(byte).collect();
        let bufs = [IoSlice::new(&bytes)];
        self.tap.push(self.end, &bufs, count, &mut Few::default());
        self.end += count as u64;
        self.tap.take_shortage()
    }

    /// How many of the newest bytes are kept, each at its offset.
    fn kept(&self) -> u64 {
        let ring = &self.tap.kept.as_ref().unwrap().ring;
        assert_eq!(ring.end(), self.end);
        let low = ring.low();
        let mut buf = vec![0; (self.end - low) as usize];
        if !buf.is_empty() {
            assert_eq!(ring.read(low, &mut buf), Found::Bytes(buf.len()));
        }
        assert!(buf.iter().zip(low..).all(|(there, at)| *there == byte(at)));
        self.end - low
    }
}

#[test]
fn without_memory_for_more_it_keeps_what_it_has_room_for_and_says_so_once() {
    let mut output = Output::new(192 * KIB);
    scarce::leave(64 * KIB);
    assert!(!output.push(60 * KIB));
    assert_eq!(output.kept(), 60 * KIB as u64);
    for (count, told) in [(10 * KIB, true), (10, false), (200 * KIB, false)] {
        assert_eq!(output.push(count), told, "{count}");
        assert_eq!(output.kept(), 64 * KIB as u64, "{count}");
    }
}

#[test]
fn without_any_memory_offsets_go_on_until_there_is_some() {
    let mut output = Output::new(8 * KIB);
    scarce::leave(0);
    for _ in 0..2 {
        assert!(output.push(100));
        assert_eq!(output.kept(), 0);
    }
    scarce::leave(usize::MAX);
    assert!(!output.push(10));
    assert_eq!(output.kept(), 10);
}

#[test]
fn offsets_are_true_even_where_a_large_scrollback_cannot_become_a_small_one() {
    let mut output = Output::new(8192 * KIB);
    scarce::leave(2048 * KIB);
    assert!(!output.push(2048 * KIB));
    assert!(output.push(100));
    assert_eq!(output.kept(), 0);
    scarce::leave(usize::MAX);
    output.push(10);
    assert_eq!(output.kept(), 10);
}

thread_local! {
    static GIVEN_AWAY: Cell<u32> = const { Cell::new(0) };
}

#[test]
fn what_is_large_is_not_freed_where_it_is_let_go() {
    memory::set_disposer(|_garbage| GIVEN_AWAY.set(GIVEN_AWAY.get() + 1));
    let ends = |output: &mut Output| output.tap.end(&mut Few::default());
    let shrinks = |output: &mut Output| {
        output.tap.wanted = 5;
        output.tap.adjust(output.end, 0);
    };
    let nobody_wants_it = |output: &mut Output| {
        output.tap.wanted = 0;
        output.tap.adjust(output.end, 0);
    };
    let ways: [fn(&mut Output); 3] = [ends, shrinks, nobody_wants_it];
    for (way, let_go) in ways.into_iter().enumerate() {
        for (size, given_away) in [(8192 * KIB, 1), (8 * KIB, 0)] {
            let mut output = Output::new(size);
            output.push(size);
            GIVEN_AWAY.set(0);
            let_go(&mut output);
            assert_eq!(GIVEN_AWAY.get(), given_away, "{way}: {size} bytes");
        }
    }
}
