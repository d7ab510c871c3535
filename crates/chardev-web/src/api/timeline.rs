//! When a console has printed what, and what happened meanwhile: for winding it back.

use std::ops::RangeInclusive;

use axum::extract::{Path, Query, State};
use chardev::{Landmark, LandmarkKind, ViewFrom};
use chardev_logs::Book;
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
/// How many marks, changes and holes there are at most, of each the newest.
const EACH: usize = 1000;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    from: Option<u64>,
    to: Option<u64>,
    points: Option<usize>,
}

/// Offsets and their times, where the output is, and what happened: marks, changes of the back end,
/// and what is missing.
#[utoipa::path(get, path = "/consoles/{id}/timeline", params(("id" = String, Path, description =
    "the console"), ("from" = Option<u64>, Query, description = "an offset"), ("to" = Option<u64>,
    Query, description = "an offset"), ("points" = Option<u64>, Query, description =
    "so many times at most, up to 2000")), responses((status = 200, description =
    "`oldest`, `end`, `recent` (what is in memory), `log` (what is in files), `points` \
     (`offset`, and `time` in seconds since 1970), and of the range, the newest 1000 of each: \
     `marks` (`offset`, `time`, `text`, `by`), `changes` of the back end (`offset`, `time`, `to`) \
     and `holes` in what is kept (`from`, `to`)")))]
pub(super) async fn timeline(
    State(site): State<Site>,
    Visitor(session): Visitor,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Asked {
    let kept = Kept::of(&site, &session, &id)?;
    let recent = kept.recent(ViewFrom::Now, 0)?;
    let noted = site.server.chardevs().landmarks(&id).unwrap_or_default();
    let details = site.server.chardevs().details(&id);
    let is_written = details.is_some_and(|details| details.log_pending == 0);
    let book = site
        .blocking
        .run(move || kept.book())
        .await?
        .map_err(unread)?;
    let range = wanted.from.unwrap_or(0)..=wanted.to.unwrap_or(u64::MAX);
    let count = wanted.points.unwrap_or(USUAL).clamp(2, MOST);
    let between = |(from, to): (u64, u64)| Object::new().with("from", from).with("to", to);
    let mut holes: Vec<_> = book.holes().collect();
    let span = book.span();
    // Of what is on its way to the log nobody knows yet.
    let lacks = |(_, end): &(u64, u64)| is_written && *end < recent.oldest;
    holes.extend(span.filter(lacks).map(|(_, end)| (end, recent.oldest)));
    holes.retain(|(from, to)| from <= range.end() && to >= range.start());
    let (marks, changes) = happened(&book, noted, &range);
    let oldest = span.map_or(recent.oldest, |(first, _)| first.min(recent.oldest));
    let mut all = Object::new();
    if let Some(epoch) = recent.epoch {
        all.insert("epoch", epoch.to_string());
    }
    let mut all = all
        .with("oldest", oldest)
        .with("end", recent.end)
        .with("recent", between((recent.oldest, recent.end)));
    if let Some(span) = span {
        all.insert("log", between(span));
    }
    let all = all
        .with("points", points(&book, &range, count))
        .with("marks", newest(marks))
        .with("changes", newest(changes))
        .with("holes", newest(holes.into_iter().map(between).collect()));
    Ok(Answer(all.into()))
}

/// So many points in the range, the last of them among these.
fn points(book: &Book, range: &RangeInclusive<u64>, count: usize) -> Vec<Object> {
    let times = book.times(MOST.max(count)).into_iter();
    let times: Vec<_> = times.filter(|it| range.contains(&it.offset)).collect();
    let step = times.len().div_ceil(count).max(1);
    let last = times.last().filter(|_| (times.len() - 1) % step != 0);
    let points = times.iter().step_by(step).chain(last).map(|printed| {
        Object::new()
            .with("offset", printed.offset)
            .with("time", Json::Float(printed.time.as_secs_f64()))
    });
    points.collect()
}

/// The marks and the changes in the range: those of the log, and those that are only in memory.
fn happened(
    book: &Book,
    noted: Vec<Landmark>,
    range: &RangeInclusive<u64>,
) -> (Vec<Object>, Vec<Object>) {
    let mut all: Vec<Landmark> = book.landmarks().cloned().collect();
    for landmark in noted {
        // One in a hole of the log is at its end there.
        let is_same = |it: &Landmark| (it.time, &it.what) == (landmark.time, &landmark.what);
        if !all.iter().rev().any(is_same) {
            all.push(landmark);
        }
    }
    all.retain(|it| range.contains(&it.offset));
    all.sort_by_key(|it| it.offset);
    let (mut marks, mut changes) = (Vec::new(), Vec::new());
    for landmark in all {
        let place = Object::new()
            .with("offset", landmark.offset)
            .with("time", Json::Float(landmark.time.as_secs_f64()));
        match landmark.what {
            LandmarkKind::Mark { text, by } => marks.push(place.with("text", text).with("by", by)),
            LandmarkKind::Change { to } => changes.push(place.with("to", to)),
        }
    }
    (marks, changes)
}

/// Not more than there may be.
fn newest(mut all: Vec<Object>) -> Vec<Object> {
    let more = all.len().saturating_sub(EACH);
    all.drain(..more);
    all
}
