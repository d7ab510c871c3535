//! A monitor for one client alone, so that a command that stays keeps nobody from the daemon's own:
//! one end of a socket pair that the daemon is handed to serve.

use std::os::unix::net::UnixStream;

use chardev_qapi::Object;
use chardev_qmp::client::ClientError;

use super::connect::{Address, Monitor, Target};
use super::failure::Failure;

/// The name under which the daemon is given our end.
const MONITOR: &str = "chardevctl-monitor";

impl Target {
    /// A monitor for the command called `what` alone, unless `check` finds a reason against it.
    ///
    /// # Errors
    /// As for every connection, or it is no Unix socket.
    pub(super) fn private(
        &self,
        what: &str,
        check: impl FnOnce(&mut Monitor) -> Result<(), Failure>,
    ) -> Result<Monitor, Failure> {
        let mut monitor = self.connect()?;
        if !monitor.stream().is_unix() {
            let text = format!(
                "{what} passes descriptors, which only a unix socket can: use --socket PATH"
            );
            return Err(text.into());
        }
        check(&mut monitor)?;
        let (ours, theirs) = pair()?;
        let failed = |error: ClientError| self.failed(&error);
        pass(&mut monitor, theirs, MONITOR).map_err(failed)?;
        let named = Object::new().with("fdname", MONITOR);
        let served = monitor.execute("x-monitor-add", named);
        served.map_err(failed)?;
        self.connect_over(ours)
    }
}

impl Target {
    /// A monitor for a command that may take long: one for us alone where that can be had.
    ///
    /// # Errors
    /// As for every connection.
    pub(super) fn for_long(&self, what: &str) -> Result<Monitor, Failure> {
        match &self.address {
            Address::Unix(_) => self.private(what, |_| Ok(())),
            Address::Tcp(_) => self.connect(),
        }
    }
}

/// Two ends, one for the daemon.
pub(super) fn pair() -> Result<(UnixStream, UnixStream), Failure> {
    UnixStream::pair().map_err(|error| format!("socket pair: {error}").into())
}

/// Hands a descriptor to the daemon under a name.
pub(super) fn pass(
    monitor: &mut Monitor,
    stream: UnixStream,
    fdname: &str,
) -> Result<(), ClientError> {
    monitor.stream_mut().pass(stream.into());
    let named = Object::new().with("fdname", fdname);
    monitor.execute("getfd", named).map(drop)
}
