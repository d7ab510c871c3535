//! The monitor of the program under test.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use chardev_qapi::{Json, Object};
use chardev_qmp::client::Client;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::LoadError;
use crate::STUCK;

/// The name under which the daemon is given a descriptor.
const FDNAME: &str = "chardev-load";

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

/// Gives the daemon one end of a stream as a command's `fdname`; returns the other and the answer.
///
/// # Errors
/// What the monitor says.
pub fn with_stream(
    monitor: &mut Monitor,
    command: &str,
    arguments: Object,
) -> Result<(UnixStream, Json), LoadError> {
    let failed = |error: &dyn std::fmt::Display| LoadError::from(format!("{command}: {error}"));
    let (ours, theirs) = UnixStream::pair().map_err(|error| failed(&error))?;
    let fds = [theirs.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    // It comes with a space between two commands.
    let space = [IoSlice::new(b" ")];
    let sent = sendmsg(monitor.stream(), &space, &mut control, SendFlags::NOSIGNAL);
    sent.map_err(|error| failed(&error))?;
    let named = monitor.execute("getfd", Object::new().with("fdname", FDNAME));
    named.map_err(|error| failed(&error))?;
    let answer = monitor.execute(command, arguments.with("fdname", FDNAME));
    Ok((ours, answer.map_err(|error| failed(&error))?))
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
