//! front → chardev → [back] → fleet: one connection of a back end, which the chardev writes to and
//! reads from on its threads, and a task on the fleet's thread carries.

use std::io::{IoSlice, IoSliceMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Client;
use bytes::{Buf as _, BytesMut};
use chardev::{Port, Ready, Sent};
use tokio::sync::watch;

use crate::alarm::Alarm;
use crate::link::Connection;
use crate::relay::{Outlet, Session, Way};
use crate::session::Fate;

/// How many bytes are accepted while the session takes none.
const BUFFER: usize = 64 << 10;
/// How long a peer that the back end has let go may take nothing, or not leave once it has all.
const PARTING: Duration = Duration::from_secs(30);

/// A connection with one peer.
#[derive(Debug)]
pub(crate) struct Cord {
    pub(crate) session: Arc<Session>,
    /// Who the peer is, for people.
    pub(crate) peer: String,
    port: Port,
    out: Mutex<Out>,
}

/// What the chardev wants of it.
#[derive(Debug, Default)]
struct Out {
    /// What was accepted, and is not in the session yet.
    waiting: BytesMut,
    /// Nothing more is accepted, and after what waits comes the end.
    ends: bool,
    /// The back end has let it go.
    is_left: bool,
    /// Nobody reads what comes any more.
    is_deaf: bool,
    /// What the back end is to be told of once.
    interest: Ready,
    /// It has been told that the peer is gone.
    told_gone: bool,
}

impl Cord {
    pub(crate) fn new(session: Arc<Session>, peer: String, port: Port) -> Arc<Cord> {
        Arc::new(Cord {
            session,
            peer,
            port,
            out: Mutex::default(),
        })
    }

    /// Takes what fits now.
    pub(crate) fn write(&self, bufs: &[IoSlice<'_>]) -> Sent {
        let mut out = self.lock();
        let mut room = self.room(&out);
        let mut taken = 0;
        for buf in bufs {
            let count = buf.len().min(room);
            out.waiting.extend_from_slice(&buf[..count]);
            (room, taken) = (room - count, taken + count);
        }
        drop(out);
        if taken == 0 {
            return Sent::Full;
        }
        self.session.look();
        Sent::Taken(taken)
    }

    /// Gives what has come.
    pub(crate) fn read(&self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let mut end = self.session.lock();
        let mut unread = end.unread();
        for buf in bufs {
            let count = buf.len().min(unread.len());
            unread.copy_to_slice(&mut buf[..count]);
        }
        let count = end.unread().len() - unread.len();
        let before = end.deadline();
        end.consume(count, self.session.now());
        let is_sooner = end.deadline() < before;
        drop(end);
        // The peer may send more from here on.
        if is_sooner {
            self.session.look();
        }
        count
    }

    /// All that has come and was not read, and whether more may come.
    pub(crate) fn take_unread(&self) -> (Vec<u8>, bool) {
        let mut end = self.session.lock();
        let unread = end.unread().to_vec();
        end.consume(unread.len(), self.session.now());
        let more = !end.has_all();
        drop(end);
        self.session.look();
        (unread, more)
    }

    /// Nothing more is said to the peer than was accepted, and then the end.
    pub(crate) fn finish(&self) {
        let mut out = self.lock();
        (out.ends, out.is_left) = (true, true);
        drop(out);
        self.session.look();
    }

    /// Nobody is here any more: what was accepted is still said, and what comes is not read.
    pub(crate) fn part(&self) {
        let mut out = self.lock();
        (out.ends, out.is_left, out.is_deaf) = (true, true, true);
        drop(out);
        self.stop();
    }

    /// The peer is to say no more than it has accepted by the time that it hears of this.
    pub(crate) fn stop(&self) {
        self.session.lock().stop(self.session.now());
        self.session.look();
    }

    /// Whether the peer has left, or is given up: nothing comes but what is there.
    pub(crate) fn is_gone(&self) -> bool {
        self.session.lock().has_all()
    }

    /// How many bytes were accepted that the peer does not have; none where it never will.
    pub(crate) fn pending(&self) -> usize {
        let out = self.lock();
        let end = self.session.lock();
        match end.fate() {
            Fate::Failed(_) => 0,
            Fate::Open | Fate::Over => out.waiting.len() + end.untaken(),
        }
    }

    /// Asks for one report.
    pub(crate) fn watch(&self, interest: Ready) {
        let mut out = self.lock();
        out.interest |= interest;
        let is_now = !(self.ready(&out) & out.interest).is_empty();
        drop(out);
        if is_now {
            self.session.look();
        }
    }

    /// Carries bytes until the connection is over or has failed.
    pub(crate) async fn carry(
        self: Arc<Self>,
        client: Client,
        mut connected: watch::Receiver<Connection>,
        way: Way,
    ) {
        let mut number = connected.borrow_and_update().number;
        let (mut renewed, mut parting) = (None, None::<(usize, Duration)>);
        let mut alarm = Alarm::new();
        loop {
            self.fill();
            let outlet = Outlet {
                session: &self.session,
                client: &client,
                connected: &connected,
                way: &way,
            };
            outlet.send(&mut renewed).await;
            self.report();
            let (fate, deadline) = {
                let end = self.session.lock();
                (end.fate(), end.deadline())
            };
            match fate {
                Fate::Open => {}
                Fate::Over => return,
                Fate::Failed(why) => return self.tell_failure(&why.to_string()),
            }
            let left = self.left();
            if parting.map(|(left, _)| left) != left {
                parting = left.map(|left| (left, self.session.now() + PARTING));
            }
            let deadline = match parting {
                Some((_, limit)) if self.session.now() >= limit => {
                    self.session
                        .give_up("it takes nothing more, and does not leave");
                    continue;
                }
                Some((_, limit)) => deadline.min(limit),
                None => deadline,
            };
            tokio::select! {
                () = self.session.news() => {}
                () = alarm.by(self.session.instant(deadline)) => {}
                changed = connected.changed() => {
                    let now = *connected.borrow_and_update();
                    if changed.is_err() {
                        self.session.give_up("the connection to the fleet is no more");
                        continue;
                    }
                    if now.is_there && now.number != number {
                        number = now.number;
                        renewed = None;
                        self.session.lock().reconnected(self.session.now());
                    }
                }
            }
        }
    }

    /// Puts what waits into the session, as far as that takes it.
    fn fill(&self) {
        let mut out = self.lock();
        let mut end = self.session.lock();
        loop {
            let count = end.wants().min(out.waiting.len());
            if count == 0 {
                break;
            }
            end.write(out.waiting.split_to(count).freeze());
        }
        out.ends |= end.is_stopped();
        if out.ends && out.waiting.is_empty() {
            end.end();
        }
        if out.is_deaf {
            let count = end.unread().len();
            end.consume(count, self.session.now());
        }
    }

    /// Tells the back end what it waits for, with no lock held.
    fn report(&self) {
        let mut out = self.lock();
        let ready = self.ready(&out) & out.interest;
        out.interest -= ready;
        let is_news = self.session.lock().has_all() && !out.told_gone;
        out.told_gone |= is_news;
        drop(out);
        if is_news || !ready.is_empty() {
            self.port.kick(ready);
        }
    }

    fn tell_failure(&self, why: &str) {
        let lost = self.lock().waiting.len() + self.session.lock().untaken();
        tracing::warn!(
            console = self.port.label(),
            event = "fleet-peer-lost",
            "{}: the connection with {} has failed: {why}; {lost} bytes may not have come there",
            self.port.label(),
            self.peer
        );
        self.report();
    }

    /// How much a peer that was let go does not have yet.
    fn left(&self) -> Option<usize> {
        let out = self.lock();
        let left = out.waiting.len() + self.session.lock().untaken();
        out.is_left.then_some(left)
    }

    fn ready(&self, out: &Out) -> Ready {
        let mut ready = Ready::empty();
        ready.set(Ready::READ, !self.session.lock().unread().is_empty());
        ready.set(Ready::WRITE, self.room(out) > 0);
        ready
    }

    /// How much is accepted now.
    fn room(&self, out: &Out) -> usize {
        let end = self.session.lock();
        let is_closed = out.ends || end.is_stopped() || end.has_all();
        match is_closed {
            true => 0,
            false => BUFFER.saturating_sub(out.waiting.len()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
