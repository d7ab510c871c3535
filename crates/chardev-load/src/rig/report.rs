//! The result of all the changes.

use std::time::Duration;

use super::Replaced;
use crate::check::Verdict;
use crate::records::records_in;
use crate::report::{ProgramReport, Waits};

/// What came of it all.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How long each change took, from the command to the answer.
    pub changes: Vec<Duration>,
    /// The changes that did not happen, with their errors.
    pub refused: Vec<String>,
    /// How often a change had to wait for the program to read earlier peers' input.
    pub deferred: u64,
    /// Damaged lines, the first few.
    pub evidence: Vec<String>,
    /// The lines the program printed.
    pub output: Verdict,
    /// The records the program read.
    pub input: Input,
    /// How long the program's transmitter made it wait, if it knows.
    pub waits: Option<Waits>,
    /// Bytes of input that the program's device read.
    pub delivered: u64,
    /// What the daemon counted as sent after the change, and not delivered.
    pub late: u64,
    /// Bytes that all peers together were told were taken.
    pub sent: u64,
    /// From the start of the daemon to the program's last line.
    pub time: Duration,
}

/// What became of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Bytes the program read.
    pub bytes: u64,
    /// Whole records among them.
    pub records: u64,
    /// Records accepted from a peer that the program did not read.
    pub lost: u64,
    /// Records it read again.
    pub doubled: u64,
    /// Records of a peer that came after a later peer's.
    pub reordered: u64,
    /// What is no record.
    pub damaged: u64,
}

impl Report {
    /// Whether not a byte is missing, doubled or in the wrong place, and every change was made.
    pub fn is_clean(&self) -> bool {
        let Input {
            lost,
            doubled,
            reordered,
            damaged,
            ..
        } = self.input;
        self.output.is_clean()
            && lost + doubled + reordered + damaged == 0
            && self.refused.is_empty()
    }
}

/// Compares what the program read with what was accepted from each peer.
pub(super) fn judge_input(report: &ProgramReport, peers: &[Replaced]) -> Input {
    let mut input = Input {
        lost: report.faults.lost,
        doubled: report.faults.doubled,
        reordered: report.faults.reordered,
        damaged: report.faults.damaged,
        ..Input::default()
    };
    for received in &report.peers {
        input.bytes += received.bytes;
        input.records += received.records;
        // A number that no peer has is an invention.
        input.damaged += u64::from(received.peer >= peers.len() as u64);
    }
    for Replaced { peer, accepted } in peers {
        let received = report
            .peers
            .iter()
            .find(|received| received.peer == peer.number);
        let bytes = received.map_or(0, |received| received.bytes);
        if bytes < *accepted {
            let missing = records_in(peer.number, *accepted) - records_in(peer.number, bytes);
            input.lost += missing.max(1);
        }
    }
    input
}
