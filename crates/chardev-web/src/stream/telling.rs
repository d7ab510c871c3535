//! What a page is told: output within the window, events, and what was typed.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use chardev::{ViewEnd, Viewed, Viewer};
use chardev_monitor::{Event, Json, Object, Role, Subscription};
use futures_util::SinkExt as _;
use futures_util::stream::SplitSink;
use tokio::time::{Instant, MissedTickBehavior};

use super::Line;
use super::frames::PIECE;

/// A rest after a frame that was not full: what is printed in small pieces is sent in fewer.
const REST: Duration = Duration::from_millis(4);
/// How often it is asked whether the page is there.
const PING: Duration = Duration::from_secs(15);
/// How often it may give no sign before it has left.
const MISSED: u32 = 2;

type Sink = SplitSink<WebSocket, Message>;

/// Why it ends, for the page; none if that is not there any more.
type End = Option<&'static str>;

/// What happens next.
enum Next {
    Output,
    Event(Event),
    News,
    Ping,
    Joined,
}

/// Tells the page everything, until there is an end.
pub(super) async fn tell(
    line: &Line,
    mut viewer: Viewer,
    events: &Subscription,
    sink: &mut Sink,
) -> End {
    let told = tell_all(line, &mut viewer, events, sink).await;
    told.unwrap_or(None)
}

async fn tell_all(
    line: &Line,
    viewer: &mut Viewer,
    events: &Subscription,
    sink: &mut Sink,
) -> Result<End, axum::Error> {
    let mut joined = line.site.joined.subscribe();
    let mut attached = Vec::new();
    let mut told = line.input.as_ref().and_then(|input| input.typed());
    sink.send(hello(line, viewer, told)).await?;
    let mut pings = tokio::time::interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut missed = 0;
    let mut rested = None;
    loop {
        let room = line.news().window.room();
        let output = async {
            if let Some(rested) = rested {
                tokio::time::sleep_until(rested).await;
            }
            wait(viewer).await;
        };
        let next = tokio::select! {
            biased;
            () = line.changed.notified() => Next::News,
            _ = pings.tick() => Next::Ping,
            event = poll_fn(|cx| events.poll_next(cx)) => Next::Event(event),
            // The site outlives its streams.
            _ = joined.changed() => Next::Joined,
            () = output, if room > 0 => Next::Output,
        };
        if !matches!(next, Next::Output | Next::News) {
            let now = line.session.caller.attached(&line.id);
            if now != attached {
                sink.send(text(Object::new().with("attached", now.clone())))
                    .await?;
                attached = now;
            }
        }
        match next {
            Next::Output => {
                let end = tell_output(line, viewer, sink, &mut rested).await?;
                if end.is_some() {
                    return Ok(end);
                }
            }
            Next::Event(event) => {
                if let Some(message) = show(line, &event) {
                    sink.send(message).await?;
                }
            }
            Next::News => {
                let typed = line.news().typed;
                if typed != told {
                    told = typed;
                    let words = Object::new().with("typed", typed.unwrap_or(0));
                    sink.send(text(words)).await?;
                }
            }
            Next::Joined => {}
            Next::Ping => {
                if let Some(end) = left(line, &mut missed) {
                    return Ok(end);
                }
                sink.send(Message::Ping(axum::body::Bytes::new())).await?;
            }
        }
    }
}

/// Sends what output there is: at most the rest of the window, before anything else has its turn.
async fn tell_output(
    line: &Line,
    viewer: &mut Viewer,
    sink: &mut Sink,
    rested: &mut Option<Instant>,
) -> Result<End, axum::Error> {
    loop {
        let (message, end) = read(line, viewer, rested);
        if let Some(message) = message {
            sink.send(message).await?;
        }
        let more = viewer.end() > viewer.offset() && line.news().window.room() > 0;
        if end.is_some() || rested.is_some() || !more {
            return Ok(end);
        }
    }
}

/// Whether the page has no right to be there any more, or is not: how it ends then.
fn left(line: &Line, missed: &mut u32) -> Option<End> {
    if !line.session.caller.may(Role::View, Some(&line.id)) {
        return Some(Some("forbidden"));
    }
    match line.was_heard() {
        true => *missed = 0,
        false => *missed += 1,
    }
    line.session.is_used();
    (*missed > MISSED).then_some(None)
}

/// Waits until there is something, which costs no memory meanwhile.
pub(crate) async fn wait(viewer: &Viewer) {
    poll_fn(|cx| {
        let mut byte = [0];
        if viewer.peek(&mut byte).is_some() {
            return Poll::Ready(());
        }
        viewer.wake_when_ready(cx.waker());
        match viewer.peek(&mut byte) {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    })
    .await;
}

/// What there is, as far as the window has room for it.
fn read(line: &Line, viewer: &mut Viewer, rested: &mut Option<Instant>) -> (Option<Message>, End) {
    let room = line.news().window.room();
    match line.site.frames.next(viewer, room) {
        Some((Viewed::Data { offset, count }, frame)) => {
            line.news().window.sent(offset, count as u64);
            // One that ends where all do is followed at once.
            let is_whole = (offset + count as u64) % PIECE as u64 == 0;
            *rested = (!is_whole).then(|| Instant::now() + REST);
            (Some(Message::Binary(frame)), None)
        }
        Some((Viewed::Gap { from, to }, _)) => {
            let gap = Object::new().with("from", from).with("to", to);
            (Some(text(Object::new().with("gap", gap))), None)
        }
        Some((Viewed::End(ViewEnd::Removed), _)) => (None, Some("removed")),
        Some((Viewed::End(ViewEnd::TooSlow(_)), _)) => (None, Some("too-slow")),
        None => (None, None),
    }
}

/// The first word.
fn hello(line: &Line, viewer: &Viewer, typed: Option<u64>) -> Message {
    let chardevs = line.site.server.chardevs();
    let details = chardevs.details(&line.id);
    let oldest = details.map_or(viewer.offset(), |details| details.oldest_kept);
    let role = Role::ALL.into_iter().rev();
    let role = role
        .into_iter()
        .find(|role| line.session.caller.may(*role, Some(&line.id)));
    let hello = Object::new()
        .with("oldest", oldest)
        .with("end", viewer.end())
        .with("from", viewer.offset())
        .with("role", role.map_or("none", Role::name))
        .with("typed", typed.map_or(Json::Null, Json::from));
    let hello = match viewer.epoch() {
        Some(epoch) => hello.with("epoch", epoch.to_string()),
        None => hello,
    };
    text(Object::new().with("hello", hello))
}

/// An event, if it is about the console.
fn show(line: &Line, event: &Event) -> Option<Message> {
    let data = event.data.as_ref()?;
    let about = ["chardev", "label", "id"].map(|key| data.get(key).and_then(Json::as_str));
    let about = about.into_iter().flatten().next()?;
    if about != line.id || !line.session.caller.sees(data) {
        return None;
    }
    let shown = Object::new()
        .with("name", event.name)
        .with("time", event.timestamp.as_secs())
        .with("data", data.clone());
    Some(text(Object::new().with("event", shown)))
}

/// A text of this value.
pub(super) fn text(words: Object) -> Message {
    Message::Text(Utf8Bytes::from(Json::from(words).to_string()))
}
