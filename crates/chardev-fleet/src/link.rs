//! The connection to the servers.

use std::io;
use std::time::Duration;

use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;

use crate::settings::Settings;

/// After how long without an answer a message is sent again.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// How often a server is asked whether it is there; it is given up after the second time in vain.
const PING: Duration = Duration::from_secs(4);
/// How long lies between two attempts to find a server.
const PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(3)];
/// How many messages wait for answers, of all consoles together.
const UNANSWERED: usize = 4096;

/// The connection as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) is_there: bool,
    /// Which one it is: what was sent over an earlier one may be lost.
    pub(crate) number: u64,
}

/// Connects, in the background and for as long as the client is there; `connected` says whether it
/// is now.
///
/// # Errors
/// A file cannot be read, or has not what it should.
pub(crate) async fn connect(
    settings: &Settings,
    name: &str,
    connected: watch::Sender<Connection>,
) -> io::Result<Client> {
    let host = settings.host.clone();
    let tell = move |event: Event| {
        let (connected, host) = (connected.clone(), host.clone());
        async move {
            note(&connected, &event);
            match event {
                Event::Connected => {
                    tracing::info!(event = "fleet-connected", "fleet: connected as '{host}'");
                }
                Event::Disconnected => tracing::warn!(
                    event = "fleet-disconnected",
                    "fleet: the connection is lost; consoles go on, and what they print is sent later"
                ),
                Event::ServerError(error) => {
                    tracing::warn!(event = "fleet-refused", "fleet: the server says: {error}");
                }
                Event::ClientError(error) => {
                    tracing::debug!("fleet: {error}");
                }
                _ => {}
            }
        }
    };
    let options = options(settings, name)?
        .retry_on_initial_connect()
        .event_callback(tell);
    let connecting = options.connect(&settings.servers[..]);
    connecting.await.map_err(io::Error::other)
}

/// Keeps up to date whether there is a connection.
pub(crate) fn note(connected: &watch::Sender<Connection>, event: &Event) {
    match event {
        Event::Connected => connected.send_modify(|it| {
            it.is_there = true;
            it.number += 1;
        }),
        Event::Disconnected | Event::Closed => {
            connected.send_modify(|it| it.is_there = false);
        }
        _ => {}
    }
}

/// How servers are connected to: with the credentials of the settings.
///
/// # Errors
/// A file cannot be read, or has not what it should.
pub(crate) fn options(settings: &Settings, name: &str) -> io::Result<ConnectOptions> {
    let pause = |attempts: usize| {
        let factor = u32::try_from(attempts.min(16)).unwrap_or(16);
        (PAUSE[0] * factor * factor).min(PAUSE[1])
    };
    let mut options = ConnectOptions::new()
        .name(name)
        .connection_timeout(ANSWER_LIMIT)
        .ping_interval(PING)
        .reconnect_delay_callback(pause);
    if let Some(path) = &settings.credentials {
        let text = read(path)?;
        options = options
            .credentials(&text)
            .map_err(|error| named(path, error))?;
    }
    if let Some(path) = &settings.nkey {
        options = options.nkey(read(path)?.trim().to_owned());
    }
    if let Some(path) = &settings.ca {
        // A file that is not there would be found out at every attempt.
        read(path)?;
        options = options.add_root_certificates(path.clone());
    }
    Ok(options)
}

/// The context in which messages are published and answered.
pub(crate) fn context(client: Client) -> Context {
    ContextBuilder::new()
        .timeout(ANSWER_LIMIT)
        .ack_timeout(ANSWER_LIMIT)
        .max_ack_inflight(UNANSWERED)
        .backpressure_on_inflight(true)
        .build(client)
}

/// Who one is there: the public key of the settings, or `any`.
///
/// # Errors
/// A file cannot be read, or has no seed.
pub(crate) fn who(settings: &Settings) -> io::Result<String> {
    const BEGIN: &str = "-----BEGIN USER NKEY SEED-----";
    let (path, seed) = match (&settings.nkey, &settings.credentials) {
        (Some(path), _) => (path, read(path)?),
        (None, Some(path)) => {
            let text = read(path)?;
            let seed = text
                .split_once(BEGIN)
                .and_then(|(_, rest)| rest.split("----").next());
            (path, seed.unwrap_or_default().to_owned())
        }
        (None, None) => return Ok("any".to_owned()),
    };
    let key = nkeys::KeyPair::from_seed(seed.trim());
    let key = key.map_err(|error| named(path, io::Error::other(error)))?;
    Ok(key.public_key())
}

fn read(path: &std::path::Path) -> io::Result<String> {
    std::fs::read_to_string(path).map_err(|error| named(path, error))
}

fn named(path: &std::path::Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
