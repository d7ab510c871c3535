//! The queue between those who have a message and the thread that writes it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chardev::text::shown;
use tracing::Level;
use tracing::callsite::Identifier;

use super::limit::Limiter;
use super::target::Target;

/// The most bytes that wait to be written.
const CAPACITY: usize = 256 << 10;
/// The most bytes of one message.
const MAX_LINE: usize = 8 << 10;

/// Something to say.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// None for text that stands alone.
    pub(super) level: Option<Level>,
    pub(super) text: String,
    /// Where in the code it comes from, for what repeats.
    pub(super) kind: Option<Identifier>,
    /// The console it is about, and what happened, for who looks for that.
    pub(super) console: Option<String>,
    pub(super) event: Option<String>,
    /// Written as it is, for standard output.
    raw: bool,
}

/// A bounded queue, and the thread that empties it.
#[derive(Debug)]
pub(super) struct Queue {
    name: &'static str,
    state: Mutex<Backlog>,
    work: Condvar,
    done: Condvar,
}

#[derive(Debug)]
struct Backlog {
    program: &'static str,
    waiting: VecDeque<Message>,
    bytes: usize,
    lost: u64,
    /// How many were lost is worth telling: something was said since.
    tell_lost: bool,
    limiter: Limiter,
    target: Option<Arc<Target>>,
    colours: bool,
    /// Which thread is the right one; others are stuck, and end when they no longer are.
    turn: u64,
    running: bool,
    writing: bool,
    written: u64,
}

impl Message {
    pub(super) fn new(level: Option<Level>, text: &str) -> Self {
        let mut text = shown(text).to_string();
        if text.len() > MAX_LINE {
            let end = (0..=MAX_LINE).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        Message {
            level,
            text,
            kind: None,
            console: None,
            event: None,
            raw: false,
        }
    }

    pub(super) fn raw(text: &str) -> Self {
        Message {
            level: None,
            text: text.to_owned(),
            kind: None,
            console: None,
            event: None,
            raw: true,
        }
    }

    fn summed(text: String) -> Self {
        // It has its level already, as it was said.
        let (level, text) = split_level(&text);
        Message::new(level, text)
    }

    /// Whether it is written as it is.
    pub(super) fn is_raw(&self) -> bool {
        self.raw
    }
}

impl Queue {
    pub(super) const fn new(name: &'static str) -> Self {
        Queue {
            name,
            state: Mutex::new(Backlog {
                program: "chardevd",
                waiting: VecDeque::new(),
                bytes: 0,
                lost: 0,
                tell_lost: false,
                limiter: Limiter::new(),
                target: None,
                colours: false,
                turn: 0,
                running: false,
                writing: false,
                written: 0,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
        }
    }

    pub(super) fn begin(&self, program: &'static str, target: Target, colours: bool) {
        let mut state = self.lock();
        state.program = program;
        state.target = Some(Arc::new(target));
        state.colours = colours;
    }

    /// Takes a message in, or counts it as lost; never waits.
    pub(super) fn push(&'static self, message: Message) {
        let mut state = self.lock();
        if state.target.is_none() {
            return;
        }
        if let Some(kind) = &message.kind {
            let line = (message.level, &message.text);
            let line = prefixed(line.0, line.1);
            if !state.limiter.allow(kind, &line, Instant::now()) {
                self.rouse(&mut state);
                return;
            }
        }
        if state.bytes + message.text.len() > CAPACITY {
            state.lost += 1;
            state.tell_lost = true;
            return;
        }
        state.bytes += message.text.len();
        state.waiting.push_back(message);
        state.tell_lost = true;
        self.rouse(&mut state);
    }

    /// Whether messages go to standard error.
    pub(super) fn is_standard(&self) -> bool {
        let target = self.lock().target.clone();
        target.is_some_and(|target| target.is_standard())
    }

    /// From here on messages go to `target`. Whoever is stuck in writing to the old one is left
    /// there.
    pub(super) fn turn_to(&'static self, target: Target) {
        let mut state = self.lock();
        state.colours &= matches!(target, Target::Standard);
        state.target = Some(Arc::new(target));
        state.turn += 1;
        (state.running, state.writing) = (false, false);
        self.work.notify_all();
        if state.has_work() {
            self.rouse(&mut state);
        }
    }

    pub(super) fn reopen(&'static self) {
        let target = self.lock().target.clone();
        match target.and_then(|target| target.reopened()) {
            Some(Ok(target)) => self.turn_to(target),
            Some(Err(error)) => self.push(Message::new(Some(Level::WARN), &error.to_string())),
            None => {}
        }
    }

    /// Waits until everything is written, or nothing has been for `limit`.
    pub(super) fn finish(&'static self, limit: Duration) {
        let mut state = self.lock();
        for sum in state.limiter.sums(Instant::now(), true) {
            state.bytes += sum.len();
            state.waiting.push_back(Message::summed(sum));
        }
        if state.has_work() {
            self.rouse(&mut state);
        }
        while state.writing || state.has_work() {
            if !state.running {
                return;
            }
            let before = state.written;
            let waited = self.done.wait_timeout(state, limit);
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = next;
            if timeout.timed_out() && state.written == before {
                return;
            }
        }
    }

    fn rouse(&'static self, state: &mut Backlog) {
        self.work.notify_all();
        if state.running {
            return;
        }
        let turn = state.turn;
        let thread = chardev::new_thread(self.name);
        let started = thread.and_then(|thread| thread.spawn(move || self.run(turn)));
        // Without a thread they wait for the next one that is said.
        state.running = started.is_ok();
    }

    fn run(&'static self, turn: u64) {
        let mut state = self.lock();
        loop {
            if state.turn != turn {
                return;
            }
            let sums = state.limiter.sums(Instant::now(), false);
            for sum in sums {
                state.bytes += sum.len();
                state.waiting.push_back(Message::summed(sum));
            }
            let Some((message, target)) = state.next() else {
                state = self.wait(state);
                continue;
            };
            let line = target.line(state.program, state.colours, &message);
            state.writing = true;
            drop(state);
            let result = target.write(&message, &line);
            state = self.lock();
            if state.turn != turn {
                return;
            }
            state.writing = false;
            state.written += 1;
            state.lost += u64::from(result.is_err_and(|error: io::Error| target.counts(&error)));
            self.done.notify_all();
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, Backlog>) -> MutexGuard<'a, Backlog> {
        self.done.notify_all();
        match state.limiter.due() {
            None => self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
            Some(due) => {
                let pause = due.saturating_duration_since(Instant::now());
                let waited = self.work.wait_timeout(state, pause);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backlog {
    fn has_work(&self) -> bool {
        !self.waiting.is_empty() || (self.tell_lost && self.lost > 0)
    }

    /// What is written next, and where. How many were lost is told when there is room again.
    fn next(&mut self) -> Option<(Message, Arc<Target>)> {
        let target = self.target.clone()?;
        if let Some(message) = self.waiting.pop_front() {
            self.bytes -= message.text.len();
            return Some((message, target));
        }
        // Once: where that fails too, it is told with the next message.
        if !std::mem::take(&mut self.tell_lost) || self.lost == 0 {
            return None;
        }
        let lost = std::mem::take(&mut self.lost);
        let text = match lost {
            1 => "1 message was lost".to_owned(),
            lost => format!("{lost} messages were lost"),
        };
        Some((Message::new(Some(Level::WARN), &text), target))
    }
}

/// The words for levels, as QEMU has them.
pub(super) fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

const LEVELS: [Level; 5] = [
    Level::ERROR,
    Level::WARN,
    Level::INFO,
    Level::DEBUG,
    Level::TRACE,
];

fn prefixed(level: Option<Level>, text: &str) -> String {
    match level {
        Some(level) => format!("{}: {text}", word(level)),
        None => text.to_owned(),
    }
}

fn split_level(text: &str) -> (Option<Level>, &str) {
    for level in LEVELS {
        let rest = text.strip_prefix(word(level));
        if let Some(rest) = rest.and_then(|rest| rest.strip_prefix(": ")) {
            return (Some(level), rest);
        }
    }
    (None, text)
}
