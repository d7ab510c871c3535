//! front ends → chardev → [mux] → chardev → host: several front ends on one back end.
//!
//! Each front end has a chardev of its own whose back end is one slot of the multiplexer; the
//! multiplexer is the front end of the chardev below. Output of all slots is passed on as it
//! comes; input goes to the slot that has the focus. A key from below moves the focus and does
//! the other things the help text lists.

mod slot;
mod tail;

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use self::slot::MuxSlot;
use crate::backend::Backend;
use crate::event::Event;
use crate::frontend::FrontEnd;
use crate::input::InputQueue;
use crate::line::{Answers, Line};
use crate::link::{Below, Link, Tail, Users};

/// Input that waits for one front end; with more its peer is held back.
const SLOT_BUFFER: usize = 4096;
/// The most that is read straight into a front end's buffer at once.
const STRAIGHT: usize = 64 << 10;
/// Text of our own that waits for a full back end; more is not produced.
const OWN_TEXT_LIMIT: usize = 4096;

/// What a multiplexer needs of the program around it.
pub trait MuxHost: Send + Sync {
    /// The time since any fixed moment, for time stamps.
    fn now(&self) -> Duration;
    /// The key for ending the program was pressed.
    fn quit(&self);
}

/// A multiplexer over one chardev. Clones share it.
#[derive(Clone)]
pub struct Mux {
    inner: Arc<Mutex<Multiplexer>>,
    users: Users,
}

impl std::fmt::Debug for Mux {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mux").finish_non_exhaustive()
    }
}

struct Multiplexer {
    /// `None` once every front end has gone on to something else.
    link: Option<Link>,
    /// What those read still that have gone on.
    tail: Option<Tail>,
    marks: Vec<tail::SlotMark>,
    users: Users,
    notify: Waker,
    host: Arc<dyn MuxHost>,
    escape: u8,
    escaped: bool,
    slots: Vec<Slot>,
    next_tag: u64,
    focus: Option<u64>,
    open: bool,
    stamps: Option<Stamps>,
    own_text: VecDeque<u8>,
}

struct Slot {
    tag: u64,
    attached: bool,
    /// It is being replaced: what is to come to it has been read, or is the tail's.
    leaving: bool,
    line: Line,
    queue: InputQueue,
    /// Breaks among what was cut, not told yet.
    cut_breaks: u64,
}

/// What came of reading straight into a front end's buffers.
enum Straight {
    /// This many bytes; more may have come for its queue.
    Read(usize),
    /// There is nothing below.
    Nothing,
}

#[derive(Default)]
struct Stamps {
    first: Option<Duration>,
    line_start: bool,
}

impl Mux {
    /// A multiplexer over `link`. `escape` is the byte before a command key; `notify` is woken
    /// when [`Users::kick`] of [`Mux::users`] is to be called, later and with no lock held.
    pub fn new(link: Link, escape: u8, host: Arc<dyn MuxHost>, notify: Waker) -> Self {
        let users = Users::default();
        let open = link.front().is_open();
        let inner = Multiplexer {
            link: Some(link),
            tail: None,
            marks: Vec::new(),
            users: users.clone(),
            notify,
            host,
            escape,
            escaped: false,
            slots: Vec::new(),
            next_tag: 0,
            focus: None,
            open,
            stamps: None,
            own_text: VecDeque::new(),
        };
        Mux {
            inner: Arc::new(Mutex::new(inner)),
            users,
        }
    }

    /// A further slot, the back end for one front end's chardev.
    pub fn slot(&self) -> Box<dyn Backend> {
        let mut inner = self.lock();
        let tag = inner.next_tag;
        inner.next_tag += 1;
        inner.slots.push(Slot {
            tag,
            attached: false,
            leaving: false,
            line: Line::default(),
            queue: InputQueue::default(),
            cut_breaks: 0,
        });
        drop(inner);
        Box::new(MuxSlot::new(self.clone(), tag))
    }

    /// The chardevs whose back ends are slots of this multiplexer.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// Whether both are the same one.
    pub(crate) fn is(&self, other: &Mux) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// How many front ends are attached.
    pub fn attached(&self) -> usize {
        let inner = self.lock();
        inner.slots.iter().filter(|slot| slot.attached).count()
    }

    /// Whether a front end has the line open.
    pub fn is_line_open(&self) -> bool {
        self.lock().slots.iter().any(|slot| slot.line.open)
    }

    fn lock(&self) -> MutexGuard<'_, Multiplexer> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Multiplexer {
    fn slot(&mut self, tag: u64) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.tag == tag)
    }

    fn focused(&mut self) -> Option<&mut Slot> {
        let tag = self.focus?;
        self.slot(tag)
    }

    /// Reads for the focused front end into its own buffers, where nothing waits for it and no
    /// command has begun; the bytes from the first key of a command on are taken one by one.
    fn read_straight(&mut self, bufs: &mut [IoSliceMut<'_>]) -> Straight {
        let waits = self.focused().is_none_or(|slot| !slot.queue.is_empty());
        let Some(buf) = bufs.iter_mut().find(|buf| !buf.is_empty()) else {
            return Straight::Read(0);
        };
        if waits || self.escaped {
            return Straight::Read(0);
        }
        // What follows a command may be for another front end, whose queue it must not flood.
        let most = buf.len().min(STRAIGHT);
        let count = match self.next_below(&mut buf[..most]) {
            Below::Data(count) => count,
            Below::Event(event) => {
                self.pass_on(event);
                0
            }
            Below::Mark(mark) => {
                self.pass_mark(mark);
                0
            }
            Below::Nothing => return Straight::Nothing,
        };
        let escape = self.escape;
        // Many times as fast as a search for its position, which is seldom needed.
        if !buf[..count].contains(&escape) {
            return Straight::Read(count);
        }
        let key = buf[..count].iter().position(|byte| *byte == escape);
        let key = key.unwrap_or(count);
        let keys = buf[key..count].to_vec();
        self.take_all(&keys);
        Straight::Read(key)
    }

    /// Reads what there is for the focused front end, and the events for all.
    fn pump(&mut self, room: usize) {
        let mut buf = [0; SLOT_BUFFER];
        loop {
            let waiting = self.focused().map(|slot| slot.queue.bytes());
            let Some(room) = waiting.and_then(|waiting| room.checked_sub(waiting)) else {
                return;
            };
            let wanted = room.min(buf.len());
            if wanted == 0 {
                return;
            }
            match self.next_below(&mut buf[..wanted]) {
                Below::Data(count) => self.take_all(&buf[..count]),
                Below::Event(event) => self.pass_on(event),
                Below::Mark(mark) => self.pass_mark(mark),
                Below::Nothing => return,
            }
        }
    }

    fn next_below(&mut self, buf: &mut [u8]) -> Below {
        if self.tail.is_some() {
            return self.next_of_tail(buf);
        }
        // What is replaced has been cut off; what comes now is for those who come after it.
        let link = self.link.as_ref().filter(|_| !self.is_leaving());
        link.map_or(Below::Nothing, |link| {
            link.next(&mut [IoSliceMut::new(buf)])
        })
    }

    /// From here on the link is this multiplexer's. It may have been another's since this one was
    /// made, which has taken events from it.
    fn take_over(&mut self) {
        let Some(link) = self.link.clone() else {
            return;
        };
        self.open = link.seen_open();
        loop {
            match link.next(&mut []) {
                Below::Event(Event::Opened) => self.open = true,
                Below::Event(Event::Closed) => self.open = false,
                Below::Event(event) => self.pass_on(event),
                Below::Mark(mark) => self.pass_mark(mark),
                Below::Data(_) | Below::Nothing => return,
            }
        }
    }

    fn front(&self) -> Option<&FrontEnd> {
        self.link.as_ref().map(Link::front)
    }

    fn pass_on(&mut self, event: Event) {
        match event {
            Event::Opened => self.open = true,
            Event::Closed => {
                self.open = false;
                self.escaped = false;
            }
            _ => {}
        }
        for slot in &mut self.slots {
            slot.queue.push_event(event);
        }
        self.notify.wake_by_ref();
    }

    /// Input goes to whoever has the focus when its turn comes, a command's keys to nobody.
    fn take_all(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if std::mem::take(&mut self.escaped) {
                self.obey(*first);
                bytes = rest;
                continue;
            }
            let escape = self.escape;
            let mut parts = bytes.splitn(2, |byte| *byte == escape);
            self.give(parts.next().unwrap_or_default());
            let keys = parts.next();
            self.escaped = keys.is_some();
            bytes = keys.unwrap_or_default();
        }
    }

    /// The key after the escape.
    fn obey(&mut self, key: u8) {
        match key {
            _ if key == self.escape => self.give(&[key]),
            b'h' | b'?' => self.say(&help(self.escape)),
            b'x' => {
                self.say("chardev: Terminated\n\r");
                self.host.quit();
            }
            b'b' => {
                self.send_break();
            }
            b'c' => self.rotate(),
            b't' => {
                self.stamps = match self.stamps {
                    Some(_) => None,
                    None => Some(Stamps::default()),
                }
            }
            _ => {}
        }
    }

    fn give(&mut self, bytes: &[u8]) {
        if let Some(slot) = self.focused() {
            // The queue was found to have room before this was read.
            slot.queue.push_bytes(bytes.to_vec());
        }
    }

    fn send_break(&mut self) -> bool {
        let Some(slot) = self.focused() else {
            return false;
        };
        slot.queue.push_event(Event::Break);
        self.notify.wake_by_ref();
        true
    }

    /// The next front end after the focused one, in the order they came, wrapping.
    fn rotate(&mut self) {
        let after = self.focus.map_or(0, |tag| tag + 1);
        let attached = || self.slots.iter().filter(|slot| slot.attached);
        let next = attached()
            .find(|slot| slot.tag >= after)
            .or_else(|| attached().next())
            .map(|slot| slot.tag);
        self.set_focus(next);
    }

    fn set_focus(&mut self, tag: Option<u64>) {
        if self.focus == tag {
            return;
        }
        if let Some(old) = self.focus {
            self.pass_all_marks(old);
        }
        if let Some(slot) = self.focused() {
            slot.queue.push_event(Event::MuxOut);
        }
        self.focus = tag;
        if let Some(slot) = self.focused() {
            slot.queue.push_event(Event::MuxIn);
        }
        self.apply_line();
        self.notify.wake_by_ref();
    }

    /// The line below is set up as the focused front end wants it.
    fn apply_line(&mut self) -> Option<Answers> {
        let open = self.slots.iter().any(|slot| slot.line.open);
        let mut line = self.focused()?.line.clone();
        line.open = open;
        Some(self.front()?.set_line(|below| *below = line))
    }

    fn say(&mut self, text: &str) {
        if self.own_text.len() + text.len() <= OWN_TEXT_LIMIT {
            self.own_text.extend(text.as_bytes());
        }
        self.flush_own_text();
    }

    /// Whether nothing of it waits any more.
    fn flush_own_text(&mut self) -> bool {
        while !self.own_text.is_empty() {
            let text = self.own_text.as_slices().0;
            let count = self.front().map_or(0, |front| front.write(text));
            if count == 0 {
                return false;
            }
            self.own_text.drain(..count);
        }
        true
    }

    fn write_stamped(&mut self, bufs: &[IoSlice<'_>]) -> usize {
        let mut total = 0;
        let lines = |buf| <[u8]>::split_inclusive(buf, |byte| *byte == b'\n');
        for line in bufs.iter().flat_map(|buf| lines(buf)) {
            if !self.stamp() {
                return total;
            }
            let count = self.front().map_or(0, |front| front.write(line));
            total += count;
            if count < line.len() {
                return total;
            }
            if let Some(stamps) = &mut self.stamps {
                stamps.line_start = line.ends_with(b"\n");
            }
        }
        total
    }

    /// Puts a time stamp before the line that begins now, if one does; `false` if there is no
    /// room for it.
    fn stamp(&mut self) -> bool {
        let now = self.host.now();
        let Some(stamps) = &mut self.stamps else {
            return true;
        };
        if !std::mem::take(&mut stamps.line_start) {
            return true;
        }
        let first = *stamps.first.get_or_insert(now);
        let elapsed = now.saturating_sub(first);
        let seconds = elapsed.as_secs();
        let text = format!(
            "[{:02}:{:02}:{:02}.{:03}] ",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            elapsed.subsec_millis()
        );
        self.say(&text);
        self.own_text.is_empty()
    }
}

fn help(escape: u8) -> String {
    let key = match escape {
        1..=26 => format!("C-{}", char::from(escape - 1 + b'a')),
        other => format!("0x{other:02x}"),
    };
    let lines = [
        ("h", "this list"),
        ("x", "end the program"),
        ("b", "send a break"),
        ("t", "time stamps on and off"),
        ("c", "the next console or monitor"),
    ];
    let mut text = "\n\r".to_owned();
    for (command, meaning) in lines {
        text.push_str(&format!("{key} {command}    {meaning}\n\r"));
    }
    text.push_str(&format!("{key} {key}  {key} itself\n\r"));
    text
}
