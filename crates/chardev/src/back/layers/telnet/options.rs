//! front → chardev → [back] → host: which telnet options are on, at either end of one connection.
//!
//! As in RFC 1143: an option that is already as it was asked to be is never answered, so two peers
//! cannot keep each other talking.

use super::wire::Verb;

/// Options by their numbers.
pub(in crate::back) const BINARY: u8 = 0;
pub(in crate::back) const ECHO: u8 = 1;
pub(in crate::back) const SUPPRESS_GO_AHEAD: u8 = 3;
pub(in crate::back) const TERMINAL_TYPE: u8 = 24;
pub(in crate::back) const END_OF_RECORD: u8 = 25;
pub(in crate::back) const WINDOW_SIZE: u8 = 31;
pub(in crate::back) const COM_PORT: u8 = 44;

/// Whose option it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::back) enum Whose {
    Ours,
    Theirs,
}

/// An option that one end may have on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    whose: Whose,
    option: u8,
    state: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Off,
    /// We have asked for it.
    Asked,
    /// They want none of it.
    Refused,
    On,
}

/// What came of something that was said of an option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::back) struct Outcome {
    /// What to say of it in turn.
    pub(in crate::back) answer: Option<Verb>,
    /// Whose option it is that is on or off now, and was not, or that we asked for in vain.
    pub(in crate::back) change: Option<(Whose, bool)>,
}

/// The options of one connection.
#[derive(Debug)]
pub(in crate::back) struct Options(Vec<Known>);

impl Options {
    /// With none on; these may be.
    pub(in crate::back) fn new(ours: &[u8], theirs: &[u8]) -> Self {
        let known = |whose| {
            move |option: &u8| Known {
                whose,
                option: *option,
                state: Standing::Off,
            }
        };
        let ours = ours.iter().map(known(Whose::Ours));
        Options(
            ours.chain(theirs.iter().map(known(Whose::Theirs)))
                .collect(),
        )
    }

    fn find(&mut self, whose: Whose, option: u8) -> Option<&mut Standing> {
        let mut all = self.0.iter_mut();
        let known = all.find(|known| (known.whose, known.option) == (whose, option))?;
        Some(&mut known.state)
    }

    fn state(&self, whose: Whose, option: u8) -> Option<Standing> {
        let mut all = self.0.iter();
        let known = all.find(|known| (known.whose, known.option) == (whose, option))?;
        Some(known.state)
    }

    /// What to say to have the option on; `None` if that was said, or is not to be.
    pub(in crate::back) fn ask(&mut self, whose: Whose, option: u8) -> Option<Verb> {
        let state = self.find(whose, option)?;
        if *state != Standing::Off {
            return None;
        }
        *state = Standing::Asked;
        Some(match whose {
            Whose::Ours => Verb::Will,
            Whose::Theirs => Verb::Do,
        })
    }

    /// Whether both have agreed on it.
    pub(in crate::back) fn is_on(&self, whose: Whose, option: u8) -> bool {
        self.state(whose, option) == Some(Standing::On)
    }

    /// Whether we have asked for it, and were not refused.
    pub(in crate::back) fn is_hoped_for(&self, whose: Whose, option: u8) -> bool {
        matches!(
            self.state(whose, option),
            Some(Standing::Asked | Standing::On)
        )
    }

    /// The peer has said `verb` of `option`.
    pub(in crate::back) fn told(&mut self, verb: Verb, option: u8) -> Outcome {
        let (whose, on) = match verb {
            Verb::Do => (Whose::Ours, true),
            Verb::Dont => (Whose::Ours, false),
            Verb::Will => (Whose::Theirs, true),
            Verb::Wont => (Whose::Theirs, false),
        };
        let (agree, refuse) = match whose {
            Whose::Ours => (Verb::Will, Verb::Wont),
            Whose::Theirs => (Verb::Do, Verb::Dont),
        };
        let Some(state) = self.find(whose, option) else {
            return Outcome {
                answer: on.then_some(refuse),
                change: None,
            };
        };
        let former = *state;
        *state = match (on, former) {
            (true, _) => Standing::On,
            (false, Standing::Asked | Standing::Refused) => Standing::Refused,
            (false, Standing::Off | Standing::On) => Standing::Off,
        };
        Outcome {
            answer: match (on, former) {
                (true, Standing::Off | Standing::Refused) => Some(agree),
                (false, Standing::On) => Some(refuse),
                _ => None,
            },
            change: match (on, former) {
                (true, Standing::On) | (false, Standing::Off | Standing::Refused) => None,
                _ => Some((whose, on)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(options: &mut Options, verb: Verb) -> Option<Verb> {
        options.told(verb, BINARY).answer
    }

    #[test]
    fn nothing_is_answered_that_changes_nothing() {
        let mut options = Options::new(&[BINARY], &[BINARY]);
        assert_eq!(answer(&mut options, Verb::Dont), None);
        assert_eq!(answer(&mut options, Verb::Wont), None);
        for (on, off, yes, no) in [
            (Verb::Do, Verb::Dont, Verb::Will, Verb::Wont),
            (Verb::Will, Verb::Wont, Verb::Do, Verb::Dont),
        ] {
            for _ in 0..2 {
                assert_eq!(answer(&mut options, on), Some(yes));
                assert_eq!(answer(&mut options, on), None);
                assert_eq!(answer(&mut options, off), Some(no));
                assert_eq!(answer(&mut options, off), None);
            }
        }
    }

    #[test]
    fn what_was_asked_for_is_not_answered_again_when_it_is_granted() {
        let mut options = Options::new(&[BINARY], &[BINARY]);
        assert_eq!(options.ask(Whose::Ours, BINARY), Some(Verb::Will));
        assert_eq!(options.ask(Whose::Ours, BINARY), None);
        assert!(options.is_hoped_for(Whose::Ours, BINARY));
        assert!(!options.is_on(Whose::Ours, BINARY));
        let granted = Outcome {
            answer: None,
            change: Some((Whose::Ours, true)),
        };
        assert_eq!(options.told(Verb::Do, BINARY), granted);
        assert!(options.is_on(Whose::Ours, BINARY));
        assert_eq!(options.ask(Whose::Theirs, BINARY), Some(Verb::Do));
        let refused = Outcome {
            answer: None,
            change: Some((Whose::Theirs, false)),
        };
        assert_eq!(options.told(Verb::Wont, BINARY), refused);
        assert_eq!(options.told(Verb::Wont, BINARY), Outcome::default());
        assert!(!options.is_hoped_for(Whose::Theirs, BINARY));
        assert_eq!(options.ask(Whose::Theirs, BINARY), None, "it was refused");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let mut options = Options::new(&[ECHO], &[]);
        for (verb, refused) in [
            (Verb::Do, Some(Verb::Wont)),
            (Verb::Will, Some(Verb::Dont)),
            (Verb::Dont, None),
            (Verb::Wont, None),
        ] {
            let outcome = Outcome {
                answer: refused,
                change: None,
            };
            assert_eq!(options.told(verb, BINARY), outcome);
        }
        let echo = options.told(Verb::Will, ECHO);
        assert_eq!(echo.answer, Some(Verb::Dont), "it is ours alone");
    }
}
