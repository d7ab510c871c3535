//! The input side: the numbered records that peers send, and the check of what the program reads.
//!
//! A peer's record is `<PEER:NUMBER` and a line end. A change may cut a peer off in the middle of a
//! record, so the first character differs between one peer and the next: whatever a record was cut
//! off by shows where it ends and whose it was.

use super::numbers::Decimal;

/// First characters of records, one peer after the other.
const OPENERS: [u8; 4] = *b"<[{(";
/// What the last peer sends after its last record.
pub const STOP: &[u8] = b"!stop\n";
/// The longest record.
const MAX_RECORD: usize = 48;

/// The start of every record of `peer`, up to its number.
fn prefix(peer: u64) -> Vec<u8> {
    let mut text = vec![OPENERS[(peer % 4) as usize]];
    text.extend_from_slice(Decimal::new(peer).digits());
    text.push(b':');
    text
}

fn is_opener(byte: u8) -> bool {
    OPENERS.contains(&byte) || byte == STOP[0]
}

/// An endless supply of records.
#[derive(Debug)]
pub struct Feed {
    prefix: Vec<u8>,
    next: Decimal,
    buffer: Vec<u8>,
    used: usize,
}

impl Feed {
    /// The records of `peer`, from number 0.
    pub fn new(peer: u64) -> Self {
        Feed {
            prefix: prefix(peer),
            next: Decimal::default(),
            buffer: Vec::new(),
            used: 0,
        }
    }

    /// What to send next.
    pub fn pending(&mut self) -> &[u8] {
        if self.used == self.buffer.len() {
            self.buffer.clear();
            self.used = 0;
            while self.buffer.len() < 16 << 10 {
                self.buffer.extend_from_slice(&self.prefix);
                self.buffer.extend_from_slice(self.next.digits());
                self.buffer.push(b'\n');
                self.next.increment();
            }
        }
        &self.buffer[self.used..]
    }

    /// Notes that `count` bytes were sent.
    pub fn consume(&mut self, count: usize) {
        self.used = (self.used + count).min(self.buffer.len());
    }

    /// Replaces the supply: the record under way is completed, and [`STOP`] is the last.
    pub fn stop(&mut self) {
        let rest = self.pending();
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        // At the start of a record nothing of it is needed.
        let whole = is_opener(rest[0]);
        let mut last = if whole {
            Vec::new()
        } else {
            rest[..end].to_vec()
        };
        last.extend_from_slice(STOP);
        (self.buffer, self.used) = (last, 0);
    }

    /// What is left to send after [`stop`](Feed::stop).
    pub fn remainder(&self) -> &[u8] {
        &self.buffer[self.used..]
    }
}

/// How many whole records of `peer` are in its first `bytes` bytes.
pub fn records_in(peer: u64, bytes: u64) -> u64 {
    let around = prefix(peer).len() as u64 + 1;
    let (mut left, mut count, mut digits, mut power) = (bytes, 0, 1, 10_u64);
    loop {
        let numbers = if digits == 1 { 10 } else { power - power / 10 };
        let fit = left / (around + digits);
        if fit < numbers || digits == 19 {
            return count + fit;
        }
        left -= numbers * (around + digits);
        count += numbers;
        digits += 1;
        power *= 10;
    }
}

/// What arrived from one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The peer.
    pub peer: u64,
    /// Bytes, a record that was cut off included.
    pub bytes: u64,
    /// Whole records.
    pub records: u64,
}

/// Checks that every peer's records come without a hole, one peer after the other.
#[derive(Debug, Default)]
pub struct InputCheck {
    partial: Vec<u8>,
    expected: Vec<u8>,
    next: Decimal,
    peers: Vec<Received>,
    faults: InputFaults,
    /// The last peer known to have been cut off: nothing more may come from it.
    cut: Option<u64>,
    stopped: bool,
}

/// What was wrong with the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputFaults {
    /// Records missing in front of a later one of the same peer.
    pub lost: u64,
    /// Records that came again.
    pub doubled: u64,
    /// Records of a peer that came after a later peer's.
    pub reordered: u64,
    /// What is no record, and no start of the one expected.
    pub damaged: u64,
}

impl InputCheck {
    /// Takes in what was read next.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.partial.is_empty() {
                bytes = &bytes[self.skip_expected(bytes)..];
            }
            let Some(&first) = bytes.first() else {
                return;
            };
            if is_opener(first) && !self.partial.is_empty() {
                self.cut_off();
            }
            let end = bytes
                .iter()
                .skip(1)
                .position(|byte| *byte == b'\n' || is_opener(*byte));
            let piece = match end {
                // One byte alone can end a record that came in parts.
                _ if first == b'\n' => 1,
                Some(at) if bytes[at + 1] == b'\n' => at + 2,
                Some(at) => at + 1,
                None => bytes.len(),
            };
            self.extend(&bytes[..piece]);
            bytes = &bytes[piece..];
        }
    }

    /// Whether [`STOP`] has come.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// What came from each peer, in order.
    pub fn peers(&self) -> &[Received] {
        &self.peers
    }

    /// What was wrong.
    pub fn faults(&self) -> InputFaults {
        self.faults
    }

    /// Takes in whole records that are the next ones expected; returns how many bytes they had.
    fn skip_expected(&mut self, bytes: &[u8]) -> usize {
        let Some(peer) = self.peers.last_mut() else {
            return 0;
        };
        if self.stopped || self.cut >= Some(peer.peer) {
            return 0;
        }
        let mut at = 0;
        loop {
            let digits = at + self.expected.len();
            let after = digits + self.next.digits().len();
            if bytes.get(after) != Some(&b'\n')
                || bytes[at..digits] != *self.expected
                || bytes[digits..after] != *self.next.digits()
            {
                return at;
            }
            peer.bytes += (after + 1 - at) as u64;
            peer.records += 1;
            at = after + 1;
            self.next.increment();
        }
    }

    fn extend(&mut self, piece: &[u8]) {
        let room = MAX_RECORD.saturating_sub(self.partial.len());
        if piece.len() > room {
            self.faults.damaged += 1;
            self.partial.clear();
            return;
        }
        self.partial.extend_from_slice(piece);
        if self.partial.ends_with(b"\n") {
            let record = std::mem::take(&mut self.partial);
            self.record(&record);
        }
    }

    fn record(&mut self, record: &[u8]) {
        if self.stopped {
            self.faults.damaged += 1;
        } else if record == STOP {
            self.stopped = true;
        } else if let Some((peer, number)) = parse(record) {
            self.numbered(peer, number, record.len() as u64);
        } else {
            self.faults.damaged += 1;
        }
    }

    fn numbered(&mut self, peer: u64, number: u64, bytes: u64) {
        self.faults.damaged += u64::from(self.cut >= Some(peer));
        if self.peers.last().is_none_or(|last| last.peer < peer) {
            self.begin(peer);
        }
        let Some(last) = self.peers.last_mut() else {
            return;
        };
        if last.peer > peer {
            self.faults.reordered += 1;
            return;
        }
        last.bytes += bytes;
        last.records += 1;
        let known = last.records - 1;
        if number > known {
            self.faults.lost += number - known;
            last.records = number + 1;
        } else if number < known {
            self.faults.doubled += 1;
            last.records = known;
        }
        self.next = Decimal::new(last.records);
    }

    fn begin(&mut self, peer: u64) {
        self.peers.push(Received {
            peer,
            ..Received::default()
        });
        self.expected = prefix(peer);
        self.next = Decimal::default();
    }

    /// A record ended where another began: right if it is the start of the one expected.
    fn cut_off(&mut self) {
        let cut = std::mem::take(&mut self.partial);
        let next = [&self.expected[..], self.next.digits()].concat();
        match self.peers.last_mut() {
            Some(last) if next.starts_with(&cut) && self.cut < Some(last.peer) => {
                last.bytes += cut.len() as u64;
                self.cut = Some(last.peer);
            }
            last => match starting_peer(&cut, last.map(|last| last.peer).max(self.cut)) {
                Some(peer) => self.cut = Some(peer),
                None => self.faults.damaged += 1,
            },
        }
    }
}

/// Whose record 0 may have been cut off like this, after records of `last`.
fn starting_peer(cut: &[u8], last: Option<u64>) -> Option<u64> {
    let from = last.map_or(0, |last| last + 1);
    let starts = |peer: &u64| [&prefix(*peer)[..], b"0"].concat().starts_with(cut);
    (from..from + OPENERS.len() as u64).find(starts)
}

fn parse(record: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(record.strip_suffix(b"\n")?).ok()?;
    let (peer, number) = text.get(1..)?.split_once(':')?;
    let (peer, number): (u64, u64) = (peer.parse().ok()?, number.parse().ok()?);
    // Exactly one spelling of a record is right.
    let whole = [&prefix(peer)[..], Decimal::new(number).digits()].concat();
    (whole == text.as_bytes()).then_some((peer, number))
}

#[cfg(test)]
mod tests {
    use super::{Feed, InputCheck, InputFaults, Received, STOP, records_in};

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

    fn check(text: &[u8], step: usize) -> InputCheck {
        let mut check = InputCheck::default();
        text.chunks(step).for_each(|piece| check.push(piece));
        check
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
                assert_eq!(
                    check.faults(),
                    InputFaults::default(),
                    "cut {cut}, step {step}"
                );
                assert!(check.is_stopped());
                let first = check.peers().first().filter(|peer| peer.peer == 0);
                let received = first.map_or(0, |peer| peer.bytes);
                assert!(received == cut as u64 || cut < 5, "cut {cut}: {received}");
                for peer in check.peers() {
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
            assert_eq!(check.faults(), InputFaults::default());
            assert!(check.is_stopped());
            let records = records_in(0, (text.len() - STOP.len()) as u64);
            let all = Received {
                peer: 0,
                bytes: (text.len() - STOP.len()) as u64,
                records,
            };
            assert_eq!(check.peers().first().copied().unwrap_or_default(), all);
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
                let found = check(text.as_bytes(), step).faults();
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
            let all = check.peers().first().map_or(0, |peer| peer.bytes) == 600;
            all && check.is_stopped() && check.faults() == InputFaults::default()
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
}
