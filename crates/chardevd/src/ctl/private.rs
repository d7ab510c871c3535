//! A monitor for one client alone, so that a command that stays keeps nobody from the daemon's own:
//! one end of a socket pair that the daemon is handed to serve. Over TCP, which passes no
//! descriptors, it is a connection of its own, and streams are tunnels.

use std::os::unix::net::UnixStream;

use chardev_qapi::{Json, Object};
use chardev_qmp::client::ClientError;

use super::connect::{Address, Monitor, Target};
use super::failure::Failure;
use super::tunnel;

/// The name under which the daemon is given our end.
const MONITOR: &str = "chardevctl-monitor";

impl Target {
    /// A monitor for the command called `what` alone, unless `check` finds a reason against it.
    ///
    /// # Errors
    /// As for every connection.
    pub(super) fn private(
        &self,
        check: impl FnOnce(&mut Monitor) -> Result<(), Failure>,
    ) -> Result<Monitor, Failure> {
        let mut monitor = self.connect()?;
        check(&mut monitor)?;
        if !monitor.stream().is_unix() {
            return Ok(monitor);
        }
        let ours = self.stream_as(MONITOR, &mut monitor, true)?;
        let failed = |error: ClientError| self.failed(&error);
        let named = Object::new().with("fdname", MONITOR);
        let served = monitor.execute("x-monitor-add", named);
        served.map_err(failed)?;
        self.connect_over(ours)
    }
}

impl Target {
    /// A stream whose other end is the daemon's, under the name `fdname` at `monitor`. Over TCP it
    /// is over with our sending, unless there is to be a `half_close`.
    ///
    /// # Errors
    /// As for every connection, or the monitor takes no second one.
    pub(super) fn stream_as(
        &self,
        fdname: &str,
        monitor: &mut Monitor,
        half_close: bool,
    ) -> Result<UnixStream, Failure> {
        let (ours, theirs) = UnixStream::pair().map_err(|error| format!("socket pair: {error}"))?;
        let failed = |error: ClientError| self.failed(&error);
        if monitor.stream().is_unix() {
            pass(monitor, theirs, fdname).map_err(failed)?;
            return Ok(ours);
        }
        let named = Object::new().with("fdname", fdname);
        let offered = monitor.execute("x-tunnel-offer", named).map_err(failed)?;
        let key = offered
            .get("key")
            .and_then(Json::as_str)
            .unwrap_or_default();
        if let Address::Fleet(place) = &self.address {
            return place.join(key, half_close);
        }
        let mut carrier = self.connect()?;
        let key = Object::new()
            .with("key", key)
            .with("half-close", half_close);
        carrier.execute("x-tunnel-join", key).map_err(failed)?;
        tunnel::begin(carrier, theirs)?;
        Ok(ours)
    }
}

/// Hands a descriptor to the daemon under a name.
fn pass(monitor: &mut Monitor, stream: UnixStream, fdname: &str) -> Result<(), ClientError> {
    monitor.stream_mut().pass(stream.into());
    let named = Object::new().with("fdname", fdname);
    monitor.execute("getfd", named).map(drop)
}
