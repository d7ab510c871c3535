//! When a console has printed what: for winding it back.

use axum::extract::{Path, Query, State};
use chardev::ViewFrom;
use chardev_monitor::{Json, Object};
use serde::Deserialize;

use super::Asked;
use crate::error::Answer;
use crate::kept::{Kept, unread};
use crate::login::Visitor;
use crate::site::Site;

/// How many points there are if nothing is said, and at most.
const USUAL: usize = 200;
const MOST: usize = 2000;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    from: Option<u64>,
    to: Option<u64>,
    points: Option<usize>,
}

/// Offsets and their times, and where the output is.
#[utoipa::path(get, path = "/consoles/{id}/timeline", params(("id" = String, Path, description =
    "the console"), ("from" = Option<u64>, Query, description = "an offset"), ("to" = Option<u64>,
    Query, description = "an offset"), ("points" = Option<u64>, Query, description =
    "so many times at most, up to 2000")), responses((status = 200, description =
    "`oldest`, `end`, `recent` (what is in memory), `log` (what is in files), `points` \
     (`offset`, and `time` in seconds since 1970), `holes` (`from`, `to`)")))]
pub(super) async fn timeline(
    State(site): State<Site>,
    Visitor(session): Visitor,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Asked {
    let kept = Kept::of(&site, &session, &id)?;
    let recent = kept.recent(ViewFrom::Now, 0)?;
    let book = site
        .blocking
        .run(move || kept.book())
        .await?
        .map_err(unread)?;
    let range = wanted.from.unwrap_or(0)..=wanted.to.unwrap_or(u64::MAX);
    let count = wanted.points.unwrap_or(USUAL).clamp(2, MOST);
    let times = book.times(MOST.max(count)).into_iter();
    let times: Vec<_> = times.filter(|it| range.contains(&it.offset)).collect();
    let step = times.len().div_ceil(count).max(1);
    let last = times.last().filter(|_| (times.len() - 1) % step != 0);
    let points = times.iter().step_by(step).chain(last).map(|printed| {
        Object::new()
            .with("offset", printed.offset)
            .with("time", Json::Float(printed.time.as_secs_f64()))
    });
    let between = |(from, to): (u64, u64)| Object::new().with("from", from).with("to", to);
    let holes = book.holes().iter().copied();
    let holes = holes.filter(|(from, to)| range.contains(from) || range.contains(to));
    let span = book.span();
    let oldest = span.map_or(recent.oldest, |(first, _)| first.min(recent.oldest));
    let mut all = Object::new()
        .with("oldest", oldest)
        .with("end", recent.end)
        .with("recent", between((recent.oldest, recent.end)));
    if let Some(span) = span {
        all.insert("log", between(span));
    }
    let all = all
        .with("points", points.collect::<Vec<_>>())
        .with("holes", holes.map(between).collect::<Vec<_>>());
    Ok(Answer(all.into()))
}
