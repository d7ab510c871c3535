//! The report of a program that prints and reads: one fact a line.

use crate::decimal::Decimal;
use crate::records::{Faults, Received};

/// How long a program waited for its transmitter, in a unit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// The longest one.
    pub longest: u64,
    /// How many were longer than what it was told is long.
    pub long: u64,
}

/// One line of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// What came from one peer.
    Peer(Received),
    /// How long it waited to print.
    Waits(Waits),
    /// What was wrong with all that came; always the last.
    Faults(Faults),
}

impl Fact {
    /// Puts it as a line.
    pub fn write(&self, put: &mut dyn FnMut(&[u8])) {
        let mut line = |word: &[u8], numbers: &[u64]| {
            put(word);
            for number in numbers {
                put(b" ");
                put(Decimal::new(*number).digits());
            }
            put(b"\n");
        };
        match self {
            Fact::Peer(of) => line(b"peer", &[of.peer, of.bytes, of.records]),
            Fact::Waits(of) => line(b"waits", &[of.longest, of.long]),
            Fact::Faults(of) => {
                line(b"faults", &[of.lost, of.doubled, of.reordered, of.damaged]);
            }
        }
    }

    /// Reads a line, without its line end.
    #[cfg(feature = "std")]
    fn read(line: &str) -> Option<Fact> {
        let mut words = line.split(' ');
        let word = words.next()?;
        let numbers: Result<Vec<u64>, _> = words.map(str::parse).collect();
        Some(match (word, &numbers.ok()?[..]) {
            ("peer", &[peer, bytes, records]) => Fact::Peer(Received {
                peer,
                bytes,
                records,
            }),
            ("waits", &[longest, long]) => Fact::Waits(Waits { longest, long }),
            ("faults", &[lost, doubled, reordered, damaged]) => Fact::Faults(Faults {
                lost,
                doubled,
                reordered,
                damaged,
            }),
            _ => return None,
        })
    }
}

/// A whole report.
#[cfg(feature = "std")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramReport {
    /// What came from each peer, in order.
    pub peers: Vec<Received>,
    /// What was wrong with it.
    pub faults: Faults,
    /// How long it waited to print, if it measured that.
    pub waits: Option<Waits>,
}

#[cfg(feature = "std")]
impl ProgramReport {
    /// The report as text.
    pub fn to_text(&self) -> String {
        let peers = self.peers.iter().copied().map(Fact::Peer);
        let waits = self.waits.map(Fact::Waits);
        let mut text = Vec::new();
        for fact in peers.chain(waits).chain([Fact::Faults(self.faults)]) {
            fact.write(&mut |piece| text.extend_from_slice(piece));
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Reads what [`to_text`](ProgramReport::to_text) wrote.
    ///
    /// # Errors
    /// The text is not a whole report.
    pub fn parse(text: &str) -> Result<ProgramReport, crate::LoadError> {
        let mut report = ProgramReport::default();
        let mut whole = false;
        for line in text.lines() {
            match Fact::read(line) {
                Some(Fact::Peer(received)) => report.peers.push(received),
                Some(Fact::Waits(waits)) => report.waits = Some(waits),
                Some(Fact::Faults(faults)) => (report.faults, whole) = (faults, true),
                None => return Err(format!("the program reported '{line}'").into()),
            }
        }
        match whole {
            true => Ok(report),
            false => Err("the program's report is cut off".into()),
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::{ProgramReport, Waits};
    use crate::records::{Faults, Received};

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = ProgramReport {
            peers: vec![
                Received {
                    peer: 0,
                    bytes: 12,
                    records: 2,
                },
                Received {
                    peer: 3,
                    bytes: 7,
                    records: 1,
                },
            ],
            faults: Faults {
                lost: 1,
                doubled: 2,
                reordered: 3,
                damaged: 4,
            },
            waits: Some(Waits {
                longest: 9,
                long: 1,
            }),
        };
        assert_eq!(ProgramReport::parse(&report.to_text()), Ok(report));
        assert!(ProgramReport::parse("peer 0 12 2\n").is_err());
        assert!(ProgramReport::parse("peer 0 x 2\nfaults 0 0 0 0\n").is_err());
    }
}
