//! What happens on hosts, told to whoever listens: `chardev.CLUSTER.HOST.CONSOLE.events`, and
//! `chardev.CLUSTER.HOST.events` for what concerns no console.
//!
//! Events are not kept. Each has a number, one sequence for a host's consoles and one for the host
//! itself, so that whoever hears all of a sequence knows how many it has missed, wherever those
//! were lost ([`Tally`]).

use std::collections::HashMap;
use std::task::{Context, Poll};

use chardev::Epoch;

/// The header with the run that an event is of, as in the host's presence.
pub const RUN: &str = "Chardev-Run";
/// The header with its number, from 0 on.
pub const NUMBER: &str = "Chardev-Number";
/// How many sequences are known at a time; the numbers of more are begun anew.
const SEQUENCES: usize = 1 << 17;

/// Something that has happened, as a program tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which chardev it is about.
    pub console: Option<String>,
    /// What it is, as JSON.
    pub text: String,
}

/// Where a program's events come from. It is asked while there is a connection, by one task, and
/// has to be bounded itself: what it has no room for meanwhile it counts, and tells as an event.
pub type Feed = Box<dyn FnMut(&mut Context<'_>) -> Poll<Told> + Send + Sync>;

/// Something that has happened, as it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Where.
    pub host: String,
    /// Which console it is about.
    pub console: Option<String>,
    /// How many events of the host were lost before it.
    pub missed: u64,
    /// What it is: JSON, if the host is honest.
    pub text: String,
}

/// Knows from numbers what was missed.
#[derive(Debug, Default)]
pub struct Tally(HashMap<(String, bool), (Epoch, u64)>);

impl Tally {
    /// An event of a host was heard, of its consoles or of itself, with that run and number;
    /// returns how many of them were missed since the last one. Of what was before the first,
    /// nothing is known.
    pub fn hear(&mut self, host: &str, is_of_console: bool, run: Epoch, number: u64) -> u64 {
        let key = (host.to_owned(), is_of_console);
        if self.0.len() >= SEQUENCES && !self.0.contains_key(&key) {
            self.0.clear();
        }
        let next = number.saturating_add(1);
        match self.0.insert(key, (run, next)) {
            None => 0,
            Some((before, expected)) if before == run => number.saturating_sub(expected),
            Some(_) => number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_known_by_its_numbers() {
        let mut tally = Tally::default();
        let [one, other] = [1, 2].map(Epoch::new);
        for (host, is_of_console, run, number, missed) in [
            ("a", true, one, 7, 0),
            ("a", true, one, 8, 0),
            ("a", false, one, 0, 0),
            ("b", true, one, 3, 0),
            ("a", true, one, 12, 3),
            ("a", false, one, 1, 0),
            // The host has begun anew, and what it told first was not heard.
            ("a", true, other, 2, 2),
            ("a", true, other, 3, 0),
            ("a", true, other, u64::MAX, u64::MAX - 4),
            ("a", true, other, 0, 0),
        ] {
            let said = tally.hear(host, is_of_console, run, number);
            assert_eq!(said, missed, "{host} {is_of_console} {run} {number}");
        }
    }
}
