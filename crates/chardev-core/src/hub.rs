//! front → chardev → [hub] → chardevs → host: one front end on several back ends.
//!
//! Each member is a chardev of its own; the hub is its front end. Output goes to all members.
//! What one does not take at once is kept in that member's chardev, up to a limit, and beyond it
//! the member's own policy decides: only one that holds makes the front end wait. Input of all
//! members goes to the front end.

use std::any::Any;
mod events;
mod tail;

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use self::events::Events;
use self::tail::{HubDrain, Marks, MemberTail};
use crate::backend::{
    Backend, BackendEvent, BackendId, Group, LineControl, Peers, Ready, Sent, Sharing,
};
use crate::chardev::{ChardevRef, WeakChardev};
use crate::drain::{Drain, NothingToDrain};
use crate::error::HubError;
use crate::event::Event;
use crate::graph;
use crate::line::{Answers, Line, ModemLines};
use crate::link::{Below, Link, Tail, Users, WantLink};
use crate::policy::Closed;

/// Output that is kept for a slow member before its policy decides.
const MEMBER_BUFFER: usize = 256 << 10;

/// A hub. Clones share it.
#[derive(Clone)]
pub struct Hub(Arc<Mutex<HubParts>>);

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("members", &self.labels())
            .finish()
    }
}

struct HubParts {
    members: Vec<Member>,
    /// Whose turn it is to be read first.
    turn: usize,
    line: Line,
    users: Users,
    notify: Waker,
    live: bool,
    events: Events,
    /// What former members had for the hub when they left.
    left: Vec<Tail>,
    marks: Marks,
    /// What of its members a hub that is replaced still reads.
    tails: Vec<MemberTail>,
}

struct Member {
    link: Link,
    open: bool,
    /// What it answered to the line.
    answers: Answers,
    /// The last mark it has come to, and marks in it that are still to come.
    passed: u64,
    marks: VecDeque<(u64, u64)>,
}

impl Hub {
    /// A hub over `links`. `notify` is woken when [`Users::kick`] of [`Hub::users`] is to be
    /// called, later and with no lock held.
    pub fn new(links: Vec<Link>, notify: Waker) -> Self {
        Hub(Arc::new(Mutex::new(HubParts {
            members: links.into_iter().map(Member::new).collect(),
            turn: 0,
            line: Line::default(),
            users: Users::default(),
            notify,
            live: false,
            events: Events::default(),
            left: Vec::new(),
            marks: Marks::default(),
            tails: Vec::new(),
        })))
    }

    /// The back end for the hub's chardev.
    pub fn backend(&self) -> Box<dyn Backend> {
        Box::new(HubBackend {
            hub: self.clone(),
            id: None,
        })
    }

    /// The hub's chardev, once it is live.
    pub fn users(&self) -> Users {
        self.lock().users.clone()
    }

    /// The names of the members.
    pub fn labels(&self) -> Vec<String> {
        let inner = self.lock();
        let labels = inner.members.iter().map(|member| member.link.label());
        labels.map(str::to_owned).collect()
    }

    /// Adds a member: it gets all output from here on.
    ///
    /// # Errors
    /// [`HubError::Cycle`] and [`HubError::TooDeep`].
    pub fn add(&self, link: Link) -> Result<(), HubError> {
        let _graph = graph::hold();
        let planned: Vec<_> = self
            .users()
            .all()
            .into_iter()
            .map(|hub| (hub, vec![link.front().chardev().clone()]))
            .collect();
        if graph::first_cycle(&planned).is_some() {
            return Err(HubError::Cycle(link.label().to_owned()));
        }
        if graph::first_too_deep(&planned).is_some() {
            return Err(HubError::TooDeep {
                member: link.label().to_owned(),
                limit: graph::DEPTH_LIMIT,
            });
        }
        let mut inner = self.lock();
        let mut member = Member::new(link);
        member.passed = inner.marks.last();
        let line = inner.line.clone();
        member.answers = member.link.front().set_line(|below| *below = line);
        if inner.live {
            member.link.serve(&inner.users, &inner.notify);
        }
        let opens = member.open && !inner.is_open();
        inner.members.push(member);
        if opens {
            inner.tell(BackendEvent::Opened);
        }
        inner.notify.wake_by_ref();
        Ok(())
    }

    /// Lets a member go; what it had accepted stays with its chardev, and what its peer had sent
    /// by now is still input. `false` if there is none of this name.
    pub fn remove(&self, label: &str) -> bool {
        let mut inner = self.lock();
        let Some(at) = inner
            .members
            .iter()
            .position(|member| member.link.label() == label)
        else {
            return false;
        };
        let tail = inner.members[at].link.tail(Some(inner.notify.clone()));
        let was_open = inner.is_open();
        let member = inner.members.remove(at);
        inner.left.push(tail);
        inner.pass_marks();
        inner.show(was_open);
        drop(member);
        inner.notify.wake_by_ref();
        true
    }

    fn lock(&self) -> MutexGuard<'_, HubParts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    fn new(link: Link) -> Self {
        let open = link.front().is_open();
        Member {
            link,
            open,
            answers: Answers::default(),
            passed: 0,
            marks: VecDeque::new(),
        }
    }

    fn policy(&self) -> Closed {
        self.link
            .front()
            .chardev()
            .with(|chardev| chardev.policy().closed)
    }
}

impl HubParts {
    /// A member that has left is there until its input has been read.
    fn is_open(&self) -> bool {
        !self.left.is_empty() || self.members.iter().any(|member| member.open)
    }

    fn tell(&mut self, event: BackendEvent) {
        self.events.push(event);
    }

    /// Tells whether somebody is there, if that has changed.
    fn show(&mut self, was_open: bool) {
        match (was_open, self.is_open()) {
            (false, true) => self.tell(BackendEvent::Opened),
            (true, false) => self.tell(BackendEvent::Closed { unread: Vec::new() }),
            _ => {}
        }
    }

    /// An event of the member at `at`; its input before it has been read.
    fn take_event(&mut self, at: usize, event: Event) {
        let was_open = self.is_open();
        match event {
            Event::Opened => self.members[at].open = true,
            Event::Closed => self.members[at].open = false,
            Event::Break => self.tell(BackendEvent::Break),
            Event::Resized(size) => self.tell(BackendEvent::Resized(size)),
            Event::Changed(_) => {
                let answers = self.answers();
                self.tell(BackendEvent::Tell(Event::Changed(answers)));
            }
            Event::LineAnswered(answers) => {
                self.members[at].answers = answers;
                let answers = self.known_answers();
                self.tell(BackendEvent::Tell(Event::LineAnswered(answers)));
            }
            Event::Modem(_) | Event::SerialAsked(_) | Event::PurgeAsked(_) => {
                self.tell(BackendEvent::Tell(event))
            }
            // Nobody purges a member: others share it.
            Event::MuxIn | Event::MuxOut | Event::Purged => {}
        }
        self.show(was_open);
    }

    /// What the members have to tell and no input stands before.
    fn take_events(&mut self) {
        for at in 0..self.members.len() {
            while self.may_read(at) {
                match self.members[at].link.next(&mut []) {
                    Below::Event(event) => self.take_event(at, event),
                    Below::Mark(mark) => self.reach_mark(at, mark),
                    Below::Data(_) | Below::Nothing => break,
                }
            }
        }
    }

    /// Applies the line to all members; what one of them can do the hub can do.
    fn answers(&mut self) -> Answers {
        for member in &mut self.members {
            let line = self.line.clone();
            member.answers = member.link.front().set_line(|below| *below = line);
        }
        self.known_answers()
    }

    fn known_answers(&self) -> Answers {
        let none = Answers::unsupported(&self.line, self.is_open());
        let answers = self.members.iter().map(|member| member.answers);
        answers.fold(none, Answers::or)
    }

    /// Whether nobody is there to take output now, nor any policy that keeps it.
    fn nobody_takes(&self) -> bool {
        !self.is_open()
            && self
                .members
                .iter()
                .all(|member| member.policy() == Closed::Discard)
    }
}

/// The hub as the machine sees it.
struct HubBackend {
    hub: Hub,
    id: Option<BackendId>,
}

impl Backend for HubBackend {
    fn kind(&self) -> &'static str {
        "hub"
    }

    fn filename(&self) -> String {
        "hub".to_owned()
    }

    fn is_open(&self) -> bool {
        self.hub.lock().is_open()
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        let mut inner = self.hub.lock();
        inner.take_events();
        if inner.nobody_takes() {
            return Sent::NoPeer;
        }
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        let room = |member: &Member| {
            let chardev = member.link.front().chardev();
            chardev.with(|chardev| chardev.spool_room(MEMBER_BUFFER))
        };
        let count = inner.members.iter().map(room).min().unwrap_or(0).min(total);
        if count == 0 {
            return Sent::Full;
        }
        let part = crate::output::limit(bufs, count);
        for member in &inner.members {
            let chardev = member.link.front().chardev();
            chardev.with(|chardev| chardev.spool(&part, MEMBER_BUFFER));
        }
        Sent::Taken(count)
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let mut inner = self.hub.lock();
        let count = inner.read_left(bufs);
        let members = inner.members.len();
        if count > 0 || !inner.tails.is_empty() {
            return count;
        }
        // What is to be told comes before input that is read after it.
        for step in 0..members {
            let at = (inner.turn + step) % members;
            while inner.may_read(at) && inner.events.is_empty() {
                match inner.members[at].link.next(bufs) {
                    Below::Data(count) => {
                        inner.turn = at + 1;
                        return count;
                    }
                    Below::Event(event) => inner.take_event(at, event),
                    Below::Mark(mark) => inner.reach_mark(at, mark),
                    Below::Nothing => break,
                }
            }
        }
        0
    }

    /// Nothing to arm: the links' wakers are always set.
    fn watch(&mut self, _interest: Ready) {}

    fn resume_soon(&mut self) -> bool {
        self.hub.lock().notify.wake_by_ref();
        true
    }

    fn update(&mut self, _ready: Ready) {
        self.hub.lock().take_events();
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        self.hub.lock().events.pop()
    }

    fn go_live(&mut self, chardev: &WeakChardev, id: BackendId) {
        let mut inner = self.hub.lock();
        inner.users.add(id, chardev);
        inner.live = true;
        let inner = &mut *inner;
        for member in &mut inner.members {
            member.link.serve(&inner.users, &inner.notify);
            // The link may have been another's since this one was made, which has taken events.
            member.open = member.link.seen_open();
        }
        inner.take_events();
        inner.answers();
        self.id = Some(id);
    }

    /// The members live on; what was sent before an earlier change of one and has not come yet is
    /// the tails'.
    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        let mut inner = self.hub.lock();
        inner.leave();
        (Vec::new(), !inner.tails.is_empty())
    }

    /// What was accepted is with the members.
    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        let mut inner = self.hub.lock();
        let tails = std::mem::take(&mut inner.tails);
        match tails.is_empty() {
            true => Box::new(NothingToDrain),
            false => Box::new(HubDrain {
                tails,
                marks: std::mem::take(&mut inner.marks),
                passed: None,
                breaks: 0,
            }),
        }
    }

    fn line(&mut self) -> Option<&mut dyn LineControl> {
        Some(self)
    }

    fn peers(&mut self) -> Option<&mut dyn Peers> {
        Some(self)
    }

    fn group(&self) -> Option<&dyn Group> {
        Some(self)
    }

    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }
}

impl LineControl for HubBackend {
    fn apply(&mut self, line: &Line) -> Answers {
        let mut inner = self.hub.lock();
        inner.line = line.clone();
        if inner.live {
            inner.answers()
        } else {
            // Members that another hub still uses are not touched before the change is decided.
            Answers::unsupported(line, inner.is_open())
        }
    }

    fn modem_inputs(&mut self) -> Option<ModemLines> {
        let inner = self.hub.lock();
        let mut inputs = inner.members.iter().map(|m| m.link.front().modem_inputs());
        inputs.find_map(|inputs| inputs)
    }
}

impl Peers for HubBackend {
    fn disconnect(&mut self) {
        for member in &self.hub.lock().members {
            member.link.front().disconnect();
        }
    }
}

impl Group for HubBackend {
    fn members(&self) -> Vec<ChardevRef> {
        let inner = self.hub.lock();
        let below = |member: &Member| member.link.front().chardev().clone();
        inner.members.iter().map(below).collect()
    }

    fn as_hub(&self) -> Option<&Hub> {
        Some(&self.hub)
    }

    fn is_under_way(&self) -> bool {
        self.hub.lock().is_under_way()
    }

    fn mark(&self, mark: u64) -> bool {
        self.hub.lock().mark(mark)
    }
}

impl Sharing for HubBackend {
    fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        let WantLink(label) = wanted.downcast_ref()?;
        let inner = self.hub.lock();
        let links = inner.members.iter().map(|member| &member.link);
        let link = links.into_iter().find(|link| link.label() == label)?;
        Some(Box::new(link.clone()))
    }
}

impl Drop for HubBackend {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.hub.lock().users.remove(id);
        }
    }
}
