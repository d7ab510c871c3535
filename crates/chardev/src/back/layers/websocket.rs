//! front → chardev → [back] → host: websocket (RFC 6455), as a server and as a client.
//!
//! A console is a stream, so a message's bytes go up as they come and no message is held: only its
//! head, a control frame and a character that is cut in two are ever kept. What goes down is binary
//! frames, one a write. Text is taken as well, because browsers and `websocat` send it by default.

pub(super) mod digest;
mod frame;
mod handshake;
#[cfg(test)]
mod tests;
mod utf8;

use chardev_core::spec::{Options, ParameterError, Problem, SocketAddress};
use chardev_core::{Flow, Layer, OpenError};
use rustix::io::Errno;

use self::frame::{Decoder, Found, GOING, Violation, close_frame, data_frame, pong_frame};
use self::handshake::{Client, Server};
use super::{LayerKind, LayerSpec, options};
use crate::back::OpenContext;

/// The layer of `websocket=on`.
pub(super) const SPEC: LayerSpec = LayerSpec {
    options: options::WEBSOCKET,
    wanted: of_socket,
};

fn of_socket(options: &Options, _context: &OpenContext) -> Result<Option<LayerKind>, OpenError> {
    Ok(wanted(options)?)
}

/// What `options` ask for. QEMU refuses `websocket` for a client, and what is refused there should
/// not mean something else here: the client has an option of its own.
///
/// # Errors
/// What does not go together.
pub fn wanted(options: &Options) -> Result<Option<LayerKind>, ParameterError> {
    let server = options.bool_or("server", true);
    if !options.bool_or("x-websocket-client", false) {
        let wanted = server && options.bool_or("websocket", false);
        let kind = || LayerKind::new("websocket", || Box::new(Websocket::server()));
        return Ok(wanted.then(|| kind().shown_as("websocket")));
    }
    if server {
        let words = "'x-websocket-client' option is incompatible with socket in server listen \
                     mode; use 'websocket'";
        let conflict = ParameterError::new("x-websocket-client", Problem::Conflict);
        return Err(conflict.shown_as(words));
    }
    let host = host(options.address("addr"));
    let kind = LayerKind::new("websocket-client", move || {
        Box::new(Websocket::client(&host, system_random))
    });
    Ok(Some(kind.shown_as("websocket")))
}

/// What a server's virtual hosts go by.
fn host(address: Option<&SocketAddress>) -> String {
    match address {
        Some(SocketAddress::Inet(inet)) => {
            let host = match inet.host.as_str() {
                "" => "localhost",
                host => host,
            };
            match host.contains(':') && !host.starts_with('[') {
                true => format!("[{host}]:{}", inet.port),
                false => format!("{host}:{}", inet.port),
            }
        }
        _ => "localhost".to_owned(),
    }
}

/// Fills a buffer with what nobody can foresee.
type Random = fn(&mut [u8]) -> Result<(), Errno>;

fn system_random(buf: &mut [u8]) -> Result<(), Errno> {
    let mut filled = 0;
    while filled < buf.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        match rustix::rand::getrandom(&mut buf[filled..], flags) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Why a client cannot speak.
fn unmasked(error: Errno) -> String {
    format!("cannot get random numbers: {error}")
}

/// One connection.
pub(super) struct Websocket {
    stage: Stage,
    decoder: Decoder,
    /// Where the masks of a client come from.
    random: Option<Random>,
    /// A close frame was sent, behind which nothing may come.
    closing: bool,
}

enum Stage {
    Serving(Server),
    Asking(Client),
    Open,
}

impl Websocket {
    /// One with a client at the other end.
    pub(super) fn server() -> Self {
        Websocket::new(Stage::Serving(Server::default()), None)
    }

    /// One with a server at the other end, which is called `host`.
    pub(super) fn client(host: &str, random: Random) -> Self {
        Websocket::new(Stage::Asking(Client::new(host)), Some(random))
    }

    fn new(stage: Stage, random: Option<Random>) -> Self {
        Websocket {
            stage,
            decoder: Decoder::new(random.is_none()),
            random,
            closing: false,
        }
    }

    /// Takes part of the handshake; returns what of `bytes` comes behind it.
    fn shake_hands<'a>(&mut self, bytes: &'a [u8], flow: &mut Flow<'_>) -> &'a [u8] {
        let (head, accept) = match &mut self.stage {
            Stage::Open => return bytes,
            Stage::Serving(server) => (&mut server.head, None),
            Stage::Asking(client) => (&mut client.head, Some(&client.accept)),
        };
        let (taken, complete) = head.take(bytes);
        let rest = &bytes[taken..];
        if !complete {
            return rest;
        }
        let verdict = match accept {
            None => handshake::judge_request(head.bytes()),
            Some(accept) => handshake::judge_answer(head.bytes(), accept),
        };
        flow.down(&verdict.answer);
        match verdict.error {
            Some(reason) => flow.fail(reason),
            None => self.stage = Stage::Open,
        }
        rest
    }

    fn hear(&mut self, found: Found<'_>, flow: &mut Flow<'_>) {
        let payload = self.decoder.take_payload();
        match found {
            Found::Binary(mut masked) => flow.up_by(masked.len(), |buf| masked.read(buf)),
            Found::Text => flow.up(&payload),
            Found::Ping if !self.closing => {
                self.push(flow, |mask, out| pong_frame(&payload, mask, out));
            }
            Found::Nothing | Found::Ping | Found::Pong => {}
            Found::Close => {
                if !std::mem::replace(&mut self.closing, true) {
                    self.push(flow, |mask, out| close_frame(&payload, mask, out));
                }
                flow.close();
            }
        }
        self.decoder.give_back(payload);
    }

    /// Sends a frame that `make` makes with a mask, if it needs one.
    fn push(&mut self, flow: &mut Flow<'_>, make: impl FnOnce(Option<[u8; 4]>, &mut Vec<u8>)) {
        let mut mask = [0; 4];
        if let Some(Err(error)) = self.random.map(|random| random(&mut mask)) {
            return flow.fail(unmasked(error));
        }
        let mask = self.random.is_some().then_some(mask);
        flow.down_by(|out| make(mask, out));
    }

    fn refuse(&mut self, violation: &Violation, flow: &mut Flow<'_>) {
        flow.up(&self.decoder.take_payload());
        if !std::mem::replace(&mut self.closing, true) {
            let code = violation.code.to_be_bytes();
            self.push(flow, |mask, out| close_frame(&code, mask, out));
        }
        flow.fail(format!("websocket: {}", violation.reason));
    }
}

impl Layer for Websocket {
    fn start(&mut self, flow: &mut Flow<'_>) {
        let (Stage::Asking(client), Some(random)) = (&mut self.stage, self.random) else {
            return;
        };
        match client.request(random) {
            Ok(request) => flow.down(request.as_bytes()),
            Err(error) => flow.fail(unmasked(error)),
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    fn receive(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        let mut rest = self.shake_hands(bytes, flow);
        if !self.is_open() {
            return;
        }
        while !rest.is_empty() {
            match self.decoder.decode(rest) {
                Ok((_, Found::Close)) => return self.hear(Found::Close, flow),
                Ok((taken, found)) => {
                    if found != Found::Nothing {
                        self.hear(found, flow);
                    }
                    rest = &rest[taken..];
                }
                Err(violation) => return self.refuse(&violation, flow),
            }
        }
    }

    fn receive_end(&mut self, flow: &mut Flow<'_>) {
        match self.is_open() {
            true => flow.end(),
            false => flow.fail("the peer disconnected during the websocket handshake"),
        }
    }

    /// For pings: many a client leaves if its own is not answered in 20 s.
    fn listens(&self) -> bool {
        self.is_open() && !self.closing
    }

    fn room(&self) -> usize {
        if self.closing { 0 } else { usize::MAX }
    }

    fn send(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        self.push(flow, |mask, out| data_frame(bytes, mask, out));
    }

    fn send_end(&mut self, flow: &mut Flow<'_>) {
        if self.is_open() && !std::mem::replace(&mut self.closing, true) {
            self.push(flow, |mask, out| close_frame(GOING, mask, out));
        }
    }
}
