//! A QMP session as a machine: bytes in, requests out, answers in, bytes out.

use std::collections::VecDeque;
use std::sync::Arc;

use chardev_qapi::memory;
use chardev_qapi::parser::{Message, Parser};
use chardev_qapi::spec::KindSpec;
use chardev_qapi::{Json, JsonError, Object, QmpError};

use crate::command::Command;
use crate::envelope::Envelope;
use crate::event::Event;
use crate::output::Output;
use crate::own::{Known, Own};
use crate::table::{Action, query_commands, schema_with};

/// How many requests wait at most, and how many run out of band; then the session takes no more
/// bytes.
pub const MAX_QUEUED: usize = 8;
/// Queued requests with more text than this together also stop the intake.
pub const MAX_QUEUED_SIZE: usize = 1 << 20;
/// With this much output waiting the session takes no bytes and runs nothing.
pub const OUTPUT_HIGH_WATER: usize = 256 << 10;
/// With this much output waiting events are dropped.
pub const EVENT_HIGH_WATER: usize = 512 << 10;

/// What a session says about itself, and what it understands.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The version in the greeting and in `query-version`.
    pub version: Version,
    /// Whether answers are indented.
    pub pretty: bool,
    /// Whether the capability `oob` is offered.
    pub oob_offered: bool,
    /// The back ends that exist.
    pub kinds: Vec<&'static KindSpec>,
}

/// QAPI `VersionInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number.
    pub micro: u32,
    /// Free text: who packaged what.
    pub package: String,
}

impl Version {
    /// The QAPI form.
    pub fn to_json(&self) -> Json {
        let numbers = Object::new()
            .with("micro", self.micro)
            .with("minor", self.minor)
            .with("major", self.major);
        Object::new()
            .with("qemu", numbers)
            .with("package", self.package.as_str())
            .into()
    }
}

impl Version {
    /// The three numbers, as in `10.0.2`.
    pub fn numbers(&self) -> String {
        format!("{}.{}.{}", self.major, self.minor, self.micro)
    }

    /// What `info version` prints: the numbers and, right after them, the package.
    pub fn to_text(&self) -> String {
        format!("{}{}", self.numbers(), self.package)
    }
}

impl Token {
    pub(crate) fn new(number: u64) -> Self {
        Token(number)
    }
}

/// A request to carry out; answer it with [`Session::respond`].
#[derive(Debug, PartialEq)]
pub struct Request {
    /// Names the request in the answer.
    pub token: Token,
    /// What to do.
    pub command: Command,
    /// Asked for with `exec-oob`: not to wait for the request that is under way.
    pub out_of_band: bool,
}

/// Names one request of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u64);

/// All that a client may do which has yet to prove who it is, besides negotiating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The command by which it proves it.
    pub allowed: &'static str,
    /// What it is told about every other one.
    pub refusal: &'static str,
}

/// A request whose arguments are in order.
#[derive(Clone, Debug)]
struct Checked {
    id: Option<Json>,
    /// What it may take to repeat `id`.
    echo: usize,
    spec: Known,
    command: Command,
}

/// A request that the owner works on.
#[derive(Clone, Debug)]
struct InFlight {
    token: Token,
    id: Option<Json>,
    echo: usize,
    spec: Known,
}

/// One client's conversation; see the [crate] for the picture.
#[derive(Clone, Debug)]
pub struct Session {
    config: SessionConfig,
    own: Arc<Own>,
    parser: Parser,
    connected: bool,
    negotiated: bool,
    lock: Option<Lock>,
    oob: bool,
    /// The client wants to know of which kind an error is.
    tells_kinds: bool,
    queue: VecDeque<Message>,
    queued_size: usize,
    /// Checked and not polled yet.
    ready: Option<Checked>,
    /// Polled and not answered yet.
    in_flight: Option<InFlight>,
    /// The same for requests that overtake those.
    oob_ready: VecDeque<Checked>,
    oob_in_flight: Vec<InFlight>,
    last_token: u64,
    output: Output,
    dropped_events: u64,
    untold_events: u64,
}

impl Session {
    /// A session nobody is connected to.
    pub fn new(config: SessionConfig) -> Self {
        Session {
            config,
            own: Arc::default(),
            parser: Parser::new(),
            connected: false,
            negotiated: false,
            lock: None,
            oob: false,
            tells_kinds: false,
            queue: VecDeque::new(),
            queued_size: 0,
            ready: None,
            in_flight: None,
            oob_ready: VecDeque::new(),
            oob_in_flight: Vec::new(),
            last_token: 0,
            output: Output::default(),
            dropped_events: 0,
            untold_events: 0,
        }
    }

    /// The same with commands and events that its owner adds.
    #[must_use]
    pub fn with_own(mut self, own: Arc<Own>) -> Self {
        self.own = own;
        self
    }

    /// A client came: forgets the one before and greets.
    pub fn handle_connect(&mut self) {
        self.handle_disconnect();
        self.connected = true;
        let mut capabilities = Vec::new();
        if self.config.oob_offered {
            capabilities.push("oob");
        }
        let greeting = Object::new()
            .with("version", self.config.version.to_json())
            .with("capabilities", capabilities);
        self.send(&Object::new().with("QMP", greeting).into());
    }

    /// The client left: drops what it asked for and what it has not read.
    ///
    /// A request that was polled goes on; its answer will be ignored.
    pub fn handle_disconnect(&mut self) {
        self.parser = Parser::new();
        self.connected = false;
        self.negotiated = false;
        self.lock = None;
        self.untold_events = 0;
        self.oob = false;
        self.tells_kinds = false;
        self.queue.clear();
        self.queued_size = 0;
        self.ready = None;
        self.in_flight = None;
        self.oob_ready.clear();
        self.oob_in_flight.clear();
        self.output.clear();
    }

    /// Until the client has left, or this is called again, it may do no more than `lock` says.
    /// That is looked at when a request comes to be worked on.
    pub fn set_lock(&mut self, lock: Option<Lock>) {
        self.lock = lock;
    }

    /// Takes bytes from the client and returns how many.
    ///
    /// The rest must be offered again after [`respond`](Session::respond) or
    /// [`consume_output`](Session::consume_output); see [`wants_input`](Session::wants_input).
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.wants_input() {
            let (used, message) = self.parser.feed(&bytes[at..]);
            at += used;
            if let Some(message) = message {
                self.receive(message);
            }
        }
        at
    }

    /// Whether [`handle_bytes`](Session::handle_bytes) would take anything now.
    pub fn wants_input(&self) -> bool {
        self.connected
            && self.queue.len() < MAX_QUEUED
            && self.queued_size < MAX_QUEUED_SIZE
            && self.oob_ready.len() + self.oob_in_flight.len() < MAX_QUEUED
            && self.has_room()
    }

    /// Whether the client has taken enough of its answers to be given more.
    fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_HIGH_WATER && !self.output.is_streaming()
    }

    /// The next request to carry out: first those out of band, then, unless one is not answered
    /// yet, the next in order.
    #[must_use]
    pub fn poll_request(&mut self) -> Option<Request> {
        let out_of_band = !self.oob_ready.is_empty();
        let Checked {
            id,
            echo,
            spec,
            command,
        } = match self.oob_ready.pop_front() {
            Some(request) => request,
            None => self.ready.take()?,
        };
        self.last_token += 1;
        let token = Token(self.last_token);
        let in_flight = InFlight {
            token,
            id,
            echo,
            spec,
        };
        match out_of_band {
            true => self.oob_in_flight.push(in_flight),
            false => self.in_flight = Some(in_flight),
        }
        Some(Request {
            token,
            command,
            out_of_band,
        })
    }

    /// Answers a request; an answer to a client that left is dropped.
    pub fn respond(&mut self, token: Token, result: Result<Json, QmpError>) {
        let oob = self.oob_in_flight.iter().position(|one| one.token == token);
        let answered = match oob {
            Some(at) => Some(self.oob_in_flight.remove(at)),
            None => self.in_flight.take_if(|one| one.token == token),
        };
        if let Some(InFlight { id, echo, spec, .. }) = answered {
            debug_assert_eq!(spec.check_answer(&result), Ok(()));
            match memory::allows(echo) {
                true => self.answer(id, result),
                false => {
                    drop(id);
                    self.answer(None, Err(JsonError::NoMemory.into()));
                }
            }
            self.run();
        }
    }

    /// The bytes for the client.
    pub fn output(&self) -> &[u8] {
        self.output.as_slice()
    }

    /// Says that the first `count` bytes of [`output`](Session::output) were sent.
    pub fn consume_output(&mut self, count: usize) {
        self.output.consume(count);
        self.run();
    }

    /// Sends an event. How often is for a [`Throttle`](crate::Throttle) to say, once for all
    /// sessions.
    ///
    /// Returns whether it was sent: clients that have not negotiated, or are locked, get none, and
    /// one that does not read loses them (see [`dropped_events`](Session::dropped_events)).
    pub fn send_event(&mut self, event: &Event) -> bool {
        if !self.connected || !self.negotiated || self.lock.is_some() {
            return false;
        }
        if self.output.len() >= EVENT_HIGH_WATER {
            self.dropped_events += 1;
            self.untold_events += 1;
            return false;
        }
        self.send(&event.to_object().into());
        true
    }

    /// How many events this client has lost since this was last asked for; 0 while the next one
    /// would be lost as well.
    pub fn take_lost_events(&mut self) -> u64 {
        match self.output.len() < EVENT_HIGH_WATER {
            true => std::mem::take(&mut self.untold_events),
            false => 0,
        }
    }

    /// How many events were lost to clients that did not read.
    pub fn dropped_events(&self) -> u64 {
        self.dropped_events
    }

    /// Whether a client is there and has negotiated.
    pub fn is_negotiated(&self) -> bool {
        self.negotiated
    }

    fn receive(&mut self, message: Message) {
        let out_of_band = match &message.value {
            Ok(value) => value.get("exec-oob").is_some() && value.get("execute").is_none(),
            Err(_) => false,
        };
        if out_of_band {
            let request = self.dispatch(message);
            self.oob_ready.extend(request);
            return;
        }
        self.queued_size += message.size;
        self.queue.push_back(message);
        self.run();
    }

    /// Works on the queue until a request needs help from outside.
    fn run(&mut self) {
        while self.ready.is_none()
            && self.in_flight.is_none()
            // What was asked for out of band is answered first.
            && self.oob_ready.is_empty()
            && self.oob_in_flight.is_empty()
            && self.has_room()
        {
            let Some(message) = self.queue.pop_front() else {
                return;
            };
            self.queued_size -= message.size;
            self.ready = self.dispatch(message);
        }
    }

    /// Answers a message, or returns the command that others have to answer.
    fn dispatch(&mut self, message: Message) -> Option<Checked> {
        let echo = message.echo_memory();
        if !memory::allows(echo) {
            drop(message);
            self.answer(None, Err(JsonError::NoMemory.into()));
            return None;
        }
        let envelope = match message.value {
            Ok(value) => Envelope::open(value, self.oob),
            Err(error) => Envelope {
                id: None,
                request: Err(error.into()),
            },
        };
        let id = envelope.id;
        let action = envelope.request.and_then(|request| {
            let spec = self.find(&request.name)?;
            let (name, allow_oob) = spec.allows_oob();
            if request.oob && !allow_oob {
                return Err(format!("The command {name} does not support OOB").into());
            }
            let action = spec.read(request.arguments, &self.config.kinds)?;
            Ok((spec, action))
        });
        let result = match action {
            Ok((spec, Action::External(command))) => {
                return Some(Checked {
                    id,
                    echo,
                    spec,
                    command,
                });
            }
            Ok((_, Action::Negotiate(enable))) => self.negotiate(&enable),
            Ok((_, Action::TellKinds(enable))) => {
                self.tells_kinds = enable;
                Ok(Json::empty())
            }
            Ok((_, Action::QueryCommands)) => Ok(query_commands(&self.own)),
            Ok((_, Action::QueryVersion)) => Ok(self.config.version.to_json()),
            Ok((_, Action::QueryQmpSchema)) => Ok(schema_with(&self.config.kinds, &self.own)),
            Err(error) => Err(error),
        };
        self.answer(id, result);
        None
    }

    fn find(&self, name: &str) -> Result<Known, QmpError> {
        if !self.negotiated && name != "qmp_capabilities" {
            let text = "Expecting capabilities negotiation with 'qmp_capabilities'";
            return Err(QmpError::command_not_found(text));
        }
        if let Some(lock) = self.lock {
            if name != lock.allowed && name != "qmp_capabilities" {
                return Err(lock.refusal.into());
            }
        }
        Known::find(name, &self.own).ok_or_else(|| {
            QmpError::command_not_found(format!("The command {name} has not been found"))
        })
    }

    fn negotiate(&mut self, enable: &[&str]) -> Result<Json, QmpError> {
        if self.negotiated {
            let text = "Capabilities negotiation is already complete, command ignored";
            return Err(QmpError::command_not_found(text));
        }
        if !enable.is_empty() && !self.config.oob_offered {
            return Err("Capability oob not available".into());
        }
        self.negotiated = true;
        self.oob = !enable.is_empty();
        Ok(Json::empty())
    }

    fn answer(&mut self, id: Option<Json>, result: Result<Json, QmpError>) {
        let mut answer = Object::new();
        match result {
            Ok(value) => {
                answer.insert("return", value);
                if let Some(id) = id {
                    answer.insert("id", id);
                }
            }
            Err(error) => {
                if let Some(id) = id {
                    answer.insert("id", id);
                }
                answer.insert("error", self.shown(&error));
            }
        }
        self.send(&answer.into());
    }

    fn shown(&self, error: &QmpError) -> Json {
        let mut shown = error.to_json();
        if let (true, Some(kind), Json::Object(members)) =
            (self.tells_kinds, error.kind(), &mut shown)
        {
            members.insert("x-kind", kind.as_str());
        }
        shown
    }

    fn send(&mut self, value: &Json) {
        self.output.push_message(value.write(self.config.pretty));
    }
}
