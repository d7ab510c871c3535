//! What the tests of the web page share: a daemon with one, and clients of HTTP and WebSocket that
//! say what they are told to, right or wrong.

mod stream;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use chardev_qapi::{Json, Object};

use crate::ctl_rig::{Daemon, LIMIT, text};

pub(crate) use stream::{Stream, Told};

/// Where the API begins.
pub(crate) const API: &str = "/api/v1";

/// A daemon with a page on the loopback address.
pub(crate) struct Page {
    pub(crate) daemon: Daemon,
    pub(crate) address: SocketAddr,
}

/// What a request is answered with.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Somebody's browser: whose cookie it has, and what it says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    pub(crate) address: SocketAddr,
    pub(crate) cookie: Option<String>,
}

impl Page {
    /// One with these arguments, whose page is served because somebody asks for a link.
    pub(crate) fn with(arguments: &[&str]) -> Page {
        let daemon = Daemon::with(arguments);
        let (address, _) = link(&daemon);
        Page { daemon, address }
    }

    /// One with this configuration.
    pub(crate) fn configured(dir: &Path, configuration: &str) -> Page {
        let file = dir.join("chardevd.toml");
        std::fs::write(&file, configuration).expect("a file");
        Page::with(&["--config", file.to_str().expect("a path")])
    }

    /// A browser that nobody has logged in with.
    pub(crate) fn stranger(&self) -> Browser {
        Browser {
            address: self.address,
            cookie: None,
        }
    }

    /// One that has followed a link.
    pub(crate) fn browser(&self) -> Browser {
        let (address, code) = link(&self.daemon);
        let mut browser = Browser {
            address,
            cookie: None,
        };
        let reply = browser.log_in("code", &code);
        assert_eq!(reply.status, 200, "{reply:?}");
        browser
    }

    /// The daemon's memory, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.daemon.child.id());
        let all = text(&std::fs::read(path).expect("the daemon runs"));
        let line = all.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.expect("a number")
    }
}

/// A link's address and code.
pub(crate) fn link(daemon: &Daemon) -> (SocketAddr, String) {
    let url = daemon.succeed(&["web", "--print"]);
    let rest = url.trim_end().strip_prefix("http://").expect("a link");
    let (address, code) = rest.split_once("/login#").expect("a link");
    (address.parse().expect("an address"), code.to_owned())
}

impl Browser {
    /// Logs in by what is called `name`, and keeps the cookie.
    pub(crate) fn log_in(&mut self, name: &'static str, secret: &str) -> Reply {
        let body = Json::from(Object::new().with(name, secret)).to_string();
        let reply = self.post("/login", &body);
        if let Some(cookie) = reply.header("set-cookie") {
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        reply
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks the API.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask("GET", &format!("{API}{path}"), &self.headers(), b"")
    }

    /// Asks the API for a change.
    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        self.ask(
            "POST",
            &format!("{API}{path}"),
            &self.headers(),
            body.as_bytes(),
        )
    }

    /// The headers of a browser that asks for its own page.
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("Host", self.address.to_string()),
            ("Origin", self.origin()),
            ("X-Requested-By", "chardev".to_owned()),
        ];
        if let Some(cookie) = &self.cookie {
            headers.push(("Cookie", cookie.clone()));
        }
        headers
    }

    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Reply {
        let mut client = connect(self.address);
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("Content-Length: {}\r\n\r\n", body.len());
        let request = [request.as_bytes(), body].concat();
        client.write_all(&request).expect("it is asked");
        Reply::read(client)
    }

    /// A stream of a console, asked for with this query.
    pub(crate) fn stream(&self, id: &str, query: &str) -> Stream {
        let path = format!("{API}/consoles/{id}/stream?{query}");
        Stream::open(self.address, &path, &self.headers()).expect("a stream")
    }
}

/// A connection on which nothing takes for ever.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(LIMIT)).expect("a limit");
    client.set_write_timeout(Some(LIMIT)).expect("a limit");
    client
}

impl Reply {
    /// All that comes until the end.
    pub(crate) fn read(mut client: TcpStream) -> Reply {
        let mut all = Vec::new();
        // A server that has refused may not have read everything, which is a reset in the end.
        let ended = client.read_to_end(&mut all);
        let end = all.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("{ended:?} after '{}'", text(&all)));
        let head = text(&all[..end]);
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Reply {
            status: status.expect("a status"),
            head,
            body: all.split_off(end + 4),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        let number = self.header(name).and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }

    pub(crate) fn json(&self) -> Json {
        let parsed = Json::parse(&text(&self.body));
        parsed.unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The class of an error.
    pub(crate) fn class(&self) -> String {
        let json = self.json();
        let class = json.get("error").and_then(|error| error.get("class"));
        class.and_then(Json::as_str).expect("a class").to_owned()
    }
}
