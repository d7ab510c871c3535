//! The monitor of the program under test.

use std::os::unix::net::UnixStream;
use std::path::Path;

use chardev_qapi::{Json, Object};
use chardev_qmp::client::Client;

use crate::LoadError;
use crate::STUCK;

/// A negotiated connection.
pub type Monitor = Client<UnixStream>;

/// Connects to the monitor that listens at `path`, and negotiates.
///
/// # Errors
/// Nobody listens there, or does not speak QMP.
pub fn connect(path: &Path) -> Result<Monitor, LoadError> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let stream = UnixStream::connect(path).map_err(|error| failed(&error))?;
    let limited = stream.set_read_timeout(Some(STUCK));
    limited.map_err(|error| failed(&error))?;
    let mut monitor = Client::connect(stream).map_err(|error| failed(&error))?;
    let asked = monitor.ask_for_error_kinds();
    asked.map_err(|error| failed(&error))?;
    Ok(monitor)
}

/// The counter `name` of chardev `id`.
pub(super) fn counter(monitor: &mut Monitor, id: &str, name: &str) -> Option<u64> {
    let asked = Object::new().with("id", id);
    let stats = monitor.execute("x-query-chardev-stats", asked).ok()?;
    stats.as_array()?.first()?.get(name)?.as_u64()
}

/// Bytes of input that were read from the chardev's peers.
pub(super) fn input_taken(monitor: &mut Monitor, id: &str) -> Option<u64> {
    let delivered = counter(monitor, id, "input-delivered")?;
    Some(delivered + counter(monitor, id, "input-late")?)
}

/// The slave of the pty of chardev `id` that was there from the start, from its file name
/// `pty:PATH`.
pub(super) fn pty_path(monitor: &mut Monitor, id: &str) -> Result<Option<String>, LoadError> {
    let list = monitor.execute("query-chardev", Object::new());
    let list = list.map_err(|error| format!("query-chardev: {error}"))?;
    let mut entries = list.as_array().unwrap_or_default().iter();
    let console = entries.find(|entry| entry.get("label").and_then(Json::as_str) == Some(id));
    let name = console
        .and_then(|console| console.get("filename"))
        .and_then(Json::as_str);
    Ok(name
        .and_then(|name| name.strip_prefix("pty:"))
        .map(str::to_owned))
}
