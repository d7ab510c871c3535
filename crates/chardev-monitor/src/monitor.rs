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

use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chardev::spec::Options;
use chardev::{Event, FrontEnd, FrontEndHooks, Input, Presence};
use chardev_qapi::{Json, Object, QmpError};
use chardev_qmp::hmp::HmpSession;
use chardev_qmp::{Command, Conversation, Request, Session, SessionConfig, Token};
use tokio::time::Sleep;

use crate::caller::Caller;
use crate::events::{Subscription, events_lost, now};
use crate::fds::NamedFds;
use crate::monitors::{Client, PASSED, Place, Post, Who};
use crate::patience::Patience;
use crate::service::Service;
use crate::stop::Reason;

/// How much is read ahead of a session that has no room, to see that its client has left.
const READ_AHEAD: usize = 64 << 10;
/// How many descriptors wait for their `getfd` at most.
const MAX_SENT: usize = 16;
/// How long a client may take nothing when the daemon ends, before it is not waited for.
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
    running: Option<Running>,
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
    ended: bool,
    patience: Patience,
    stopping: Pin<Box<dyn Future<Output = Reason> + Send>>,
    stopped: bool,
    /// How long the client has to take what it is owed once the daemon ends.
    farewell: Option<Pin<Box<Sleep>>>,
    buffer: Box<[u8]>,
    /// The monitor's chardev, and how many changes of it have been noticed.
    label: String,
    changes: u64,
}

/// What the client of a command that was given up is told, in case it is there after all.
const GIVEN_UP: &str = "The command was given up: over TCP a client that sends nothing more cannot be told from one that has left; leave the connection open";

/// A command being carried out.
type Work = Pin<Box<dyn Future<Output = Result<Json, QmpError>> + Send>>;

/// A command that was begun.
struct Running {
    token: Token,
    is_quit: bool,
    /// It replaces the monitor's own back end, whose peer gets the answer from there.
    is_own_change: bool,
    work: Work,
    result: Option<Result<Json, QmpError>>,
}

impl Monitor {
    /// A monitor for the clients of `front`.
    pub(crate) fn new(front: FrontEnd, mode: Mode, service: Service) -> Self {
        let post = service.monitors.open(&front.label(), mode);
        Monitor::at(post, None, front, mode, service)
    }

    /// Serves the client at the other end of `fd` (`x-monitor-add`).
    ///
    /// # Errors
    /// There is no room for more clients, or `fd` is no connected stream socket.
    pub(crate) fn serve(fd: OwnedFd, service: Service) -> Result<(), String> {
        let post = service.monitors.passed();
        let place = service.monitors.place(&post);
        let place = place.ok_or("There are too many clients of monitors; end some first")?;
        let front = service
            .chardevs
            .front_end_of(PASSED, fd, Arc::new(Answering))?;
        let runtime = service.monitors.runtime().clone();
        let mode = post.mode();
        runtime.spawn(Monitor::at(post, Some(place.used()), front, mode, service).run());
        Ok(())
    }

    fn at(
        post: Arc<Post>,
        place: Option<Place>,
        front: FrontEnd,
        mode: Mode,
        service: Service,
    ) -> Self {
        let config = SessionConfig {
            version: service.version.clone(),
            pretty: mode == Mode::Control { pretty: true },
            oob_offered: true,
            kinds: chardev::back::specs(),
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
            running: None,
            overtaking: Vec::new(),
            unread: VecDeque::new(),
            sent: VecDeque::new(),
            events: service.events.subscribe(),
            stopping: Box::pin(service.stop.requested()),
            post,
            place,
            ended: false,
            patience: Patience::default(),
            caller: Caller {
                client: Arc::new(Client::new(Who::default())),
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
        self.forget_client();
        if self.place.is_none() {
            poll_fn(|cx| self.post.poll_empty(cx)).await;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURN {
            // Nothing is told before all input is read: a client may have left, and what it was to
            // be told must not greet the next one.
            let read = self.read_input(cx);
            let moved = read
                | (!read && self.poll_events(cx))
                | self.poll_stop(cx)
                | (!read && self.write_output(cx))
                | self.poll_command(cx);
            if self.ended || (self.stopped && self.poll_farewell(cx)) {
                return Poll::Ready(());
            }
            let moved = moved | self.take_clients(cx) | self.give_up(cx);
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
        !event.name.starts_with("X_") || self.caller.client.hears()
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

    /// Whether the client of a daemon that ends has everything, or has taken nothing for too long.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> bool {
        let fresh = || Box::pin(tokio::time::sleep(FAREWELL));
        let farewell = self.farewell.get_or_insert_with(fresh);
        self.session.output().is_empty() || farewell.as_mut().poll(cx).is_ready()
    }

    fn poll_command(&mut self, cx: &mut Context<'_>) -> bool {
        if self.stopped {
            return false;
        }
        let mut moved = false;
        while let Some(request) = self.session.poll_request() {
            moved = true;
            self.begin(request);
        }
        let work = self.overtaking.iter_mut().position(|running| {
            let polled = running.work.as_mut().poll(cx);
            polled
                .map(|result| running.result = Some(result))
                .is_ready()
        });
        let done = match (work, &mut self.running) {
            (Some(at), _) => self.overtaking.remove(at),
            // What the client is still owed goes before the answer, on the old connection.
            (None, Some(running)) if running.is_own_change && !self.session.output().is_empty() => {
                return moved;
            }
            (None, Some(running)) => {
                let Poll::Ready(result) = running.work.as_mut().poll(cx) else {
                    return moved;
                };
                running.result = Some(result);
                match self.running.take() {
                    Some(done) => done,
                    None => return moved,
                }
            }
            (None, None) => return moved,
        };
        let result = done.result.unwrap_or_else(|| Ok(Json::empty()));
        if done.is_own_change && result.is_ok() {
            // The client has its answer; whoever is at the new back end begins anew.
            self.forget_client();
            return true;
        }
        // What a command caused is told before its answer.
        self.poll_events(cx);
        if done.is_quit {
            self.caller.service.stop.request(Reason::Quit);
            self.poll_stop(cx);
        }
        self.session.respond(done.token, result);
        true
    }

    fn begin(&mut self, request: Request) {
        let sent = match request.command {
            Command::GetFd { .. } | Command::AddFd { .. } => self.sent.pop_front(),
            _ => None,
        };
        let is_quit = request.command == Command::Quit;
        let (is_own_change, work): (bool, Work) = match request.command {
            Command::ChardevChange { id, options } if self.is_own_change(&id, &options) => {
                (true, self.own_change(id, options, request.token))
            }
            command => (false, Box::pin(self.caller.clone().run(command, sent))),
        };
        let running = Running {
            token: request.token,
            is_quit,
            is_own_change,
            work,
            result: None,
        };
        match request.out_of_band {
            true => self.overtaking.push(running),
            false => self.running = Some(running),
        }
    }

    /// With `x-handover` the client stays, and gets its answer as ever; and so does one that was
    /// taken from the chardev.
    fn is_own_change(&self, id: &str, options: &Options) -> bool {
        id == self.label && self.place.is_none() && !options.bool_or("x-handover", false)
    }

    /// The change of the monitor's own back end: its peer, our client, is told from there.
    fn own_change(&self, id: String, options: Options, token: Token) -> Work {
        let mut answering = self.session.fork();
        let owed = answering.output().len();
        answering.consume_output(owed);
        let answer = move |answer: Json| {
            answering.respond(token, Ok(answer));
            answering.output().to_vec()
        };
        Box::pin(self.caller.clone().change_answering(id, options, answer))
    }

    /// Whether what is read now comes from before a change that has yet to be noticed.
    fn is_outdated(&self) -> bool {
        self.front.stats().changes != self.changes
    }

    fn read_input(&mut self, cx: &mut Context<'_>) -> bool {
        if self.stopped {
            return false;
        }
        if !self.unread.is_empty() && self.session.wants_input() && !self.is_outdated() {
            let (first, _) = self.unread.as_slices();
            let used = self.session.handle_bytes(first);
            self.unread.drain(..used);
            return true;
        }
        if self.unread.len() >= READ_AHEAD {
            return self.drop_departed();
        }
        if self.buffer.is_empty() {
            self.buffer = vec![0; READ_AHEAD].into();
        }
        match self.front.poll_read(cx, &mut self.buffer) {
            Poll::Pending => {
                self.buffer = Box::default();
                return false;
            }
            Poll::Ready(Input::Data(count)) => self.receive(count),
            Poll::Ready(Input::Event(Event::Opened)) => self.greet(),
            Poll::Ready(Input::Event(Event::Changed(answers))) => {
                self.changes = self.front.stats().changes;
                match (answers.same_peer, answers.open) {
                    (true, _) => {}
                    (false, true) => self.greet(),
                    (false, false) => self.forget_client(),
                }
            }
            Poll::Ready(Input::Event(Event::Closed)) => {
                self.forget_client();
                self.ended = self.place.is_some();
            }
            Poll::Ready(Input::Event(Event::MuxIn)) => self.session.handle_focus(true),
            Poll::Ready(Input::Event(Event::MuxOut)) => self.session.handle_focus(false),
            Poll::Ready(Input::Event(_)) => {}
        }
        true
    }

    fn receive(&mut self, count: usize) {
        let came = self.front.take_fds();
        if !came.is_empty() {
            // With nothing under way these replace older ones nobody asked for, as in QEMU.
            if self.running.is_none() && self.unread.is_empty() {
                self.sent.clear();
            }
            self.sent.extend(came);
            self.sent.truncate(MAX_SENT);
        }
        if !self.connected {
            return;
        }
        let used = match self.unread.is_empty() && !self.is_outdated() {
            true => self.session.handle_bytes(&self.buffer[..count]),
            false => 0,
        };
        self.unread.extend(&self.buffer[used..count]);
    }

    /// A client that sends nothing more and has all its answers need not be waited for.
    fn end_served_client(&mut self) -> bool {
        let owed = self.running.is_some()
            || !self.overtaking.is_empty()
            || !self.unread.is_empty()
            || !self.session.output().is_empty();
        if owed || !self.front.input_ended() {
            return false;
        }
        self.front.disconnect();
        true
    }

    /// A client may leave more unread than is read ahead; its command must not wait on for it.
    fn drop_departed(&mut self) -> bool {
        if self.front.is_open() && !self.front.has_left() {
            return false;
        }
        self.forget_client();
        true
    }

    /// Takes further clients, where the chardev may have several.
    fn take_clients(&mut self, cx: &mut Context<'_>) -> bool {
        if self.place.is_some() || self.stopped {
            return false;
        }
        let limit = self.front.accept_limit();
        self.post.set_limit(limit.unwrap_or(1));
        if limit.is_none() {
            return false;
        }
        self.post.wake_when_free(cx);
        let Some(place) = self.caller.service.monitors.place(&self.post) else {
            return false;
        };
        let serving = self.post.taken() - 1 + usize::from(self.connected);
        let Some(fd) = self.front.accept(serving) else {
            return false;
        };
        let place = place.used();
        let service = self.caller.service.clone();
        let front = service
            .chardevs
            .front_end_of(&self.label, fd, Arc::new(Answering));
        match front {
            Ok(front) => {
                let post = Arc::clone(&self.post);
                let mode = post.mode();
                let runtime = service.monitors.runtime().clone();
                runtime.spawn(Monitor::at(post, Some(place), front, mode, service).run());
            }
            Err(error) => tracing::warn!("monitor on '{}': {error}", self.label),
        }
        true
    }

    /// A command must not wait for others on behalf of a client that has left; where nobody can
    /// tell whether it has, not for long.
    fn give_up(&mut self, cx: &mut Context<'_>) -> bool {
        if self.running.is_none() && self.overtaking.is_empty() {
            self.patience = Patience::default();
            return false;
        }
        if !self.patience.poll_tick(cx) {
            return false;
        }
        match self.front.presence() {
            Presence::There => self.patience.hope(),
            Presence::Gone => self.forget_client(),
            Presence::Unknown if self.patience.is_over() => {
                let running = self.running.take().into_iter();
                for given_up in running.chain(std::mem::take(&mut self.overtaking)) {
                    self.session.respond(given_up.token, Err(GIVEN_UP.into()));
                }
            }
            Presence::Unknown => {}
        }
        true
    }

    fn greet(&mut self) {
        self.forget_client();
        self.caller.client = self.post.enter(Who::of(self.front.peer()));
        self.session.handle_connect();
        self.connected = true;
    }

    fn forget_client(&mut self) {
        if self.connected {
            self.post.leave(&self.caller.client);
            self.caller.client = Arc::new(Client::new(Who::default()));
        }
        self.session.handle_disconnect();
        self.connected = false;
        self.running = None;
        self.overtaking.clear();
        self.unread = VecDeque::new();
        self.sent.clear();
    }
}
