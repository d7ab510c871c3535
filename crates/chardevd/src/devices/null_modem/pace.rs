//! [front: null-modem] → chardev → back → host: when a direction reads again whose bytes nobody
//! waits for.
//!
//! Output that nobody gets but a log or a scrollback would be read by the line, as fast as lines
//! come, and reading a line costs more than the line. So a direction that finds little, and found
//! something just before, rests for a moment, and then finds more. A console that prints a line now
//! and then is read at once, and so is one that prints more than fits into such a rest.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// How long a direction rests.
const REST: Duration = Duration::from_millis(5);
/// Who has had nothing for longer does not rest.
const SOON: Duration = Duration::from_millis(10);
/// Who finds this much does not rest for a while: its peer may wait for room.
const MUCH: usize = 8 << 10;
const WHILE: Duration = Duration::from_millis(100);

/// The pace of one direction.
#[derive(Default)]
pub(super) struct Pace {
    found: Option<Instant>,
    prompt_until: Option<Instant>,
    rest: Option<Pin<Box<Sleep>>>,
    rested: bool,
}

impl Pace {
    /// Ready unless it rests.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(cx));
            self.rest = None;
        }
        Poll::Ready(())
    }

    /// Whether it will rest, if it goes on as before: then it need not ask to be told of more.
    pub(super) fn will_rest(&self) -> bool {
        self.rested
    }

    /// It has found `count` bytes that nobody waits for. Whether it begins a rest.
    pub(super) fn rests(&mut self, count: usize, now: Instant) -> bool {
        let last = self.found.replace(now);
        if count >= MUCH {
            self.prompt_until = Some(now + WHILE);
        }
        let soon = last.is_some_and(|last| now.duration_since(last) <= SOON);
        let prompt = self.prompt_until.is_some_and(|until| now < until);
        let rests = soon && !prompt;
        self.rested = rests;
        if rests {
            self.rest = Some(Box::pin(tokio::time::sleep(REST)));
        }
        rests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_who_finds_little_and_often_rests() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        assert!(!pace.rests(100, now), "the first");
        now += REST;
        assert!(pace.rests(100, now), "soon after it");
        std::future::poll_fn(|cx| pace.poll(cx)).await;
        now += SOON * 2;
        assert!(!pace.rests(100, now), "after a silence");
        now += REST;
        assert!(!pace.rests(MUCH, now), "much");
        now += REST;
        assert!(!pace.rests(100, now), "soon after much");
        now += WHILE - SOON;
        assert!(!pace.rests(100, now), "a while after much");
        now += SOON;
        assert!(pace.rests(100, now), "later");
    }
}
