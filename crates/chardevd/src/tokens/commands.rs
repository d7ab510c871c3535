//! `x-token-add`, `x-token-remove`, `x-query-tokens`: for admins.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chardev_monitor::schema::{Type, optional, required};
use chardev_monitor::{Answer, Caller, Json, Object, OwnCommand, Role, Secret, Token};

use super::Store;
use crate::config::Config;
use crate::ctl::nearest;

/// How long a token is good if nobody says, in seconds: 90 days.
const LIFETIME: u64 = 90 * 24 * 60 * 60;
const ROLES: &[&str] = &["view", "attach", "change", "admin"];

impl Store {
    /// The commands about the tokens of a daemon with this configuration.
    pub(crate) fn commands(&self, config: &Config) -> [OwnCommand; 3] {
        let (adding, removing, known) = (self.clone(), self.clone(), config.clone());
        let about = [
            required("name", Type::Str),
            required("role", Type::words(ROLES)),
            optional("consoles", Type::list(Type::Str)),
            required("created", Type::Int),
            optional("expires", Type::Int),
        ];
        [
            OwnCommand::waiting("x-token-add", move |arguments, caller| {
                let (store, config) = (adding.clone(), known.clone());
                async move { add(&store, &config, &arguments, &caller).await }
            })
            .takes([
                required("name", Type::Str),
                required("role", Type::words(ROLES)),
                optional("consoles", Type::list(Type::Str)),
                optional("lifetime", Type::Int),
                optional("expires", Type::Int),
            ])
            .returns(Type::object([
                required("token", Type::Str),
                optional("expires", Type::Int),
            ])),
            OwnCommand::waiting("x-token-remove", move |arguments, caller| {
                let store = removing.clone();
                async move { remove(&store, &arguments, &caller).await }
            })
            .takes([required("name", Type::Str)]),
            OwnCommand::new("x-query-tokens", |_, caller| {
                let all = caller.access().tokens().list();
                Ok(all.iter().map(|it| describe(it)).collect::<Vec<_>>().into())
            })
            .takes([])
            .returns(Type::list(Type::object(about))),
        ]
    }
}

async fn add(store: &Store, config: &Config, arguments: &Object, caller: &Caller) -> Answer {
    let secret = Secret::new().map_err(|error| format!("no random bits: {error}"))?;
    let now = seconds();
    let token = Token {
        name: text(arguments, "name").to_owned(),
        digest: secret.digest(),
        role: text(arguments, "role").parse::<Role>()?,
        consoles: consoles(arguments, config, caller)?,
        created: now,
        expires: expires(arguments, now)?,
    };
    if !Token::is_name(&token.name) {
        return Err("Parameter 'name' expects up to 64 letters, digits, '.', '_' or '-'".into());
    }
    let (name, role, expires) = (token.name.clone(), token.role, token.expires);
    let added = store.change(caller.access().tokens(), |all| {
        if all.iter().any(|other| other.name == token.name) {
            return Err(format!(
                "there is a token '{}' already; remove it, or take another name",
                token.name
            ));
        }
        all.push(token);
        Ok(())
    });
    added.await?;
    tell(caller, "token-added", &format!("token {name} ({role})"));
    let mut answer = Object::new().with("token", secret.reveal());
    if let Some(expires) = expires {
        answer.insert("expires", expires);
    }
    Ok(answer.into())
}

async fn remove(store: &Store, arguments: &Object, caller: &Caller) -> Answer {
    let name = text(arguments, "name").to_owned();
    let removed = store.change(caller.access().tokens(), |all| {
        let before = all.len();
        all.retain(|token| token.name != name);
        if all.len() < before {
            return Ok(());
        }
        let meant = nearest(&name, all.iter().map(|token| token.name.as_str()));
        let hint = meant.map_or_else(String::new, |meant| format!("; did you mean '{meant}'?"));
        Err(format!("there is no token '{name}'{hint}"))
    });
    removed.await?;
    tell(caller, "token-removed", &format!("token {name}"));
    Ok(Object::new().into())
}

/// Who did what, as for everything that gives rights.
fn tell(caller: &Caller, event: &str, what: &str) {
    let who = caller.who();
    tracing::info!(target: "chardevd::audit", event, "{who}: {event} {what}");
}

fn describe(token: &Token) -> Object {
    let mut told = Object::new()
        .with("name", token.name.as_str())
        .with("role", token.role.name());
    if let Some(consoles) = &token.consoles {
        let names = consoles.iter().map(|name| Json::from(name.as_str()));
        told.insert("consoles", names.collect::<Vec<_>>());
    }
    told.insert("created", token.created);
    if let Some(expires) = token.expires {
        told.insert("expires", expires);
    }
    told
}

/// The consoles and groups that are named, all of which there are: a word that means nothing now
/// may mean too much later.
fn consoles(
    arguments: &Object,
    config: &Config,
    caller: &Caller,
) -> Result<Option<BTreeSet<String>>, String> {
    let Some(names) = arguments.get("consoles").and_then(Json::as_array) else {
        return Ok(None);
    };
    let names: BTreeSet<String> = names
        .iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    if names.is_empty() {
        return Err(
            "Parameter 'consoles' expects at least one name; without it, it is for all".to_owned(),
        );
    }
    let groups = caller.access().groups();
    let mut known: BTreeSet<String> = groups.keys().cloned().collect();
    known.extend(
        config
            .table
            .lock()
            .iter()
            .map(|kept| kept.item.name.clone()),
    );
    known.extend(caller.chardevs().list().into_iter().map(|info| info.label));
    match names.iter().find(|name| !known.contains(*name)) {
        None => Ok(Some(names)),
        Some(name) => {
            let meant = nearest(name, known.iter().map(String::as_str));
            let hint = meant.map_or_else(String::new, |meant| format!("; did you mean '{meant}'?"));
            Err(format!("there is no console or group '{name}'{hint}"))
        }
    }
}

/// When it expires, if ever.
fn expires(arguments: &Object, now: u64) -> Result<Option<u64>, String> {
    let number = |key| arguments.get(key).and_then(Json::as_i64);
    match (number("lifetime"), number("expires")) {
        (Some(_), Some(_)) => {
            Err("Parameters 'lifetime' and 'expires' exclude each other".to_owned())
        }
        (Some(0), None) => Ok(None),
        (Some(lifetime), None) => match u64::try_from(lifetime) {
            Ok(lifetime) => Ok(Some(now.saturating_add(lifetime).min(i64::MAX as u64))),
            Err(_) => Err("Parameter 'lifetime' expects seconds, or 0 for ever".to_owned()),
        },
        (None, Some(expires)) => match u64::try_from(expires) {
            Ok(expires) if expires > now => Ok(Some(expires)),
            _ => {
                Err("Parameter 'expires' expects a time to come, in seconds since 1970".to_owned())
            }
        },
        (None, None) => Ok(Some(now + LIFETIME)),
    }
}

fn text<'a>(arguments: &'a Object, key: &str) -> &'a str {
    arguments
        .get(key)
        .and_then(Json::as_str)
        .unwrap_or_default()
}

fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}
