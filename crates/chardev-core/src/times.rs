//! How long the changes of one chardev took.

use std::collections::VecDeque;
use std::time::Duration;

use crate::seldom::Seldom;

/// How many changes are remembered.
const REMEMBERED: usize = 128;

/// How long changes took, from the request to the moment the new back end was live: the last one,
/// and percentiles over the last 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeTimes {
    /// The last change.
    pub last: Duration,
    /// Half of them were not slower.
    pub p50: Duration,
    /// 99 of 100 were not slower.
    pub p99: Duration,
}

/// The times of the last changes.
#[derive(Debug, Default)]
pub(crate) struct Times(Seldom<VecDeque<Duration>>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(time);
    }

    pub(crate) fn summary(&self) -> Option<ChangeTimes> {
        let last = *self.0.back()?;
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        // The smallest value that at least this share of all does not exceed.
        let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100) - 1];
        Some(ChangeTimes {
            last,
            p50: rank(50),
            p99: rank(99),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ChangeTimes, Duration, Times};

    #[test]
    fn percentiles_are_over_the_last_changes() {
        let ms = Duration::from_millis;
        let mut times = Times::default();
        assert_eq!(times.summary(), None);
        for (pushed, last, p50, p99) in [
            (1, 1, 1, 1),
            (2, 2, 1, 2),
            (100, 100, 50, 99),
            (300, 300, 236, 299),
        ] {
            let already = times.0.back().map_or(0, |time| time.as_millis() as u64);
            (already + 1..=pushed).for_each(|time| times.push(ms(time)));
            let expected = ChangeTimes {
                last: ms(last),
                p50: ms(p50),
                p99: ms(p99),
            };
            assert_eq!(times.summary(), Some(expected), "{pushed}");
        }
    }
}
