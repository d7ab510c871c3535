//! The input side: the numbered records that peers send, and the check of what is read of them.
//!
//! A peer's record is `<PEER:NUMBER` and a line end. A change may cut a peer off in the middle of a
//! record, so the first character differs between one peer and the next: whatever a record was cut
//! off by shows where it ends and whose it was.

mod check;
#[cfg(feature = "std")]
mod feed;
#[cfg(all(test, feature = "std"))]
mod tests;

pub use check::RecordCheck;
#[cfg(feature = "std")]
pub use feed::Feed;

use crate::decimal::{Decimal, parse};
use crate::lines::Line;

/// First characters of records, one peer after the other.
const OPENERS: [u8; 4] = *b"<[{(";
/// What the last peer sends after its last record.
pub const STOP: &[u8] = b"!stop\n";
/// The records that end it, without their line ends.
const ENDS: [(&[u8], End); 3] = [
    (b"!stop", End::Stop),
    (b"!reset", End::Reset),
    (b"!fault", End::Fault),
];

/// What is to be done when the last record has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing more.
    Stop,
    /// For a guest: to reset the machine.
    Reset,
    /// The same by faults that nobody handles.
    Fault,
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

/// What was wrong with the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Records missing in front of a later one of the same peer.
    pub lost: u64,
    /// Records that came again.
    pub doubled: u64,
    /// Records of a peer that came after a later peer's.
    pub reordered: u64,
    /// What is no record, and no start of the one expected.
    pub damaged: u64,
}

/// Record 0 of `peer`, which counts up.
fn first_record(peer: u64) -> Line {
    Line::with_prefix(&[&[opener(peer)], Decimal::new(peer).digits(), b":"])
}

fn opener(peer: u64) -> u8 {
    OPENERS[(peer % 4) as usize]
}

fn is_opener(byte: u8) -> bool {
    OPENERS.contains(&byte) || byte == STOP[0]
}

/// Whether `part` begins the record `number` of `peer`.
fn begins(part: &[u8], peer: u64, number: u64) -> bool {
    let mut record = first_record(peer);
    record.set_number(number);
    record.text().starts_with(part)
}

/// Whose record it is, and its number, if it is spelled in the one right way.
fn parse_record(record: &[u8]) -> Option<(u64, u64)> {
    let (first, rest) = record.split_first()?;
    let colon = rest.iter().position(|byte| *byte == b':')?;
    let (peer, number) = (parse(&rest[..colon])?, parse(&rest[colon + 1..])?);
    (*first == opener(peer)).then_some((peer, number))
}

/// How many whole records of `peer` are in its first `bytes` bytes.
pub fn records_in(peer: u64, bytes: u64) -> u64 {
    let around = first_record(peer).text().len() as u64 - 1;
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
