//! Why some part of the daemon did not start.

use std::error::Error as StdError;
use std::fmt;

use chardev::front::virtio_console::PortError;
use chardev::spec::ParameterError;
use chardev::{AddError, AttachError, OpenError};
use chardev_monitor::{FdError, QmpError, ServeError};
use chardev_qapi::UnknownDevice;

/// Why the daemon, a device of it, or what runs around it did not start or cannot go on.
///
/// It is for the user, who is shown its words and acts on them. Its source is what they were made
/// of: a [`ParameterError`], an [`OpenError`], the host's `std::io::Error`, and so on.
#[derive(Debug)]
pub struct DaemonError {
    text: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl DaemonError {
    /// One that is shown as `text`.
    pub fn new(text: impl Into<String>) -> Self {
        DaemonError {
            text: text.into(),
            source: None,
        }
    }

    /// `WHAT: SOURCE`.
    pub fn of(what: impl fmt::Display, source: impl StdError + Send + Sync + 'static) -> Self {
        DaemonError {
            text: format!("{what}: {source}"),
            source: Some(Box::new(source)),
        }
    }

    /// The same, shown as `text`.
    #[must_use]
    pub fn shown_as(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// The same, because of `source`, which the text says already.
    #[must_use]
    pub fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// `WHAT: ` and the same.
    #[must_use]
    pub fn within(self, what: impl fmt::Display) -> Self {
        let text = format!("{what}: {}", self.text);
        self.shown_as(text)
    }
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for DaemonError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&**self.source.as_ref()?)
    }
}

impl From<String> for DaemonError {
    fn from(text: String) -> Self {
        DaemonError::new(text)
    }
}

impl From<&str> for DaemonError {
    fn from(text: &str) -> Self {
        DaemonError::new(text)
    }
}

/// In its own words.
macro_rules! from {
    ($($error:ty),*) => {$(
        impl From<$error> for DaemonError {
            fn from(error: $error) -> Self {
                DaemonError::new(error.to_string()).because(error)
            }
        }
    )*};
}

from!(
    AddError,
    AttachError,
    FdError,
    OpenError,
    ParameterError,
    PortError,
    ServeError,
    UnknownDevice
);

impl From<DaemonError> for QmpError {
    fn from(error: DaemonError) -> Self {
        QmpError::because(error)
    }
}
