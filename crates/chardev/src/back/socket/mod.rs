//! front → chardev → [back] → host: socket, a stream over a Unix or TCP socket.
//!
//! As a server it serves one client at a time; others wait in the kernel until that one leaves.
//! As a client it connects when it is opened or, with `reconnect`, in the background, again and
//! again. The parts: [`config`] reads the options, [`listen`] and [`connect`] bring peers,
//! [`connection`] is one peer, [`backend`] joins them.

mod backend;
mod config;
mod connect;
mod connection;
mod directories;
mod lent;
mod listen;
mod unix;

use std::future::Future;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev_core::Backend;
use chardev_core::spec::{KindSpec, OptionSpec, OptionType, Options, SocketAddress};

use crate::back::{Kind, OpenContext};
use crate::port::Port;

use self::backend::{SocketBackend, WantPeer};
use self::config::Config;
use self::connect::Target;
use self::listen::Listener;

/// The kind `socket`.
pub(super) static KIND: Kind = Kind {
    spec: KindSpec {
        name: "socket",
        summary: "stream socket, Unix or TCP, server or client",
        options: OPTIONS,
    },
    open: |options, context| Box::pin(open(options, context)),
};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "addr",
        cli: "",
        ty: OptionType::Address,
        required: true,
        missing: "None or one of 'path', 'fd' or 'host' option required.",
        help: "address: path=…, host=… with port=…, or fd=…",
    },
    option(
        "tls-creds",
        OptionType::Str,
        "id of TLS credentials (not in this build)",
    ),
    option(
        "tls-authz",
        OptionType::Str,
        "id of a TLS authorization object (not in this build)",
    ),
    option(
        "server",
        OptionType::Bool,
        "listen for a client (default on in QMP, off on the command line)",
    ),
    option(
        "wait",
        OptionType::Bool,
        "server: wait for the first client (default off in QMP, on on the command line)",
    ),
    option(
        "nodelay",
        OptionType::Bool,
        "TCP: send without waiting for more (default off)",
    ),
    option(
        "telnet",
        OptionType::Bool,
        "speak telnet (not in this build)",
    ),
    option(
        "tn3270",
        OptionType::Bool,
        "speak tn3270 (not in this build)",
    ),
    option(
        "websocket",
        OptionType::Bool,
        "speak websocket (not in this build)",
    ),
    option(
        "reconnect",
        OptionType::Int,
        "client: connect again after this many seconds",
    ),
    option(
        "reconnect-ms",
        OptionType::Int,
        "client: connect again after this many milliseconds",
    ),
    option(
        "x-half-close",
        OptionType::Enum(&["leave", "keep"]),
        "a peer that ends only its sending: leave (it has left; the default) or keep (it gets output until it closes)",
    ),
    option(
        "x-clients",
        OptionType::Int,
        "server of a monitor: serve this many clients at a time, 0 for any number (default 1)",
    ),
];

const fn option(name: &'static str, ty: OptionType, help: &'static str) -> OptionSpec {
    OptionSpec {
        name,
        cli: name,
        ty,
        required: false,
        missing: "",
        help,
    }
}

async fn open(options: &Options, context: &OpenContext) -> Result<Box<dyn Backend>, String> {
    let config = Config::read(options)?;
    let port = &context.port;
    let backend = match &config.address {
        SocketAddress::Fd(name) => open_fd(&config, name, context).await?,
        _ if config.server => {
            let listener = Listener::bind(&config, context).await?;
            open_server(&config, listener, port).await?
        }
        _ => {
            let target = Target::new(&config.address, config.directory.as_deref())?;
            let wanted = WantPeer::of_client(&config.address);
            if context.handover && context.borrow::<WantPeer, OwnedFd>(&wanted).is_some() {
                let backend = SocketBackend::succeeding(port.clone(), &config, target);
                return Ok(Box::new(backend));
            }
            let Some(interval) = config.reconnect else {
                let fd = on_io_thread(port, target.clone().connect()).await?;
                return Ok(Box::new(SocketBackend::client(
                    port.clone(),
                    &config,
                    &target,
                    fd,
                )?));
            };
            SocketBackend::reconnecting(port.clone(), &config, target, interval)
        }
    };
    Ok(Box::new(backend))
}

async fn open_server(
    config: &Config,
    listener: Listener,
    port: &Port,
) -> Result<SocketBackend, String> {
    let first = if config.wait {
        let name = listener.filename();
        tracing::info!(label = port.label(), "waiting for connection on: {name}");
        Some(on_io_thread(port, listener.first_client()).await?)
    } else {
        None
    };
    SocketBackend::server(port.clone(), config, listener, first)
}

/// The descriptor goes back where it came from unless the back end goes live with it.
async fn open_fd(
    config: &Config,
    name: &str,
    context: &OpenContext,
) -> Result<SocketBackend, String> {
    let fd = context.fds.take(name)?;
    let lent = lent::Lent::new(context, name, fd);
    let port = &context.port;
    let mut backend = if config.server {
        let listener = Listener::given(lent.fd(), name)?;
        open_server(config, listener, port).await?
    } else {
        connect::check_connected(lent.fd(), name)?;
        SocketBackend::given(port.clone(), config, name, lent.fd())?
    };
    backend.keep_lent(lent);
    Ok(backend)
}

/// A back end around a peer that was taken from another one ([`Backend::accept`]).
pub(crate) fn taken(port: &Port, fd: OwnedFd) -> Result<Box<dyn Backend>, String> {
    let config = Config::given();
    let fd = Arc::new(fd);
    let backend = SocketBackend::given(port.clone(), &config, "client", &fd)?;
    Ok(Box::new(backend))
}

/// Runs `work` on the I/O thread, whatever executor the caller is on; giving up stops it.
async fn on_io_thread<T: Send + 'static>(
    port: &Port,
    work: impl Future<Output = Result<T, String>> + Send + 'static,
) -> Result<T, String> {
    struct Stop<T>(tokio::task::JoinHandle<T>);
    impl<T> Drop for Stop<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let mut running = Stop(port.spawn(work));
    match (&mut running.0).await {
        Ok(result) => result,
        Err(_) => Err("the I/O thread has ended".to_owned()),
    }
}
