//! Why a command failed: what it prints, and the exit status that tells scripts the kind of reason.

use std::fmt;
use std::io;
use std::process::ExitCode;

use chardev::spec::{ParameterError, Problem};
use chardev::text::shown;
use chardev_load::LoadError;
use chardev_qapi::{ErrorClass, ErrorKind, QmpError};
use chardev_qmp::client::ClientError;

use super::connect::Address;

/// What `--help` says about exit statuses.
pub(super) const STATUSES: &str = "\
Exit status:
  0  success; for attach and watch, you detached
  1  the daemon refused, or something failed here
  2  usage error
  3  there is no daemon, or it has gone away
  4  --timeout expired
For attach and watch, why they ended or could not start:
  5  someone else is attached, or took over the console
  6  the chardev was given another back end
  7  the program behind the console has ended
  8  the chardev was removed
If a signal ends a command, its status is the one shells report (130 for Ctrl-C).";

/// The kind of reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// The daemon refused, or something on this side failed.
    Failed = 1,
    /// What was asked for makes no sense.
    Usage = 2,
    /// Nobody is where the daemon should be, or it has gone.
    NoDaemon = 3,
    /// The time of `--timeout` has passed.
    TimedOut = 4,
    /// Somebody else is attached.
    Taken = 5,
    /// The chardev goes elsewhere now.
    Moved = 6,
    /// The program behind the console has ended.
    Program = 7,
    /// The chardev was removed.
    Removed = 8,
}

/// A failed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Nothing where the user has been told.
    text: Option<String>,
    status: Status,
}

impl Failure {
    /// A failure of this kind.
    pub(super) fn new(status: Status, text: impl Into<String>) -> Self {
        Failure {
            text: Some(text.into()),
            status,
        }
    }

    /// What the connection to `address` came to.
    pub(super) fn of_connection(address: &Address, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Failure::new(Status::TimedOut, error.to_string()),
            _ => Failure::new(
                Status::NoDaemon,
                format!("the monitor at {address}: {error}"),
            ),
        }
    }

    /// What a call to the monitor at `address` came to, with what to do about it.
    pub(super) fn of_call(address: &Address, error: &ClientError) -> Self {
        match error {
            ClientError::Io(error) => Failure::of_connection(address, error),
            ClientError::Closed => Failure::new(
                Status::NoDaemon,
                format!(
                    "the monitor at {address} closed the connection: its daemon has ended, or is ending"
                ),
            ),
            ClientError::Protocol(_) => Failure::new(
                Status::Failed,
                format!(
                    "{address}: {}\nname a monitor for programs, such as one of -qmp, with --socket PATH",
                    shown(error)
                ),
            ),
            ClientError::Command(error) => {
                let text = shown(error).to_string();
                match remedy(error) {
                    Some(remedy) => format!("{text}\n{remedy}").into(),
                    None => text.into(),
                }
            }
        }
    }

    /// The same, with another line that says what to do.
    pub(super) fn with_hint(mut self, hint: &str) -> Self {
        self.text = self.text.map(|text| format!("{text}\n{hint}"));
        self
    }

    /// The same, of which the user has been told.
    pub(super) fn told(mut self) -> Self {
        self.text = None;
        self
    }

    /// What to tell the user.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The kind of reason.
    pub(super) fn status(&self) -> Status {
        self.status
    }

    /// The exit status.
    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(self.status as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.as_deref().unwrap_or("failed"))
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure::new(Status::Failed, text)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        error.to_string().into()
    }
}

impl From<ParameterError> for Failure {
    fn from(error: ParameterError) -> Self {
        let remedy = match error.problem() {
            Problem::NotAccepted(_) if error.name() == "backend" => {
                "'chardevd --chardev help' lists the kinds"
            }
            Problem::Unexpected => "'chardevd --chardev KIND,help' lists the options of a kind",
            _ => return error.to_string().into(),
        };
        format!("{error}\n{remedy}").into()
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// What to do about an error that a command came to.
fn remedy(error: &QmpError) -> Option<&'static str> {
    if error.class == ErrorClass::DeviceNotFound {
        return Some(LIST);
    }
    Some(match error.kind()? {
        ErrorKind::NotFound => LIST,
        ErrorKind::Exists => {
            "choose another id, or give it another back end with 'chardevctl change'"
        }
        ErrorKind::Busy => {
            "a front end is using it: give it another back end with 'chardevctl change', or null"
        }
        ErrorKind::Changing => "the old back end stays until one of the changes has succeeded",
        ErrorKind::NotSwappable => {
            "its user, such as a monitor, needs its back end; add another chardev instead"
        }
        ErrorKind::AddressInUse => {
            "something is already listening there: stop it, or choose another port or path"
        }
        ErrorKind::NoFile => {
            "create the directory or start the peer first; over --host and in 'qmp' paths are the daemon's"
        }
        ErrorKind::Denied => "the daemon's user does not have permission",
        ErrorKind::FileExists => "remove it, or choose another path",
        ErrorKind::IsDirectory => "name a file inside it",
        ErrorKind::Refused => {
            "nothing is listening there: start the peer first, or add reconnect-ms=1000"
        }
        ErrorKind::Attached | ErrorKind::Backlog => return None,
    })
}

const LIST: &str = "'chardevctl list' shows all chardevs";
