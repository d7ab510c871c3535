//! The consoles of all hosts of a fleet, where the program's monitors know of one, and the way to
//! those hosts' own pages.

use axum::extract::{Path, Query};
use chardev_monitor::Object;
use serde::Deserialize;

use super::Asked;
use super::typing::run;
use crate::error::Failure;
use crate::login::Visitor;

/// How many consoles are told where nobody says, and at most.
const LIMIT: [i64; 2] = [200, 1000];

/// Which of them are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asking {
    filter: Option<String>,
    limit: Option<i64>,
}

/// Consoles of all hosts that are up.
#[utoipa::path(get, path = "/fleet", params(("filter" = Option<String>, Query, description =
    "words, each of which has to be in a console's `HOST/CONSOLE`, back end or state"), ("limit" =
    Option<i64>, Query, description = "how many at most; 200 if nothing is said")),
    responses((status = 200, description =
    "`host` (this one), `hosts` and `consoles` (how many there are), `found` (how many fit), \
     `list`: `host`, `console`, `back-end`, `front-end`, `connected`, `since`, `output-offset`, `epoch`"),
    (status = 400, description = "the daemon is in no fleet")))]
pub(super) async fn all(Visitor(session): Visitor, Query(asking): Query<Asking>) -> Asked {
    let limit = asking.limit.unwrap_or(LIMIT[0]);
    if !(1..=LIMIT[1]).contains(&limit) {
        let words = format!("'limit' has to be from 1 to {}", LIMIT[1]);
        return Err(Failure::bad(words));
    }
    let mut arguments = Object::new().with("limit", limit);
    if let Some(filter) = asking.filter {
        arguments.insert("filter", filter);
    }
    run(&session, "x-query-fleet-consoles", arguments).await
}

/// A link to the page of one of the hosts, for whoever asks here.
#[utoipa::path(post, path = "/fleet/{host}/page", params(("host" = String, Path, description =
    "the host")), responses((status = 200, description =
    "`url`: it is good once, and soon; with `/console/ID` behind it, it leads to that console"),
    (status = 400, description = "the host does not answer, or serves nobody by way of the fleet")))]
pub(super) async fn page(Visitor(session): Visitor, Path(host): Path<String>) -> Asked {
    let arguments = Object::new().with("host", host);
    run(&session, "x-fleet-web-link", arguments).await
}
