//! The error half of a QMP answer.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use chardev_core::spec::ParameterError;
use chardev_core::{AddError, OpenError};

use crate::json::{Json, Object};

/// The class of a QMP error, as it appears on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Everything that has no class of its own.
    GenericError,
    /// An unknown command, or one out of turn during negotiation.
    CommandNotFound,
    /// A device is there but not active.
    DeviceNotActive,
    /// A device is not there.
    DeviceNotFound,
}

impl ErrorClass {
    /// The wire spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorClass::GenericError => "GenericError",
            ErrorClass::CommandNotFound => "CommandNotFound",
            ErrorClass::DeviceNotActive => "DeviceNotActive",
            ErrorClass::DeviceNotFound => "DeviceNotFound",
        }
    }

    /// The class with this wire spelling; an unknown one reads as [`ErrorClass::GenericError`].
    pub fn from_wire(text: &str) -> Self {
        match text {
            "CommandNotFound" => ErrorClass::CommandNotFound,
            "DeviceNotActive" => ErrorClass::DeviceNotActive,
            "DeviceNotFound" => ErrorClass::DeviceNotFound,
            _ => ErrorClass::GenericError,
        }
    }
}

/// What kind of failure a command came to, for a program that does something about it: finer than
/// [`ErrorClass`]. It is on the wire, as `x-kind`, for clients that ask (`x-error-kinds`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such chardev, or none that another one is to rest on.
    NotFound,
    /// The id is taken.
    Exists,
    /// A front end uses it.
    Busy,
    /// It is being changed by somebody else.
    Changing,
    /// Its front end cannot have its back end changed.
    NotSwappable,
    /// Its front end has not read yet what earlier peers have sent.
    Backlog,
    /// Somebody is attached already.
    Attached,
    /// The host has the address in use.
    AddressInUse,
    /// The host has no such file.
    NoFile,
    /// The host does not let the daemon.
    Denied,
    /// The host has a file there already.
    FileExists,
    /// The host has a directory there.
    IsDirectory,
    /// Nobody listens there.
    Refused,
}

impl ErrorKind {
    const ALL: [(ErrorKind, &'static str); 13] = [
        (ErrorKind::NotFound, "not-found"),
        (ErrorKind::Exists, "exists"),
        (ErrorKind::Busy, "busy"),
        (ErrorKind::Changing, "changing"),
        (ErrorKind::NotSwappable, "not-swappable"),
        (ErrorKind::Backlog, "backlog"),
        (ErrorKind::Attached, "attached"),
        (ErrorKind::AddressInUse, "address-in-use"),
        (ErrorKind::NoFile, "no-file"),
        (ErrorKind::Denied, "denied"),
        (ErrorKind::FileExists, "file-exists"),
        (ErrorKind::IsDirectory, "is-directory"),
        (ErrorKind::Refused, "refused"),
    ];

    /// The wire spelling.
    pub fn as_str(self) -> &'static str {
        let found = ErrorKind::ALL.iter().find(|(kind, _)| *kind == self);
        found.map_or("", |(_, word)| word)
    }

    /// The kind with this wire spelling.
    pub fn from_wire(text: &str) -> Option<Self> {
        let found = ErrorKind::ALL.iter().find(|(_, word)| *word == text);
        found.map(|(kind, _)| *kind)
    }
}

/// Why a text is no JSON in QEMU's dialect, or is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// It is none, for this reason.
    Syntax(Cow<'static, str>),
    /// It goes over this limit.
    Limit(&'static str),
    /// There is no memory for it, or for the answer.
    NoMemory,
}

impl JsonError {
    pub(crate) fn syntax(why: impl Into<Cow<'static, str>>) -> Self {
        JsonError::Syntax(why.into())
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonError::Syntax(why) => write!(f, "JSON parse error, {why}"),
            JsonError::Limit(what) => write!(f, "JSON {what} limit exceeded"),
            JsonError::NoMemory => f.write_str("Not enough memory for this message"),
        }
    }
}

impl StdError for JsonError {}

impl From<JsonError> for QmpError {
    fn from(error: JsonError) -> Self {
        QmpError::because(error)
    }
}

/// Why a command failed, in the words the client gets.
///
/// Its source, where it has one, is the error of this process that the words were made of; nothing
/// of that is on the wire, and two are equal without it.
#[derive(Clone, Debug)]
pub struct QmpError {
    /// The wire class.
    pub class: ErrorClass,
    /// The text, without a trailing full stop.
    pub desc: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    kind: Option<ErrorKind>,
}

impl QmpError {
    /// One of this class with this text.
    pub fn new(class: ErrorClass, desc: impl Into<String>) -> Self {
        QmpError {
            class,
            desc: desc.into(),
            source: None,
            kind: None,
        }
    }

    /// A [`ErrorClass::GenericError`] with this text.
    pub fn generic(desc: impl Into<String>) -> Self {
        QmpError::new(ErrorClass::GenericError, desc)
    }

    /// A [`ErrorClass::GenericError`] in the words of `source`.
    pub fn because(source: impl StdError + Send + Sync + 'static) -> Self {
        let desc = source.to_string();
        QmpError {
            source: Some(Arc::new(source)),
            ..QmpError::generic(desc)
        }
    }

    /// A [`ErrorClass::CommandNotFound`] with this text.
    pub fn command_not_found(desc: impl Into<String>) -> Self {
        QmpError::new(ErrorClass::CommandNotFound, desc)
    }

    /// A [`ErrorClass::DeviceNotFound`] with this text.
    pub fn device_not_found(desc: impl Into<String>) -> Self {
        QmpError::new(ErrorClass::DeviceNotFound, desc)
    }

    /// The same, shown as `desc`.
    #[must_use]
    pub fn shown_as(mut self, desc: impl Into<String>) -> Self {
        self.desc = desc.into();
        self
    }

    /// The same, of this kind.
    #[must_use]
    pub fn of_kind(mut self, kind: impl Into<Option<ErrorKind>>) -> Self {
        self.kind = kind.into();
        self
    }

    /// What kind of failure it was, where that is known.
    pub fn kind(&self) -> Option<ErrorKind> {
        self.kind
    }

    /// The value of the answer's `error` member.
    pub fn to_json(&self) -> Json {
        let mut error = Object::new();
        error.insert("class", self.class.as_str());
        error.insert("desc", self.desc.as_str());
        Json::Object(error)
    }
}

impl From<String> for QmpError {
    fn from(desc: String) -> Self {
        QmpError::generic(desc)
    }
}

impl From<&str> for QmpError {
    fn from(desc: &str) -> Self {
        QmpError::generic(desc)
    }
}

impl From<ParameterError> for QmpError {
    fn from(error: ParameterError) -> Self {
        QmpError::because(error)
    }
}

impl From<OpenError> for QmpError {
    fn from(error: OpenError) -> Self {
        QmpError::because(error)
    }
}

impl From<AddError> for QmpError {
    fn from(error: AddError) -> Self {
        QmpError::because(error)
    }
}

impl fmt::Display for QmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.desc)
    }
}

impl StdError for QmpError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&**self.source.as_ref()?)
    }
}

impl PartialEq for QmpError {
    fn eq(&self, other: &Self) -> bool {
        (self.class, &self.desc) == (other.class, &other.desc)
    }
}

impl Eq for QmpError {}
