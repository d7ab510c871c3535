//! front → chardev → [back] → host: the HTTP that comes before websocket's frames, RFC 6455 part 4.

use std::fmt;

use rustix::io::Errno;

use super::Random;
use super::digest::{base64, sha1};

/// The longest head of a request or an answer, as in QEMU.
const HEAD_LIMIT: usize = 4096;
const HEAD_END: &[u8] = b"\r\n\r\n";
/// What a server that knows websocket puts behind the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The one subprotocol: plain bytes in binary frames.
const SUBPROTOCOL: &str = "binary";

/// A head while it comes.
#[derive(Debug, Default)]
pub(super) struct Head(Vec<u8>);

impl Head {
    /// Takes what belongs to it; returns how much, and whether it is complete, or will never be.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (at, byte) in bytes.iter().enumerate() {
            self.0.push(*byte);
            if self.0.ends_with(HEAD_END) || self.0.len() > HEAD_LIMIT {
                return (at + 1, true);
            }
        }
        (bytes.len(), false)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a server has heard of its client.
#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) head: Head,
}

/// What a client has heard of its server.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) head: Head,
    /// The answer that shows that the server has understood.
    pub(super) accept: String,
    host: String,
}

impl Client {
    pub(super) fn new(host: &str) -> Self {
        Client {
            head: Head::default(),
            accept: String::new(),
            host: host.to_owned(),
        }
    }

    /// The request, with a key of its own.
    ///
    /// # Errors
    /// There are no random numbers.
    pub(super) fn request(&mut self, random: Random) -> Result<String, Errno> {
        let mut nonce = [0; 16];
        random(&mut nonce)?;
        let key = base64(&nonce);
        self.accept = accept(&key);
        Ok(format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n",
            self.host
        ))
    }
}

/// What comes of a head.
pub(super) struct Verdict {
    /// What the peer is told.
    pub(super) answer: Vec<u8>,
    /// Why this is the end.
    pub(super) error: Option<String>,
}

/// Judges the request of a client.
pub(super) fn judge_request(head: &[u8]) -> Verdict {
    match read_request(head) {
        Ok(answer) => Verdict {
            answer: answer.into_bytes(),
            error: None,
        },
        Err((status, reason)) => {
            let version = match status.starts_with("426") {
                true => "Sec-WebSocket-Version: 13\r\n",
                false => "",
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\n{version}Connection: close\r\n\
                 Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{reason}\n",
                reason.len() + 1
            );
            Verdict {
                answer: answer.into_bytes(),
                error: Some(format!("websocket: {reason}")),
            }
        }
    }
}

/// The status and the reason of a refusal.
type Refusal = (&'static str, &'static str);

fn read_request(head: &[u8]) -> Result<String, Refusal> {
    let bad = |reason| ("400 Bad Request", reason);
    if !head.ends_with(HEAD_END) {
        return Err(("403 Request Entity Too Large", "the request is too long"));
    }
    let head = std::str::from_utf8(head).map_err(|_| bad("the request is not text"))?;
    let (line, fields) = split(head).ok_or(bad("a header field has no colon"))?;
    let mut words = line.split(' ');
    if words.next() != Some("GET") {
        return Err(bad("only GET is answered"));
    }
    if words.next() != Some("/") {
        return Err(("404 Not Found", "only / is there"));
    }
    if words.next() != Some("HTTP/1.1") || words.next().is_some() {
        return Err(bad("the request is not HTTP/1.1"));
    }
    let only = |name: &str, missing| one(&fields, name).ok_or(bad(missing));
    only("Host", "exactly one Host is required")?;
    if !has_token(&fields, "Upgrade", "websocket") {
        return Err(bad("Upgrade: websocket is required"));
    }
    if !has_token(&fields, "Connection", "upgrade") {
        return Err(bad("Connection: Upgrade is required"));
    }
    if only("Sec-WebSocket-Version", "a version is required")? != "13" {
        return Err(("426 Upgrade Required", "only version 13 is spoken"));
    }
    let key = only("Sec-WebSocket-Key", "exactly one key is required")?;
    if !is_key(key) {
        return Err(bad("the key is not 16 bytes in Base64"));
    }
    let named = all(&fields, "Sec-WebSocket-Protocol").next().is_some();
    if named && !has_token(&fields, "Sec-WebSocket-Protocol", SUBPROTOCOL) {
        return Err(bad("the subprotocol must be binary"));
    }
    let protocol = match named {
        true => format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"),
        false => String::new(),
    };
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{protocol}\r\n",
        accept(key)
    ))
}

/// Judges the answer of a server.
pub(super) fn judge_answer(head: &[u8], accept: &str) -> Verdict {
    Verdict {
        answer: Vec::new(),
        error: read_answer(head, accept)
            .err()
            .map(|why| format!("websocket: {why}")),
    }
}

/// Why a server's answer is the end.
#[derive(Debug, PartialEq, Eq)]
enum BadAnswer<'a> {
    TooLong,
    NotText,
    NoColon,
    /// It answers this instead.
    Status(&'a str),
    NotUpgraded,
    /// What it says of our key is not what it has to say.
    WrongKey,
    Subprotocol,
    Extension,
}

impl fmt::Display for BadAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadAnswer::TooLong => "the server's answer is too long",
            BadAnswer::NotText => "the server's answer is not text",
            BadAnswer::NoColon => "a header field has no colon",
            BadAnswer::Status(line) => return write!(f, "the server answers '{line}'"),
            BadAnswer::NotUpgraded => "the server does not upgrade the connection",
            BadAnswer::WrongKey => "the server's answer does not match our key",
            BadAnswer::Subprotocol => "the server wants a subprotocol other than binary",
            BadAnswer::Extension => "the server wants an extension that was not offered",
        })
    }
}

fn read_answer<'a>(head: &'a [u8], accept: &str) -> Result<(), BadAnswer<'a>> {
    if !head.ends_with(HEAD_END) {
        return Err(BadAnswer::TooLong);
    }
    let head = std::str::from_utf8(head).map_err(|_| BadAnswer::NotText)?;
    let (line, fields) = split(head).ok_or(BadAnswer::NoColon)?;
    let status = line.strip_prefix("HTTP/1.1 ").unwrap_or_default();
    if status != "101" && !status.starts_with("101 ") {
        return Err(BadAnswer::Status(line));
    }
    if !has_token(&fields, "Upgrade", "websocket") || !has_token(&fields, "Connection", "upgrade") {
        return Err(BadAnswer::NotUpgraded);
    }
    if one(&fields, "Sec-WebSocket-Accept") != Some(accept) {
        return Err(BadAnswer::WrongKey);
    }
    // One that knows no subprotocols names none, and then bytes are bytes.
    let mut protocols = all(&fields, "Sec-WebSocket-Protocol");
    if protocols.any(|protocol| protocol != SUBPROTOCOL) {
        return Err(BadAnswer::Subprotocol);
    }
    if all(&fields, "Sec-WebSocket-Extensions").next().is_some() {
        return Err(BadAnswer::Extension);
    }
    Ok(())
}

/// What shows that a server has seen `key`.
fn accept(key: &str) -> String {
    base64(&sha1(format!("{key}{GUID}").as_bytes()))
}

fn is_key(key: &str) -> bool {
    let digits = key.strip_suffix("==").unwrap_or_default();
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    digits.len() == 22 && digits.bytes().all(is_digit)
}

type Fields<'a> = Vec<(&'a str, &'a str)>;

/// The first line, and the names and values of the others.
fn split(head: &str) -> Option<(&str, Fields<'_>)> {
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let first = lines.next()?;
    let fields = lines.map(|line| {
        let (name, value) = line.split_once(':')?;
        // A name with spaces around it is how requests are smuggled.
        let right = !name.is_empty() && !name.contains([' ', '\t']);
        right.then_some((name, value.trim_matches([' ', '\t'])))
    });
    Some((first, fields.collect::<Option<_>>()?))
}

/// The values of `name`.
fn all<'a>(fields: &Fields<'a>, name: &str) -> impl Iterator<Item = &'a str> {
    let found = fields.iter();
    let found = found.filter(move |(field, _)| field.eq_ignore_ascii_case(name));
    found.map(|(_, value)| *value)
}

/// The value of `name`, if there is exactly one.
fn one<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a str> {
    let mut found = all(fields, name);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

fn has_token(fields: &Fields<'_>, name: &str, token: &str) -> bool {
    all(fields, name).any(|value| {
        let mut tokens = value.split(',');
        tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
    })
}
