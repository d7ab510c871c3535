//! What a page says: what it has shown, and what is typed.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use chardev_monitor::Command;
use futures_util::StreamExt as _;
use futures_util::stream::SplitStream;
use tokio::task::coop::consume_budget;
use tokio::time::Instant;

use super::Line;
use super::inputs::Typed;
use super::said::{self, INPUT, Said};

/// The first and the longest pause before input is offered again to a front end that is full.
const PAUSE: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];

/// How much input waits before the page is not listened to any more. One that keeps to what it may
/// have on its way, and of whose frames the first may be typed in part, does not get there.
const FULL: usize = 2 * INPUT;

/// Input that waits for the front end.
#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

/// Listens to the page until it ends; gives the reason, if that is ours.
pub(super) async fn listen(
    line: &Line,
    mut source: SplitStream<WebSocket>,
) -> Option<&'static str> {
    let mut waiting = Waiting::default();
    let mut pause = PAUSE[0];
    // What the page says meanwhile, such as what it has shown, does not put this off.
    let mut again = Instant::now();
    loop {
        let is_full = waiting.bytes >= FULL;
        if is_full {
            // What it says now is not looked at, which is no fault of the page's.
            line.heard.store(true, Ordering::Relaxed);
        }
        let message = tokio::select! {
            message = source.next(), if !is_full => Some(message),
            () = tokio::time::sleep_until(again), if !waiting.frames.is_empty() => None,
        };
        match message {
            None => {
                pause = match type_all(line, &mut waiting) {
                    Ok(true) => PAUSE[0],
                    Ok(false) => (pause * 2).min(PAUSE[1]),
                    Err(reason) => return Some(reason),
                };
                again = Instant::now() + pause;
            }
            Some(None | Some(Err(_) | Ok(Message::Close(_)))) => return None,
            Some(Some(Ok(message))) => {
                line.heard.store(true, Ordering::Relaxed);
                // A page that never falls silent leaves the thread to others as often.
                consume_budget().await;
                if let Err(reason) = heed(line, message, &mut waiting).await {
                    return Some(reason);
                }
            }
        }
    }
}

async fn heed(line: &Line, message: Message, waiting: &mut Waiting) -> Result<(), &'static str> {
    match message {
        Message::Binary(frame) => {
            if line.input.is_none() {
                return Err("forbidden");
            }
            waiting.bytes += frame.len();
            waiting.frames.push_back(frame);
            type_all(line, waiting).map(drop)
        }
        Message::Text(text) => match said::text(&text).ok_or("not-understood")? {
            Said::Shown(offset) => {
                line.shown(offset);
                Ok(())
            }
            Said::Size { cols, rows } => {
                let id = line.id.clone();
                run(line, Command::XChardevSetWinsize { id, cols, rows }).await
            }
            Said::Break => {
                let id = line.id.clone();
                run(line, Command::ChardevSendBreak { id }).await
            }
        },
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(()),
    }
}

/// Carries out what a page that may type asks for.
async fn run(line: &Line, command: Command) -> Result<(), &'static str> {
    if line.input.is_none() {
        return Err("forbidden");
    }
    let done = line.session.caller.clone().run(command, None).await;
    done.map(drop).map_err(|_| "refused")
}

/// Types what waits, as far as there is room; whether any of it was.
fn type_all(line: &Line, waiting: &mut Waiting) -> Result<bool, &'static str> {
    let Some(input) = &line.input else {
        return Ok(false);
    };
    let mut any = false;
    while let Some(frame) = waiting.frames.front() {
        let (offset, bytes) = said::input(frame).ok_or("not-understood")?;
        let chardevs = line.site.server.chardevs();
        let before = input.typed();
        match input.take(chardevs, &line.id, offset, bytes) {
            Typed::Gone => return Err("removed"),
            Typed::Missing(_) => return Err("input-missing"),
            Typed::Upto(typed) => {
                any |= before != Some(typed);
                line.change(|news| news.typed = Some(typed));
                if typed < offset + bytes.len() as u64 {
                    return Ok(any);
                }
                waiting.bytes -= frame.len();
                waiting.frames.pop_front();
            }
        }
    }
    Ok(any)
}
