//! The consoles: all that one may see, and one of them.

use std::collections::HashMap;

use axum::extract::{Path, State};
use chardev_monitor::{Caller, Json, Object, Role};
use chardev_qapi::backend_to_json;

use super::Asked;
use crate::error::{Answer, Failure};
use crate::login::Visitor;
use crate::site::Site;

/// All consoles that one may see.
#[utoipa::path(get, path = "/consoles", responses((status = 200, description =
    "a list: `id`, `description`, `groups`, `state`, `reason` (why it could not be started), `kind`, `target`, `connected`, `open`, `role` \
     (one's own), `viewers`, `attached`, `epoch` (which life of the console the offsets are of), `oldest`, `end`, `drops`, `size`, `program`")))]
pub(super) async fn all(State(site): State<Site>, Visitor(session): Visitor) -> Asked {
    let consoles = list(&site, &session.caller).await?;
    Ok(Answer(consoles.into()))
}

/// One of them, with its back end.
#[utoipa::path(get, path = "/consoles/{id}", params(("id" = String, Path, description =
    "the console")), responses((status = 200, description =
    "as in the list, with `backend` (a ChardevBackend) and `counters`"), (status = 404, description = "there is none, or none that one may see")))]
pub(super) async fn one(
    State(site): State<Site>,
    Visitor(session): Visitor,
    Path(id): Path<String>,
) -> Asked {
    let consoles = list(&site, &session.caller).await?;
    let text = |console: &Object| console.get("id").and_then(Json::as_str) == Some(&id);
    let console = consoles.into_iter().find(text);
    let mut console = console.ok_or_else(|| Failure::not_found(&id))?;
    let chardevs = site.server.chardevs();
    let options = chardevs.options().into_iter().find(|(it, _)| *it == id);
    if let Some((_, options)) = options {
        console.insert("backend", backend_to_json(&options, &chardevs.kinds()));
    }
    if !chardevs.contains(&id) {
        // One that could not be started has none.
        return Ok(Answer(console.into()));
    }
    let counters = ask(
        &session.caller,
        "x-query-chardev-stats",
        Object::new().with("id", id),
    )
    .await?;
    if let Some(counters) = counters.as_array().and_then(<[Json]>::first) {
        console.insert("counters", counters.clone());
    }
    Ok(Answer(console.into()))
}

/// What `caller` may see, in the order in which the chardevs were made; then the consoles that
/// could not be started, which have no `kind`.
async fn list(site: &Site, caller: &Caller) -> Result<Vec<Object>, Failure> {
    let none = Object::new;
    let stats = ask(caller, "x-query-chardev-stats", none()).await?;
    let names = keyed(ask(caller, "query-chardev", none()).await?, "label");
    // A program may have neither.
    let configured = ask(caller, "x-query-consoles", none()).await;
    let configured = keyed(configured.unwrap_or(Json::Null), "chardev");
    let devices = ask(caller, "x-query-devices", none()).await;
    let devices = keyed(devices.unwrap_or(Json::Null), "chardev");
    let monitors = site.server.monitors();
    let all = stats.as_array().unwrap_or_default().iter();
    let consoles = all.filter_map(|stats| {
        let id = stats.get("label")?.as_str()?;
        if monitors.iter().any(|monitor| monitor == id) {
            return None;
        }
        Some(describe(id, stats, caller, [&names, &configured, &devices]))
    });
    let mut consoles: Vec<_> = consoles.collect();
    let is_there = |id: &str| stats_of(&stats, id).is_some();
    let failed = configured.keys().filter(|id| !is_there(id));
    let failed = failed.map(|id| {
        let nothing = Json::from(Object::new());
        let console = describe(id, &nothing, caller, [&names, &configured, &devices]);
        let none = console.with("connected", false).with("open", false);
        none.with("viewers", 0_i64)
            .with("oldest", 0_i64)
            .with("end", 0_i64)
    });
    let mut failed: Vec<_> = failed.collect();
    failed.sort_by_key(|it| it.get("id").map(Json::to_string));
    consoles.append(&mut failed);
    Ok(consoles)
}

/// What is counted of chardev `id`.
fn stats_of<'a>(stats: &'a Json, id: &str) -> Option<&'a Json> {
    let mut all = stats.as_array()?.iter();
    all.find(|stats| stats.get("label").and_then(Json::as_str) == Some(id))
}

fn describe(
    id: &str,
    stats: &Json,
    caller: &Caller,
    [names, configured, devices]: [&HashMap<String, Json>; 3],
) -> Object {
    let role = Role::ALL.into_iter().rev();
    let role = role.into_iter().find(|role| caller.may(*role, Some(id)));
    let mut console = Object::new().with("id", id);
    let mut take = |name: &'static str, from: Option<&Json>, key: &str| {
        if let Some(value) = from.and_then(|from| from.get(key)) {
            console.insert(name, value.clone());
        }
    };
    let (name, section, device) = (names.get(id), configured.get(id), devices.get(id));
    take("description", section, "description");
    take("groups", section, "groups");
    take("state", section, "state");
    take("reason", section, "reason");
    take("kind", Some(stats), "kind");
    take("target", name, "filename");
    take("connected", Some(stats), "open");
    take("open", Some(stats), "frontend-open");
    take("peer", Some(stats), "peer");
    take("viewers", Some(stats), "viewers");
    take("epoch", Some(stats), "epoch");
    take("oldest", Some(stats), "output-oldest");
    take("end", Some(stats), "output-offset");
    take("drops", Some(stats), "dropped");
    take("size", Some(stats), "size");
    if let Some(device) = device {
        console.insert("program", device.clone());
    }
    let attached = caller.attached(id);
    if !attached.is_empty() {
        console.insert("attached", attached);
    }
    console.with("role", role.map_or("none", Role::name))
}

/// The elements of a list by one of their members.
fn keyed(list: Json, key: &str) -> HashMap<String, Json> {
    let list = match list {
        Json::Array(list) => list,
        _ => Vec::new(),
    };
    let keyed = list.into_iter().filter_map(|one| {
        let id = one.get(key)?.as_str()?.to_owned();
        Some((id, one))
    });
    keyed.collect()
}

async fn ask(caller: &Caller, name: &str, arguments: Object) -> Result<Json, Failure> {
    Ok(caller.clone().execute(name, arguments).await?)
}
