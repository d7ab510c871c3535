//! Finds matches in a stream that comes in pieces.

use regex::bytes::Regex;

/// The longest match that is found, however the stream is cut.
const LONGEST: usize = 64 << 10;
/// How much of what was looked at in vain is named.
const TAIL: usize = 60;

/// The output that is being looked at.
#[derive(Debug)]
pub(super) struct Scanner {
    bytes: Vec<u8>,
    /// The offset of the first of `bytes`.
    base: u64,
    /// No match begins before this place of `bytes`.
    at: usize,
    /// How much of `bytes` was looked at, for the pattern that is waited for.
    seen: usize,
}

/// A match.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The offset of its first byte.
    pub(super) offset: u64,
    /// The offset of the byte after it.
    pub(super) next: u64,
    pub(super) text: Vec<u8>,
    /// What the groups of the pattern matched.
    pub(super) groups: Vec<Option<Vec<u8>>>,
}

impl Scanner {
    /// Looks at output from `offset` on.
    pub(super) fn new(offset: u64) -> Self {
        Scanner {
            bytes: Vec::new(),
            base: offset,
            at: 0,
            seen: 0,
        }
    }

    /// Where the next match may begin.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// Where the output ends, so far.
    pub(super) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Goes on at `offset`: what is before it has not been kept.
    pub(super) fn skip_to(&mut self, offset: u64) {
        *self = Scanner::new(offset);
    }

    /// More output.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        // Of what was looked at, only what a match may begin in is of use, and the byte before it.
        let old = self
            .seen
            .saturating_sub(LONGEST + 1)
            .max(self.at.saturating_sub(1));
        if old > LONGEST {
            self.bytes.drain(..old);
            self.base += old as u64;
            self.seen = self.seen.saturating_sub(old);
            self.at = self.at.saturating_sub(old);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The first match in what has not matched yet.
    pub(super) fn find(&mut self, regex: &Regex) -> Option<Found> {
        let start = self.at.max(self.seen.saturating_sub(LONGEST));
        self.seen = self.bytes.len();
        let captures = regex.captures_at(&self.bytes, start)?;
        let all = captures.get(0)?;
        let groups = captures.iter().skip(1);
        let found = Found {
            offset: self.base + all.start() as u64,
            next: self.base + all.end() as u64,
            text: all.as_bytes().to_vec(),
            groups: groups
                .map(|it| it.map(|it| it.as_bytes().to_vec()))
                .collect(),
        };
        self.at = all.end();
        self.seen = self.at;
        Some(found)
    }

    /// The last of the output, for people.
    pub(super) fn tail(&self) -> &[u8] {
        let from = self.bytes.len().saturating_sub(TAIL).max(self.at);
        &self.bytes[from..]
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Scanner};
    use regex::bytes::Regex;

    fn regex(text: &str) -> Regex {
        Regex::new(text).expect("valid")
    }

    #[test]
    fn matches_are_found_however_the_stream_is_cut_and_none_twice() {
        let stream = b"boot\r\nlogin: root\r\nlogin: ";
        for size in 1..stream.len() {
            let mut scanner = Scanner::new(100);
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                scanner.push(piece);
                while let Some(one) = scanner.find(&regex("log(in): ")) {
                    assert_eq!(one.groups, [Some(b"in".to_vec())]);
                    found.push((one.offset, one.next));
                }
            }
            assert_eq!(found, [(106, 113), (119, 126)], "{size}");
            assert_eq!(scanner.offset(), scanner.end());
        }
    }

    #[test]
    fn much_output_takes_little_memory_and_hides_no_match() {
        let mut scanner = Scanner::new(0);
        let wanted = regex("a[x\n]{65000}b");
        for _ in 0..100 {
            scanner.push(&[b'y'; 10_000]);
            assert_eq!(scanner.find(&wanted), None);
        }
        scanner.push(b"a");
        for _ in 0..65 {
            assert_eq!(scanner.find(&wanted), None);
            scanner.push(&[b'x'; 1000]);
        }
        scanner.push(b"b");
        let found = scanner.find(&wanted).expect("a match");
        assert_eq!((found.offset, found.next), (1_000_000, 1_065_002));
        assert!(scanner.bytes.capacity() < 8 * LONGEST);
    }

    #[test]
    fn a_line_begins_after_what_was_before_a_match() {
        let mut scanner = Scanner::new(0);
        scanner.push(b"one two\n");
        assert!(scanner.find(&regex("one ")).is_some());
        assert_eq!(scanner.find(&regex("(?m)^two")), None);
    }
}
