//! The check of records, without memory of its own: a guest without an operating system has none.

use super::{ENDS, End, Faults, Received, begins, first_record, is_opener, parse_record};
use crate::lines::Line;

/// The longest record.
const LONGEST: usize = 48;
/// How many peers in a row may have sent nothing.
const LOOK_AHEAD: u64 = 64;

/// Checks that every peer's records come without a hole, one peer after the other.
#[derive(Clone, Debug)]
pub struct RecordCheck {
    /// The record expected, and how much of it has come.
    next: Line,
    matched: usize,
    /// The record under way if it is not, or may not be, the one expected.
    partial: [u8; LONGEST],
    length: usize,
    sender: Option<Received>,
    /// Whether the sender was cut off: nothing more may come from it.
    cut: bool,
    faults: Faults,
    end: Option<End>,
}

impl Default for RecordCheck {
    fn default() -> Self {
        RecordCheck::new()
    }
}

impl RecordCheck {
    /// Nothing has come yet.
    pub fn new() -> Self {
        RecordCheck {
            next: Line::with_prefix(&[]),
            matched: 0,
            partial: [0; LONGEST],
            length: 0,
            sender: None,
            cut: false,
            faults: Faults::default(),
            end: None,
        }
    }

    /// What the record that ends it asked for, once it has come.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// What was wrong.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Takes in what was read next; `done` is told what came from a peer when the next one's first
    /// record comes.
    pub fn push(&mut self, mut bytes: &[u8], done: &mut dyn FnMut(Received)) {
        while !bytes.is_empty() {
            let count = self.push_expected(bytes);
            if count == 0 {
                self.push_byte(bytes[0], done);
            }
            bytes = &bytes[count.max(1)..];
        }
    }

    /// Nothing more comes; `done` is told what came from the last peer.
    pub fn finish(&mut self, done: &mut dyn FnMut(Received)) {
        if let Some(sender) = self.sender.take() {
            done(sender);
        }
    }

    /// Takes in what goes on with the record expected; returns how many bytes that were. This is
    /// the path of a healthy stream.
    fn push_expected(&mut self, bytes: &[u8]) -> usize {
        let regular = self.length == 0 && !self.cut && self.end.is_none();
        let Some(sender) = self.sender.as_mut().filter(|_| regular) else {
            return 0;
        };
        let rest = &self.next.text()[self.matched..];
        let count = rest.len().min(bytes.len());
        if rest[..count] != bytes[..count] {
            // What had come of it is the start of something else.
            self.partial[..self.matched].copy_from_slice(&self.next.text()[..self.matched]);
            self.length = core::mem::take(&mut self.matched);
            return 0;
        }
        self.matched += count;
        if self.matched == self.next.text().len() {
            sender.bytes += self.matched as u64;
            sender.records += 1;
            self.next.increment();
            self.matched = 0;
        }
        count
    }

    fn push_byte(&mut self, byte: u8, done: &mut dyn FnMut(Received)) {
        if is_opener(byte) && self.length > 0 {
            self.cut_off(done);
        }
        if byte == b'\n' {
            self.take_record(done);
            self.length = 0;
        } else if self.length < LONGEST {
            self.partial[self.length] = byte;
            self.length += 1;
        } else {
            self.faults.damaged += 1;
            self.length = 0;
        }
    }

    fn take_record(&mut self, done: &mut dyn FnMut(Received)) {
        let record = &self.partial[..self.length];
        if self.end.is_some() {
            self.faults.damaged += 1;
            return;
        }
        if let Some((_, end)) = ENDS.iter().find(|(text, _)| record == *text) {
            self.end = Some(*end);
            return;
        }
        let Some((peer, number)) = parse_record(record) else {
            self.faults.damaged += 1;
            return;
        };
        let bytes = self.length as u64 + 1;
        let Some(sender) = self.sender_of(peer, done) else {
            self.faults.reordered += 1;
            return;
        };
        let expected = sender.records;
        sender.bytes += bytes;
        sender.records = expected.max(number.saturating_add(1));
        let known = sender.records;
        self.next = first_record(peer);
        self.next.set_number(known);
        self.faults.damaged += u64::from(self.cut);
        if number < expected {
            self.faults.doubled += 1;
        } else {
            self.faults.lost += number - expected;
        }
    }

    /// The record under way ended where a change cut its sender off. So far as it goes it must be
    /// the sender's next one or, if that peer was cut off between two records, the first one of a
    /// later peer.
    fn cut_off(&mut self, done: &mut dyn FnMut(Received)) {
        let (partial, length) = (self.partial, self.length);
        self.length = 0;
        let owner = self.owner_of(&partial[..length]);
        let sender = owner.and_then(|peer| self.sender_of(peer, done));
        let Some(sender) = sender else {
            self.faults.damaged += 1;
            return;
        };
        sender.bytes += length as u64;
        self.cut = true;
    }

    fn owner_of(&self, part: &[u8]) -> Option<u64> {
        let next = match self.sender {
            Some(sender) if !self.cut && begins(part, sender.peer, sender.records) => {
                return Some(sender.peer);
            }
            Some(sender) => sender.peer.saturating_add(1),
            None => 0,
        };
        (next..next.saturating_add(LOOK_AHEAD)).find(|peer| begins(part, *peer, 0))
    }

    /// The present sender, which is `peer` from now on; `None` for one that was before.
    fn sender_of(&mut self, peer: u64, done: &mut dyn FnMut(Received)) -> Option<&mut Received> {
        match self.sender {
            Some(sender) if sender.peer == peer => {}
            Some(sender) if sender.peer > peer => return None,
            former => {
                if let Some(former) = former {
                    done(former);
                }
                self.sender = Some(Received {
                    peer,
                    ..Received::default()
                });
                self.cut = false;
                self.next = first_record(peer);
            }
        }
        self.sender.as_mut()
    }
}
