//! What is told as it happens, to those who have no WebSocket: server-sent events.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chardev::{Slow, Viewed, Viewer};
use chardev_monitor::{Command, Json, Object, Role, Subscription};
use chardev_qmp::Join;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;

use crate::error::Failure;
use crate::login::{Session, Visitor};
use crate::site::Site;
use crate::stream::{place, wait};

/// The most output in an event.
const PIECE: usize = 24 << 10;
/// A rest after a piece that was not full.
const REST: Duration = Duration::from_millis(4);
/// How often a connection over which nothing happens is looked at.
const ALIVE: Duration = Duration::from_secs(15);

/// Where to begin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct From {
    from: Option<String>,
}

/// Output as it comes, as events whose `id` is the offset after them.
#[utoipa::path(get, path = "/consoles/{id}/output", params(("id" = String, Path, description =
    "the console"), ("from" = Option<String>, Query, description = "as for a stream"),
    ("Last-Event-ID" = Option<String>, Header, description = "goes on exactly there")),
    responses((status = 200, content_type = "text/event-stream", description =
    "`data` is base64; the event `gap` says `from` and `to`, and `end` is the last: `removed`, `forbidden` or `logged-out`")))]
pub(super) async fn output(
    State(site): State<Site>,
    Visitor(session): Visitor,
    Path(id): Path<String>,
    Query(asked): Query<From>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    session.caller.check(&Command::XChardevAttach {
        id: id.clone(),
        fdname: String::new(),
        join: Join::ReadOnly,
    })?;
    let last = headers.get("last-event-id").map(|last| last.to_str());
    let from = match last {
        Some(Ok(last)) => last,
        Some(Err(_)) => return Err(Failure::bad("'Last-Event-ID' has to be an offset")),
        None => asked.from.as_deref().unwrap_or("now"),
    };
    let viewer = site
        .server
        .chardevs()
        .view(&id, place::read(from)?, Slow::Skip)?;
    let reader = Some(Reader {
        viewer,
        session,
        id,
    });
    let events = unfold(reader, |reader| async {
        let mut reader = reader?;
        let (event, goes_on) = reader.next().await?;
        Some((Ok(event), goes_on.then_some(reader)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)))
}

/// Whoever reads a console's output.
struct Reader {
    viewer: Viewer,
    session: Arc<Session>,
    id: String,
}

impl Reader {
    /// What comes next, and whether anything follows.
    async fn next(&mut self) -> Option<(Event, bool)> {
        loop {
            self.session.is_used();
            tokio::select! {
                // Output that never ends must not keep either of these from being seen.
                biased;
                () = self.session.ended() => return Some((end("logged-out"), false)),
                () = self.session.caller.lost(Role::View, &self.id) => {
                    return Some((end("forbidden"), false));
                }
                () = wait(&self.viewer) => {}
                () = tokio::time::sleep(ALIVE) => continue,
            }
            let there = self.viewer.end().saturating_sub(self.viewer.offset());
            let there = usize::try_from(there).unwrap_or(usize::MAX);
            let mut piece = vec![0; there.clamp(1, PIECE)];
            let event = match self.viewer.read(&mut piece)? {
                Viewed::Data { count, .. } => {
                    if count < PIECE {
                        tokio::time::sleep(REST).await;
                    }
                    Event::default().data(STANDARD.encode(&piece[..count]))
                }
                Viewed::Gap { from, to } => {
                    let gap = Object::new().with("from", from).with("to", to);
                    Event::default()
                        .event("gap")
                        .data(Json::from(gap).to_string())
                }
                Viewed::End(_) => return Some((end("removed"), false)),
            };
            return Some((event.id(self.viewer.offset().to_string()), true));
        }
    }
}

/// The last event, with its reason.
fn end(reason: &str) -> Event {
    Event::default().event("end").data(reason)
}

/// What happens to the consoles that one may see.
#[utoipa::path(get, path = "/events", responses((status = 200, content_type =
    "text/event-stream", description = "`event` is QMP's name of it, `data` its data")))]
pub(super) async fn events(
    State(site): State<Site>,
    Visitor(session): Visitor,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let listener = (site.server.subscribe(), session);
    let events = unfold(listener, |(subscription, session)| async {
        let event = next(&subscription, &session).await?;
        Some((Ok(event), (subscription, session)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE))
}

async fn next(subscription: &Subscription, session: &Session) -> Option<Event> {
    loop {
        session.is_used();
        let event = tokio::select! {
            biased;
            () = session.ended() => return None,
            event = poll_fn(|cx| subscription.poll_next(cx)) => event,
            () = tokio::time::sleep(ALIVE) => continue,
        };
        let data = event.data.unwrap_or(Json::empty());
        if session.caller.sees(&data) {
            return Some(Event::default().event(event.name).data(data.to_string()));
        }
    }
}
