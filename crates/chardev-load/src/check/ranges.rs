//! Sets of numbers that are mostly one after the other.

use std::ops::Range;

/// Disjoint ranges in ascending order.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds a range and returns how many of its numbers are new.
    pub(super) fn insert(&mut self, new: Range<u64>) -> u64 {
        if new.is_empty() {
            return 0;
        }
        let from = self.0.partition_point(|range| range.end < new.start);
        let to = self.0.partition_point(|range| range.start <= new.end);
        let (mut merged, mut known) = (new.clone(), 0);
        for range in &self.0[from..to] {
            known += range.end.min(new.end) - range.start.max(new.start);
            merged = merged.start.min(range.start)..merged.end.max(range.end);
        }
        self.0.splice(from..to, [merged]);
        new.end - new.start - known
    }

    /// How many of the numbers are below `limit`.
    pub(super) fn below(&self, limit: u64) -> u64 {
        let size = |range: &Range<u64>| range.end.min(limit).saturating_sub(range.start);
        self.0.iter().map(size).sum()
    }
}
