//! What of a host a session is with.

use crate::blind::Blind;
use crate::subject::{self, Name, Topic};

/// What a session is with.
#[derive(Debug)]
pub(super) enum Door {
    /// Its monitor, or something there that is wanted, as somebody with that role.
    Monitor { role: String, wanted: String },
    /// A console that waits for its peer.
    Console { console: String },
}

impl Door {
    /// Where it is knocked at, and with which words.
    pub(super) fn subject(&self, cluster: &str, host: &str) -> (Option<String>, String) {
        match self {
            Door::Monitor { role, wanted } => (subject::qmp(cluster, host, role), wanted.clone()),
            Door::Console { console } => {
                let name = Name {
                    cluster: cluster.to_owned(),
                    host: host.to_owned(),
                    console: console.clone(),
                };
                (name.subject(Topic::In), String::new())
            }
        }
    }

    /// Nobody is there.
    pub(super) fn closed(&self, host: String) -> Blind {
        match self {
            Door::Monitor { role, .. } => Blind::NoHost {
                host,
                role: role.clone(),
            },
            Door::Console { console } => Blind::NoConsole {
                host,
                console: console.clone(),
            },
        }
    }
}
