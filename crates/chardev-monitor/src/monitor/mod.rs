//! [front: monitor] → chardev → back → host: one conversation, a task on the monitors' thread.
//!
//! A monitor whose chardev may have several clients takes them one by one, and serves each with a
//! further monitor over a chardev that nobody else sees; it ends with its client.
//!
//! A monitor reads only while its session has room, so a client that sends faster than it is
//! answered, or that does not read, holds back nobody but itself. The command in work is a future
//! polled beside the reading: it may wait for a peer or a name server and delays no one, and it is
//! given up when its client leaves. One that only ends its sending, as `echo … | socat - UNIX:…`
//! does, waits for its answers and gets them.

mod clients;
mod input;
mod strange;
mod tunnel;
mod work;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chardev::{FrontEnd, FrontEndHooks};
use chardev_qapi::Object;
use chardev_qmp::hmp::HmpSession;
use chardev_qmp::{Conversation, Session, SessionConfig};
use tokio::time::Sleep;

use crate::caller::Caller;
use crate::client::Client;
use crate::events::{Subscription, events_lost, now};
use crate::fds::NamedFds;
use crate::monitors::{PASSED, Place, Post, Terms};
use crate::patience::Patience;
use crate::serve::ServeError;
use crate::service::Service;
use crate::stop::Reason;

use input::READ_AHEAD;
use strange::Strange;
use work::Running;

/// How long a client may stall when the daemon ends, before it is not waited for.
const FAREWELL: Duration = Duration::from_secs(1);
/// How many steps a monitor takes before others have their turn.
const TURN: usize = 16;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A program that speaks QMP.
    Control {
        /// Whether answers are indented.
        pretty: bool,
    },
    /// A person at a terminal.
    Readline,
}

/// How a monitor attaches to its chardev: it answers what it reads.
#[derive(Debug)]
pub(crate) struct Answering;

impl FrontEndHooks for Answering {
    fn half_close(&self) -> bool {
        true
    }

    fn accepts(&self) -> bool {
        true
    }
}

/// One monitor.
pub(crate) struct Monitor {
    front: FrontEnd,
    session: Box<dyn Conversation>,
    connected: bool,
    /// Its client has yet to prove who it is.
    strange: Option<Strange>,
    running: Option<Running>,
    /// It has been polled in this turn, and waits for somebody else to have one.
    waits: bool,
    /// Commands that were asked for out of band.
    overtaking: Vec<Running>,
    /// Input that the session had no room for.
    unread: VecDeque<u8>,
    /// Descriptors that no `getfd` has named yet.
    sent: VecDeque<OwnedFd>,
    caller: Caller,
    events: Subscription,
    /// Where it is listed, with others that serve the same chardev's clients.
    post: Arc<Post>,
    /// It serves this one client, and ends with it.
    place: Option<Place>,
    /// Who brought the client.
    sponsor: Option<Arc<Client>>,
    ended: bool,
    patience: Patience,
    stopping: Pin<Box<dyn Future<Output = Reason> + Send>>,
    stopped: bool,
    closing: Pin<Box<dyn Future<Output = Reason> + Send>>,
    /// The monitor is wanted no more: it reads nothing.
    closed: bool,
    /// How long the client has to take what it is owed once the daemon or the monitor ends.
    farewell: Option<Pin<Box<Sleep>>>,
    buffer: Box<[u8]>,
    /// The monitor's chardev, and how many changes of it have been noticed.
    label: String,
    changes: u64,
}

impl Monitor {
    /// A monitor for the clients of `front`, on these terms.
    pub(crate) fn new(front: FrontEnd, mode: Mode, terms: Terms, service: Service) -> Self {
        let post = service.monitors.open(&front.label(), mode, terms);
        Monitor::at(post, (None, None), front, mode, service)
    }

    /// Serves the client at the other end of `fd` (`x-monitor-add`), who may do what `sponsor` may
    /// who brought it.
    ///
    /// # Errors
    /// There is no room for more clients, or `fd` is no connected stream socket.
    pub(crate) fn serve(
        fd: OwnedFd,
        sponsor: Option<Arc<Client>>,
        service: Service,
    ) -> Result<(), ServeError> {
        let post = service.monitors.passed();
        let place = service.monitors.place(&post);
        let place = place.ok_or(ServeError::TooMany)?;
        let monitors = &service.monitors;
        let front = monitors.front_end_of(&service.chardevs, PASSED, fd);
        let front = front.map_err(ServeError::Descriptor)?;
        let runtime = service.monitors.runtime().clone();
        let mode = post.mode();
        let place = (Some(place.used()), sponsor);
        runtime.spawn(Monitor::at(post, place, front, mode, service).run());
        Ok(())
    }

    fn at(
        post: Arc<Post>,
        (place, sponsor): (Option<Place>, Option<Arc<Client>>),
        front: FrontEnd,
        mode: Mode,
        service: Service,
    ) -> Self {
        let config = SessionConfig {
            version: service.version.clone(),
            pretty: mode == Mode::Control { pretty: true },
            oob_offered: true,
            kinds: service.chardevs.kinds(),
        };
        let session: Box<dyn Conversation> = match mode {
            Mode::Control { .. } => {
                Box::new(Session::new(config).with_own(Arc::clone(&service.own)))
            }
            Mode::Readline => Box::new(HmpSession::new(config)),
        };
        Monitor {
            session,
            connected: false,
            strange: None,
            running: None,
            waits: false,
            overtaking: Vec::new(),
            unread: VecDeque::new(),
            sent: VecDeque::new(),
            events: service.events.subscribe(),
            stopping: service.stop.requested(),
            closing: post.closing().requested(),
            closed: false,
            post,
            place,
            sponsor,
            ended: false,
            patience: Patience::default(),
            caller: Caller {
                client: Arc::new(Client::nobody()),
                fds: Arc::new(NamedFds::new(service.fdsets.clone())),
                service,
            },
            stopped: false,
            farewell: None,
            buffer: Box::default(),
            label: front.label(),
            changes: front.stats().changes,
            front,
        }
    }

    /// Serves one client after the other, or several, until the daemon ends.
    pub(crate) async fn run(mut self) {
        self.front.set_open(true);
        poll_fn(|cx| self.poll(cx)).await;
        if let Some(tunnel) = self.caller.client.take_tunnel() {
            self.become_tunnel(tunnel).await;
            return;
        }
        self.forget_client();
        if self.place.is_some() {
            return;
        }
        poll_fn(|cx| self.post.poll_empty(cx)).await;
        let (monitors, post) = (self.caller.service.monitors.clone(), self.post.clone());
        drop(self);
        monitors.closed(&post);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.waits = false;
        for _ in 0..TURN {
            // Nothing is told before all input is read: a client may have left, and what it was to
            // be told must not greet the next one.
            let closed = self.poll_closed(cx);
            let read = self.read_input(cx);
            let heard = (!read && self.poll_events(cx)) | self.poll_stop(cx);
            let moved = read | heard | self.poll_command(cx);
            // What is answered one after the other goes out together.
            let moved = moved || self.write_output(cx);
            let carries = self.caller.client.has_tunnel() && self.session.output().is_empty();
            if self.ended || closed || carries || (self.stopped && self.poll_farewell(cx)) {
                return Poll::Ready(());
            }
            let moved = moved | self.take_clients(cx) | self.give_up(cx) | self.poll_strange(cx);
            if !moved && !self.end_served_client() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_events(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = self.tell_lost();
        while let Poll::Ready(event) = self.events.poll_next(cx) {
            // What comes of the daemon's end, such as that of its programs, is told after it.
            moved |= self.poll_stop(cx);
            moved |= self.wants(&event) && self.session.send_event(&event);
        }
        while let Poll::Ready(event) = self.caller.client.poll_mail(cx) {
            moved |= self.session.send_event(&event);
        }
        moved
    }

    /// Tells a client that takes events again, before any other, how many it has missed.
    fn tell_lost(&mut self) -> bool {
        let lost = self.session.take_lost_events();
        let event = (lost > 0).then(|| events_lost(lost));
        event.is_some_and(|event| self.wants(&event) && self.session.send_event(&event))
    }

    /// QEMU is silent about chardevs, and a client that reads one line for one command works with
    /// it; so the events of our own are for clients that have asked for them.
    fn wants(&self, event: &chardev_qmp::Event) -> bool {
        let heard = !event.name.starts_with("X_") || self.caller.client.hears();
        let service = &self.caller.service;
        let shows = |data| service.access.shows(&self.caller.client, data);
        heard && event.data.as_ref().is_none_or(shows)
    }

    /// Tells the client that the daemon ends; nothing is read or begun after that.
    fn poll_stop(&mut self, cx: &mut Context<'_>) -> bool {
        if self.stopped {
            return false;
        }
        let Poll::Ready(reason) = self.stopping.as_mut().poll(cx) else {
            return false;
        };
        self.stopped = true;
        self.running = None;
        let data = Object::new()
            .with("guest", reason == Reason::Guest)
            .with("reason", reason.as_str());
        let event = chardev_qmp::Event::new("SHUTDOWN", Some(data.into()), now());
        self.session.send_event(&event)
    }

    fn write_output(&mut self, cx: &mut Context<'_>) -> bool {
        if self.session.output().is_empty() {
            return false;
        }
        match self.front.poll_answer(cx, self.session.output()) {
            Poll::Ready(Some(count)) => self.session.consume_output(count),
            // Its client has left, and the next one is not to be told what was for that one.
            Poll::Ready(None) if self.stopped => self.session.consume_output(usize::MAX),
            Poll::Ready(None) => return self.unread.len() >= READ_AHEAD,
            Poll::Pending => return false,
        }
        self.farewell = None;
        true
    }

    /// Whether the monitor is wanted no more and its client, which may have asked for just that,
    /// has been answered, or has had its time.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> bool {
        self.closed = self.closed || self.closing.as_mut().poll(cx).is_ready();
        if !self.closed {
            return false;
        }
        let is_answered = self.running.is_none()
            && self.overtaking.is_empty()
            && self.session.output().is_empty();
        let fresh = || Box::pin(tokio::time::sleep(FAREWELL));
        let farewell = self.farewell.get_or_insert_with(fresh);
        is_answered || farewell.as_mut().poll(cx).is_ready()
    }

    /// Whether the client of a daemon that ends has everything, or has taken nothing for too long.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> bool {
        let fresh = || Box::pin(tokio::time::sleep(FAREWELL));
        let farewell = self.farewell.get_or_insert_with(fresh);
        self.session.output().is_empty() || farewell.as_mut().poll(cx).is_ready()
    }
}
