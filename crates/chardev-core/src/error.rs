//! One error per operation, each naming the object. The texts are QEMU's.

use thiserror::Error;

/// Why a chardev could not be added.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AddError {
    /// The id is taken.
    #[error("Chardev with id '{0}' already exists")]
    Exists(String),
    /// The back end did not open; the text is the cause.
    #[error("Failed to add chardev '{id}': {cause}")]
    Open {
        /// The id asked for.
        id: String,
        /// The cause.
        cause: String,
    },
}

/// Why a change did not happen. Whichever it was, the old back end is as it was.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ChangeError {
    /// There is no such chardev.
    #[error("Chardev '{0}' does not exist")]
    NotFound(String),
    /// The front end declared itself not swappable.
    #[error("Chardev user does not support chardev hotswap")]
    NotSwappable,
    /// The new back end did not open; the text is the cause, after QEMU's `Failed to add chardev`
    /// where the chardev has no front end.
    #[error("{0}")]
    Open(String),
    /// The front end was asked and refused.
    #[error("Chardev '{id}' change failed{}{reason}", if reason.is_empty() { "" } else { ": " })]
    Refused {
        /// The chardev.
        id: String,
        /// The front end's reason; empty where it gave none.
        reason: String,
    },
    /// Another change of the same chardev is under way.
    #[error("Chardev '{0}' is being changed already; try again when that change has ended")]
    Busy(String),
    /// Earlier back ends left more unread input than the carry buffer takes.
    #[error(
        "Chardev '{id}' change failed: {unread} bytes of input wait to be read by the front end (limit {limit})"
    )]
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
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RemoveError {
    /// There is no such chardev.
    #[error("Chardev '{0}' not found")]
    NotFound(String),
    /// A front end uses it, or a change is under way.
    #[error("Chardev '{0}' is busy")]
    Busy(String),
}

/// Why a front end could not be attached.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AttachError {
    /// There is no such chardev.
    #[error("chardev \"{0}\" not found")]
    NotFound(String),
    /// Another front end has it.
    #[error("chardev '{0}' is already in use")]
    InUse(String),
}
