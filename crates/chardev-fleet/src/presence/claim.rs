//! Whether somebody else writes under a host's name: a host may not read what is in the bucket, but
//! it may say which number its own key should have had when it writes that again.

use std::time::{Duration, Instant};

/// How many times in a row the number has to be another one. A write whose answer was lost, or one
/// of an earlier run, makes it another once.
const SURPRISES: u32 = 2;

/// What a host knows of its own key.
#[derive(Debug)]
pub(crate) struct Claim {
    /// For how long what was written stays there.
    kept: Duration,
    /// The number that it had last, and since when.
    last: Option<(u64, Instant)>,
    surprises: u32,
}

impl Claim {
    /// One that nothing was written under; the bucket keeps it for so long.
    pub(crate) fn new(kept: Duration) -> Self {
        Claim {
            kept,
            last: None,
            surprises: 0,
        }
    }

    /// Which number the key has unless somebody else has written it since; `None` if that is not
    /// known, or it may have been forgotten by the time that it is asked for.
    pub(crate) fn expected(&self, now: Instant) -> Option<u64> {
        let (number, since) = self.last?;
        (now.saturating_duration_since(since) < self.kept / 2).then_some(number)
    }

    /// It was written, as this number, and had the [expected](Claim::expected) one if there was
    /// one.
    pub(crate) fn written(&mut self, number: u64, now: Instant, was_expected: bool) {
        self.last = Some((number, now));
        if was_expected {
            self.surprises = 0;
        }
    }

    /// It was not written, since it has another number than the expected one.
    pub(crate) fn surprised(&mut self) {
        self.last = None;
        self.surprises = self.surprises.saturating_add(1);
    }

    /// Whether it was written is not known.
    pub(crate) fn failed(&mut self) {
        self.last = None;
    }

    /// Whether another host has the same name.
    pub(crate) fn is_taken(&self) -> bool {
        self.surprises >= SURPRISES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Duration = Duration::from_secs(30);

    /// A bucket's key: its number goes up with each write.
    fn write(claim: &mut Claim, key: &mut u64, now: Instant) {
        let expected = claim.expected(now);
        if expected.is_some_and(|it| it != *key) {
            claim.surprised();
            return write(claim, key, now);
        }
        *key += 1;
        claim.written(*key, now, expected.is_some());
    }

    #[test]
    fn two_of_one_name_both_come_to_know_it_and_that_it_is_over() {
        let (mut one, mut two, mut key) = (Claim::new(KEPT), Claim::new(KEPT), 7);
        let mut now = Instant::now();
        write(&mut one, &mut key, now);
        for _ in 0..SURPRISES {
            assert!(!one.is_taken() && !two.is_taken());
            write(&mut two, &mut key, now);
            now += KEPT / 3;
            write(&mut one, &mut key, now);
        }
        assert!(one.is_taken());
        write(&mut two, &mut key, now);
        assert!(two.is_taken());
        now += KEPT / 3;
        write(&mut two, &mut key, now);
        assert!(!two.is_taken(), "the other is gone");
    }

    #[test]
    fn who_does_not_know_whether_it_was_written_suspects_nobody() {
        let (mut claim, mut key) = (Claim::new(KEPT), 0);
        let mut now = Instant::now();
        for step in 0..20 {
            write(&mut claim, &mut key, now);
            now += KEPT / 3;
            match step % 3 {
                0 => {
                    key += 1;
                    claim.failed();
                }
                // For so long that what it wrote may have been forgotten.
                1 => {
                    now += KEPT;
                    key = 0;
                }
                // An earlier run's last write, once.
                _ => key += u64::from(step == 2),
            }
            assert!(!claim.is_taken());
        }
    }
}
