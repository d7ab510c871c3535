//! What is wrong with a configuration, and where: all of it, not the first thing only.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use chardev::text::shown;

use crate::DaemonError;
use crate::ctl::nearest;

/// So many mistakes are told of; whoever has more has made one of them in many places.
const TOLD: usize = 20;

/// A place in a file, counted from 1; columns are characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// In the order in which the files are read.
    pub(super) number: usize,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) file: Arc<str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = shown(&self.file);
        match self.line {
            0 => write!(f, "{file}"),
            line => write!(f, "{file}:{line}:{}", self.column),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mistake {
    place: Place,
    what: String,
    hint: Option<String>,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mistakes {
    all: BTreeSet<Mistake>,
}

impl Mistakes {
    /// At `place`, `what` is wrong.
    pub(super) fn add(&mut self, place: &Place, what: impl Into<String>) {
        self.add_hint(place, what, None);
    }

    /// At `place`, `what` is wrong, and `hint` says what to do.
    pub(super) fn add_hint(
        &mut self,
        place: &Place,
        what: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        // A template is read once for each console that is made of it, and told of once.
        self.all.insert(Mistake {
            place: place.clone(),
            what: what.into(),
            hint: hint.into(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// `done`, unless something is wrong.
    pub(super) fn or<T>(self, done: T) -> Result<T, Mistakes> {
        match self.is_empty() {
            true => Ok(done),
            false => Err(self),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mistake) in self.all.iter().take(TOLD).enumerate() {
            let Mistake { place, what, hint } = mistake;
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{place}: {}", shown(what))?;
            if let Some(hint) = hint {
                write!(f, "\n    {}", shown(hint))?;
            }
        }
        match self.all.len().saturating_sub(TOLD) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Mistakes {}

impl From<Mistakes> for DaemonError {
    fn from(mistakes: Mistakes) -> Self {
        DaemonError::new(mistakes.to_string()).because(mistakes)
    }
}

/// `did you mean '…'?`, or all there are if that fits on the screen.
pub(super) fn meant<'a>(
    word: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Option<String> {
    if let Some(meant) = nearest(word, known.clone()) {
        return Some(format!("did you mean '{meant}'?"));
    }
    let all: Vec<&str> = known.collect();
    (1..=20)
        .contains(&all.len())
        .then(|| format!("there are: {}", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_in_many_places_is_told_of_a_few_times_and_in_order() {
        let place = |line| Place {
            number: 0,
            line,
            column: 1,
            file: Arc::from("c.toml"),
        };
        let mut mistakes = Mistakes::default();
        for line in (1..=10_000).rev().chain([3, 4]) {
            mistakes.add(&place(line), "no");
        }
        let told = mistakes.to_string();
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines[0], "c.toml:1:1: no");
        assert_eq!(lines[TOLD - 1], "c.toml:20:1: no");
        assert_eq!(lines[TOLD..], ["and 9980 more"]);
    }
}
