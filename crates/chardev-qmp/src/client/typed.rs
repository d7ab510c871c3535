//! The commands about chardevs with types instead of JSON.
//!
//! Each is one [`execute`](Client::execute) and fails as that does; an answer of another shape than
//! QEMU's is a [`ClientError::Protocol`].

use std::io::{Read, Write};

use chardev_qapi::spec::{KindSpec, Options};
use chardev_qapi::{Json, Object, backend_to_json};

use super::{Client, ClientError};

/// QAPI `ChardevInfo`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChardevInfo {
    /// The id.
    pub label: String,
    /// The back end as QEMU writes it.
    pub filename: String,
    /// Whether a front end has it open.
    pub frontend_open: bool,
}

impl<S: Read + Write> Client<S> {
    /// All chardevs (`query-chardev`).
    ///
    /// # Errors
    /// As [`Client::execute`], and [`ClientError::Protocol`] for an answer of another shape.
    pub fn query_chardev(&mut self) -> Result<Vec<ChardevInfo>, ClientError> {
        let answer = self.execute("query-chardev", Object::new())?;
        let infos = answer.as_array().map(|infos| infos.iter().map(read_info));
        let infos = infos.and_then(Iterator::collect::<Option<Vec<_>>>);
        infos.ok_or_else(|| unexpected("query-chardev", &answer))
    }

    /// Adds a chardev with a back end in its wire form (`chardev-add`); returns the slave's path of
    /// a `pty`.
    ///
    /// # Errors
    /// As [`Client::execute`], and [`ClientError::Protocol`] for an answer of another shape.
    pub fn chardev_add(&mut self, id: &str, backend: Json) -> Result<Option<String>, ClientError> {
        self.with_backend("chardev-add", id, backend)
    }

    /// Gives a chardev another back end in its wire form (`chardev-change`); returns as
    /// [`chardev_add`](Client::chardev_add).
    ///
    /// # Errors
    /// As [`Client::execute`], and [`ClientError::Protocol`] for an answer of another shape.
    pub fn chardev_change(
        &mut self,
        id: &str,
        backend: Json,
    ) -> Result<Option<String>, ClientError> {
        self.with_backend("chardev-change", id, backend)
    }

    /// The same with options as the tables of `kinds` have them.
    ///
    /// # Errors
    /// As [`Client::execute`], and [`ClientError::Protocol`] for an answer of another shape.
    pub fn chardev_change_to(
        &mut self,
        id: &str,
        options: &Options,
        kinds: &[&KindSpec],
    ) -> Result<Option<String>, ClientError> {
        self.chardev_change(id, backend_to_json(options, kinds))
    }

    /// Removes a chardev (`chardev-remove`).
    ///
    /// # Errors
    /// As [`Client::execute`], and [`ClientError::Protocol`] for an answer of another shape.
    pub fn chardev_remove(&mut self, id: &str) -> Result<(), ClientError> {
        self.execute("chardev-remove", Object::new().with("id", id))
            .map(drop)
    }

    /// Sends a break to the front end of a chardev (`chardev-send-break`).
    ///
    /// # Errors
    /// As [`Client::execute`], and [`ClientError::Protocol`] for an answer of another shape.
    pub fn chardev_send_break(&mut self, id: &str) -> Result<(), ClientError> {
        self.execute("chardev-send-break", Object::new().with("id", id))
            .map(drop)
    }

    /// Takes up to `size` bytes of text out of a ring buffer (`ringbuf-read`).
    ///
    /// # Errors
    /// As [`Client::execute`], and [`ClientError::Protocol`] for an answer of another shape.
    pub fn ringbuf_read(&mut self, device: &str, size: u32) -> Result<String, ClientError> {
        let arguments = Object::new().with("device", device).with("size", size);
        self.text("ringbuf-read", arguments)
    }

    /// Puts text into a ring buffer (`ringbuf-write`).
    ///
    /// # Errors
    /// As [`Client::execute`], and [`ClientError::Protocol`] for an answer of another shape.
    pub fn ringbuf_write(&mut self, device: &str, data: &str) -> Result<(), ClientError> {
        let arguments = Object::new().with("device", device).with("data", data);
        self.execute("ringbuf-write", arguments).map(drop)
    }

    /// What the human monitor prints (`human-monitor-command`).
    ///
    /// # Errors
    /// As [`Client::execute`], and [`ClientError::Protocol`] for an answer of another shape. What
    /// goes wrong there is part of the text.
    pub fn human(&mut self, line: &str) -> Result<String, ClientError> {
        let arguments = Object::new().with("command-line", line);
        self.text("human-monitor-command", arguments)
    }

    /// Has errors say of which kind they are ([`QmpError::kind`]), where the server can
    /// (`x-error-kinds`); QEMU cannot.
    ///
    /// # Errors
    /// As [`Client::execute`], but for a server that does not know the command.
    ///
    /// [`QmpError::kind`]: chardev_qapi::QmpError::kind
    pub fn ask_for_error_kinds(&mut self) -> Result<(), ClientError> {
        match self.execute("x-error-kinds", Object::new().with("enable", true)) {
            Ok(_) | Err(ClientError::Command(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn with_backend(
        &mut self,
        command: &str,
        id: &str,
        backend: Json,
    ) -> Result<Option<String>, ClientError> {
        let arguments = Object::new().with("id", id).with("backend", backend);
        let answer = self.execute(command, arguments)?;
        match answer.get("pty") {
            None => Ok(None),
            Some(Json::Str(path)) => Ok(Some(path.clone())),
            Some(_) => Err(unexpected(command, &answer)),
        }
    }

    fn text(&mut self, command: &str, arguments: Object) -> Result<String, ClientError> {
        match self.execute(command, arguments)? {
            Json::Str(text) => Ok(text),
            other => Err(unexpected(command, &other)),
        }
    }
}

fn read_info(info: &Json) -> Option<ChardevInfo> {
    let text = |name| info.get(name)?.as_str().map(str::to_owned);
    Some(ChardevInfo {
        label: text("label")?,
        filename: text("filename")?,
        frontend_open: info.get("frontend-open")?.as_bool()?,
    })
}

fn unexpected(command: &str, answer: &Json) -> ClientError {
    ClientError::Protocol(format!("unexpected answer to {command}: {answer}"))
}
