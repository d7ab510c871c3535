//! The scrollback and its viewers, beside a model that forgets nothing; and who wakes whom.

use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll};

use chardev_core::{
    BackendId, ChardevRef, Closed, FrontEnd, Glance, Registry, Slow, VIEWED_SCROLLBACK, ViewEnd,
    ViewError, ViewFrom, Viewed, Viewer,
};
use proptest::prelude::*;

use crate::rig::{Peer, Woken};

/// A chardev whose peer takes everything.
fn console() -> (ChardevRef, FrontEnd) {
    let chardev = Peer::new(true, usize::MAX).chardev(None);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    (chardev, front)
}

/// The byte at absolute offset `at`.
fn byte(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn bytes(from: u64, count: usize) -> Vec<u8> {
    (from..from + count as u64).map(byte).collect()
}

/// Everything a viewer can get now; gaps and the end in brackets.
fn everything(viewer: &mut Viewer) -> String {
    let mut out = String::new();
    let mut buf = [0; 3];
    while let Some(viewed) = viewer.read(&mut buf) {
        match viewed {
            Viewed::Data { count, .. } => {
                out.push_str(std::str::from_utf8(&buf[..count]).unwrap());
            }
            Viewed::Gap { from, to } => out.push_str(&format!("[{from}-{to}]")),
            Viewed::End(end) => return out + &format!("[{end:?}]"),
        }
    }
    out
}

#[test]
fn viewers_start_where_they_want() {
    let (chardev, front) = console();
    chardev.with(|chardev| chardev.set_scrollback(8));
    front.write(b"0123456789");
    for (from, expected) in [
        (ViewFrom::Now, ""),
        (ViewFrom::Oldest, "23456789"),
        (ViewFrom::Offset(7), "789"),
        (ViewFrom::Offset(10), ""),
        (ViewFrom::Offset(0), "[0-2]23456789"),
        (ViewFrom::Last(4), "6789"),
        (ViewFrom::Last(99), "[0-2]23456789"),
    ] {
        let mut viewer = chardev.view(from, Slow::Drop).unwrap();
        assert_eq!(everything(&mut viewer), expected, "{from:?}");
    }
    let ahead = chardev.view(ViewFrom::Offset(11), Slow::Skip).unwrap_err();
    let expected = ViewError::Ahead {
        id: "con0".to_owned(),
        from: 11,
        end: 10,
    };
    assert_eq!(ahead, expected);
    assert_eq!(chardev.with(|chardev| chardev.viewers()), 0);
}

#[test]
fn a_viewer_that_waits_is_woken_once_and_one_that_reads_is_not() {
    let (chardev, front) = console();
    let mut waiting = chardev.view(ViewFrom::Now, Slow::Skip).unwrap();
    let _stalled = chardev.view(ViewFrom::Now, Slow::Skip).unwrap();
    let (woken, waker) = Woken::new();
    let mut cx = Context::from_waker(&waker);
    let mut buf = [0; 8];
    assert_eq!(waiting.poll_read(&mut cx, &mut buf), Poll::Pending);
    assert!(!woken.take());
    front.write(b"ab");
    assert!(woken.take());
    front.write(b"cd");
    assert!(!woken.take(), "nobody waits");
    let data = Viewed::Data {
        offset: 0,
        count: 4,
    };
    assert_eq!(waiting.poll_read(&mut cx, &mut buf), Poll::Ready(data));
    assert_eq!(waiting.poll_read(&mut cx, &mut buf), Poll::Pending);
    drop(front);
    let registry = Registry::default();
    registry.reserve("con0").unwrap().fill(chardev);
    registry.remove("con0").unwrap();
    assert!(woken.take());
    let end = Viewed::End(ViewEnd::Removed);
    assert_eq!(waiting.poll_read(&mut cx, &mut buf), Poll::Ready(end));
}

#[test]
fn what_is_kept_can_be_read_after_the_removal() {
    let (chardev, front) = console();
    let mut viewer = chardev.view(ViewFrom::Now, Slow::Skip).unwrap();
    front.write(b"last words");
    drop(front);
    let registry = Registry::default();
    registry.reserve("con0").unwrap().fill(chardev.clone());
    registry.remove("con0").unwrap();
    assert_eq!(everything(&mut viewer), "last words[Removed]");
    assert_eq!(everything(&mut viewer), "[Removed]");
    let gone = chardev.view(ViewFrom::Now, Slow::Skip).unwrap_err();
    assert_eq!(gone, ViewError::NotFound("con0".to_owned()));
}

#[test]
fn a_slow_viewer_skips_or_ends_as_it_asked() {
    let (chardev, front) = console();
    chardev.with(|chardev| chardev.set_scrollback(16));
    let mut skips = chardev.view(ViewFrom::Now, Slow::Skip).unwrap();
    let mut drops = chardev.view(ViewFrom::Now, Slow::Drop).unwrap();
    front.write(b"a");
    assert_eq!(
        (everything(&mut skips), everything(&mut drops)),
        ("a".into(), "a".into())
    );
    front.write(b"0123456789abcdefghi");
    // It lands a quarter of the scrollback ahead of the writer.
    assert_eq!(everything(&mut skips), "[1-8]789abcdefghi");
    assert_eq!(everything(&mut drops), "[TooSlow(19)]");
}

#[test]
fn a_viewer_sees_what_was_taken_of_a_write_and_no_more() {
    let peer = Peer::new(true, 5);
    let chardev = peer.chardev(None);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    let mut viewer = chardev.view(ViewFrom::Now, Slow::Skip).unwrap();
    let bufs = ["abc", "def", "ghi"].map(|text| IoSlice::new(text.as_bytes()));
    assert_eq!(front.write_vectored(&bufs), 5);
    assert_eq!(everything(&mut viewer), "abcde");
    peer.world().room = 99;
    assert_eq!(front.write(b"f"), 1);
    assert_eq!(everything(&mut viewer), "f");
}

#[test]
fn a_viewer_may_ask_for_one_wake_up() {
    let (chardev, front) = console();
    let mut viewer = chardev.view(ViewFrom::Now, Slow::Skip).unwrap();
    let (woken, waker) = Woken::new();
    viewer.wake_when_ready(&waker);
    for expected in [1, 0] {
        front.write(b"x");
        assert_eq!((woken.count(), woken.take()), (expected, expected > 0));
    }
    assert_eq!(everything(&mut viewer), "xx");
}

#[test]
fn what_history_shows_beside_a_busy_writer_is_true() {
    const TOTAL: u64 = 3_000_000;
    let (chardev, front) = console();
    chardev.with(|chardev| chardev.set_scrollback(500));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for size in (1..).map(|round| round * 37 % 300) {
                let at = front.stats().output_accepted;
                if at >= TOTAL {
                    break;
                }
                front.write(&bytes(at, size));
            }
        });
        let (mut end, mut shown) = (0, 0);
        while end < TOTAL {
            let history = chardev.history(ViewFrom::Oldest, usize::MAX).unwrap();
            assert_eq!(history.bytes, bytes(history.start, history.bytes.len()));
            assert_eq!(history.start + history.bytes.len() as u64, history.end);
            end = history.end;
            shown += history.bytes.len();
        }
        assert!(shown > 0);
    });
}

#[test]
fn nothing_is_kept_for_nobody() {
    let (chardev, front) = console();
    front.write(b"unseen");
    assert_eq!(chardev.with(|chardev| chardev.scrollback()), (6, 6));
    let viewer = chardev.view(ViewFrom::Oldest, Slow::Skip).unwrap();
    front.write(b"seen");
    let history = chardev.history(ViewFrom::Oldest, 99).unwrap();
    assert_eq!((history.start, &history.bytes[..]), (6, &b"seen"[..]));
    drop(viewer);
    assert_eq!(chardev.with(|chardev| chardev.scrollback()), (10, 10));
    let history = chardev.history(ViewFrom::Offset(3), 99).unwrap();
    assert_eq!(
        (history.start, history.end, history.bytes.len()),
        (10, 10, 0)
    );
}

#[test]
fn history_is_read_in_pieces_with_true_offsets() {
    let (chardev, front) = console();
    chardev.with(|chardev| chardev.set_scrollback(1000));
    front.write(&bytes(0, 1500));
    let mut at = ViewFrom::Offset(17);
    let mut all = Vec::new();
    loop {
        let history = chardev.history(at, 64).unwrap();
        assert_eq!((history.oldest, history.end), (500, 1500));
        if history.bytes.is_empty() {
            break;
        }
        all.extend_from_slice(&history.bytes);
        at = ViewFrom::Offset(history.start + history.bytes.len() as u64);
    }
    assert_eq!(all, bytes(500, 1000));
}

#[test]
fn the_default_scrollback_holds_a_mebibyte() {
    let (chardev, front) = console();
    let viewer = chardev.view(ViewFrom::Now, Slow::Skip).unwrap();
    for round in 0..30 {
        front.write(&bytes(round * 100_000, 100_000));
        let (oldest, end) = chardev.with(|chardev| chardev.scrollback());
        assert_eq!(end - oldest, end.min(VIEWED_SCROLLBACK as u64));
    }
    assert_eq!(viewer.offset(), 0);
    assert_eq!(viewer.end(), 3_000_000);
}

/// What a viewer has seen so far, judged against the whole output.
#[derive(Debug)]
struct Seen {
    viewer: Viewer,
    at: u64,
    current: bool,
    ended: bool,
}

impl Seen {
    /// Reads up to `size` bytes once; every byte must be the one at its offset, and a gap only
    /// leaves out what is no longer kept, or the lead that a slow viewer is given.
    fn look(&mut self, size: usize, oldest: u64, end: u64, capacity: u64) {
        let mut buf = vec![0; size];
        match self.viewer.read(&mut buf) {
            None => assert_eq!(self.at, end, "there is more"),
            Some(Viewed::Data { offset, count }) => {
                assert_eq!(offset, self.at);
                assert!(count > 0 && offset >= oldest && offset + count as u64 <= end);
                assert_eq!(buf[..count], bytes(offset, count)[..]);
                self.at += count as u64;
                self.current = true;
            }
            Some(Viewed::Gap { from, to }) => {
                assert_eq!(from, self.at);
                assert!(from < oldest && to >= oldest && to <= end);
                assert!(to <= oldest + if self.current { capacity / 4 } else { 0 });
                self.at = to;
                self.current = true;
            }
            Some(Viewed::End(reason)) => {
                assert_eq!(reason, ViewEnd::TooSlow(end - self.at));
                assert!(self.at < oldest && self.current);
                self.ended = true;
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<usize>),
    Capacity(usize),
    View(ViewFrom, Slow),
    Read(usize, usize),
    Leave(usize),
    History(u64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let offset = || prop_oneof![0..5000u64, 0..500_000u64];
    let from = prop_oneof![
        Just(ViewFrom::Now),
        Just(ViewFrom::Oldest),
        offset().prop_map(ViewFrom::Offset),
        offset().prop_map(ViewFrom::Last),
    ];
    let slow = prop_oneof![Just(Slow::Skip), Just(Slow::Drop)];
    prop_oneof![
        6 => prop::collection::vec(0..300usize, 1..4).prop_map(Step::Write),
        // More than a segment of the scrollback.
        1 => prop::collection::vec(0..90_000usize, 1..4).prop_map(Step::Write),
        1 => prop_oneof![Just(0), 1..2000usize, 1..300_000usize].prop_map(Step::Capacity),
        2 => (from, slow).prop_map(|(from, slow)| Step::View(from, slow)),
        8 => (0..8usize, prop_oneof![1..700usize, 1..200_000usize])
            .prop_map(|(who, size)| Step::Read(who, size)),
        1 => (0..8usize).prop_map(Step::Leave),
        1 => (offset(), 1..100_000usize).prop_map(|(from, size)| Step::History(from, size)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// However writes, reads, registrations at any offset and changes of capacity follow each
    /// other, every viewer gets each byte at its offset or a gap that says which are missing.
    #[test]
    fn every_viewer_gets_every_byte_or_an_explicit_gap(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let peer = Peer::new(true, usize::MAX);
        let chardev = ChardevRef::new("con0", BackendId(1), peer.backend(), Closed::Discard, None);
        let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
        let (mut end, mut low, mut wanted, mut seen) = (0u64, 0, 0, Vec::<Seen>::new());
        for step in steps {
            let (oldest, known) = chardev.with(|chardev| chardev.scrollback());
            let capacity = match (wanted, seen.len()) {
                (0, 0) => 0,
                (0, _) => VIEWED_SCROLLBACK as u64,
                (wanted, _) => wanted,
            };
            low = end.saturating_sub(capacity).max(low);
            prop_assert_eq!((oldest, known), (low, end));
            match step {
                Step::Write(sizes) => {
                    let total: usize = sizes.iter().sum();
                    let all = bytes(end, total);
                    let mut rest = &all[..];
                    let mut bufs = Vec::new();
                    for size in sizes {
                        let (buf, after) = rest.split_at(size);
                        bufs.push(IoSlice::new(buf));
                        rest = after;
                    }
                    prop_assert_eq!(front.write_vectored(&bufs), total);
                    end += total as u64;
                }
                Step::Capacity(bytes) => {
                    wanted = bytes as u64;
                    chardev.with(|chardev| chardev.set_scrollback(bytes));
                }
                Step::View(from, slow) => match (from, chardev.view(from, slow)) {
                    (ViewFrom::Offset(from), Err(error)) => {
                        prop_assert!(from > end);
                        let ahead = matches!(error, ViewError::Ahead { .. });
                        prop_assert!(ahead, "{}", error);
                    }
                    (from, viewer) => {
                        let at = match from {
                            ViewFrom::Now => end,
                            ViewFrom::Oldest => oldest,
                            ViewFrom::Offset(from) => from,
                            ViewFrom::Last(count) => end.saturating_sub(count),
                        };
                        let viewer = viewer.unwrap();
                        prop_assert_eq!(viewer.offset(), at);
                        seen.push(Seen { viewer, at, current: at >= oldest, ended: false });
                    }
                },
                Step::Read(who, size) => {
                    if let Some(viewer) = seen.get_mut(who).filter(|viewer| !viewer.ended) {
                        viewer.look(size, oldest, end, capacity);
                    }
                }
                Step::Leave(who) if who < seen.len() => {
                    seen.swap_remove(who);
                }
                Step::Leave(_) => {}
                Step::History(from, limit) => match chardev.history(ViewFrom::Offset(from), limit) {
                    Err(_) => prop_assert!(from > end),
                    Ok(history) => {
                        let expected = (end - from.max(oldest)).min(limit as u64) as usize;
                        prop_assert_eq!(history.start, from.max(oldest));
                        prop_assert_eq!(&history.bytes, &bytes(history.start, expected));
                    }
                },
            }
            prop_assert_eq!(chardev.with(|chardev| chardev.viewers()), seen.len());
        }
    }
}

/// Three viewers take turns with one copy, each with pieces of its own size, while the writer goes
/// on: what each sees is what it would see alone.
#[test]
fn viewers_that_share_a_copy_see_the_same_as_alone() {
    let (chardev, front) = console();
    let (other, other_front) = console();
    let mut viewers: Vec<_> = [&chardev, &chardev, &other]
        .map(|chardev| chardev.view(ViewFrom::Now, Slow::Skip).unwrap())
        .into();
    let mut glance = Glance::new(16);
    let mut seen = [0u64; 3];
    for round in 0..300 {
        front.write(&bytes(round * 7, 7));
        other_front.write(&[b'.'; 5]);
        for (index, viewer) in viewers.iter_mut().enumerate() {
            for _ in 0..round % 3 {
                let Some((viewed, there)) = viewer.glance(&mut glance, 3 + 4 * index) else {
                    continue;
                };
                let (offset, count) = (viewer.offset(), there.len());
                assert_eq!(viewed, Viewed::Data { offset, count });
                match index {
                    2 => assert!(there.iter().all(|byte| *byte == b'.')),
                    _ => assert_eq!(there, bytes(offset, count)),
                }
                viewer.advance(count);
                seen[index] += count as u64;
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 700), "{seen:?}");
    // A viewer that has ended sees its end, whatever is in the copy.
    front.write(b"more");
    assert!(viewers[1].glance(&mut glance, 16).is_some());
    viewers[1].accept(Viewed::End(ViewEnd::Removed));
    let end = (Viewed::End(ViewEnd::Removed), &[][..]);
    assert_eq!(viewers[1].glance(&mut glance, 16), Some(end));
}
