//! chardevs → [metrics] → whoever scrapes them: counters and gauges for Prometheus.
//!
//! An endpoint has a thread of its own, which looks at one chardev after the other, each for a
//! moment; no console waits for it.

mod families;
mod http;
mod text;

use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chardev::Chardevs;
use chardev::text::{shown_path, to_path};
use tokio::sync::oneshot;

use crate::config::Table;
use crate::fleet::Membership;
use crate::messages;

/// How long the end of an endpoint may take.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Address {
    /// Reads `HOST:PORT` or `unix:PATH`. Without a host it is the loopback address.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Address::Unix(to_path(path, None)));
        }
        let rest = text.strip_prefix("tcp:").unwrap_or(text);
        let read = rest.rsplit_once(':').and_then(|(host, port)| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let host = Some(host).filter(|host| !host.is_empty());
            Some(Address::Tcp {
                host: host.unwrap_or("127.0.0.1").to_owned(),
                port: port.parse().ok()?,
            })
        });
        read.ok_or_else(|| {
            format!(
                "'{text}' is neither HOST:PORT nor unix:PATH; for example, write 127.0.0.1:9450"
            )
        })
    }

    /// The same, with a relative path that starts at `directory`.
    pub(crate) fn within(self, directory: &Path) -> Self {
        match self {
            Address::Unix(path) => Address::Unix(directory.join(path)),
            tcp => tcp,
        }
    }

    fn shown(&self) -> String {
        match self {
            Address::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp { host, port } => format!("{host}:{port}"),
            Address::Unix(path) => format!("unix:{}", shown_path(path)),
        }
    }
}

/// What metrics are made of.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    chardevs: Chardevs,
    table: Table,
    fleet: Membership,
}

impl Source {
    /// These chardevs, and how what is configured is, and the part in a fleet.
    pub(crate) fn new(chardevs: &Chardevs, table: &Table, fleet: &Membership) -> Self {
        Source {
            chardevs: chardevs.clone(),
            table: table.clone(),
            fleet: fleet.clone(),
        }
    }
}

/// Serves metrics until it is dropped.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    /// Dropped with the endpoint, which ends the thread.
    stop: oneshot::Sender<()>,
    /// Fails once the thread has ended.
    ended: Receiver<()>,
}

impl Endpoint {
    /// Starts one, once it listens.
    ///
    /// # Errors
    /// Why it cannot listen there.
    pub(crate) async fn start(address: Address, source: Source) -> Result<Self, String> {
        let (stop, stopped) = oneshot::channel();
        let (listens, listening) = oneshot::channel();
        let (alive, ended) = channel::<()>();
        let place = address.clone();
        let run = move || run(&place, source, listens, stopped, alive);
        let spawned = chardev::new_thread("metrics").and_then(|thread| thread.spawn(run));
        let bound = match spawned {
            Ok(_) => listening
                .await
                .unwrap_or_else(|_| Err(io::Error::other("its thread panicked"))),
            Err(error) => Err(error),
        };
        bound.map_err(|error| format!("metrics on {}: {error}", address.shown()))?;
        Ok(Endpoint {
            address,
            stop,
            ended,
        })
    }

    /// Ends it, and waits a moment until its socket is gone.
    pub(crate) fn finish(self) {
        drop(self.stop);
        let _ = self.ended.recv_timeout(END_LIMIT);
    }
}

/// The endpoint that the configuration wants. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configured(Arc<Mutex<Option<Endpoint>>>);

impl Configured {
    pub(crate) fn address(&self) -> Option<Address> {
        let endpoint = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        endpoint.as_ref().map(|endpoint| endpoint.address.clone())
    }

    /// Puts `endpoint` in the place of what was there, which ends.
    pub(crate) fn set(&self, endpoint: Option<Endpoint>) {
        drop(self.replace(endpoint));
    }

    pub(crate) fn finish(&self) {
        if let Some(endpoint) = self.replace(None) {
            endpoint.finish();
        }
    }

    fn replace(&self, endpoint: Option<Endpoint>) -> Option<Endpoint> {
        std::mem::replace(
            &mut self.0.lock().unwrap_or_else(PoisonError::into_inner),
            endpoint,
        )
    }
}

enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// The endpoint's thread.
fn run(
    address: &Address,
    source: Source,
    listens: oneshot::Sender<io::Result<()>>,
    stopped: oneshot::Receiver<()>,
    _alive: Sender<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        // Whoever asked for it may have left.
        Err(error) => return drop(listens.send(Err(error))),
    };
    let listener = {
        let _inside = runtime.enter();
        bind(address)
    };
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return drop(listens.send(Err(error))),
    };
    if listens.send(Ok(())).is_ok() {
        runtime.block_on(async {
            tokio::select! {
                // An error says that the sender is gone, which is the sign to end.
                _ = stopped => {}
                () = http::serve(listener, &source) => {}
            }
        });
    }
    runtime.shutdown_background();
    if let Address::Unix(path) = address {
        remove(path);
    }
}

fn bind(address: &Address) -> io::Result<Listener> {
    match address {
        Address::Tcp { host, port } => {
            let listener = TcpListener::bind((host.as_str(), *port))?;
            let ip = listener.local_addr()?.ip();
            if !is_loopback(ip) {
                let words = format!(
                    "metrics on {}: whoever can connect reads them, since nothing asks who that is",
                    address.shown()
                );
                messages::say(tracing::Level::WARN, &words);
            }
            listener.set_nonblocking(true)?;
            Ok(Listener::Tcp(tokio::net::TcpListener::from_std(listener)?))
        }
        Address::Unix(path) => {
            let listener = bind_unix(path)?;
            listener.set_nonblocking(true)?;
            Ok(Listener::Unix(tokio::net::UnixListener::from_std(
                listener,
            )?))
        }
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// A socket that nobody serves any more is replaced.
#[expect(clippy::disallowed_methods, reason = "on a thread that may wait")]
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match UnixStream::connect(path) {
            Err(stale) if stale.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            _ => Err(error),
        },
        bound => bound,
    }
}

#[expect(clippy::disallowed_methods, reason = "on a thread that may wait")]
fn remove(path: &Path) {
    // Somebody may have removed it already.
    let _ = std::fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_others_explained() {
        let tcp = |host: &str| {
            Ok(Address::Tcp {
                host: host.to_owned(),
                port: 9450,
            })
        };
        assert_eq!(Address::parse("localhost:9450"), tcp("localhost"));
        assert_eq!(Address::parse("[::1]:9450"), tcp("::1"));
        assert_eq!(Address::parse("tcp:0.0.0.0:9450"), tcp("0.0.0.0"));
        assert_eq!(Address::parse(":9450"), tcp("127.0.0.1"));
        let unix = Address::parse("unix:m.sock").map(|it| it.within(Path::new("/run")));
        assert_eq!(unix, Ok(Address::Unix("/run/m.sock".into())));
        for wrong in ["9450", "host:", "host:99999", "unix:", "/run/m.sock", ""] {
            let said = Address::parse(wrong).expect_err(wrong);
            assert!(
                said.ends_with("for example, write 127.0.0.1:9450"),
                "{said}"
            );
        }
    }
}
