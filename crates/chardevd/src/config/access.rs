//! `[[access]]`: roles, for whom, for which consoles.

use std::collections::BTreeSet;

use chardev_monitor::{Grant, Role};
use nix::unistd::{Group, User};

use super::check::check_table;
use super::errors::{Mistakes, Place, meant};
use super::item::{Item, Sort};
use super::keys::ACCESS;
use super::values::{Data, Table, Value};

/// What one `[[access]]` gives, among the consoles `items`. Asks the host for users and groups, and
/// so may wait.
pub(super) fn grant(value: &Value, items: &[Item], mistakes: &mut Mistakes) -> Option<Grant> {
    check_table(value, &[ACCESS], "[[access]]", mistakes);
    let table = value.table()?;
    let role = role(table, "role", mistakes)?.or_else(|| {
        let hint = "add role = \"view\", \"attach\", \"change\" or \"admin\"".to_owned();
        mistakes.add_hint(&value.place, "this access has no role", hint);
        None
    })?;
    Some(Grant {
        role,
        users: users(table, mistakes),
        subjects: texts(table, "tls-subjects")
            .map(|all| all.into_iter().map(|(subject, _)| subject).collect()),
        chardevs: consoles(table, items, mistakes),
    })
}

/// The role that `key` names, if it is there.
pub(super) fn role(table: &Table, key: &str, mistakes: &mut Mistakes) -> Option<Option<Role>> {
    let Some(value) = table.get(key) else {
        return Some(None);
    };
    let text = value.text()?;
    match text.parse() {
        Ok(role) => Some(Some(role)),
        Err(_) => {
            let hint = meant(text, Role::ALL.into_iter().map(Role::name));
            mistakes.add_hint(&value.place, format!("there is no role '{text}'"), hint);
            None
        }
    }
}

/// Without `users` and `unix-groups` it is for everybody.
fn users(table: &Table, mistakes: &mut Mistakes) -> Option<BTreeSet<u32>> {
    let (named, grouped) = (texts(table, "users"), texts(table, "unix-groups"));
    if named.is_none() && grouped.is_none() {
        return None;
    }
    let named = named.unwrap_or_default();
    let named = named.iter().map(|(name, place)| (name.as_str(), place));
    let mut all = by_names(named, mistakes);
    for (name, place) in grouped.unwrap_or_default() {
        match Group::from_name(&name) {
            Ok(Some(group)) => {
                all.extend(group.mem.iter().filter_map(|name| user(name)));
                all.extend(of_primary_group(group.gid.as_raw()));
            }
            Ok(None) | Err(_) => {
                let hint = "write the name of a group of this host".to_owned();
                mistakes.add_hint(&place, format!("there is no group '{name}'"), hint);
            }
        }
    }
    Some(all)
}

/// The users who are called so, or have these numbers. It may wait.
pub(super) fn by_names<'a>(
    names: impl IntoIterator<Item = (&'a str, &'a Place)>,
    mistakes: &mut Mistakes,
) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    for (name, place) in names {
        match name.parse().ok().or_else(|| user(name)) {
            Some(uid) => _ = all.insert(uid),
            None => {
                let hint = "write the name of a user of this host, or a number".to_owned();
                mistakes.add_hint(place, format!("there is no user '{name}'"), hint);
            }
        }
    }
    all
}

/// The users of the host's own file whose primary group it is: a group does not list those.
#[expect(clippy::disallowed_methods, reason = "on a thread that may wait")]
fn of_primary_group(gid: u32) -> Vec<u32> {
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let passwd = String::from_utf8_lossy(&passwd).into_owned();
    let users = passwd.lines().filter_map(|line| {
        let mut parts = line.split(':').skip(2).map(str::parse::<u32>);
        let (uid, of) = (parts.next()?.ok()?, parts.next()?.ok()?);
        (of == gid).then_some(uid)
    });
    users.collect()
}

fn user(name: &str) -> Option<u32> {
    Some(User::from_name(name).ok()??.uid.as_raw())
}

/// Without `consoles` and `groups` it is for all, and for what concerns no console.
fn consoles(table: &Table, items: &[Item], mistakes: &mut Mistakes) -> Option<BTreeSet<String>> {
    let (named, grouped) = (texts(table, "consoles"), texts(table, "groups"));
    if named.is_none() && grouped.is_none() {
        return None;
    }
    let known = |item: &&Item| item.sort != Sort::Device;
    let mut all = BTreeSet::new();
    for (name, place) in named.unwrap_or_default() {
        if !items.iter().filter(known).any(|item| item.name == name) {
            let names = items.iter().filter(known).map(|item| item.name.as_str());
            let hint = meant(&name, names);
            mistakes.add_hint(&place, format!("there is no console '{name}'"), hint);
        }
        all.insert(name);
    }
    for (name, place) in grouped.unwrap_or_default() {
        let members = items
            .iter()
            .filter(|item| item.about.groups.contains(&name));
        let before = all.len();
        all.extend(members.map(|item| item.name.clone()));
        if all.len() == before {
            let groups = items.iter().flat_map(|item| &item.about.groups);
            let hint = meant(&name, groups.map(String::as_str));
            mistakes.add_hint(&place, format!("no console is in group '{name}'"), hint);
        }
    }
    Some(all)
}

/// A text or a list of them, with the place of each.
fn texts(table: &Table, key: &str) -> Option<Vec<(String, Place)>> {
    let value = table.get(key)?;
    let all = match &value.data {
        Data::List(list) => list.as_slice(),
        _ => std::slice::from_ref(value),
    };
    let texts = all
        .iter()
        .filter_map(|value| Some((value.text()?.to_owned(), value.place.clone())));
    Some(texts.collect())
}
