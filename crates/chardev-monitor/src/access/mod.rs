//! Who may what: roles for chardevs, given to users of this host.
//!
//! Every command of every client comes through [`Caller::run`](crate::Caller::run), and is held
//! there against what it needs (`needs.rs`): a role, for the chardevs it is about or for all. An
//! answer or an event tells a client nothing of a chardev that it may not even see.

mod audit;
mod needs;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use chardev_qapi::{Json, QmpError};

use crate::client::Client;

pub(crate) use audit::audit;
pub(crate) use needs::Need;

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

/// A role that somebody has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// Whose it is, by user ID; `None` is whoever can connect.
    pub users: Option<BTreeSet<u32>>,
    /// For which chardevs it is; `None` is all, and what concerns no chardev.
    pub chardevs: Option<BTreeSet<String>>,
}

/// The grants that count. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Access {
    grants: Arc<Mutex<Option<Arc<[Grant]>>>>,
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

impl Access {
    /// Only what these grants say is allowed from here on, also to who is there already; root, and
    /// the user that the program runs as, may do everything. Without any (`None`, as at the
    /// beginning) whoever can connect may do everything.
    pub fn set(&self, grants: Option<Vec<Grant>>) {
        let mut now = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        *now = grants.map(Into::into);
    }

    /// Whether there are grants.
    pub fn is_restricted(&self) -> bool {
        self.now().is_some()
    }

    /// Whether `client` has `role` for chardev `id`, or for all.
    pub(crate) fn allows(&self, client: &Client, role: Role, id: Option<&str>) -> bool {
        if role > client.limit() {
            return false;
        }
        let Some(grants) = self.now().filter(|_| !is_owner(client)) else {
            return true;
        };
        grants.iter().any(|grant| {
            let users = grant.users.as_ref();
            let chardevs = grant.chardevs.as_ref();
            grant.role >= role
                && users.is_none_or(|users| client.uid().is_some_and(|uid| users.contains(&uid)))
                && chardevs.is_none_or(|all| id.is_some_and(|id| all.contains(id)))
        })
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
                let who = client.who();
                Err(format!(
                    "Permission denied: this needs the role '{role}'{of}, which {who} does not \
                     have; [[access]] in the configuration gives it"
                )
                .into())
            }
        }
    }

    fn now(&self) -> Option<Arc<[Grant]>> {
        let now = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        now.clone()
    }
}

/// The program itself, root, or the user it runs as.
fn is_owner(client: &Client) -> bool {
    let own = rustix::process::geteuid().as_raw();
    client.is_program() || client.uid().is_some_and(|uid| uid == 0 || uid == own)
}
