//! Of which kind an error is, for clients that ask (`x-error-kinds`): what it was made of tells.

use std::error::Error;
use std::io;

use chardev::{
    AddError, AttachError, ChangeError, HubError, RemoveError, ReopenError, RingError, ViewError,
};
use chardev_qapi::{ErrorKind, QmpError};

/// The error with its kind, if anything behind it has one.
pub(crate) fn with_kind(error: QmpError) -> QmpError {
    if error.kind().is_some() {
        return error;
    }
    let mut behind = Error::source(&error);
    while let Some(cause) = behind {
        if let Some(kind) = kind_of(cause) {
            return error.of_kind(kind);
        }
        behind = cause.source();
    }
    error
}

fn kind_of(cause: &(dyn Error + 'static)) -> Option<ErrorKind> {
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return of_host(error);
    }
    if let Some(error) = cause.downcast_ref::<ChangeError>() {
        return match error {
            ChangeError::NotFound(_) => Some(ErrorKind::NotFound),
            ChangeError::NotSwappable => Some(ErrorKind::NotSwappable),
            ChangeError::Busy(_) => Some(ErrorKind::Changing),
            ChangeError::Backlog { .. } => Some(ErrorKind::Backlog),
            ChangeError::Open(_) | ChangeError::Refused { .. } => None,
        };
    }
    match cause.downcast_ref() {
        Some(RemoveError::NotFound(_)) => return Some(ErrorKind::NotFound),
        Some(RemoveError::Busy(_)) => return Some(ErrorKind::Busy),
        None => {}
    }
    if let Some(AddError::Exists(_)) = cause.downcast_ref() {
        return Some(ErrorKind::Exists);
    }
    let is_missing = matches!(cause.downcast_ref(), Some(AttachError::NotFound(_)))
        || matches!(cause.downcast_ref(), Some(HubError::NotFound(_)))
        || matches!(cause.downcast_ref(), Some(ReopenError::NotFound(_)))
        || matches!(cause.downcast_ref(), Some(RingError::NotFound(_)))
        || matches!(cause.downcast_ref(), Some(ViewError::NotFound(_)));
    is_missing.then_some(ErrorKind::NotFound)
}

fn of_host(error: &io::Error) -> Option<ErrorKind> {
    Some(match error.kind() {
        io::ErrorKind::AddrInUse => ErrorKind::AddressInUse,
        io::ErrorKind::NotFound => ErrorKind::NoFile,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::AlreadyExists => ErrorKind::FileExists,
        io::ErrorKind::IsADirectory => ErrorKind::IsDirectory,
        io::ErrorKind::ConnectionRefused => ErrorKind::Refused,
        _ => return None,
    })
}
