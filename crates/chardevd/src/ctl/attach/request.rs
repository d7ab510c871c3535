//! One command to the monitor while attached, without waiting for the answer.
//!
//! A monitor serves one client at a time, so an attached terminal must not keep it: it connects for
//! every command and leaves as soon as it is answered.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use chardev_qapi::parser::Parser;
use chardev_qapi::{Json, Object};
use rustix::io::Errno;

use crate::ctl::connect::{Stream, Target};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A command under way.
#[derive(Debug)]
pub(super) struct Request {
    stream: Stream,
    parser: Parser,
    /// The negotiation's answer, then the command's.
    missing: u8,
    until: Instant,
}

impl Request {
    /// Sends `command`. Both are small enough for any socket buffer.
    pub(super) fn send(
        target: &Target,
        command: &str,
        arguments: Object,
    ) -> Result<Request, String> {
        let mut stream = target.open().map_err(|failure| failure.to_string())?;
        let command = Object::new()
            .with("execute", command)
            .with("arguments", arguments);
        let text = format!(
            "{{\"execute\": \"qmp_capabilities\"}}\n{}\n",
            Json::Object(command)
        );
        stream
            .write_all(text.as_bytes())
            .map_err(|error| format!("{}: {error}", target.address))?;
        let until = Instant::now() + PATIENCE;
        Ok(Request {
            stream,
            parser: Parser::new(),
            missing: 2,
            until,
        })
    }

    /// What to poll for answers.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Takes in what has come, if the descriptor is readable. Some result means that it is over.
    pub(super) fn advance(&mut self, readable: bool) -> Option<Result<(), String>> {
        if !readable {
            let late = Instant::now() > self.until;
            return late.then(|| Err("the monitor does not answer".to_owned()));
        }
        let mut buffer = [0; 4096];
        let mut bytes: &[u8] = match rustix::io::read(&self.stream, &mut buffer) {
            Ok(0) => return Some(Err("the monitor closed the connection".to_owned())),
            Ok(count) => &buffer[..count],
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Err(error) => return Some(Err(error.to_string())),
        };
        while !bytes.is_empty() {
            let (used, message) = self.parser.feed(bytes);
            bytes = &bytes[used..];
            let value = match message?.value {
                Ok(value) => value,
                Err(error) => return Some(Err(error)),
            };
            if let Some(error) = value.get("error") {
                let text = error
                    .get("desc")
                    .and_then(Json::as_str)
                    .unwrap_or("refused");
                return Some(Err(text.to_owned()));
            }
            self.missing -= u8::from(value.get("return").is_some());
            if self.missing == 0 {
                return Some(Ok(()));
            }
        }
        None
    }
}
