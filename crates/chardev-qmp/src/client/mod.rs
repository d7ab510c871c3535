//! A small synchronous client over anything that can be read and written.
//!
//! [`Client::execute`] runs any command; the usual ones about chardevs have methods with types.

mod typed;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::Duration;

use chardev_qapi::parser::Parser;
use chardev_qapi::{ErrorClass, ErrorKind, Json, JsonError, Object, QmpError};

pub use typed::ChardevInfo;

/// How many events are kept while nobody asks for them; then the oldest are dropped.
pub const MAX_EVENTS: usize = 4096;

/// Why a client call failed.
#[derive(Debug)]
pub enum ClientError {
    /// Reading or writing failed.
    Io(io::Error),
    /// The server closed the connection.
    Closed,
    /// The server sent what is not QMP.
    Protocol(String),
    /// The command failed; this is the server's answer.
    Command(QmpError),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClientError::Io(error) => error.fmt(f),
            ClientError::Closed => f.write_str("the server closed the connection"),
            ClientError::Protocol(text) => write!(f, "the server does not speak QMP: {text}"),
            ClientError::Command(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClientError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        ClientError::Io(error)
    }
}

/// An event from the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its data; [`Json::Null`] where it has none.
    pub data: Json,
    /// When it happened, since the Unix epoch.
    pub timestamp: Duration,
}

impl Event {
    /// Reads a message; `None` if it is no event.
    pub fn read(message: &Json) -> Option<Event> {
        let name = message.get("event")?.as_str()?.to_owned();
        let time = |name| message.get("timestamp")?.get(name)?.as_u64();
        let micros = time("microseconds").unwrap_or(0);
        let timestamp = Duration::from_secs(time("seconds").unwrap_or(0))
            .saturating_add(Duration::from_micros(micros));
        let data = message.get("data").cloned().unwrap_or(Json::Null);
        Some(Event {
            name,
            data,
            timestamp,
        })
    }
}

/// A negotiated connection.
#[derive(Debug)]
pub struct Client<S> {
    stream: S,
    parser: Parser,
    unread: VecDeque<u8>,
    greeting: Json,
    events: VecDeque<Event>,
    dropped_events: u64,
    last_id: i64,
}

impl<S: Read + Write> Client<S> {
    /// Reads the greeting and negotiates, with no capability enabled.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] if what greets is not a QMP server; else as for
    /// [`execute`](Client::execute).
    pub fn connect(stream: S) -> Result<Self, ClientError> {
        let mut client = Client {
            stream,
            parser: Parser::new(),
            unread: VecDeque::new(),
            greeting: Json::Null,
            events: VecDeque::new(),
            dropped_events: 0,
            last_id: 0,
        };
        let greeting = client.read_message()?;
        if greeting.get("QMP").is_none() {
            return Err(ClientError::Protocol(format!(
                "expected a greeting, got {greeting}"
            )));
        }
        client.greeting = greeting;
        client.execute("qmp_capabilities", Object::new())?;
        Ok(client)
    }

    /// The greeting, `{"QMP": {"version": …, "capabilities": […]}}`.
    pub fn greeting(&self) -> &Json {
        &self.greeting
    }

    /// Runs a command and waits for its answer; events that come before it are kept.
    ///
    /// # Errors
    /// [`ClientError::Command`] if the server refuses; the others if the connection is of no use
    /// any more.
    pub fn execute(&mut self, command: &str, arguments: Object) -> Result<Json, ClientError> {
        self.send(command, arguments)?;
        self.receive()
    }

    /// Sends a command without waiting; [`receive`](Client::receive) takes the answer.
    ///
    /// # Errors
    /// [`ClientError::Io`]
    pub fn send(&mut self, command: &str, arguments: Object) -> Result<(), ClientError> {
        let text = self.request(command, arguments);
        self.stream.write_all(text.as_bytes())?;
        self.stream.flush()?;
        Ok(())
    }

    /// Waits for the answer to the last command that was sent.
    ///
    /// # Errors
    /// As for [`execute`](Client::execute).
    pub fn receive(&mut self) -> Result<Json, ClientError> {
        loop {
            let mut message = self.read_message()?;
            if let Some(event) = Event::read(&message) {
                self.keep(event);
                continue;
            }
            let Json::Object(members) = &mut message else {
                return Err(ClientError::Protocol(format!(
                    "expected an object, got {message}"
                )));
            };
            let ours = members.get("id") == Some(&Json::Int(self.last_id));
            if let Some(value) = members.remove("return") {
                if ours {
                    return Ok(value);
                }
            } else if let Some(error) = members.get("error") {
                // A request that did not parse is answered without its id.
                if ours || members.get("id").is_none() {
                    return Err(ClientError::Command(read_error(error)));
                }
            } else {
                return Err(ClientError::Protocol(format!(
                    "unexpected answer {message}"
                )));
            }
        }
    }

    /// The events that came so far.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// As for [`execute`](Client::execute), but never [`ClientError::Command`].
    pub fn next_event(&mut self) -> Result<Event, ClientError> {
        if let Some(event) = self.events.pop_front() {
            return Ok(event);
        }
        loop {
            let message = self.read_message()?;
            if let Some(event) = Event::read(&message) {
                return Ok(event);
            }
        }
    }

    /// How many events were dropped because nobody took them.
    pub fn dropped_events(&self) -> u64 {
        self.dropped_events
    }

    /// The stream, for example to set a time-out.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream, to write to directly.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    fn request(&mut self, command: &str, arguments: Object) -> String {
        self.last_id += 1;
        let mut request = Object::new().with("execute", command);
        if !arguments.is_empty() {
            request.insert("arguments", arguments);
        }
        request.insert("id", self.last_id);
        format!("{}\n", Json::Object(request))
    }

    fn keep(&mut self, event: Event) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
            self.dropped_events += 1;
        }
        self.events.push_back(event);
    }

    fn read_message(&mut self) -> Result<Json, ClientError> {
        loop {
            let (used, message) = self.parser.feed(self.unread.make_contiguous());
            self.unread.drain(..used);
            if let Some(message) = message {
                let wrong = |error: JsonError| ClientError::Protocol(error.to_string());
                return message.value.map_err(wrong);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(count) => self.unread.extend(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn read_error(error: &Json) -> QmpError {
    let text = |name| error.get(name).and_then(Json::as_str).unwrap_or_default();
    QmpError::new(ErrorClass::from_wire(text("class")), text("desc"))
        .of_kind(ErrorKind::from_wire(text("x-kind")))
}
