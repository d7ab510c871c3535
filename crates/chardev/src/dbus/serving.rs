//! front → chardev → back → [host]: one connection to a bus, or to a peer without one, that shows
//! what [`Exports`] says.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use zbus::connection::Builder;
use zbus::fdo::{ObjectManager, RequestNameFlags};
use zbus::{Connection, Guid};

use super::object::{self, Object, ROOT, SERVICE};
use super::{CONNECT_LIMIT, Exports, Shown};
use crate::first::{First, first};

/// The pause between two attempts to get back to a bus.
const AGAIN: Duration = Duration::from_secs(1);

/// Shows the chardevs of the bus at `address` there until it is dropped; tells once whether it
/// could connect. A bus that goes away is waited for.
pub(super) async fn serve_bus(
    address: String,
    exports: Arc<Exports>,
    tell: watch::Sender<Option<Result<(), String>>>,
) {
    loop {
        match connect(&address, &exports).await {
            Ok((connection, here)) => {
                tell.send_replace(Some(Ok(())));
                let served = serve(&connection, &exports, (Some(&address), here)).await;
                let why = served
                    .err()
                    .map_or_else(|| "it has gone".to_owned(), |it| it.to_string());
                tracing::warn!("the D-Bus '{address}' is lost, and tried again: {why}");
            }
            Err(failure) if tell.borrow().is_none() => {
                tell.send_replace(Some(Err(failure)));
                return;
            }
            Err(_) => {}
        }
        sleep(AGAIN).await;
    }
}

/// What a connection shows, as it was told last.
type Here = BTreeMap<String, Shown>;

async fn connect(address: &str, exports: &Arc<Exports>) -> Result<(Connection, Here), String> {
    let builder = match address {
        "session" => Builder::session(),
        "system" => Builder::system(),
        address => Builder::address(address),
    };
    let (builder, mut here) = showing(builder, exports, Some(address));
    let connecting = async {
        let connection = builder.build().await.map_err(|error| error.to_string())?;
        let following = follow(&connection, exports, Some(address), &mut here);
        following.await.map_err(|error| error.to_string())?;
        // Who else has the name keeps it, and we are next.
        let flags = RequestNameFlags::empty();
        let named = connection.request_name_with_flags(SERVICE, flags).await;
        named.map_err(|error| unnamed(&error))?;
        Ok(connection)
    };
    match timeout(CONNECT_LIMIT, connecting).await {
        Ok(connected) => connected.map(|connection| (connection, here)),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

/// Why we are not to be found at a bus: on the system's nobody may have a name unless a policy of
/// the bus allows it.
fn unnamed(error: &zbus::Error) -> String {
    let denied = match error {
        zbus::Error::MethodError(name, ..) => {
            name.as_str() == "org.freedesktop.DBus.Error.AccessDenied"
        }
        zbus::Error::FDO(error) => matches!(**error, zbus::fdo::Error::AccessDenied(_)),
        _ => false,
    };
    match denied {
        true => format!(
            "its policy does not let this user have the name '{SERVICE}': <allow \
             own=\"{SERVICE}\"/> in a file of /etc/dbus-1/system.d does"
        ),
        false => error.to_string(),
    }
}

/// Shows all chardevs to the peer at the other end of `stream`, until it leaves.
pub(super) async fn serve_peer(stream: UnixStream, exports: Arc<Exports>) {
    let builder = Builder::unix_stream(stream).server(Guid::generate()).p2p();
    let (builder, here) = showing(builder, &exports, None);
    let built = timeout(CONNECT_LIMIT, builder.build()).await;
    let served = match built {
        Ok(Ok(connection)) => serve(&connection, &exports, (None, here)).await,
        Ok(Err(error)) => Err(error),
        Err(_) => return tracing::warn!("a D-Bus peer did not authenticate itself"),
    };
    if let Err(error) = served {
        tracing::warn!("a D-Bus peer was lost: {error}");
    }
}

/// A connection that shows from its beginning what there is by now: a peer may call at once.
fn showing<'a>(
    builder: Builder<'a>,
    exports: &Arc<Exports>,
    bus: Option<&str>,
) -> (Builder<'a>, Here) {
    let here = exports.on(bus);
    let mut builder = builder.serve_at(ROOT, ObjectManager);
    for label in here.keys() {
        let object = Object {
            label: label.clone(),
            exports: Arc::clone(exports),
        };
        builder = builder.serve_at(object::path(label), object);
    }
    (builder, here)
}

/// Keeps `connection` as `exports` says until it is closed.
async fn serve(
    connection: &Connection,
    exports: &Arc<Exports>,
    (bus, mut here): (Option<&str>, Here),
) -> zbus::Result<()> {
    let mut changed = exports.changed.subscribe();
    follow(connection, exports, bus, &mut here).await?;
    loop {
        match first(changed.changed(), connection.closed()).await {
            First::One(Ok(())) => follow(connection, exports, bus, &mut here).await?,
            First::One(Err(_)) | First::Other(()) => return Ok(()),
        }
    }
}

/// Brings what is shown `here` to what is to be shown.
async fn follow(
    connection: &Connection,
    exports: &Arc<Exports>,
    bus: Option<&str>,
    here: &mut Here,
) -> zbus::Result<()> {
    let wanted = exports.on(bus);
    let server = connection.object_server();
    for label in here.keys().filter(|label| !wanted.contains_key(*label)) {
        server.remove::<Object, _>(object::path(label)).await?;
    }
    here.retain(|label, _| wanted.contains_key(label));
    for (label, now) in wanted {
        match here.get(&label) {
            Some(before) => object::tell(connection, &label, (before, &now)).await?,
            None => {
                let object = Object {
                    label: label.clone(),
                    exports: Arc::clone(exports),
                };
                if server.at(object::path(&label), object).await?.is_some() {
                    tracing::warn!("another chardev has the D-Bus path of '{label}'");
                }
            }
        }
        here.insert(label, now);
    }
    Ok(())
}
