//! What a console shows.

use axum::extract::{Path, Query, State};
use chardev::{ShownScreen, ViewFrom, screen};
use chardev_monitor::{Object, screen_to_json};
use serde::Deserialize;

use super::Asked;
use crate::error::{Answer, Failure};
use crate::kept::Kept;
use crate::login::{Session, Visitor};
use crate::site::Site;

/// The size of the screen that a history is put on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    cols: Option<u16>,
    rows: Option<u16>,
    at: Option<u64>,
}

/// How much of the output before a place is gone through for what it leaves on a screen.
const BEFORE: u64 = 1 << 20;

/// The screen as text, with attributes, and as bytes that draw it anew.
#[utoipa::path(get, path = "/consoles/{id}/screen", params(("id" = String, Path, description =
    "the console"), ("cols" = Option<u16>, Query), ("rows" = Option<u16>, Query), ("at" = Option<u64>,
    Query, description = "as it was when the output had come to this offset")),
    responses((status = 200, description = "what `x-screen` answers: `text`, `attributes`, \
    `redraw`, and the `offset` of the output that it shows")))]
pub(super) async fn screen(
    State(site): State<Site>,
    Visitor(session): Visitor,
    Path(id): Path<String>,
    Query(size): Query<Size>,
) -> Asked {
    if let Some(at) = size.at {
        return before(&site, &session, id, &size, at).await;
    }
    let mut arguments = Object::new()
        .with("id", id)
        .with("attributes", true)
        .with("redraw", true);
    for (name, value) in [("cols", size.cols), ("rows", size.rows)] {
        if let Some(value) = value {
            arguments.insert(name, u64::from(value));
        }
    }
    let screen = session
        .caller
        .clone()
        .execute("x-screen", arguments)
        .await?;
    Ok(Answer(screen))
}

/// As it was when the output had come to `at`.
async fn before(site: &Site, session: &Session, id: String, size: &Size, at: u64) -> Asked {
    let kept = Kept::of(site, session, &id)?;
    let usual = screen::Size::DEFAULT;
    let (cols, rows) = (
        size.cols.unwrap_or(usual.cols()),
        size.rows.unwrap_or(usual.rows()),
    );
    let size = screen::Size::new(cols.into(), rows.into());
    let size = size.ok_or_else(|| Failure::bad("there is no screen of this size"))?;
    // Beyond its end there is nothing to show.
    let epoch = kept.recent(ViewFrom::Offset(at), 0)?.epoch;
    let work = move || {
        let (start, output) = kept.read_all(at.saturating_sub(BEFORE), at)?;
        let mut shown = ShownScreen::of_output(&output, start, size);
        shown.offset = at;
        shown.epoch = epoch;
        Ok::<_, Failure>(screen_to_json(&shown, true, true))
    };
    let shown = site.blocking.run(work).await??;
    Ok(Answer(shown))
}
