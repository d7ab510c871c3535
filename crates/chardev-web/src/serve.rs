//! Connections: how many there may be, and how long they may take.

mod listener;
mod patient;
mod unix;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use chardev_monitor::Identity;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use crate::api;
use crate::login::Guest;
use crate::site::Site;
use crate::tls::{self, Loaded};
use listener::Client;
use patient::Patient;

pub(crate) use listener::{Bound, Door, Listener, Peer, Whence};
pub(crate) use unix::permit;

/// How long a client may take for the head of a request, and rest between two.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// How long a request's head may be.
const HEAD: usize = 16 << 10;
/// How many headers it may have.
const HEADERS: usize = 64;
/// How long to rest when the process is out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// What a client is told for whom there is no room.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\
    Connection: close\r\nRetry-After: 5\r\n\r\n";

/// What is known of a connection, for each of its requests. As long as there is a clone it counts.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    /// Our end, as the client has it.
    pub(crate) door: Door,
    /// Whose place it has until somebody has logged in over it.
    pub(crate) guest: Arc<Guest>,
    /// Whether TLS is spoken, and who has shown a certificate.
    pub(crate) is_tls: bool,
    pub(crate) identity: Option<Identity>,
    _place: Arc<Place>,
}

/// How many connections there are. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<AtomicUsize>);

/// One of them, until it is dropped.
#[derive(Debug)]
struct Place(Places);

impl Places {
    /// A further one, if there are less than `most`.
    fn take(&self, most: usize) -> Option<Place> {
        let more = |taken| (taken < most).then_some(taken + 1);
        let relaxed = Ordering::Relaxed;
        let taken = self.0.fetch_update(relaxed, relaxed, more);
        taken.ok().map(|_| Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves whoever connects, for as long as it is polled.
pub(crate) async fn accept(listener: Listener, site: Site) {
    let router = api::router(&site);
    loop {
        let Ok((client, peer, door)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let place = site.places.take(site.settings().connections);
        let guest = site.addresses.enter(peer.whence());
        let (Some(place), Some(guest)) = (place, guest) else {
            client.say(FULL);
            continue;
        };
        let connection = Connection {
            peer,
            door,
            guest: Arc::new(guest),
            is_tls: false,
            identity: None,
            _place: Arc::new(place),
        };
        let (router, tls) = (router.clone(), site.tls());
        match client {
            Client::Inet(client) => begin(client, connection, router, tls),
            Client::Unix(client) => begin(client, connection, router, tls),
        }
    }
}

fn begin<S>(client: S, connection: Connection, router: Router, tls: Option<Loaded>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match tls {
        None => tokio::spawn(serve(client, connection, router)),
        Some(tls) => tokio::spawn(serve_tls(client, connection, router, tls.config)),
    };
}

/// Speaks TLS first.
async fn serve_tls<S>(
    client: S,
    mut connection: Connection,
    router: Router,
    config: Arc<ServerConfig>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let accepting = TlsAcceptor::from(config).accept(client);
    // Who does not get that far is nobody, and TLS has told them why.
    if let Ok(Ok(client)) = tokio::time::timeout(HEAD_LIMIT, accepting).await {
        connection.is_tls = true;
        connection.identity = tls::identity(client.get_ref().1);
        serve(client, connection, router).await;
    }
}

async fn serve<S>(client: S, connection: Connection, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        router.clone().call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Patient::new(client)), service)
        .with_upgrades();
    // A client that goes wrong is told so by hyper, where that is of any use.
    let _ = served.await;
}
