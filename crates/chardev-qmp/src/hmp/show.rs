//! How the answer to a command is shown to people.

use std::error::Error;
use std::fmt::Write;

use chardev_core::AddError;
use chardev_qapi::{Json, QmpError};

/// How to put an answer into words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// Only what went wrong.
    Errors,
    /// Where a chardev goes that was changed, after warnings about how it was asked for.
    Changed {
        /// The chardev.
        id: String,
        /// About the way it was asked for.
        warnings: Vec<String>,
    },
    /// The same, for a chardev added: here its id is not part of the error.
    Added {
        /// The chardev.
        id: String,
        /// See [`Show::Changed`].
        warnings: Vec<String>,
    },
    /// A line for each chardev.
    Chardevs,
    /// The content of a ring buffer, with control characters escaped.
    Ringbuf,
    /// Whether the devices run.
    Status,
    /// The name of the daemon, if it has one.
    Name,
}

impl Show {
    /// What is printed. A long text is made as it is sent.
    pub fn answer(&self, result: &Result<Json, QmpError>) -> Json {
        match (self, result) {
            (Show::Ringbuf, Ok(Json::Lazy(text))) => text.map(escaped).followed_by("\n").into(),
            _ => self.text(result).into(),
        }
    }

    /// The text; every line ends with a newline.
    pub fn text(&self, result: &Result<Json, QmpError>) -> String {
        let mut text = String::new();
        if let Show::Changed { warnings, .. } | Show::Added { warnings, .. } = self {
            for warning in warnings {
                _ = writeln!(text, "warning: {warning}");
            }
        }
        let member = |name| result.as_ref().ok().and_then(|value| value.get(name));
        match (self, result) {
            (Show::Added { id, .. }, Err(error)) => {
                _ = writeln!(text, "Error: {}", cause_of_adding(id, error));
            }
            (_, Err(error)) => _ = writeln!(text, "Error: {}", error.desc),
            (Show::Chardevs, Ok(value)) => {
                for info in value.as_array().unwrap_or_default() {
                    let name = |name| info.get(name).and_then(Json::as_str).unwrap_or_default();
                    _ = writeln!(text, "{}: filename={}", name("label"), name("filename"));
                }
            }
            (Show::Ringbuf, Ok(value)) => {
                text.push_str(&escaped(value.as_str().unwrap_or_default()));
                text.push('\n');
            }
            (Show::Status, Ok(_)) => {
                let status = member("status").and_then(Json::as_str).unwrap_or_default();
                _ = writeln!(text, "VM status: {status}");
            }
            (Show::Name, Ok(_)) => {
                if let Some(name) = member("name").and_then(Json::as_str) {
                    _ = writeln!(text, "{name}");
                }
            }
            (Show::Changed { id, .. } | Show::Added { id, .. }, Ok(value)) => {
                text.push_str(&redirected(id, value));
            }
            (Show::Errors, Ok(_)) => {}
        }
        text
    }
}

/// Where to find a new pty. Under a multiplexer made with it, of two new chardevs, it is the first.
fn redirected(id: &str, value: &Json) -> String {
    let pty = |value: &Json| value.get("pty").and_then(Json::as_str).map(str::to_owned);
    let base = value.as_array().and_then(|all| pty(all.first()?));
    let (pty, under) = match base {
        Some(pty) => (Some(pty), "-base"),
        None => (pty(value), ""),
    };
    pty.map_or_else(String::new, |pty| {
        format!("char device redirected to {pty} (label {id}{under})\n")
    })
}

/// QEMU adds a chardev here by another way than over QMP, which has other words for the same.
fn cause_of_adding(id: &str, error: &QmpError) -> String {
    match error.source().and_then(|source| source.downcast_ref()) {
        Some(AddError::Exists(_)) => {
            format!("attempt to add duplicate property '{id}' to object (type 'container')")
        }
        Some(AddError::Open { cause, .. }) => cause.to_string(),
        None => error.desc.clone(),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            c if (c < ' ' && c != '\n' && c != '\t') || c == '\u{7f}' => {
                _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}
