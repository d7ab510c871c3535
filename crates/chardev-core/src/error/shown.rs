//! The errors of the operations in QEMU's words, and their sources.
//!
//! They are written by hand, where elsewhere `thiserror` writes them: it would be the library's
//! only procedural macro, and what it needs to be built would be a third of the crates below.

use std::error::Error as StdError;
use std::fmt;

use super::{AddError, AttachError, ChangeError, HubError, OpenError, RemoveError};
use crate::tap::ViewError;

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddError::Exists(id) => write!(f, "Chardev with id '{id}' already exists"),
            AddError::Open { id, cause } => write!(f, "Failed to add chardev '{id}': {cause}"),
        }
    }
}

impl StdError for AddError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            AddError::Exists(_) => None,
            AddError::Open { cause, .. } => Some(cause),
        }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeError::NotFound(id) => write!(f, "Chardev '{id}' does not exist"),
            ChangeError::NotSwappable => {
                f.write_str("Chardev user does not support chardev hotswap")
            }
            ChangeError::Open(cause) => cause.fmt(f),
            ChangeError::Refused { id, reason } if reason.is_empty() => {
                write!(f, "Chardev '{id}' change failed")
            }
            ChangeError::Refused { id, reason } => {
                write!(f, "Chardev '{id}' change failed: {reason}")
            }
            ChangeError::Busy(id) => write!(
                f,
                "Chardev '{id}' is already being changed; try again when that change has finished"
            ),
            ChangeError::Backlog { id, unread, limit } => write!(
                f,
                "Chardev '{id}' change failed: {unread} bytes of input are waiting for the front \
                 end to read them (limit {limit})"
            ),
        }
    }
}

impl StdError for ChangeError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // Shown as its cause is, it has its cause's source.
            ChangeError::Open(cause) => cause.source(),
            _ => None,
        }
    }
}

impl fmt::Display for RemoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoveError::NotFound(id) => write!(f, "Chardev '{id}' not found"),
            RemoveError::Busy(id) => write!(f, "Chardev '{id}' is busy"),
        }
    }
}

impl StdError for RemoveError {}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::NotFound(id) => write!(f, "chardev \"{id}\" not found"),
            AttachError::InUse(id) => write!(f, "chardev '{id}' is already in use"),
        }
    }
}

impl StdError for AttachError {}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HubError::NotFound(id) => write!(f, "Chardev '{id}' does not exist"),
            HubError::NotAHub(id) => write!(f, "Chardev '{id}' is not a hub"),
            HubError::NotAMember { id, member } => {
                write!(f, "Chardev '{member}' is not a member of hub '{id}'")
            }
            HubError::Member(cause) => cause.fmt(f),
            HubError::Cycle(id) => write!(
                f,
                "chardev '{id}' cannot be a member: it would create a cycle"
            ),
            HubError::TooDeep { member, limit } => write!(
                f,
                "chardev '{member}' cannot be a member: more than {limit} chardevs would be \
                 stacked on each other"
            ),
        }
    }
}

impl StdError for HubError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            HubError::Member(cause) => cause.source(),
            _ => None,
        }
    }
}

impl From<OpenError> for HubError {
    fn from(cause: OpenError) -> Self {
        HubError::Member(cause)
    }
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ViewError::Ahead { id, from, end } => write!(
                f,
                "Chardev '{id}' has no output at offset {from} yet: its output ends at {end}"
            ),
            ViewError::NotFound(id) => write!(f, "Chardev '{id}' not found"),
        }
    }
}

impl StdError for ViewError {}
