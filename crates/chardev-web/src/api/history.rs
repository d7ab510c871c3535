//! What was printed: in memory, and before that in the log.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::cast;
use crate::error::Failure;
use crate::kept::Kept;
use crate::login::Visitor;
use crate::site::Site;
use crate::stream::place;

/// Bytes in an answer if nothing is said, and at most.
const USUAL: usize = 64 << 10;
const MOST: usize = 1 << 20;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    from: Option<String>,
    size: Option<usize>,
    format: Option<String>,
}

/// A piece of the output, as far as it is kept.
#[utoipa::path(get, path = "/consoles/{id}/history", params(("id" = String, Path, description =
    "the console"), ("from" = Option<String>, Query, description =
    "an offset, `-N` before the end, `oldest` (the default) or `now`"), ("size" = Option<u64>, Query,
    description = "so many bytes at most, up to 1 MiB"), ("format" = Option<String>, Query,
    description = "`raw` (the default), `text` or `asciicast`, of which 16 MiB at most")), responses((status = 200, description =
    "bytes; `X-Start`, `X-Next` and `X-End` say which, and `X-Oldest` which byte of the console is \
     the oldest that can still be read, in memory or in a log; `X-Epoch` which life of the console these count")))]
pub(super) async fn history(
    State(site): State<Site>,
    Visitor(session): Visitor,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let kept = Kept::of(&site, &session, &id)?;
    let from = place::read(asked.from.as_deref().unwrap_or("oldest"))?;
    let size = asked.size.unwrap_or(USUAL).min(MOST);
    let kind = match asked.format.as_deref() {
        None | Some("raw") => "application/octet-stream",
        Some("text") => "text/plain; charset=utf-8",
        Some("asciicast") => return cast::answer(&site, kept, &id, from, asked.size).await,
        Some(_) => return Err(Failure::bad("'format' has to be raw, text or asciicast")),
    };
    let history = site.blocking.run(move || kept.read(from, size)).await??;
    let next = history.start + history.bytes.len() as u64;
    let epoch = history.epoch;
    let numbers = [
        ("x-start", history.start),
        ("x-next", next),
        ("x-oldest", history.oldest),
        ("x-end", history.end),
    ];
    let mut response = ([(header::CONTENT_TYPE, kind)], history.bytes).into_response();
    for (name, number) in numbers {
        let name = HeaderName::from_static(name);
        response
            .headers_mut()
            .insert(name, HeaderValue::from(number));
    }
    if let Some(epoch) = epoch.and_then(|it| HeaderValue::from_str(&it.to_string()).ok()) {
        let name = HeaderName::from_static("x-epoch");
        response.headers_mut().insert(name, epoch);
    }
    Ok(response)
}
