//! A stream, as a page has it.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use chardev_qapi::{Json, Object};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::{HeaderName, HeaderValue};
use tungstenite::{Error, Message, WebSocket};

use super::connect;
use crate::ctl_rig::LIMIT;

/// A stream.
pub(crate) struct Stream {
    socket: WebSocket<TcpStream>,
    /// Where the next output byte is, once `hello` said so.
    pub(crate) at: u64,
    pub(crate) hello: Object,
    /// How much was typed, as far as that was told.
    pub(crate) typed: u64,
}

/// What a stream tells.
#[derive(Debug)]
pub(crate) enum Told {
    Output(Vec<u8>),
    Gap(u64, u64),
    Event(Json),
    Typed,
    /// The end, and why, if that was said.
    End(Option<String>),
    /// Anything else.
    Other(Json),
}

impl Stream {
    /// Opens one, or gives the status of the refusal.
    pub(crate) fn open(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, String)],
    ) -> Result<Stream, u16> {
        let mut request = format!("ws://{address}{path}")
            .into_client_request()
            .expect("a request");
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            let value = HeaderValue::from_str(value).expect("a value");
            request.headers_mut().insert(name, value);
        }
        let socket = match tungstenite::client(request, connect(address)) {
            Ok((socket, _)) => socket,
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
                return Err(response.status().as_u16());
            }
            Err(error) => panic!("{error}"),
        };
        let mut stream = Stream {
            socket,
            at: 0,
            hello: Object::new(),
            typed: 0,
        };
        let hello = match stream.next() {
            Told::Other(told) => told.get("hello").and_then(Json::as_object).cloned(),
            told => panic!("{told:?}"),
        };
        stream.hello = hello.expect("a hello");
        stream.at = stream
            .hello
            .get("from")
            .and_then(Json::as_u64)
            .expect("an offset");
        Ok(stream)
    }

    /// What it tells next. Output has to be where the one before ended, but for gaps.
    pub(crate) fn next(&mut self) -> Told {
        let message = match self.socket.read() {
            Ok(Message::Ping(_) | Message::Pong(_)) => return self.next(),
            Ok(Message::Close(frame)) => {
                let reason = frame.map(|frame| frame.reason.to_string());
                return Told::End(reason.filter(|reason| !reason.is_empty()));
            }
            Ok(message) => message,
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => panic!("it hangs"),
            Err(_) => return Told::End(None),
        };
        match message {
            Message::Binary(frame) => {
                let (offset, output) = frame.split_first_chunk().expect("an offset");
                assert_eq!(u64::from_be_bytes(*offset), self.at, "no byte is missing");
                self.at += output.len() as u64;
                Told::Output(output.to_vec())
            }
            Message::Text(text) => self.understand(Json::parse(&text).expect("JSON")),
            message => panic!("{message:?}"),
        }
    }

    fn understand(&mut self, told: Json) -> Told {
        if let Some(gap) = told.get("gap") {
            let side = |name| gap.get(name).and_then(Json::as_u64).expect("a gap");
            let (from, to) = (side("from"), side("to"));
            assert_eq!(from, self.at, "a gap begins where the output ended");
            self.at = to;
            return Told::Gap(from, to);
        }
        if let Some(typed) = told.get("typed").and_then(Json::as_u64) {
            self.typed = typed;
            return Told::Typed;
        }
        if let Some(reason) = told.get("end").and_then(Json::as_str) {
            return Told::End(Some(reason.to_owned()));
        }
        match told.get("event") {
            Some(event) => Told::Event(event.clone()),
            None => Told::Other(told),
        }
    }

    /// Output, however it is cut, until there are `count` bytes of it; each is shown at once.
    pub(crate) fn output(&mut self, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.next() {
                Told::Output(output) => {
                    all.extend(output);
                    self.acknowledge();
                }
                Told::Event(_) | Told::Typed | Told::Other(_) => {}
                told => panic!("{told:?} after {} bytes", all.len()),
            }
        }
        all
    }

    /// All that came is shown.
    pub(crate) fn acknowledge(&mut self) {
        self.say(&format!("{{\"ack\": {}}}", self.at));
    }

    pub(crate) fn say(&mut self, words: &str) {
        self.send(Message::text(words));
    }

    /// Types `bytes`, the first of which is at `offset` of all that is typed.
    pub(crate) fn type_in(&mut self, offset: u64, bytes: &[u8]) {
        self.send(Message::binary([&offset.to_be_bytes(), bytes].concat()));
    }

    /// Says what is no message yet, such as many frames at a time.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        use std::io::Write as _;
        let written = self.socket.get_mut().write_all(bytes);
        written.expect("it is taken");
    }

    pub(crate) fn send(&mut self, message: Message) {
        // Who is refused for it hears so, and may not be there any more when more is sent.
        let _ = self.socket.send(message);
    }

    /// Waits for the answer to a ping.
    pub(crate) fn wait_for_pong(&mut self) {
        let end = Instant::now() + LIMIT;
        while !matches!(self.socket.read().expect("a message"), Message::Pong(_)) {
            assert!(Instant::now() < end, "no answer");
        }
    }

    /// Waits until `count` bytes are typed.
    pub(crate) fn wait_typed(&mut self, count: u64) {
        let end = Instant::now() + LIMIT;
        while self.typed < count {
            assert!(Instant::now() < end, "{} of {count}", self.typed);
            match self.next() {
                Told::End(reason) => panic!("{reason:?} after {} bytes", self.typed),
                Told::Output(_) => self.acknowledge(),
                _ => {}
            }
        }
    }

    /// The connection is lost, without a word.
    pub(crate) fn kill(self) {
        let socket = socket2::SockRef::from(self.socket.get_ref());
        // A reset, as when a machine goes away.
        socket
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("a socket");
    }

    /// The next output, gap or end.
    pub(crate) fn next_output(&mut self) -> Told {
        loop {
            match self.next() {
                Told::Event(_) | Told::Typed | Told::Other(_) => {}
                told => return told,
            }
        }
    }

    /// Whether there is output that has come already.
    pub(crate) fn has_output(&mut self) -> bool {
        let quiet = |error: &Error| matches!(error, Error::Io(error) if error.kind() == ErrorKind::WouldBlock);
        self.socket
            .get_ref()
            .set_nonblocking(true)
            .expect("a socket");
        let found = loop {
            match self.socket.read() {
                Ok(Message::Binary(_)) => break true,
                Ok(_) => {}
                Err(error) if quiet(&error) => break false,
                Err(error) => panic!("{error}"),
            }
        };
        self.socket
            .get_ref()
            .set_nonblocking(false)
            .expect("a socket");
        found
    }
}
