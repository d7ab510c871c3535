//! front → chardev → [back] → host: TLS by rustls, which does no I/O of its own.
//!
//! Credentials and lists of who may come are looked up for each peer, so what is added under their
//! ids later counts for the next one.

use std::fmt;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use chardev_core::spec::{Options, SocketAddress};
use chardev_core::{Flow, Layer, OpenError};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, IoState, ServerConnection};

use super::{LayerKind, LayerSpec};
use crate::objects::tls_creds::{Config, Creds};
use crate::objects::{Authz, Objects, TlsEndpoint, alternatives, subject};

/// The layer of `tls-creds` and `tls-authz`, which stand where QEMU has them among the options.
pub(super) const SPEC: LayerSpec = LayerSpec {
    options: &[],
    wanted: |options, context| wanted(options, context.objects()),
};

/// What `options` ask for, with keys from `objects`.
///
/// # Errors
/// There are none of that name, or they do not go together with the rest.
pub fn wanted(options: &Options, objects: &Objects) -> Result<Option<LayerKind>, OpenError> {
    let Some(id) = options.str("tls-creds") else {
        return Ok(None);
    };
    let endpoint = match options.bool_or("server", true) {
        true => TlsEndpoint::Server,
        false => TlsEndpoint::Client,
    };
    let objects = objects.clone();
    let creds = objects.tls_creds(id)?;
    let creds = creds.ok_or_else(|| format!("No TLS credentials with id '{id}'"))?;
    if creds.endpoint() != endpoint {
        let wanted = match endpoint {
            TlsEndpoint::Server => "server",
            TlsEndpoint::Client => "client",
        };
        return Err(format!("Expected TLS credentials for a {wanted} endpoint").into());
    }
    let authz = options.str("tls-authz").map(str::to_owned);
    check_authz(authz.as_deref(), endpoint, &creds)?;
    let server = match endpoint {
        TlsEndpoint::Server => None,
        TlsEndpoint::Client => Some(server_name(options.address("addr"))?),
    };
    let name = format!("tls {id} {}", authz.as_deref().unwrap_or_default());
    let source = Source {
        objects,
        id: id.to_owned(),
        newest: Mutex::new(creds),
        authz,
        server,
    };
    Ok(Some(LayerKind::new(name, move || {
        Box::new(source.session())
    })))
}

/// Only of those who have to show a certificate is anything known. QEMU lets everybody in instead.
fn check_authz(authz: Option<&str>, endpoint: TlsEndpoint, creds: &Creds) -> Result<(), OpenError> {
    match (authz, endpoint) {
        (None, _) => Ok(()),
        (Some(_), TlsEndpoint::Client) => Err("'tls-authz' option is incompatible with socket in \
             client connect mode: the server's name is checked by its certificate"
            .into()),
        (Some(_), TlsEndpoint::Server) if !creds.verify_peer => {
            Err("'tls-authz' option requires TLS credentials with verify-peer=on".into())
        }
        (Some(_), TlsEndpoint::Server) => Ok(()),
    }
}

/// What a server's certificate has to be for.
fn server_name(address: Option<&SocketAddress>) -> Result<ServerName<'static>, OpenError> {
    let host = match address {
        Some(SocketAddress::Inet(inet)) if !inet.host.is_empty() => inet.host.as_str(),
        _ => "localhost",
    };
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    // A zone says which way to go, not where.
    let plain = plain.split('%').next().unwrap_or_default();
    let name = ServerName::try_from(plain.to_owned());
    name.map_err(|_| format!("'{host}' is not a name that a certificate can be issued for").into())
}

/// Where sessions come from.
struct Source {
    objects: Objects,
    id: String,
    /// The credentials that were there last.
    newest: Mutex<Arc<Creds>>,
    authz: Option<String>,
    server: Option<ServerName<'static>>,
}

impl Source {
    fn session(&self) -> Tls {
        let creds = self.creds();
        let connection = match (&creds.config, &self.server) {
            (Config::Server(config), _) => {
                ServerConnection::new(Arc::clone(config)).map(Connection::from)
            }
            (Config::Client(config), Some(server)) => {
                ClientConnection::new(Arc::clone(config), server.clone()).map(Connection::from)
            }
            (Config::Client(_), None) => Err(rustls::Error::General("no server".to_owned())),
        };
        let guard = self.authz.as_ref().map(|id| Guard {
            authz: self.objects.authz(id),
            id: id.clone(),
        });
        Tls::new(connection, guard, creds.verify_peer)
    }

    fn creds(&self) -> Arc<Creds> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Some(found)) = self.objects.tls_creds(&self.id) {
            if found.endpoint() == newest.endpoint() {
                *newest = found;
            }
        }
        Arc::clone(&newest)
    }
}

/// Who may come; without the object nobody.
struct Guard {
    authz: Option<Arc<Authz>>,
    id: String,
}

impl Guard {
    fn check(&self, connection: &Connection) -> Result<(), Failure> {
        let id = || self.id.clone();
        let authz = self.authz.as_ref();
        let authz = authz.ok_or_else(|| Failure::NobodyMayCome(id()))?;
        let certificates = connection.peer_certificates().unwrap_or_default();
        let name = certificates.first().and_then(|first| subject(first));
        let name = name.ok_or(Failure::Nameless)?;
        match authz.allows(&name) {
            true => Ok(()),
            false => Err(Failure::NotAllowed(id(), name)),
        }
    }
}

/// Why a session is over.
#[derive(Debug)]
enum Failure {
    Session(rustls::Error),
    Io(io::Error),
    /// There is no object with this id that says who may.
    NobodyMayCome(String),
    Nameless,
    /// The object, and who it does not allow.
    NotAllowed(String, String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Where the words of rustls say little.
            Failure::Session(error @ rustls::Error::InvalidMessage(_)) => {
                write!(f, "the peer does not speak TLS: {error}")
            }
            Failure::Session(error) => error.fmt(f),
            Failure::Io(error) => error.fmt(f),
            Failure::NobodyMayCome(id) => write!(f, "no authorization object with id '{id}'"),
            Failure::Nameless => f.write_str("the peer presented no certificate with a name"),
            Failure::NotAllowed(id, name) => write!(f, "'{id}' does not allow the peer '{name}'"),
        }
    }
}

/// One session.
struct Tls {
    connection: Result<Connection, rustls::Error>,
    guard: Option<Guard>,
    /// Whether the peer's certificate is verified.
    verified: bool,
    open: bool,
    ended: bool,
    /// Our close_notify was sent.
    closing: bool,
}

impl Tls {
    fn new(
        connection: Result<Connection, rustls::Error>,
        guard: Option<Guard>,
        verified: bool,
    ) -> Self {
        let connection = connection.map(|mut connection| {
            // What was encrypted goes down at once, so it is the stack that bounds it.
            connection.set_buffer_limit(None);
            connection
        });
        Tls {
            connection,
            guard,
            verified,
            open: false,
            ended: false,
            closing: false,
        }
    }

    /// Passes on what came of `bytes`.
    fn take(&mut self, mut bytes: &[u8], flow: &mut Flow<'_>) -> Result<(), Failure> {
        let connection = self
            .connection
            .as_mut()
            .map_err(|error| Failure::Session(error.clone()))?;
        while !bytes.is_empty() && !self.ended {
            let read = connection.read_tls(&mut bytes);
            read.map_err(Failure::Io)?;
            let state = process(connection, self.closing);
            let state = state.map_err(Failure::Session)?;
            if !self.open && !connection.is_handshaking() {
                if let Some(guard) = &self.guard {
                    if let Err(why) = guard.check(connection) {
                        connection.send_close_notify();
                        return Err(why);
                    }
                }
                self.open = true;
            }
            let count = state.plaintext_bytes_to_read();
            if count > 0 {
                let mut read = Ok(());
                flow.up_by(count, |buf| {
                    let more = connection.reader().read_exact(buf);
                    read = std::mem::replace(&mut read, Ok(())).and(more);
                });
                read.map_err(Failure::Io)?;
            }
            if state.peer_has_closed() {
                self.ended = true;
                flow.end();
            }
        }
        Ok(())
    }

    /// Sends what the session has to say.
    fn speak(&mut self, flow: &mut Flow<'_>) {
        let Ok(connection) = &mut self.connection else {
            return;
        };
        flow.down_by(|records| {
            while connection.wants_write() {
                match connection.write_tls(records) {
                    Ok(count) if count > 0 => {}
                    _ => break,
                }
            }
        });
    }
}

/// Works off what was read. Where something is wrong behind our close_notify, rustls wants to send
/// an alert and asserts in builds for debugging that none was sent; a peer must not end us by that.
fn process(connection: &mut Connection, closing: bool) -> Result<IoState, rustls::Error> {
    if !(closing && cfg!(debug_assertions)) {
        return connection.process_new_packets();
    }
    let processed = catch_unwind(AssertUnwindSafe(|| connection.process_new_packets()));
    let wrong =
        || rustls::Error::General("invalid data after the end of the connection".to_owned());
    processed.unwrap_or_else(|_| Err(wrong()))
}

impl Layer for Tls {
    fn start(&mut self, flow: &mut Flow<'_>) {
        match &self.connection {
            Ok(_) => self.speak(flow),
            Err(error) => flow.fail(format!("TLS: {error}")),
        }
    }

    fn is_open(&self) -> bool {
        self.open
    }

    fn peer_names(&self) -> Vec<String> {
        let connection = self.connection.as_ref().ok();
        let connection = connection.filter(|_| self.open && self.verified);
        let certificate = connection
            .and_then(|connection| connection.peer_certificates())
            .and_then(|all| all.first());
        let Some(certificate) = certificate else {
            return Vec::new();
        };
        let subject = subject(certificate).into_iter();
        let mut names: Vec<String> = subject.collect();
        if !names.is_empty() {
            names.extend(alternatives(certificate));
        }
        names
    }

    fn receive(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        let taken = self.take(bytes, flow);
        // An alert, perhaps, which says what was wrong.
        self.speak(flow);
        if let Err(why) = taken {
            flow.fail(format!("TLS: {why}"));
        }
    }

    fn receive_end(&mut self, flow: &mut Flow<'_>) {
        match (self.ended, self.open) {
            (true, _) => {}
            (false, true) => flow.fail(
                "TLS: the connection was cut off without a close_notify; \
                 the last data sent may be missing",
            ),
            (false, false) => flow.fail("TLS: the peer disconnected during the handshake"),
        }
    }

    fn send(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        if let Ok(connection) = &mut self.connection {
            if let Err(error) = connection.writer().write_all(bytes) {
                flow.fail(format!("TLS: {error}"));
            }
        }
        self.speak(flow);
    }

    fn send_end(&mut self, flow: &mut Flow<'_>) {
        if let Ok(connection) = &mut self.connection {
            connection.send_close_notify();
            self.closing = true;
        }
        self.speak(flow);
    }
}
