//! front → chardev → [back] → host: what a socket's options mean, and which exclude each other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chardev_core::spec::{Expected, Options, ParameterError, Problem, SocketAddress};

use crate::back::LayerKind;

/// The most that `x-clients` takes besides 0, which means no limit.
const MAX_CLIENTS: usize = 65_535;

/// How long a peer may take for the handshake of its layers, while others wait.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// The most that may be made of that, in milliseconds.
const MAX_HANDSHAKE: u64 = 3_600_000;

/// The options of a socket, checked.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// The kind's name.
    pub(super) kind: &'static str,
    pub(super) address: SocketAddress,
    /// What a relative path of the address starts at.
    pub(super) directory: Option<PathBuf>,
    pub(super) server: bool,
    pub(super) wait: bool,
    pub(super) nodelay: bool,
    /// The kernel looks whether a silent peer is still there.
    pub(super) keep_alive: bool,
    /// A peer that ends its sending is kept for what is still to be said to it.
    pub(super) half_close: bool,
    /// How many clients a monitor may serve at a time, 0 for any number; `None`: one, by itself.
    pub(super) clients: Option<usize>,
    /// How long a client waits before it connects again; `None`: it never does.
    pub(super) reconnect: Option<Duration>,
    /// What each peer is spoken to in, and how long it may take for the handshake of that.
    pub(super) layers: Vec<LayerKind>,
    pub(super) handshake: Duration,
}

impl Config {
    /// Of a connected socket.
    pub(super) fn given() -> Self {
        Config {
            kind: "socket",
            address: SocketAddress::Fd(String::new()),
            directory: None,
            server: false,
            wait: false,
            nodelay: false,
            keep_alive: false,
            half_close: false,
            clients: None,
            reconnect: None,
            layers: Vec::new(),
            handshake: HANDSHAKE_LIMIT,
        }
    }

    /// Reads and checks `options`.
    ///
    /// # Errors
    /// What does not go together, in QEMU's words and order; then what this build has not.
    pub(super) fn read(options: &Options) -> Result<Self, ParameterError> {
        let address = options.address("addr");
        let address = address.ok_or_else(|| ParameterError::missing("addr"))?;
        let server = options.bool_or("server", true);
        check_combinations(options, address, server)?;
        let reconnect = reconnect_interval(options)?;
        Ok(Config {
            kind: options.kind(),
            address: address.clone(),
            directory: options.directory().map(Path::to_owned),
            server,
            wait: options.bool_or("wait", false),
            nodelay: options.bool_or("nodelay", false),
            keep_alive: matches!(address, SocketAddress::Inet(inet) if inet.keep_alive),
            half_close: options.str("x-half-close") == Some("keep"),
            clients: clients(options, server)?,
            reconnect,
            layers: Vec::new(),
            handshake: handshake(options)?,
        })
    }

    /// With peers that are spoken to in `layers` and have `handshake` for opening them.
    pub(super) fn over(self, layers: Vec<LayerKind>, handshake: Duration) -> Self {
        Config {
            layers,
            handshake,
            ..self
        }
    }
}

/// `x-handshake-ms`.
fn handshake(options: &Options) -> Result<Duration, ParameterError> {
    let Some(limit) = options.int("x-handshake-ms") else {
        return Ok(HANDSHAKE_LIMIT);
    };
    match u64::try_from(limit) {
        Ok(limit @ 1..=MAX_HANDSHAKE) => Ok(Duration::from_millis(limit)),
        _ => {
            let range = Expected::Range(1, MAX_HANDSHAKE as i64);
            Err(ParameterError::expects("x-handshake-ms", range))
        }
    }
}

/// `x-clients`; 1 is what QEMU does.
fn clients(options: &Options, server: bool) -> Result<Option<usize>, ParameterError> {
    let Some(clients) = options.int("x-clients") else {
        return Ok(None);
    };
    if !server {
        return incompatible("x-clients", "socket in client connect mode");
    }
    let clients = usize::try_from(clients).ok();
    let clients = clients.filter(|clients| *clients <= MAX_CLIENTS);
    let clients = clients.ok_or_else(|| {
        ParameterError::expects("x-clients", Expected::Range(0, MAX_CLIENTS as i64))
    })?;
    Ok((clients != 1).then_some(clients))
}

fn conflict(option: &str, words: impl Into<String>) -> ParameterError {
    ParameterError::new(option, Problem::Conflict).shown_as(words)
}

fn incompatible<T>(option: &str, with: &str) -> Result<T, ParameterError> {
    let words = format!("'{option}' option is incompatible with {with}");
    Err(conflict(&option.replace('_', "-"), words))
}

fn check_combinations(
    options: &Options,
    address: &SocketAddress,
    server: bool,
) -> Result<(), ParameterError> {
    let given = |name: &str| options.get(name).is_some();
    let milliseconds = options
        .int("reconnect-ms")
        .is_some_and(|interval| interval != 0);
    match address {
        SocketAddress::Fd(_) if given("reconnect") => {
            return incompatible("reconnect", "'fd' address type");
        }
        SocketAddress::Fd(_) if milliseconds => {
            return incompatible("reconnect-ms", "'fd' address type");
        }
        SocketAddress::Fd(_) if given("tls-creds") && !server => {
            return incompatible("tls_creds", "'fd' address type as client");
        }
        SocketAddress::Unix { .. } if given("tls-creds") => {
            return incompatible("tls_creds", "'unix' address type");
        }
        SocketAddress::Vsock { .. } if given("tls-creds") => {
            return incompatible("tls_creds", "'vsock' address type");
        }
        _ => {}
    }
    if given("tls-authz") && !given("tls-creds") {
        return Err(conflict(
            "tls-authz",
            "'tls_authz' option requires 'tls_creds' option",
        ));
    }
    if server && given("reconnect") {
        return incompatible("reconnect", "socket in server listen mode");
    }
    if server && milliseconds {
        return incompatible("reconnect-ms", "socket in server listen mode");
    }
    if !server && options.bool_or("websocket", false) {
        return Err(conflict("websocket", "Websocket client is not implemented"));
    }
    if !server && given("wait") {
        return incompatible("wait", "socket in client connect mode");
    }
    if given("reconnect") && given("reconnect-ms") {
        let words = "'reconnect' and 'reconnect-ms' are mutually exclusive";
        return Err(conflict("reconnect", words));
    }
    Ok(())
}

/// `reconnect` in seconds or `reconnect-ms`; 0 means never.
fn reconnect_interval(options: &Options) -> Result<Option<Duration>, ParameterError> {
    for (name, unit) in [("reconnect", 1000), ("reconnect-ms", 1)] {
        let Some(interval) = options.int(name) else {
            continue;
        };
        let interval = u64::try_from(interval)
            .map_err(|_| ParameterError::expects(name, Expected::Other("a non-negative number")))?;
        let interval = Duration::from_millis(interval.saturating_mul(unit));
        return Ok((!interval.is_zero()).then_some(interval));
    }
    Ok(None)
}
