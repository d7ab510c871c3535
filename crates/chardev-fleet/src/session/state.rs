//! What an end makes of the messages that come and of the time that passes.

use std::time::Duration;

use bytes::Bytes;

use super::{
    ABSENCE, AGAIN, End, Fate, Frame, Into, KEEP, Kind, LATE, Out, SILENCE, SOON, WINDOW,
    WINDOW_FRAMES, Why, length,
};

impl End {
    /// A message has come for this stream.
    pub fn handle(&mut self, mut frame: Frame, now: Duration) {
        if self.fate() != Fate::Open {
            return;
        }
        match frame.kind {
            Kind::Reset(why) => return self.was_reset(why),
            // What it carries is a wish, and no part of the stream.
            Kind::Open => frame.payload = Bytes::new(),
            Kind::Data => {}
        }
        self.heard = now;
        self.absent = None;
        self.opens = None;
        self.out.credit = self.out.credit.max(frame.credit);
        self.out.acknowledge(&frame, now);
        if frame.lost {
            self.out.miss(frame.taken);
        }
        self.is_stopped |= frame.stop;
        self.take(frame, now);
    }

    /// The next message to be sent, if there is any so late.
    pub fn next_frame(&mut self, now: Duration) -> Option<Frame> {
        self.look_at_the_clock(now);
        if self.to_tell {
            self.to_tell = false;
            let why = match &self.why {
                Some(why) => why.to_string(),
                None => String::new(),
            };
            return Some(Frame::reset(self.id, &why));
        }
        if self.why.is_some() {
            return None;
        }
        if let Some(payload) = self.out.window.get(self.out.sent).cloned() {
            let offset = self.out.at;
            self.out.at += payload.len() as u64;
            self.out.sent += 1;
            return Some(self.frame(offset, payload, now));
        }
        let untold_end = self.out.ended && !self.out.end_sent;
        let is_time = self.tell_at.is_some_and(|at| at <= now);
        (untold_end || is_time).then(|| self.frame(self.out.written, Bytes::new(), now))
    }

    /// What an end that is over says to whoever has not heard of that, and asks again.
    pub fn last_word(&self) -> Frame {
        Frame {
            session: self.id,
            kind: Kind::Data,
            offset: self.out.written,
            payload: Bytes::new(),
            taken: self.into.taken,
            credit: self.into.credit(),
            end: self.out.ended.then_some(self.out.written),
            done: self.into.is_complete(),
            lost: false,
            stop: self.stops && !self.into.is_complete(),
        }
    }

    /// When [`End::next_frame`] may have something at last, if nothing happens before.
    pub fn deadline(&self) -> Duration {
        let absent = self.absent.map(|at| at + ABSENCE);
        let all = [self.tell_at, self.out.again_at, absent];
        let first = all.into_iter().flatten().min();
        let usual = (self.told + self.pause()).min(self.heard + SILENCE);
        first.map_or(usual, |at| at.min(usual))
    }

    pub(super) fn fail(&mut self, why: Why) {
        self.lost = self.untaken();
        self.why = Some(why);
        self.out = Out::default();
        self.tell_at = None;
    }

    /// A message is to be sent now.
    pub(super) fn tell(&mut self, now: Duration) {
        self.tell_at = Some(now);
    }

    /// Whether each direction has come to its end.
    pub(super) fn is_done(&self) -> bool {
        self.out.end_taken && self.into.is_complete()
    }

    /// For how long nothing is said.
    fn pause(&self) -> Duration {
        if self.stops && !self.into.is_complete() {
            return AGAIN[0];
        }
        match (&self.opens, self.absent) {
            (Some(_), Some(_)) => SOON,
            (Some(_), None) => AGAIN[0],
            (None, _) => KEEP,
        }
    }

    /// Nothing can be sent now, but time passes.
    pub fn look_at_the_clock(&mut self, now: Duration) {
        if self.fate() != Fate::Open {
            return;
        }
        let is_absent = self.absent.is_some_and(|at| at + ABSENCE <= now);
        if is_absent || self.heard + SILENCE <= now {
            let why = if is_absent { Why::Absent } else { Why::Silent };
            self.is_gone(why);
            // It may hear, and not be heard.
            self.to_tell = self.why.is_some();
            return;
        }
        if self.out.again_at.is_some_and(|at| at <= now) {
            self.out.attempts += 1;
            self.out.rewind();
        }
        if self.told + self.pause() <= now {
            self.tell(now);
        }
    }

    fn was_reset(&mut self, why: String) {
        match why.is_empty() {
            true => self.is_gone(Why::Forgotten),
            false => self.fail(Why::Refused(why)),
        }
    }

    /// The other end is no more: it may have been over, and the last word of that lost.
    fn is_gone(&mut self, why: Why) {
        let all_is_taken = self.out.ended && self.out.window.is_empty();
        match all_is_taken && self.into.is_complete() {
            true => {
                self.out.end_taken = true;
                self.out.again_at = None;
                self.tell_at = None;
            }
            false => self.fail(why),
        }
    }

    fn frame(&mut self, offset: u64, payload: Bytes, now: Duration) -> Frame {
        let (out, into) = (&mut self.out, &mut self.into);
        into.granted = into.credit();
        into.untold = 0;
        let is_last = out.ended && out.sent == out.window.len();
        out.end_sent |= is_last;
        if !out.window.is_empty() || (out.ended && !out.end_taken) {
            out.again_at.get_or_insert(now + out.patience());
        }
        self.tell_at = None;
        self.told = now;
        let lost = std::mem::take(&mut into.missing_untold);
        let (kind, payload) = match &self.opens {
            Some(wanted) => (Kind::Open, wanted.clone()),
            None => (Kind::Data, payload),
        };
        Frame {
            kind,
            offset,
            payload,
            lost,
            ..self.last_word()
        }
    }

    /// What a message brings.
    fn take(&mut self, frame: Frame, now: Duration) {
        let (into, length) = (&mut self.into, frame.payload.len());
        let was_complete = into.is_complete();
        if into.end.is_none() {
            into.end = frame.end.filter(|end| *end >= into.taken);
        }
        let soon = now + LATE;
        if length > 0 {
            let is_too_much = into.take(&frame);
            self.tell_at = Some(self.tell_at.map_or(soon, |at| at.min(soon)));
            if is_too_much || into.untold >= WINDOW_FRAMES / 4 {
                self.tell_at = Some(now);
            }
        }
        let into = &self.into;
        let is_new = into.is_complete() && !was_complete;
        // Whoever says again that it has ended has not heard that this is known.
        if is_new || (frame.end.is_some() && into.is_complete() && !self.out.end_taken) {
            self.tell_at = Some(now);
        }
    }
}

impl Out {
    /// All is sent again.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
        self.at = self.acknowledged;
        self.end_sent = false;
        self.again_at = None;
    }

    fn patience(&self) -> Duration {
        (AGAIN[0] * (1 << self.attempts.min(8))).min(AGAIN[1])
    }

    fn acknowledge(&mut self, frame: &Frame, now: Duration) {
        if frame.taken > self.written {
            return;
        }
        let before = self.acknowledged;
        while let Some(first) = self.window.front() {
            if self.acknowledged + first.len() as u64 > frame.taken {
                break;
            }
            self.acknowledged += first.len() as u64;
            self.sent = self.sent.saturating_sub(1);
            self.window.pop_front();
        }
        self.at = self.at.max(self.acknowledged);
        if frame.done && self.ended && self.window.is_empty() {
            self.end_taken = true;
        }
        let is_idle = self.window.is_empty() && (!self.ended || self.end_taken);
        if is_idle || self.acknowledged > before {
            self.attempts = 0;
            let waits = !is_idle && (self.sent > 0 || self.end_sent);
            self.again_at = waits.then(|| now + self.patience());
        }
    }

    /// What follows `taken` has not come there, which is said once.
    fn miss(&mut self, taken: u64) {
        if taken == self.acknowledged && self.missed != Some(taken) {
            self.missed = Some(taken);
            self.rewind();
        }
    }
}

impl Into {
    /// Up to where more may come.
    pub(super) fn credit(&self) -> u64 {
        self.taken - self.unread.len() as u64 + WINDOW as u64
    }

    pub(super) fn is_complete(&self) -> bool {
        self.end == Some(self.taken)
    }

    /// Takes the bytes of a message, if it is their turn; whether something is missing that has not
    /// been told to be.
    fn take(&mut self, frame: &Frame) -> bool {
        let to = frame.offset + frame.payload.len() as u64;
        if frame.offset > self.taken {
            let is_news = self.missing != Some(self.taken);
            self.missing = Some(self.taken);
            self.missing_untold |= is_news;
            return is_news;
        }
        let is_allowed = to <= self.credit() && self.end.is_none_or(|end| to <= end);
        if to > self.taken && is_allowed {
            let known = length(frame.offset, self.taken);
            self.unread.extend_from_slice(&frame.payload[known..]);
            self.taken = to;
            self.untold += 1;
        }
        false
    }
}
