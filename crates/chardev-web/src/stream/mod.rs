//! A console over a WebSocket: output with offsets one way, what is shown and typed the other.
//!
//! ```text
//!  page ──▶ offset + output  ◀── a cursor in the scrollback, at most a window beyond what is shown
//!       ◀── shown up to, size, break, offset + input ──▶ typed once, whatever is sent again
//! ```

pub(crate) mod frames;
mod inputs;
mod listening;
pub(crate) mod place;
pub(crate) mod said;
mod telling;
pub(crate) mod window;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, Path, Query, State};
use axum::response::Response;
use chardev::{Slow, Viewer};
use chardev_monitor::{Command, Joined, Json, Object, Role, Subscription};
use chardev_qmp::Join;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::sync::Notify;

use crate::error::Failure;
use crate::login::{Session, Visitor};
use crate::serve::Connection;
use crate::site::Site;
use inputs::{Input, Name};
use window::Window;

pub(crate) use inputs::Inputs;
pub(crate) use telling::wait;

/// What the socket reads at a time: a page says little.
const READ: usize = 4 << 10;
/// How long the last word may take.
const LAST: Duration = Duration::from_secs(1);
/// How long the key of what is typed may be.
const KEY: usize = 64;

/// How a page wants a stream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    from: Option<String>,
    mode: Option<String>,
    input: Option<String>,
}

/// A stream.
#[derive(Debug)]
struct Line {
    site: Site,
    session: Arc<Session>,
    id: String,
    /// What is typed, by one who may.
    input: Option<Input>,
    /// The place of that one among those who are attached.
    joined: Option<Joined>,
    news: Mutex<News>,
    changed: Notify,
    /// Whether anything was heard since this was last asked.
    heard: AtomicBool,
}

/// What one half of a stream has for the other.
#[derive(Debug, Default)]
struct News {
    window: Window,
    typed: Option<u64>,
}

/// Output as it comes.
#[utoipa::path(get, path = "/consoles/{id}/stream", params(("id" = String, Path, description =
    "the console"), ("from" = Option<String>, Query, description =
    "an offset, `-N` before the end, `now` (the default) or `oldest`"), ("mode" = Option<String>,
    Query, description = "`watch` (the default) or `share`, to type as well"), ("input" =
    Option<String>, Query, description =
    "a key for what is typed: over a new connection with the same key nothing is typed twice")),
    responses((status = 101, description = "a WebSocket; see the documentation")))]
pub(crate) async fn stream(
    State(site): State<Site>,
    Extension(connection): Extension<Connection>,
    Visitor(session): Visitor,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Failure> {
    let join = check(&session, &id, &asked)?;
    let from = place::read(asked.from.as_deref().unwrap_or("now"))?;
    let viewer = site.server.chardevs().view(&id, from, Slow::Skip)?;
    // Only what is typed on a console is remembered.
    let input = (join == Join::Share).then(|| input(&session, &id, &asked));
    let events = site.server.subscribe();
    let joined = input.is_some().then(|| session.caller.join(&id, true));
    if joined.is_some() {
        site.announce();
    }
    let line = Line {
        joined,
        site,
        session,
        id,
        input,
        news: Mutex::default(),
        changed: Notify::new(),
        heard: AtomicBool::new(true),
    };
    let longest = said::HEAD + said::INPUT;
    let upgrade = upgrade
        .max_message_size(longest)
        .max_frame_size(longest)
        .read_buffer_size(READ)
        .write_buffer_size(0);
    Ok(upgrade.on_upgrade(move |socket| async move {
        // For as long as this is open it counts as a connection.
        let _connection = connection;
        let (site, was_listed) = (line.site.clone(), line.joined.is_some());
        run(line, viewer, events, socket).await;
        site.frames.forget();
        if was_listed {
            site.announce();
        }
    }))
}

/// How the stream is joined to the console, by one who may.
fn check(session: &Session, id: &str, asked: &Asked) -> Result<Join, Failure> {
    let join = match asked.mode.as_deref() {
        None | Some("watch") => Join::ReadOnly,
        Some("share") => Join::Share,
        Some(_) => return Err(Failure::bad("'mode' has to be watch or share")),
    };
    if asked.input.as_ref().is_some_and(|key| key.len() > KEY) {
        let words = format!("'input' has {KEY} characters at most");
        return Err(Failure::bad(words));
    }
    session.caller.check(&Command::XChardevAttach {
        id: id.to_owned(),
        fdname: String::new(),
        join,
    })?;
    Ok(join)
}

/// What is typed over the stream.
fn input(session: &Session, id: &str, asked: &Asked) -> Input {
    let named = asked.input.as_ref().map(|key| Name {
        id: id.to_owned(),
        key: key.clone(),
    });
    named.map_or_else(Input::default, |name| session.inputs.of(name))
}

async fn run(line: Line, viewer: Viewer, events: Subscription, socket: WebSocket) {
    let (mut sink, source) = socket.split();
    let mut by = None;
    let reason = tokio::select! {
        reason = telling::tell(&line, viewer, &events, &mut sink) => reason,
        reason = listening::listen(&line, source) => reason,
        () = line.session.ended() => Some("logged-out"),
        () = line.session.caller.lost(Role::View, &line.id) => Some("forbidden"),
        told = line.displaced() => {
            by = told.get("by").cloned();
            Some(told.get("reason").and_then(Json::as_str).map_or("taken", known))
        }
    };
    let Some(reason) = reason else { return };
    let last = async {
        let mut words = Object::new().with("end", reason);
        if let Some(by) = by {
            words.insert("by", by);
        }
        sink.send(telling::text(words)).await?;
        let close = CloseFrame {
            code: 1000,
            reason: reason.into(),
        };
        sink.send(Message::Close(Some(close))).await
    };
    // Who does not listen has left.
    let _ = tokio::time::timeout(LAST, last).await;
}

/// Why somebody is attached no more, in a word of ours.
fn known(reason: &str) -> &'static str {
    match reason {
        "removed" => "removed",
        "revoked" => "forbidden",
        _ => "taken",
    }
}

impl Line {
    /// Waits until somebody else has ended it.
    async fn displaced(&self) -> Object {
        match &self.joined {
            Some(joined) => joined.ended().await,
            None => std::future::pending().await,
        }
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what the other half looks at.
    fn change(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news());
        self.changed.notify_one();
    }

    /// The page has shown all before `offset`, which who tells it waits for only at the end of the
    /// window.
    fn shown(&self, offset: u64) {
        let mut news = self.news();
        let was_full = news.window.room() == 0;
        news.window.shown(offset);
        drop(news);
        if was_full {
            self.changed.notify_one();
        }
    }

    /// Whether anything was heard since the last time.
    fn was_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }
}
