//! What a console shows.

use axum::extract::{Path, Query};
use chardev_monitor::Object;
use serde::Deserialize;

use super::Asked;
use crate::error::Answer;
use crate::login::Visitor;

/// The size of the screen that a history is put on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    cols: Option<u16>,
    rows: Option<u16>,
}

/// The screen as text, with attributes, and as bytes that draw it anew.
#[utoipa::path(get, path = "/consoles/{id}/screen", params(("id" = String, Path, description =
    "the console"), ("cols" = Option<u16>, Query), ("rows" = Option<u16>, Query)),
    responses((status = 200, description = "what `x-screen` answers: `text`, `attributes`, \
    `redraw`, and the `offset` of the output that it shows")))]
pub(super) async fn screen(
    Visitor(session): Visitor,
    Path(id): Path<String>,
    Query(size): Query<Size>,
) -> Asked {
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
