//! What the check finds, and what it lets pass.

use super::{End, Faults, Feed, Received, RecordCheck, STOP, records_in};

fn sent(peer: u64, bytes: usize) -> Vec<u8> {
    let mut feed = Feed::new(peer);
    let mut text = Vec::new();
    while text.len() < bytes {
        let piece = feed.pending().to_vec();
        feed.consume(piece.len());
        text.extend(piece);
    }
    text.truncate(bytes);
    text
}

/// What was found in `text`, read in steps.
struct Checked {
    peers: Vec<Received>,
    faults: Faults,
    end: Option<End>,
}

fn check(text: &[u8], step: usize) -> Checked {
    let (mut check, mut peers) = (RecordCheck::new(), Vec::new());
    let mut done = |peer| peers.push(peer);
    text.chunks(step)
        .for_each(|piece| check.push(piece, &mut done));
    check.finish(&mut done);
    Checked {
        peers,
        faults: check.faults(),
        end: check.end(),
    }
}

#[test]
fn accepts_peers_cut_off_at_any_byte() {
    for cut in 0..200 {
        let text = [
            sent(0, cut),
            sent(1, 150 - cut / 2),
            sent(3, 40),
            STOP.to_vec(),
        ]
        .concat();
        for step in [1, 2, 7, 1000] {
            let check = check(&text, step);
            assert_eq!(check.faults, Faults::default(), "cut {cut}, step {step}");
            assert!(check.end == Some(End::Stop));
            let first = check.peers.first().filter(|peer| peer.peer == 0);
            let received = first.map_or(0, |peer| peer.bytes);
            assert_eq!(received, cut as u64, "cut {cut}");
            for peer in &check.peers {
                assert_eq!(peer.records, records_in(peer.peer, peer.bytes));
            }
        }
    }
}

#[test]
fn a_stopped_feed_ends_on_a_whole_record() {
    for sent_before in 0..60 {
        let mut feed = Feed::new(0);
        let mut text = feed.pending()[..sent_before].to_vec();
        feed.consume(sent_before);
        feed.stop();
        text.extend_from_slice(feed.remainder());
        let check = check(&text, 9);
        assert_eq!(check.faults, Faults::default());
        assert!(check.end == Some(End::Stop));
        let records = records_in(0, (text.len() - STOP.len()) as u64);
        let all = Received {
            peer: 0,
            bytes: (text.len() - STOP.len()) as u64,
            records,
        };
        assert_eq!(check.peers.first().copied().unwrap_or_default(), all);
    }
}

#[test]
fn names_every_kind_of_fault() {
    for (text, faults) in [
        ("<0:0\n<0:1\n[1:0\n", [0, 0, 0, 0]),
        ("<0:0\n<0:2\n", [1, 0, 0, 0]),
        ("<0:0\n[1:3\n", [3, 0, 0, 0]),
        ("<0:0\n<0:0\n<0:1\n", [0, 1, 0, 0]),
        ("[1:0\n<0:0\n", [0, 0, 1, 0]),
        ("<0:0\nx\n<0:1\n", [0, 0, 0, 1]),
        ("<0:0\n<0:01\n", [0, 0, 0, 1]),
        ("<0:0\n<0:7[1:0\n", [0, 0, 0, 1]),
        ("<0:0\n<0:[1:0\n", [0, 0, 0, 0]),
        ("[0:0\n", [0, 0, 0, 1]),
        ("<0:0\n<0:1<0:1\n", [0, 0, 0, 1]),
        ("<<0:0\n", [0, 0, 0, 1]),
        ("<0:0\n[[1:0\n", [0, 0, 0, 1]),
        ("!stop\n<0:0\n", [0, 0, 0, 1]),
    ] {
        for step in [1, 1000] {
            let found = check(text.as_bytes(), step).faults;
            let found = [found.lost, found.doubled, found.reordered, found.damaged];
            assert_eq!(found, faults, "{text:?}");
        }
    }
}

#[test]
fn notices_every_single_missing_doubled_or_changed_byte() {
    let text = [sent(0, 600), STOP.to_vec()].concat();
    let clean = |text: &[u8]| {
        let check = check(text, 1000);
        let all = check.peers.first().map_or(0, |peer| peer.bytes) == 600;
        all && check.end == Some(End::Stop) && check.faults == Faults::default()
    };
    assert!(clean(&text));
    for at in 0..text.len() {
        let (mut shorter, mut longer, mut other) = (text.clone(), text.clone(), text.clone());
        shorter.remove(at);
        longer.insert(at, text[at]);
        other[at] ^= 1;
        assert!(
            !clean(&shorter) && !clean(&longer) && !clean(&other),
            "byte {at}"
        );
    }
}

#[test]
fn counts_the_records_in_a_number_of_bytes() {
    let text = sent(12, 50_000);
    let mut records = 0;
    for (at, byte) in text.iter().enumerate() {
        records += u64::from(*byte == b'\n');
        assert_eq!(records_in(12, at as u64 + 1), records);
    }
}
