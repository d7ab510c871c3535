//! The back ends that peers are at the other end of.

use std::path::Path;

use chardev_qapi::{Json, Object};

/// How large a ring buffer is.
const RING: i64 = 256 << 10;

/// A back end, as it is written on a command line and as commands take it.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// In the grammar of `-chardev`, without an id.
    pub line: String,
    /// As the member `backend` of a command.
    pub json: Json,
}

impl Backend {
    pub(super) fn file(path: &Path) -> Self {
        let data = Object::new().with("out", text(path));
        Backend::new(format!("file,path={}", word(path)), "file", data)
    }

    pub(super) fn pipe(path: &Path) -> Self {
        let data = Object::new().with("device", text(path));
        Backend::new(format!("pipe,path={}", word(path)), "pipe", data)
    }

    pub(super) fn pty() -> Self {
        Backend::new("pty".to_owned(), "pty", Object::new())
    }

    pub(super) fn ring() -> Self {
        let data = Object::new().with("size", RING);
        Backend::new(format!("ringbuf,size={RING}"), "ringbuf", data)
    }

    pub(super) fn unix(path: &Path, server: bool) -> Self {
        let address = Object::new().with("path", text(path));
        Backend::socket(format!("path={}", word(path)), "unix", address, server)
    }

    pub(super) fn tcp(port: u16, server: bool) -> Self {
        let address = Object::new().with("host", "127.0.0.1");
        let address = address.with("port", port.to_string());
        let line = format!("host=127.0.0.1,port={port}");
        Backend::socket(line, "inet", address, server)
    }

    fn socket(line: String, family: &str, address: Object, server: bool) -> Self {
        let address = Object::new().with("type", family).with("data", address);
        let data = Object::new().with("addr", address).with("server", server);
        match server {
            true => {
                let line = format!("socket,{line},server=on,wait=off");
                Backend::new(line, "socket", data.with("wait", false))
            }
            false => Backend::new(format!("socket,{line}"), "socket", data),
        }
    }

    /// The same as a command takes it, with a log.
    #[must_use]
    pub fn with_log(mut self, path: &Path) -> Self {
        let data = self.json.get("data").and_then(Json::as_object);
        let data = data.cloned().unwrap_or_default();
        let data = data.with("logfile", text(path)).with("logappend", true);
        let json = self.json.as_object().cloned().unwrap_or_default();
        self.json = json.with("data", data).into();
        self
    }

    fn new(line: String, kind: &str, data: Object) -> Self {
        let json = Object::new().with("type", kind).with("data", data);
        Backend {
            line,
            json: json.into(),
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A path on a command line.
fn word(path: &Path) -> String {
    text(path).replace(',', ",,")
}
