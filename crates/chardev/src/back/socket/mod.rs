//! front → chardev → [back] → host: socket, a stream over a Unix, TCP or vsock
//! socket.
//!
//! As a server it serves one client at a time; others wait in the kernel until that one leaves. As
//! a client it connects when it is opened or, with `reconnect`, in the background, again and again.
//! The parts: [`config`] reads the options; a [`source`] brings peers ([`listen`], [`connect`]); a
//! [`peer`] is the one that is there, over a [`transport`] and perhaps [`layered`]; [`backend`]
//! joins them, and [`drain`] is what is left of a peer afterwards.

mod backend;
mod config;
mod connect;
#[cfg(feature = "dbus")]
mod dbus;
mod directories;
mod drain;
mod handshakes;
mod inet;
mod layered;
mod lent;
mod listen;
mod peer;
#[cfg(feature = "telnet")]
mod remote;
mod source;
mod splicing;
mod transport;
mod unix;
mod vsock;

use std::future::Future;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use chardev_core::spec::{
    KindSpec, LineRule, OptionSpec, OptionType, Options, Short, SocketAddress,
};
use chardev_core::{Accepted, Backend, OpenError};
use rustix::net::{AddressFamily, sockopt};

use crate::back::layers::{self, count_with_layers, with_layers};
use crate::back::short;
use crate::back::{Access, Kind, LayerKind, OpenContext, Opening, open_set};
use crate::port::Port;
use crate::sys::refused;
use crate::tasks::TaskKind;

use self::backend::{LentPeer, SocketBackend};
use self::config::Config;
use self::connect::Target;
use self::listen::Listener;
use self::source::{Source, WantPeer};

#[cfg(feature = "dbus")]
pub(crate) use self::connect::check_connected;
#[cfg(feature = "dbus")]
pub(super) use self::dbus::KIND as DBUS;
#[cfg(feature = "telnet")]
pub(super) use self::remote::KIND as REMOTE;

/// The kind `socket`.
pub(super) static KIND: Kind = Kind {
    spec: KindSpec {
        short: &[Short::Text(short::socket)],
        line: LINE_RULES,
        properties: &[("connected", "bool"), ("addr", "SocketAddress")],
        ..KindSpec::new(
            "socket",
            "stream socket, Unix, TCP or vsock, server or client",
            OPTIONS,
        )
    },
    open: |options, context| {
        Box::pin(async move {
            let config = Config::read(options)?;
            let layers = layers::wanted(options, context)?;
            let handshake = config.handshake;
            open(&config.over(layers, handshake), context).await
        })
    },
};

/// On the command line a socket is a client unless it says otherwise, and a server waits.
const LINE_RULES: &[LineRule] = &[
    LineRule::Implied {
        option: "server",
        value: false,
        when: None,
    },
    LineRule::Implied {
        option: "wait",
        value: true,
        when: Some("server"),
    },
    LineRule::Inverse {
        key: "delay",
        option: "nodelay",
    },
];

/// Those of the layers stand in the middle.
const OPTIONS: &[OptionSpec] =
    &with_layers::<{ count_with_layers(PLAIN_OPTIONS, MORE_OPTIONS) }>(PLAIN_OPTIONS, MORE_OPTIONS);

/// What `tls-creds` and `tls-authz` are for.
#[cfg(feature = "tls")]
const TLS_HELP: (&str, &str) = (
    "TCP: speak TLS with the credentials that have this id (object tls-creds-x509)",
    "TLS server: id of the object that decides which client certificates are accepted (authz-simple, authz-list, authz-listfile)",
);
#[cfg(not(feature = "tls"))]
const TLS_HELP: (&str, &str) = (
    "id of TLS credentials (not in this build)",
    "id of a TLS authorization object (not in this build)",
);

const PLAIN_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "addr",
        OptionType::Address,
        "address: path=…, host=… with port=…, x-cid=… with port=…, or fd=…",
    )
    .key("")
    .required_or("None or one of 'path', 'fd' or 'host' option required."),
    OptionSpec::new("tls-creds", OptionType::Str, TLS_HELP.0),
    OptionSpec::new("tls-authz", OptionType::Str, TLS_HELP.1),
    OptionSpec::new(
        "server",
        OptionType::Bool,
        "listen for a client (default on in QMP, off on the command line)",
    ),
    OptionSpec::new(
        "wait",
        OptionType::Bool,
        "server: wait for the first client (default off in QMP, on on the command line)",
    ),
    OptionSpec::new(
        "nodelay",
        OptionType::Bool,
        "TCP: send small writes at once, without Nagle's delay (default off)",
    ),
];

const MORE_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "reconnect",
        OptionType::Int,
        "client: reconnect after this many seconds",
    ),
    OptionSpec::new(
        "reconnect-ms",
        OptionType::Int,
        "client: reconnect after this many milliseconds",
    ),
    OptionSpec::new(
        "x-handshake-ms",
        OptionType::Int,
        "TLS, websocket, telnet: how long a peer's handshake may take, in ms, while others wait (default 10000)",
    ),
    OptionSpec::new(
        "x-half-close",
        OptionType::Enum(&["leave", "keep"]),
        "what to do with a peer that shuts down only its sending side: leave (treat it as gone; the default) or keep (send it output until it closes)",
    ),
    OptionSpec::new(
        "x-clients",
        OptionType::Int,
        "monitor server: how many clients to serve at a time, 0 for no limit (default 1)",
    ),
];

/// As the kind `socket`, but its peers are spoken to in `layers`, the one next to the chardev
/// first, and have `handshake` for opening them. This is how tests bring a layer of their own.
#[doc(hidden)]
pub fn open_layered<'a>(
    options: &'a Options,
    context: &'a OpenContext,
    (layers, handshake): (Vec<LayerKind>, Duration),
) -> Opening<'a> {
    Box::pin(async move {
        let config = Config::read(options)?.over(layers, handshake);
        open(&config, context).await
    })
}

async fn open(config: &Config, context: &OpenContext) -> Result<Box<dyn Backend>, OpenError> {
    let port = &context.port;
    let backend = match &config.address {
        SocketAddress::Fd(name) => open_fd(config, name, context).await?,
        _ if config.server => {
            let listener = Listener::bind(config, context).await?;
            open_server(config, listener, port).await?
        }
        _ => open_client(config, context).await?,
    };
    Ok(Box::new(backend))
}

async fn open_client(config: &Config, context: &OpenContext) -> Result<SocketBackend, OpenError> {
    let port = &context.port;
    let target = Target::new(&config.address, config.directory.as_deref())?;
    let unix = target.is_unix();
    let wanted = WantPeer::of_client(config);
    if context.handover && context.borrow::<WantPeer, LentPeer>(&wanted).is_some() {
        let source = Source::succeeding(port, config, target);
        return Ok(SocketBackend::new(port, config, source, unix));
    }
    if let Some(interval) = config.reconnect {
        let source = Source::reconnecting(port, config, target, interval);
        return Ok(SocketBackend::new(port, config, source, unix));
    }
    // Mostly it is there, and nothing has to be waited for.
    let fd = match target.try_unix(port.runtime()).await? {
        Some(fd) => fd,
        None => on_io_thread(port, target.connect()).await?,
    };
    let source = Source::server(port, config);
    let backend = SocketBackend::new(port, config, source, unix);
    backend.with_peer(Arc::new(fd))
}

async fn open_server(
    config: &Config,
    listener: Listener,
    port: &Port,
) -> Result<SocketBackend, OpenError> {
    let first = if config.wait {
        let name = listener.filename();
        tracing::info!(label = port.label(), "waiting for connection on: {name}");
        Some(on_io_thread(port, listener.first_client()).await?)
    } else {
        None
    };
    let unix = listener.is_unix();
    let source = Source::listener(port, listener);
    let backend = SocketBackend::new(port, config, source, unix);
    match first {
        Some(fd) => backend.with_peer(Arc::new(fd)),
        None => backend.waiting(),
    }
}

/// A descriptor that was taken by its name goes back where it came from unless the back end goes
/// live with it; a set keeps its own.
async fn open_fd(
    config: &Config,
    name: &str,
    context: &OpenContext,
) -> Result<SocketBackend, OpenError> {
    let fds = &*context.fds;
    if let Some(found) = open_set(name, Access::Both, false, fds) {
        let fd = found.map_err(|error| refused("Could not open", name, error))?;
        return around(config, name, &Arc::new(fd), &context.port).await;
    }
    let lent = lent::Lent::new(context, name, fds.take(name)?);
    let mut backend = around(config, name, lent.fd(), &context.port).await?;
    backend.keep_lent(lent);
    Ok(backend)
}

/// The socket that was given as `name`, listening or connected.
async fn around(
    config: &Config,
    name: &str,
    fd: &Arc<OwnedFd>,
    port: &Port,
) -> Result<SocketBackend, OpenError> {
    if config.server {
        let listener = Listener::given(fd, name)?;
        return open_server(config, listener, port).await;
    }
    connect::check_connected(fd, name)?;
    given(port, config, name, Arc::clone(fd))
}

/// A back end around a peer that was taken from another one ([`chardev_core::Peers::accept`]).
pub(crate) fn taken(port: &Port, peer: Accepted) -> Result<Box<dyn Backend>, OpenError> {
    let means = peer.means.as_deref().and_then(|means| means.downcast_ref());
    let config = means.cloned().unwrap_or_else(Config::given);
    let backend = given(port, &config, "client", Arc::new(peer.fd))?;
    Ok(Box::new(backend))
}

/// The connected socket that was given as `name`.
fn given(
    port: &Port,
    config: &Config,
    name: &str,
    fd: Arc<OwnedFd>,
) -> Result<SocketBackend, OpenError> {
    let unix = sockopt::socket_domain(&fd) == Ok(AddressFamily::UNIX);
    let backend = SocketBackend::new(port, config, Source::given(port, name), unix);
    backend.with_peer(fd)
}

/// Runs `work` on the I/O thread, whatever executor the caller is on; giving up stops it.
async fn on_io_thread<T: Send + 'static, E: Into<OpenError> + Send + 'static>(
    port: &Port,
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, OpenError> {
    struct Stop<T>(tokio::task::JoinHandle<T>);
    impl<T> Drop for Stop<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let mut running = Stop(port.spawn_listed(TaskKind::Connect, work));
    match (&mut running.0).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err("the I/O thread has ended".into()),
    }
}
