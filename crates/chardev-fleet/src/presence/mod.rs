//! Which hosts are up, and what their consoles are: what each host writes into a key-value bucket,
//! where it is forgotten unless it is written again.
//!
//! ```text
//!  key     value (JSON)
//!  HOST    {"run", "version", "started", "pages", "consoles", "qmp"}
//!  HOST.0  {"run", "consoles": [{"name", "epoch", "front-end", "back-end", ...}, ...]}
//!  HOST.1  ...                                         at most 100 consoles a page
//! ```
//!
//! A host is up while its key is there. Pages count where they are of the same run as the host's
//! key and below its number of pages, so that what an earlier run has left there is nobody's.
//! [`Board`] is the writer's side and [`Roster`] the reader's; neither knows I/O or a clock.

mod board;
mod claim;
mod record;
mod roster;

pub use board::{Board, Write};
pub(crate) use claim::Claim;
pub(crate) use record::LONGEST;
pub use record::{Console, Host, NotARecord, PAGE, Page};
pub use roster::{Present, Roster};

use crate::subject::{escape, unescape};

/// Which of a host's keys is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// That of the host itself.
    Host,
    /// That of some of its consoles.
    Page(usize),
}

impl Key {
    /// How it is written.
    pub fn of(self, host: &str) -> String {
        match self {
            Key::Host => escape(host),
            Key::Page(number) => format!("{}.{number}", escape(host)),
        }
    }

    /// Reads one: which host's it is, and which of its keys. `None` for what is none.
    pub fn parse(text: &str) -> Option<(String, Key)> {
        let Some((host, number)) = text.split_once('.') else {
            return Some((unescape(text)?, Key::Host));
        };
        let key = Key::Page(number.parse().ok()?);
        let host = unescape(host)?;
        (key.of(&host) == text).then_some((host, key))
    }
}

/// The bucket that belongs to a stream of output, whose usual name is `CHARDEV_CLUSTER`.
pub fn bucket(stream: &str) -> String {
    format!("{stream}_HOSTS")
}

/// The stream that is a bucket.
pub(crate) fn stream_of(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// What the subjects of a bucket begin with.
pub(crate) fn prefix(bucket: &str) -> String {
    format!("$KV.{bucket}.")
}
