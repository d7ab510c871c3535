//! One error per operation, each naming the object. The texts are QEMU's.
//!
//! Two are shared by all operations, here and in the crates above: [`ParameterError`] is what is
//! wrong with an option, a key of a command line or an argument of a command, and [`OpenError`] is
//! what could not be done. Whoever has to know more than the words asks their parts and sources;
//! nobody looks for words in a text. QEMU's words are made where an error is shown
//! (`error/shown.rs`); `shown_as` has those that QEMU spells in another way for the same thing.
//!
//! Texts are left where nobody can act on more: a front end's reason to refuse a change, and what
//! the human monitor prints about a line that it cannot read.

mod shown;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::spec::ParameterError;

/// Why a back end did not open: what could not be done, to what, and what the host said.
///
/// Shown, it is the cause in QEMU's words, without a prefix. Its source is what a program can look
/// at: the host's `std::io::Error`, where the host refused something; a [`ParameterError`], where
/// an option is wrong; an [`AttachError`], where a chardev below is missing or in use. Two are
/// equal if they are shown the same.
#[derive(Clone, Debug)]
pub struct OpenError {
    text: String,
    object: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl OpenError {
    /// One that is shown as `text`, which names everything.
    pub fn new(text: impl Into<String>) -> Self {
        OpenError {
            text: text.into(),
            object: None,
            source: None,
        }
    }

    /// The same, about `object`: a path, an address.
    #[must_use]
    pub fn about(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }

    /// The same, because of `source`, which the text says already.
    #[must_use]
    pub fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What it is about, as it was given: a path, an address.
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// The same, shown as `text`.
    #[must_use]
    pub fn shown_as(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for OpenError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&**self.source.as_ref()?)
    }
}

impl PartialEq for OpenError {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for OpenError {}

impl From<OpenError> for String {
    fn from(error: OpenError) -> Self {
        error.text
    }
}

impl From<String> for OpenError {
    fn from(text: String) -> Self {
        OpenError::new(text)
    }
}

impl From<&str> for OpenError {
    fn from(text: &str) -> Self {
        OpenError::new(text)
    }
}

impl From<ParameterError> for OpenError {
    fn from(error: ParameterError) -> Self {
        OpenError::new(error.to_string()).because(error)
    }
}

impl From<AttachError> for OpenError {
    fn from(error: AttachError) -> Self {
        OpenError::new(error.to_string()).because(error)
    }
}

/// Why a chardev could not be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddError {
    /// The id is taken.
    Exists(String),
    /// The back end did not open; the text is the cause.
    Open {
        /// The id asked for.
        id: String,
        /// The cause.
        cause: OpenError,
    },
}

/// Why a change did not happen. In every case the old back end is untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// There is no such chardev.
    NotFound(String),
    /// The front end declared itself not swappable.
    NotSwappable,
    /// The new back end did not open; the text is the cause, after QEMU's `Failed to add chardev`
    /// where the chardev has no front end.
    Open(OpenError),
    /// The front end was asked and refused.
    Refused {
        /// The chardev.
        id: String,
        /// The front end's reason; empty where it gave none.
        reason: String,
    },
    /// Another change of the same chardev is under way.
    Busy(String),
    /// Earlier back ends left more unread input than the carry buffer takes.
    Backlog {
        /// The chardev.
        id: String,
        /// Bytes waiting.
        unread: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

/// Why a chardev could not be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoveError {
    /// There is no such chardev.
    NotFound(String),
    /// A front end, a multiplexer or a hub uses it, or a change of it is under way.
    Busy(String),
}

/// Why a front end could not be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// There is no such chardev.
    NotFound(String),
    /// Another front end, a multiplexer or a hub has it. A multiplexer itself takes several front
    /// ends.
    InUse(String),
}

/// Why a hub's members are as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubError {
    /// There is no such chardev.
    NotFound(String),
    /// It is none.
    NotAHub(String),
    /// What is to leave is not in it.
    NotAMember {
        /// The hub.
        id: String,
        /// What was to leave.
        member: String,
    },
    /// What is to join is missing or in use.
    Member(OpenError),
    /// It would come to rest on itself.
    Cycle(String),
    /// Too many chardevs would be stacked on each other.
    TooDeep {
        /// What was to join.
        member: String,
        /// How many may.
        limit: usize,
    },
}
