//! Who somebody is, as far as it was proven.

use std::fmt;
use std::sync::Arc;

use super::Role;
use crate::tokens::Token;

/// Who somebody is, as far as it was proven; [`Access`](crate::Access) says what they may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// Nothing is known of them.
    #[default]
    Nobody,
    /// The program itself, which may do everything.
    Program,
    /// A user of this host, by their ID: the kernel says who is at the other end of a Unix socket.
    User(u32),
    /// Who has presented a token, from [`Tokens::check`](crate::Tokens::check). It is worth
    /// nothing any more once the token is removed or has expired.
    Token(Arc<Token>),
    /// Who has shown a certificate that was verified.
    Tls(Arc<TlsName>),
    /// Somebody whom others have let in, of whom the program takes that.
    Vouched(Vouched),
}

/// Somebody whom others have let in, as having a role for all chardevs, whatever
/// [`Access`](crate::Access) says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// Who that was, for people.
    pub by: String,
    /// The role.
    pub role: Role,
}

/// What a verified certificate calls its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsName {
    /// The distinguished name, as `CN=laptop,O=Example`.
    pub subject: String,
    /// Its other names, as `DNS:laptop.example`, `email:ann@example` and `URI:…`.
    pub alternatives: Vec<String>,
}

impl Identity {
    /// Whether nothing is known of them.
    pub fn is_nobody(&self) -> bool {
        *self == Identity::Nobody
    }

    /// The program itself, root, or the user it runs as, who may do everything.
    pub(crate) fn is_owner(&self) -> bool {
        match self {
            Identity::Program => true,
            Identity::User(uid) => *uid == 0 || *uid == rustix::process::geteuid().as_raw(),
            Identity::Nobody | Identity::Token(_) | Identity::Tls(_) | Identity::Vouched(_) => {
                false
            }
        }
    }

    /// Of the names that a peer has proven, the first of which is its subject.
    pub(crate) fn of_names(names: Vec<String>) -> Option<Self> {
        let mut names = names.into_iter();
        let subject = names.next()?;
        Some(Identity::Tls(Arc::new(TlsName {
            subject,
            alternatives: names.collect(),
        })))
    }
}

impl TlsName {
    /// Whether `name` is the subject or one of the others.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.subject == name || self.alternatives.iter().any(|other| other == name)
    }
}

/// For people: `user 1000`, `token lab1`, `TLS CN=laptop,O=Example`, `the fleet's view`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Nobody => f.write_str("somebody"),
            Identity::Program => f.write_str("the program"),
            Identity::User(uid) => write!(f, "user {uid}"),
            Identity::Token(token) => write!(f, "token {}", token.name),
            Identity::Vouched(Vouched { by, role }) => write!(f, "{by}'s {role}"),
            Identity::Tls(name) => write!(f, "TLS {}", name.subject.escape_debug()),
        }
    }
}
