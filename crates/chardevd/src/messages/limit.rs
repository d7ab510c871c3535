//! What is repeated is said once and then summed up.

use std::time::{Duration, Instant};

use tracing::callsite::Identifier;

/// For how long messages of one kind are counted.
pub(super) const PERIOD: Duration = Duration::from_secs(10);
/// How many different messages of one kind are said in that time.
const BURST: usize = 10;

/// Counts messages of each kind: those from one place in the code.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    kinds: Vec<Kind>,
}

#[derive(Debug)]
struct Kind {
    place: Identifier,
    since: Instant,
    said: Vec<String>,
    /// How many were not said, and the last of them, as it would have been.
    held: Option<(u64, String)>,
}

impl Limiter {
    pub(super) const fn new() -> Self {
        Limiter { kinds: Vec::new() }
    }

    /// Whether `line` is said; if not it is counted.
    pub(super) fn allow(&mut self, place: &Identifier, line: &str, now: Instant) -> bool {
        // Those whose time is over and that owe nothing are as new.
        self.kinds
            .retain(|kind| kind.held.is_some() || now < kind.since + PERIOD);
        let Some(kind) = self.kinds.iter_mut().find(|kind| kind.place == *place) else {
            self.kinds.push(Kind {
                place: place.clone(),
                since: now,
                said: vec![line.to_owned()],
                held: None,
            });
            return true;
        };
        if kind.said.len() < BURST && !kind.said.iter().any(|said| said == line) {
            kind.said.push(line.to_owned());
            return true;
        }
        let (held, last) = kind.held.get_or_insert_with(|| (0, String::new()));
        *held += 1;
        line.clone_into(last);
        false
    }

    /// When the next sum is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let held = self.kinds.iter().filter(|kind| kind.held.is_some());
        held.map(|kind| kind.since + PERIOD).min()
    }

    /// The sums that are due, or all if the program ends.
    pub(super) fn sums(&mut self, now: Instant, all: bool) -> Vec<String> {
        let mut sums = Vec::new();
        for kind in &mut self.kinds {
            if !all && now < kind.since + PERIOD {
                continue;
            }
            if let Some((count, last)) = kind.held.take() {
                let times = if count == 1 { "time" } else { "times" };
                let seconds = now.duration_since(kind.since).as_secs().max(1);
                sums.push(format!(
                    "{last} (repeated {count} more {times} in the last {seconds} s)"
                ));
                // What goes on repeating is not said again before its next sum.
                kind.since = now;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Metadata;
    use tracing::callsite::Callsite;

    struct Place;
    impl Callsite for Place {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}
        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("nobody asks")
        }
    }

    #[test]
    fn what_repeats_is_said_once_and_then_summed_up() {
        static PLACE: Place = Place;
        let place = Identifier(&PLACE);
        let (mut limiter, now) = (Limiter::new(), Instant::now());
        assert!(limiter.allow(&place, "out of descriptors", now));
        for _ in 0..2500 {
            assert!(!limiter.allow(&place, "out of descriptors", now));
        }
        assert!(limiter.allow(&place, "another one", now));
        assert!(limiter.sums(now, false).is_empty());
        assert_eq!(limiter.due(), Some(now + PERIOD));
        let sums = limiter.sums(now + PERIOD, false);
        let expected = "out of descriptors (repeated 2500 more times in the last 10 s)";
        assert_eq!(sums, [expected]);
        assert_eq!(limiter.due(), None);
    }

    #[test]
    fn many_of_one_kind_are_too_many_even_if_they_differ() {
        static PLACE: Place = Place;
        let place = Identifier(&PLACE);
        let (mut limiter, now) = (Limiter::new(), Instant::now());
        let said = (0..1800).filter(|number| limiter.allow(&place, &number.to_string(), now));
        assert_eq!(said.count(), BURST);
        assert_eq!(limiter.sums(now, true).len(), 1);
    }
}
