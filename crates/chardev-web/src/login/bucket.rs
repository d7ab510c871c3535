//! How often somebody may ask: so many a second, with a burst.

use std::time::Instant;

/// A bucket of tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    at: Instant,
}

/// So many a second, and at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) a_second: f64,
    pub(crate) burst: f64,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Bucket {
            tokens: rate.burst,
            at: now,
        }
    }

    /// Whether there is one more.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + passed * rate.a_second).min(rate.burst);
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }

    /// Whether nothing is known by it that a new one would not know.
    pub(crate) fn is_full(&self, rate: Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens + passed * rate.a_second >= rate.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_is_let_through_and_then_so_many_a_second() {
        let rate = Rate {
            a_second: 10.0,
            burst: 5.0,
        };
        let mut now = Instant::now();
        let mut bucket = Bucket::new(rate, now);
        let burst = (0..20).filter(|_| bucket.take(rate, now)).count();
        assert_eq!(burst, 5);
        assert!(!bucket.is_full(rate, now));
        now += Duration::from_millis(300);
        let later = (0..20).filter(|_| bucket.take(rate, now)).count();
        assert_eq!(later, 3);
        now += Duration::from_secs(60);
        assert!(bucket.is_full(rate, now));
        assert_eq!((0..20).filter(|_| bucket.take(rate, now)).count(), 5);
    }
}
