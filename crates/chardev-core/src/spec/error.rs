//! What is wrong with an option, as something a program can look at.

use std::error::Error;
use std::fmt;

/// What is wrong with a parameter: an option of a chardev, a key of a command line, an argument of
/// a command. Shown, it is QEMU's words.
///
/// Two are equal if they are shown the same.
#[derive(Clone, Debug)]
pub struct ParameterError {
    name: String,
    problem: Problem,
    /// Where QEMU has other words than those that [`Problem`] stands for.
    words: Option<String>,
}

/// What is wrong with a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It has to be given.
    Missing,
    /// There is none of this name here.
    Unexpected,
    /// Its value is of another type than this one of JSON's.
    WrongType(&'static str),
    /// Its value has to be something else.
    Expects(Expected),
    /// Its value is not one of the accepted values.
    NotAccepted(String),
    /// Its value is a number that is too large or too small, or for which there is no memory.
    OutOfRange(String),
    /// It does not go together with another one, or needs one that is not there.
    Conflict,
    /// It is one that QEMU has, and this build has not.
    Unsupported,
}

/// What the value of a parameter has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// `on` or `off`.
    Switch,
    /// A number.
    Number,
    /// A number between these, both included.
    Range(i64, i64),
    /// A number up to this.
    UpTo(u64),
    /// A size, perhaps with a suffix such as `k`.
    Size,
    /// A name that may stand for an object.
    Identifier,
    /// What the text says.
    Other(&'static str),
}

impl ParameterError {
    /// `name`, with the path to it as in `backend.data.size`, has this problem.
    pub fn new(name: impl Into<String>, problem: Problem) -> Self {
        ParameterError {
            name: name.into(),
            problem,
            words: None,
        }
    }

    /// `name` has to be something else.
    pub fn expects(name: impl Into<String>, expected: Expected) -> Self {
        ParameterError::new(name, Problem::Expects(expected))
    }

    /// `name` has to be given.
    pub fn missing(name: impl Into<String>) -> Self {
        ParameterError::new(name, Problem::Missing)
    }

    /// There is no `name`, in the words of QEMU's command line.
    pub fn invalid(name: impl Into<String>) -> Self {
        let name = name.into();
        let words = format!("Invalid parameter '{name}'");
        ParameterError::new(name, Problem::Unexpected).shown_as(words)
    }

    /// `name` does not take `value`.
    pub fn not_accepted(name: impl Into<String>, value: impl Into<String>) -> Self {
        ParameterError::new(name, Problem::NotAccepted(value.into()))
    }

    /// `name`, which has a fixed set of `words`, does not take `value`.
    ///
    /// For names of QEMU's these are its words; ours say what there is.
    pub fn not_one_of(name: impl Into<String>, value: impl Into<String>, words: &[&str]) -> Self {
        let error = ParameterError::not_accepted(name, value);
        if !error.name.starts_with("x-") {
            return error;
        }
        let text = format!("{error}, only {}", words.join(", "));
        error.shown_as(text)
    }

    /// There is no kind of back end called `kind`.
    pub fn no_kind(kind: &str) -> Self {
        let words = format!("'{kind}' is not a valid char driver name");
        ParameterError::not_accepted("backend", kind).shown_as(words)
    }

    /// The same, shown in words of its own.
    #[must_use]
    pub fn shown_as(mut self, words: impl Into<String>) -> Self {
        self.words = Some(words.into());
        self
    }

    /// Which parameter, with the path to it as in `backend.data.size`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        if let Some(words) = &self.words {
            return f.write_str(words);
        }
        match &self.problem {
            Problem::Missing => write!(f, "Parameter '{name}' is missing"),
            Problem::Unexpected => write!(f, "Parameter '{name}' is unexpected"),
            Problem::WrongType(ty) => {
                write!(f, "Invalid parameter type for '{name}', expected: {ty}")
            }
            Problem::Expects(expected) => write!(f, "Parameter '{name}' expects {expected}"),
            Problem::NotAccepted(value) => {
                write!(f, "Parameter '{name}' does not accept value '{value}'")
            }
            Problem::OutOfRange(value) => {
                write!(f, "Value '{value}' is out of range for parameter '{name}'")
            }
            Problem::Conflict => write!(f, "Parameter '{name}' conflicts with the others"),
            Problem::Unsupported => write!(f, "'{name}' option is not supported by this build"),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Switch => f.write_str("'on' or 'off'"),
            Expected::Number => f.write_str("a number"),
            Expected::Range(from, to) => write!(f, "a number from {from} to {to}"),
            Expected::UpTo(most) => write!(f, "a number up to {most}"),
            Expected::Size => f.write_str("a non-negative number below 2^64"),
            Expected::Identifier => f.write_str("an identifier"),
            Expected::Other(what) => f.write_str(what),
        }
    }
}

impl Error for ParameterError {}

impl PartialEq for ParameterError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for ParameterError {}
