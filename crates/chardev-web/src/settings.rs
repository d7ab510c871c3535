//! What a program says of its page.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use crate::tls::Tls;

/// Where a page is served, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address.
    pub listen: Listen,
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
    /// The header in which it says who asks: a user of this host.
    pub header: String,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// A name or an address.
    pub host: String,
    /// 0 is any that is free.
    pub port: u16,
}

impl Settings {
    /// How many connections there may be where nothing is said.
    pub const CONNECTIONS: usize = 256;

    /// The same with relative paths that start at `directory`.
    #[must_use]
    pub fn within(self, directory: &Path) -> Self {
        Settings {
            tls: self.tls.map(|tls| tls.within(directory)),
            ..self
        }
    }
}

impl Default for Settings {
    /// The loopback address, at a port that is free.
    fn default() -> Self {
        Settings {
            listen: Listen {
                host: "127.0.0.1".to_owned(),
                port: 0,
            },
            hosts: Vec::new(),
            connections: Settings::CONNECTIONS,
            proxy: None,
            tls: None,
        }
    }
}

impl Listen {
    /// Reads `HOST:PORT`. Without a host it is the loopback address.
    ///
    /// # Errors
    /// What it should look like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = text.rsplit_once(':').and_then(|(host, port)| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let host = Some(host).filter(|host| !host.is_empty());
            Some(Listen {
                host: host.unwrap_or("127.0.0.1").to_owned(),
                port: port.parse().ok()?,
            })
        });
        read.ok_or_else(|| format!("'{text}' is not HOST:PORT; for example, write 127.0.0.1:8080"))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
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
        ] {
            let read = Listen::parse(text).map(|listen| listen.to_string());
            assert_eq!(read.as_deref(), Ok(shown));
        }
        for wrong in ["8080", "host:", "host:99999", "", "unix:/x"] {
            let said = Listen::parse(wrong).expect_err(wrong);
            assert!(said.ends_with("write 127.0.0.1:8080"), "{said}");
        }
    }
}
