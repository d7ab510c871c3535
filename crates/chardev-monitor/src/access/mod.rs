//! Who may what: roles for chardevs, given to users of this host, to tokens, and to names in
//! certificates.
//!
//! Every command of every client comes through [`Caller::run`](crate::Caller::run), and is held
//! there against what it needs (`needs.rs`): a role, for the chardevs it is about or for all. An
//! answer or an event tells a client nothing of a chardev that it may not even see.

mod audit;
mod identity;
mod losing;
mod needs;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev_qapi::{Json, QmpError};

use crate::client::Client;
use crate::tokens::{Token, Tokens};

pub(crate) use audit::audit;
pub use identity::{Identity, TlsName, Vouched};
pub(crate) use needs::Need;

/// What a client is told that has yet to prove who it is.
pub(crate) const STRANGER: &str = "Permission denied: this monitor has to know who you are; \
     present a token with 'x-authenticate' first (chardevctl --token-file FILE)";

/// What somebody may do with a chardev; each includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look: its state, its output, its screen.
    View,
    /// Also type, send breaks, be attached.
    Attach,
    /// Also give it another back end, which is as much as to read and write files and connect
    /// anywhere as the user that the program runs as.
    Change,
    /// Everything, add and remove chardevs and end the program among it.
    #[default]
    Admin,
}

/// A role that somebody has. Without `users` and `subjects` it is whoever can connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// Whose it is, by user ID.
    pub users: Option<BTreeSet<u32>>,
    /// Whose it is, by the subject or another name of their verified certificate; see [`TlsName`].
    pub subjects: Option<BTreeSet<String>>,
    /// For which chardevs it is; `None` is all, and what concerns no chardev.
    pub chardevs: Option<BTreeSet<String>>,
}

/// The grants and tokens that count. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Access {
    rules: Arc<Mutex<Rules>>,
    tokens: Tokens,
}

#[derive(Clone, Debug, Default)]
struct Rules {
    grants: Option<Arc<[Grant]>>,
    /// The groups that tokens may be for, and who is in them.
    groups: Arc<BTreeMap<String, BTreeSet<String>>>,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Role; 4] = [Role::View, Role::Attach, Role::Change, Role::Admin];

    /// Its name, as it is written in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Role::View => "view",
            Role::Attach => "attach",
            Role::Change => "change",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Role::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("'{text}' is not a role: view, attach, change or admin"))
    }
}

impl Grant {
    fn is_for(&self, identity: &Identity) -> bool {
        let (users, subjects) = (self.users.as_ref(), self.subjects.as_ref());
        match identity {
            _ if users.is_none() && subjects.is_none() => true,
            Identity::User(uid) => users.is_some_and(|users| users.contains(uid)),
            Identity::Tls(name) => {
                subjects.is_some_and(|all| all.iter().any(|subject| name.is(subject)))
            }
            Identity::Nobody | Identity::Program | Identity::Token(_) | Identity::Vouched(_) => {
                false
            }
        }
    }
}

impl Access {
    /// Only what these grants say is allowed from here on, also to who is there already; root, and
    /// the user that the program runs as, may do everything. Without any (`None`, as at the
    /// beginning) whoever can connect may do everything, other than by a token.
    pub fn set(&self, grants: Option<Vec<Grant>>) {
        self.lock().grants = grants.map(Into::into);
        self.tokens.changed.send_replace(());
    }

    /// The groups of chardevs that tokens may be for.
    pub fn set_groups(&self, groups: BTreeMap<String, BTreeSet<String>>) {
        self.lock().groups = Arc::new(groups);
        self.tokens.changed.send_replace(());
    }

    /// The groups of chardevs that tokens may be for.
    pub fn groups(&self) -> Arc<BTreeMap<String, BTreeSet<String>>> {
        Arc::clone(&self.lock().groups)
    }

    /// The tokens there are.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Whether there are grants.
    pub fn is_restricted(&self) -> bool {
        self.now().grants.is_some()
    }

    /// Whether `identity` has `role` for chardev `id`, or for all.
    pub fn permits(&self, identity: &Identity, role: Role, id: Option<&str>) -> bool {
        if identity.is_owner() {
            return true;
        }
        if let Identity::Vouched(vouched) = identity {
            return role <= vouched.role;
        }
        let Rules { grants, groups } = self.now();
        if let Identity::Token(token) = identity {
            // One that was removed must not be as good as none.
            if !self.tokens.is_good(token) {
                return false;
            }
            if token_allows(token, &groups, role, id) {
                return true;
            }
        }
        match grants {
            None => !matches!(identity, Identity::Token(_)),
            Some(grants) => grants.iter().any(|grant| {
                let chardevs = grant.chardevs.as_ref();
                grant.role >= role
                    && grant.is_for(identity)
                    && chardevs.is_none_or(|all| id.is_some_and(|id| all.contains(id)))
            }),
        }
    }

    /// Whether `client` has `role` for chardev `id`, or for all.
    pub(crate) fn allows(&self, client: &Client, role: Role, id: Option<&str>) -> bool {
        role <= client.limit()
            && !client.is_stranger()
            && self.permits(&client.identity(), role, id)
    }

    /// Whether `client` may know of what `told` is about, an event or a part of an answer.
    pub(crate) fn shows(&self, client: &Client, told: &Json) -> bool {
        // Where several are named, the device that one of them is about is the other's.
        let about = ["chardev", "label", "id"].map(|key| told.get(key).and_then(Json::as_str));
        let about = about.into_iter().flatten().next();
        self.allows(client, Role::View, about)
    }

    /// Holds `need` against what `client` may.
    ///
    /// # Errors
    /// What is missing; a chardev that it may not see is not there.
    pub(crate) fn check(&self, client: &Client, need: &Need) -> Result<(), QmpError> {
        if client.is_stranger() && *need != Need::Stranger {
            return Err(STRANGER.into());
        }
        let Need::Role { role, ids } = need else {
            return Ok(());
        };
        let missing = match ids.as_slice() {
            [] => (!self.allows(client, *role, None)).then_some(None),
            ids => ids
                .iter()
                .find(|id| !self.allows(client, *role, Some(id)))
                .map(Some),
        };
        match missing {
            None => Ok(()),
            Some(Some(id)) if !self.allows(client, Role::View, Some(id)) => {
                Err(crate::commands::not_found(id))
            }
            Some(id) => {
                let of = id.map_or_else(String::new, |id| format!(" for '{id}'"));
                let who = client.title();
                let giver = match client.identity() {
                    Identity::Vouched(_) => "whoever has let them in, or a token,",
                    _ => "[[access]] in the configuration",
                };
                Err(format!(
                    "Permission denied: this needs the role '{role}'{of}, which {who} does not \
                     have; {giver} gives it"
                )
                .into())
            }
        }
    }

    fn now(&self) -> Rules {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn token_allows(
    token: &Token,
    groups: &BTreeMap<String, BTreeSet<String>>,
    role: Role,
    id: Option<&str>,
) -> bool {
    let is_in = |name: &str, id: &str| {
        name == id || groups.get(name).is_some_and(|members| members.contains(id))
    };
    let covers =
        |all: &BTreeSet<String>| id.is_some_and(|id| all.iter().any(|name| is_in(name, id)));
    token.role >= role && token.consoles.as_ref().is_none_or(covers)
}
