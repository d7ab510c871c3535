//! What a program says of its page.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::tls::Tls;

/// Where a page is served, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address, or the path.
    pub listen: Listen,
    /// Who may connect, where that is a path.
    pub permit: Permit,
    /// By which names browsers may ask for it, beside its address and `localhost`: `HOST`, or
    /// `HOST:PORT` where that is another one.
    pub hosts: Vec<String>,
    /// How many connections there may be.
    pub connections: usize,
    /// Who says who its clients are, if there is one.
    pub proxy: Option<Proxy>,
    /// The files of certificates, if TLS is spoken.
    pub tls: Option<Tls>,
}

/// A server in front of this one that lets people in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Where it connects from; from anywhere else the header is refused.
    pub from: Vec<IpAddr>,
    /// Whose process it is, where it connects by a Unix socket; whoever may connect, if this says
    /// nothing.
    pub users: Option<BTreeSet<u32>>,
    /// The header in which it says who asks: a user of this host.
    pub header: String,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address.
    Inet {
        /// A name or an address.
        host: String,
        /// 0 is any that is free.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Who may connect to a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// As for `chmod`.
    pub mode: u32,
    /// The number of its group; that of the process, if this says nothing.
    pub group: Option<u32>,
}

impl Settings {
    /// How many connections there may be where nothing is said.
    pub const CONNECTIONS: usize = 256;

    /// The same with relative paths that start at `directory`.
    #[must_use]
    pub fn within(self, directory: &Path) -> Self {
        let listen = match self.listen {
            Listen::Unix(path) => Listen::Unix(directory.join(path)),
            inet @ Listen::Inet { .. } => inet,
        };
        Settings {
            listen,
            tls: self.tls.map(|tls| tls.within(directory)),
            ..self
        }
    }
}

impl Default for Settings {
    /// The loopback address, at a port that is free.
    fn default() -> Self {
        Settings {
            listen: Listen::Inet {
                host: "127.0.0.1".to_owned(),
                port: 0,
            },
            permit: Permit::default(),
            hosts: Vec::new(),
            connections: Settings::CONNECTIONS,
            proxy: None,
            tls: None,
        }
    }
}

impl Default for Permit {
    /// The user alone whose process this is.
    fn default() -> Self {
        Permit {
            mode: 0o600,
            group: None,
        }
    }
}

impl Listen {
    /// Reads `HOST:PORT`, or `unix:PATH`. Without a host it is the loopback address.
    ///
    /// # Errors
    /// What it should look like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = match text.strip_prefix("unix:") {
            Some(path) => Some(Listen::Unix(path.into())).filter(|_| !path.is_empty()),
            None => inet(text),
        };
        read.ok_or_else(|| {
            format!(
                "'{text}' is neither HOST:PORT nor unix:PATH; for example, write 127.0.0.1:8080"
            )
        })
    }
}

fn inet(text: &str) -> Option<Listen> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = Some(host).filter(|host| !host.is_empty());
    Some(Listen::Inet {
        host: host.unwrap_or("127.0.0.1").to_owned(),
        port: port.parse().ok()?,
    })
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Inet { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Listen::Inet { host, port } => write!(f, "{host}:{port}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Listen;

    #[test]
    fn addresses_are_read_and_others_explained() {
        for (text, shown) in [
            ("localhost:8080", "localhost:8080"),
            ("[::1]:8080", "[::1]:8080"),
            (":0", "127.0.0.1:0"),
            ("unix:/run/web", "unix:/run/web"),
        ] {
            let read = Listen::parse(text).map(|listen| listen.to_string());
            assert_eq!(read.as_deref(), Ok(shown));
        }
        for wrong in ["8080", "host:", "host:99999", "", "unix:"] {
            let said = Listen::parse(wrong).expect_err(wrong);
            assert!(said.ends_with("write 127.0.0.1:8080"), "{said}");
        }
    }
}
