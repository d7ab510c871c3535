//! [front: null-modem] → chardev → back → host: when a direction reads again whose bytes nobody
//! waits for.
//!
//! Output that nobody gets but a log or a scrollback would be read by the line, as fast as lines
//! come, and reading a line costs more than the line. So a direction that found something just
//! before rests for a moment, twice as long each time it finds little, and so finds more. A console
//! that prints a line now and then is read at once. One that prints more than its peer has room for
//! meanwhile must not wait for us: whoever brings no more in a longer rest than in a shorter one is
//! taken to wait, whatever the room is, and is read at once for a while.

use std::cmp::Ordering;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// The shortest rest; the runtime knows no shorter times than a millisecond.
const SHORTEST: Duration = Duration::from_millis(2);
/// How often it is doubled: up to 32 ms, which nobody sees in a log.
const DOUBLED: u32 = 4;
/// Who has had nothing for so many rests, and for so long, starts anew.
const SOON: u32 = 2;
const LATELY: Duration = Duration::from_millis(10);
/// Who finds this much does not rest longer, and with `MUCH` less long.
const ENOUGH: usize = 8 << 10;
const MUCH: usize = 16 << 10;
/// How long somebody is read at once who seems to wait.
const WHILE: Duration = Duration::from_millis(500);

/// After so many rests of the same length a shorter one is tried.
const TRY: u8 = 8;

/// The pace of one direction.
#[derive(Default)]
pub(super) struct Pace {
    found: Option<Instant>,
    prompt_until: Option<Instant>,
    rest: Option<Pin<Box<Sleep>>>,
    /// How often the present rest is doubled; `None` without one.
    doubled: Option<u32>,
    /// The rest before, and what it brought in bytes a second.
    before: Option<(u32, f64)>,
    /// How many rests were as long as the one before.
    same: u8,
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
        self.doubled.is_some()
    }

    /// It has found `count` bytes that nobody waits for. Whether it begins a rest.
    pub(super) fn rests(&mut self, count: usize, now: Instant) -> bool {
        let since = self.found.replace(now).map(|last| now - last);
        self.doubled = self.next(count, since, now);
        if self.doubled.is_none() {
            self.before = None;
        }
        self.rest = self.length().map(|rest| Box::pin(tokio::time::sleep(rest)));
        self.rest.is_some()
    }

    /// How often the next rest is doubled.
    fn next(&mut self, count: usize, since: Option<Duration>, now: Instant) -> Option<u32> {
        let soon = self.length().unwrap_or_default() * SOON;
        let soon = soon.max(LATELY);
        let since = since.filter(|since| *since <= soon)?;
        if self.prompt_until.is_some_and(|until| now < until) {
            return None;
        }
        let Some(present) = self.doubled else {
            return Some(0);
        };
        let rate = count as f64 / since.as_secs_f64();
        let before = self.before.replace((present, rate));
        let waits = before.is_some_and(|before| brings_no_more(before, (present, rate)));
        if waits || (present == 0 && count >= MUCH) {
            self.prompt_until = Some(now + WHILE);
            return None;
        }
        if self.same == TRY {
            // Back from the shorter one.
            self.same = 0;
            return before.map(|(longer, _)| longer);
        }
        let next = match count {
            MUCH.. => present.saturating_sub(1),
            ENOUGH.. => present,
            _ => (present + 1).min(DOUBLED),
        };
        self.same = if next == present { self.same + 1 } else { 0 };
        Some(match self.same {
            TRY => next.saturating_sub(1),
            _ => next,
        })
    }

    fn length(&self) -> Option<Duration> {
        Some(SHORTEST * (1 << self.doubled?))
    }
}

/// Whether the longer of two rests brought hardly more than the shorter: as much as there is room
/// for. Each is told by how often it was doubled and by the bytes a second it brought.
fn brings_no_more(one: (u32, f64), other: (u32, f64)) -> bool {
    let (shorter, longer) = match one.0.cmp(&other.0) {
        Ordering::Less => (one.1, other.1),
        Ordering::Equal => return false,
        Ordering::Greater => (other.1, one.1),
    };
    longer < shorter * 0.7
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long it rests at most in the end where a peer prints `rate` bytes a second, of which
    /// `room` fit while it waits; and how much is read in the last of `seconds`.
    fn settle(pace: &mut Pace, rate: f64, room: f64, seconds: u32) -> (Duration, f64) {
        let begin = pace.found.unwrap_or_else(Instant::now);
        let (end, mut now) = (begin + Duration::from_secs(seconds.into()), begin);
        let (mut waiting, mut read, mut longest) = (0.0_f64, 0.0, Duration::ZERO);
        while now < end {
            let count = waiting.floor();
            waiting -= count;
            pace.rests(count as usize, now);
            let rest = pace.length().unwrap_or(Duration::from_micros(50));
            // Who reads at once is told of the next byte.
            let next = Duration::from_secs_f64(1.0 / rate).max(rest);
            now += next;
            waiting = (waiting + rate * next.as_secs_f64()).min(room);
            if end - now.min(end) < Duration::from_secs(1) {
                read += count;
                longest = longest.max(pace.length().unwrap_or_default());
            }
        }
        (longest, read)
    }

    #[tokio::test]
    async fn who_prints_steadily_is_read_seldom_and_loses_no_speed() {
        let table = [
            // A line now and then: at once.
            (20.0, 1e5, 0),
            // Lines: by the longest rest.
            (2e3, 1e5, 32),
            (1e5, 1e5, 32),
            // Much: so often that there is room.
            (1e6, 1e5, 16),
            (3e6, 1e5, 4),
        ];
        for (rate, room, most) in table {
            let (longest, read) = settle(&mut Pace::default(), rate, room, 5);
            let wanted = Duration::from_millis(most);
            assert!(longest <= wanted.max(SHORTEST), "{rate}: {longest:?}");
            assert!(longest * 2 >= wanted, "{rate}: {longest:?}");
            assert!(read >= rate * 0.9, "{rate}: {read}");
        }
    }

    #[tokio::test]
    async fn who_has_little_room_is_not_kept_waiting() {
        // A byte at a time, of which a Unix socket holds some 280; a terminal; a pipe. It began by
        // printing little, or not.
        let rooms = [(2e6, 280.0), (1e6, 4095.0), (50e6, 65536.0)];
        let begun = rooms.map(|(rate, room)| [None, Some(200.0)].map(|slow| (rate, room, slow)));
        for (rate, room, slow) in begun.into_iter().flatten() {
            let mut pace = Pace::default();
            if let Some(slow) = slow {
                settle(&mut pace, slow, room, 3);
                assert!(pace.doubled >= Some(DOUBLED - 1), "{:?}", pace.doubled);
            }
            let (_, read) = settle(&mut pace, rate, room, 5);
            let at_once = (room / 50e-6).min(rate);
            assert!(read >= at_once * 0.9, "{rate} into {room}: {read}");
        }
    }

    #[tokio::test]
    async fn it_rests_only_after_it_has_found_something_just_before() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        assert!(!pace.rests(100, now), "the first");
        now += SHORTEST;
        assert!(pace.rests(100, now) && pace.will_rest(), "soon after it");
        std::future::poll_fn(|cx| pace.poll(cx)).await;
        now += LATELY * 2;
        assert!(!pace.rests(100, now), "after a silence");
    }
}
