//! The error half of a QMP answer.

use std::fmt;

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

/// Why a command failed, in the words the client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QmpError {
    /// The wire class.
    pub class: ErrorClass,
    /// The text, without a trailing full stop.
    pub desc: String,
}

impl QmpError {
    /// A [`ErrorClass::GenericError`] with this text.
    pub fn generic(desc: impl Into<String>) -> Self {
        QmpError {
            class: ErrorClass::GenericError,
            desc: desc.into(),
        }
    }

    /// A [`ErrorClass::CommandNotFound`] with this text.
    pub fn command_not_found(desc: impl Into<String>) -> Self {
        QmpError {
            class: ErrorClass::CommandNotFound,
            desc: desc.into(),
        }
    }

    /// A [`ErrorClass::DeviceNotFound`] with this text.
    pub fn device_not_found(desc: impl Into<String>) -> Self {
        QmpError {
            class: ErrorClass::DeviceNotFound,
            desc: desc.into(),
        }
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

impl fmt::Display for QmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.desc)
    }
}

impl std::error::Error for QmpError {}
