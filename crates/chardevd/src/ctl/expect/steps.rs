//! Patterns to wait for and texts to send, in the order in which they stand on the command line.

use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches};
use regex::bytes::{Regex, RegexBuilder};

use crate::ctl::keys::{self, Key};

const PATTERN: &str = "pattern";
const SEND: &str = "send";

/// What the user wrote.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps(Vec<(&'static str, String)>);

/// What is to be done next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Wait for output that matches.
    Wait(Pattern),
    /// Type this.
    Send(Vec<Key>),
}

/// What is waited for.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// As the user wrote it.
    pub(super) text: String,
    pub(super) regex: Regex,
}

impl Steps {
    /// Understands what was written; patterns are plain text if they are `fixed`.
    ///
    /// # Errors
    /// What is wrong with a step.
    pub(super) fn read(&self, fixed: bool) -> Result<Vec<Step>, String> {
        let steps = self.0.iter().map(|(kind, text)| match *kind {
            SEND => keys::parse(text).map(Step::Send),
            _ => pattern(text, fixed).map(Step::Wait),
        });
        steps.collect()
    }
}

fn pattern(text: &str, fixed: bool) -> Result<Pattern, String> {
    let wanted = match fixed {
        true => regex::escape(text),
        false => text.to_owned(),
    };
    let regex = RegexBuilder::new(&wanted)
        .multi_line(true)
        .crlf(true)
        .build();
    let regex = regex.map_err(|error| format!("{error}\nwith -F patterns are plain text"))?;
    if regex.is_match(b"") {
        return Err(format!(
            "'{text}' matches nothing at all, so there is nothing to wait for"
        ));
    }
    Ok(Pattern {
        text: text.to_owned(),
        regex,
    })
}

impl clap::Args for Steps {
    fn augment_args(command: Command) -> Command {
        command
            .arg(
                Arg::new(PATTERN)
                    .value_name("PATTERN")
                    .help("Wait for output that matches this regular expression")
                    .required(true)
                    .num_args(1..)
                    .action(ArgAction::Append),
            )
            .arg(
                Arg::new(SEND)
                    .long(SEND)
                    .value_name("TEXT")
                    .help("Then type this, with escapes such as \\r; before the first pattern, at once")
                    .allow_hyphen_values(true)
                    .action(ArgAction::Append),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Steps::augment_args(command)
    }
}

impl FromArgMatches for Steps {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let all = [PATTERN, SEND].into_iter().flat_map(|kind| {
            let places = matches.indices_of(kind).into_iter().flatten();
            let texts = matches.get_many::<String>(kind).into_iter().flatten();
            places
                .zip(texts)
                .map(move |(place, text)| (place, kind, text.clone()))
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(place, ..)| *place);
        Ok(Steps(
            all.into_iter()
                .map(|(_, kind, text)| (kind, text))
                .collect(),
        ))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Steps::from_arg_matches(matches)?;
        Ok(())
    }
}
