//! Why a load did not run.

use std::error::Error;
use std::fmt;

/// Why a load did not run, or was stuck: for people, with what the daemon said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError(String);

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for LoadError {}

impl From<String> for LoadError {
    fn from(text: String) -> Self {
        LoadError(text)
    }
}

impl From<&str> for LoadError {
    fn from(text: &str) -> Self {
        LoadError(text.to_owned())
    }
}
