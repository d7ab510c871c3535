//! Why one sees nothing of a fleet.

use std::fmt;
use std::io;
use std::time::Duration;

/// Why one sees nothing.
#[derive(Debug)]
pub enum Blind {
    /// A file that the settings name cannot be used.
    File(io::Error),
    /// None of the servers answers.
    Away {
        /// The servers.
        servers: String,
        /// What the last attempt came to.
        why: String,
    },
    /// They refuse what the settings say who one is, or what that one asks.
    Refused {
        /// The servers.
        servers: String,
        /// What they say.
        why: String,
    },
    /// They have no such stream.
    NoStream {
        /// Its name.
        stream: String,
        /// The servers.
        servers: String,
    },
    /// The console has not printed so much.
    NotReached {
        /// The offset that was asked for.
        offset: u64,
        /// How much it has printed.
        end: u64,
    },
    /// Nobody serves there.
    NoHost {
        /// The host.
        host: String,
        /// The role that it was asked for.
        role: String,
    },
    /// Nobody takes peers of consoles there.
    NoConsole {
        /// The host.
        host: String,
        /// The console whose peer was wanted.
        console: String,
    },
    /// The host serves, but not so.
    HostRefused {
        /// The host.
        host: String,
        /// What it says.
        why: String,
    },
    /// The host does not answer.
    HostSilent {
        /// The host.
        host: String,
        /// For how long it was waited.
        limit: Duration,
    },
    /// Something else.
    Failed(io::Error),
}

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blind::File(error) | Blind::Failed(error) => write!(f, "{error}"),
            Blind::Away { servers, why } => write!(f, "no server answers at {servers}: {why}"),
            Blind::Refused { servers, why } => write!(f, "the servers {servers} refuse: {why}"),
            Blind::NoStream { stream, servers } => {
                write!(f, "there is no stream '{stream}' at {servers}")
            }
            Blind::NoHost { host, role } => write!(
                f,
                "nobody serves the host '{host}' as '{role}' over the fleet: it is not there, or its \
                 [fleet] has no 'qmp'"
            ),
            Blind::NoConsole { host, console } => write!(
                f,
                "nobody serves '{console}' of the host '{host}': it is down, or none of its \
                 consoles is x-nats"
            ),
            Blind::HostRefused { host, why } => write!(f, "host '{host}' refuses: {why}"),
            Blind::HostSilent { host, limit } => {
                let seconds = limit.as_secs_f64();
                write!(f, "host '{host}' has not answered within {seconds} s")
            }
            Blind::NotReached { offset, end } => {
                write!(
                    f,
                    "offset {offset} has not been reached: {end} bytes were printed"
                )
            }
        }
    }
}

impl std::error::Error for Blind {}

/// An error and what it comes from, each once.
pub(crate) fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}
