//! How long changes took since the start, for whoever draws them over time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Chardevs;

/// The upper bounds of the sorts that changes are counted in.
const BOUNDS: [Duration; 14] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// How long all changes took that were committed, of chardevs that are gone as well, from the
/// request to the moment the new back end was live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeDurations {
    /// An upper bound, and how many took longer than the bound before and no longer than this one.
    pub counts: Vec<(Duration, u64)>,
    /// How many took longer than the last bound.
    pub longer: u64,
    /// What they took together.
    pub sum: Duration,
}

/// Counts for [`ChangeDurations`].
#[derive(Debug, Default)]
pub(crate) struct Durations {
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Durations {
    pub(crate) fn note(&self, took: Duration) {
        let sort = BOUNDS.partition_point(|bound| *bound < took);
        self.counts[sort].fetch_add(1, Ordering::Relaxed);
        // Half a million years fit.
        self.micros
            .fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    fn so_far(&self) -> ChangeDurations {
        let mut counts = self
            .counts
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
            .to_vec();
        let longer = counts.pop().unwrap_or(0);
        ChangeDurations {
            counts: BOUNDS.into_iter().zip(counts).collect(),
            longer,
            sum: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
        }
    }
}

impl Chardevs {
    /// How long all changes took so far. What is noted meanwhile may be in some numbers only.
    pub fn change_durations(&self) -> ChangeDurations {
        self.shared.durations.so_far()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_in_one_sort_and_in_the_sum() {
        let durations = Durations::default();
        let micros = Duration::from_micros;
        for took in [0, 100, 101, 2500, 30_000_000, 30_000_001] {
            durations.note(micros(took));
        }
        let so_far = durations.so_far();
        let found: Vec<_> = so_far
            .counts
            .iter()
            .filter(|it| it.1 > 0)
            .copied()
            .collect();
        let wanted = [(100, 2), (250, 1), (2500, 1), (30_000_000, 1)];
        assert_eq!(found, wanted.map(|(bound, count)| (micros(bound), count)));
        assert_eq!(so_far.longer, 1);
        assert_eq!(so_far.sum, micros(60_002_702));
        assert!(BOUNDS.is_sorted());
    }
}
