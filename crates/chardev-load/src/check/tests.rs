//! What the check finds, and what it lets pass.

use super::condensed::MAX_LINE;
use super::{Segment, Tally, Verdict};
use crate::lines::{Form, stream};

fn judge(pieces: &[&str]) -> Verdict {
    let mut tally = Tally::default();
    for piece in pieces {
        let mut segment = Segment::default();
        segment.push(piece.as_bytes());
        tally.append(segment);
    }
    tally.verdict()
}

fn faults(pieces: &[&str]) -> [u64; 4] {
    let verdict = judge(pieces);
    [
        verdict.lost,
        verdict.doubled,
        verdict.reordered,
        verdict.damaged,
    ]
}

#[test]
fn accepts_every_way_to_cut_a_whole_stream() {
    let text: String = (0..120).map(|number| format!("{number}\n")).collect();
    let text = format!("{text}end 120\n");
    for first in 0..text.len() {
        for step in [0, 1, 2, 5, 40] {
            let second = (first + step).min(text.len());
            let pieces = [&text[..first], &text[first..second], "", &text[second..]];
            let verdict = judge(&pieces);
            assert!(verdict.is_clean(), "{first} {step} {verdict:?}");
            assert_eq!((verdict.lines, verdict.bytes), (120, text.len() as u64));
        }
    }
}

#[test]
fn accepts_reads_of_one_byte() {
    let mut segment = Segment::default();
    for byte in b"0\n1\n2\n3\nend 4\n" {
        segment.push(&[*byte]);
    }
    assert!(segment.has_end());
    let mut tally = Tally::default();
    tally.append(segment);
    assert!(tally.verdict().is_clean());
}

#[test]
fn names_every_kind_of_fault() {
    // lost, doubled, reordered, damaged
    for (pieces, expected) in [
        (&["0\n1\n", "2\nend 3\n"][..], [0, 0, 0, 0]),
        (&["0\n1\n", "3\nend 4\n"], [1, 0, 0, 0]),
        (&["0\n1\n", "end 4\n"], [2, 0, 0, 0]),
        (&["0\n1\n1\n2\n", "3\nend 4\n"], [0, 1, 0, 0]),
        (&["0\n1\n2\n", "1\n2\n3\nend 4\n"], [0, 2, 0, 0]),
        (&["0\n2\n1\n3\nend 4\n"], [0, 0, 1, 0]),
        (&["0\n3\n1\n2\nend 4\n"], [0, 0, 2, 0]),
        (&["0\n1\n", "x\n2\nend 3\n"], [0, 0, 0, 1]),
        (&["0\n1\n", "02\n2\nend 3\n"], [0, 0, 0, 1]),
        (&["0\n1\n", "2\n3\nend 3\n"], [0, 0, 0, 1]),
        (&["0\n1\n2\nend 3\n3\n"], [0, 0, 0, 2]),
        (&["0\n1\n2\nend 3\nrest"], [0, 0, 0, 1]),
        (&["0\n1\n2\n"], [1, 0, 0, 0]),
        (&[""], [1, 0, 0, 0]),
    ] {
        assert_eq!(faults(pieces), expected, "{pieces:?}");
    }
}

#[test]
fn notices_every_single_missing_doubled_or_changed_byte() {
    let text: String = (0..300).map(|number| format!("{number}\n")).collect();
    let text = format!("{text}end 300\n").into_bytes();
    for at in 0..text.len() {
        let mut shorter = text.clone();
        shorter.remove(at);
        let mut longer = text.clone();
        longer.insert(at, text[at]);
        let mut other = text.clone();
        other[at] ^= 1;
        for wrong in [shorter, longer, other] {
            let mut segment = Segment::default();
            segment.push(&wrong);
            let mut tally = Tally::default();
            tally.append(segment);
            assert!(
                !tally.verdict().is_clean(),
                "byte {at} of {:?}",
                text[at] as char
            );
        }
    }
}

#[test]
fn a_stream_without_line_ends_takes_no_memory() {
    let mut segment = Segment::default();
    for _ in 0..1000 {
        segment.push(&[b'7'; 4096]);
    }
    assert!(segment.tail.text.len() <= MAX_LINE);
    let mut tally = Tally::default();
    tally.append(segment);
    assert!(!tally.verdict().is_clean());
}

#[test]
fn an_interim_verdict_does_not_miss_what_may_still_come() {
    let mut tally = Tally::default();
    let mut segment = Segment::default();
    segment.push(b"0\n1\n2");
    tally.append(segment);
    assert!(tally.interim().is_clean());
}

#[test]
fn padded_lines_are_checked_alike_and_end_without_a_count() {
    let verdict = |pieces: [&str; 2]| {
        let mut tally = Tally::new(Form::Padded);
        let mut goes_on = true;
        for piece in pieces {
            let mut segment = Segment::new(Form::Padded);
            segment.push(piece.as_bytes());
            goes_on &= segment.goes_on();
            tally.append(segment);
        }
        let verdict = tally.verdict();
        (
            goes_on,
            [
                verdict.lost,
                verdict.doubled,
                verdict.reordered,
                verdict.damaged,
            ],
        )
    };
    let text = String::from_utf8(stream(Form::Padded, 50)).unwrap();
    for at in 0..=text.len() {
        let (one, other) = text.split_at(at);
        assert_eq!(verdict([one, other]), (true, [0; 4]), "{at}");
    }
    for (pieces, expected) in [
        (
            ["0000000000\n0000000001\n0000000003\n", "END\n"],
            [1, 0, 0, 0],
        ),
        (
            ["0000000000\n0000000001\n0000000001\n", "END\n"],
            [0, 1, 0, 0],
        ),
        (["0000000000\n0000000001\n2\n", "END\n"], [0, 0, 0, 1]),
    ] {
        assert_eq!(verdict(pieces), (false, expected), "{pieces:?}");
    }
    // Without the last line something is missing.
    assert_eq!(verdict(["0000000000\n", ""]).1, [1, 0, 0, 0]);
}
