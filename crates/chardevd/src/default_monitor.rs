//! A monitor where `chardevctl` looks for one, whatever the daemon was told to do.
//!
//! It is no chardev, so nothing that a client of another monitor asks is answered otherwise.
#![allow(
    clippy::disallowed_methods,
    reason = "only the start and the end wait for it"
)]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chardev::text::shown_path;
use chardev_monitor::Server;
use rustix::fs::Mode;
use tokio::net::UnixListener;
use tracing::Level;

use crate::devices::Worker;
use crate::{DaemonError, default, messages};

/// How long clients wait while there are no descriptors for them.
const PAUSE: Duration = Duration::from_millis(200);

/// The socket; its name goes with it.
#[derive(Debug)]
pub(crate) struct DefaultMonitor {
    socket: PathBuf,
    /// The file's number, so that nobody else's is removed.
    number: u64,
}

impl DefaultMonitor {
    /// Serves QMP to this user alone. Where another daemon does so already, that is said, and there
    /// is none.
    pub(crate) fn start(server: &Server, worker: &Worker) -> Option<Self> {
        let socket = default::default_socket();
        match listen(server, worker, &socket) {
            Ok(monitor) => Some(monitor),
            Err(error) => {
                let words = format!("no default monitor here (--no-default-monitor): {error}");
                messages::say(Level::INFO, &words);
                None
            }
        }
    }
}

impl Drop for DefaultMonitor {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.socket).is_ok_and(|found| found.ino() == self.number) {
            // It may be gone by now, which is as well.
            let _ = fs::remove_file(&self.socket);
        }
    }
}

fn listen(server: &Server, worker: &Worker, socket: &Path) -> Result<DefaultMonitor, DaemonError> {
    default::prepare(socket)?;
    let failed = |error: io::Error| {
        DaemonError::of(
            format_args!("cannot listen at {}", shown_path(socket)),
            error,
        )
    };
    let old = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = StdListener::bind(socket);
    rustix::process::umask(old);
    let listener = bound.map_err(failed)?;
    let found = fs::symlink_metadata(socket).map_err(failed)?;
    let monitor = DefaultMonitor {
        socket: socket.to_owned(),
        number: found.ino(),
    };
    listener.set_nonblocking(true).map_err(failed)?;
    let server = server.clone();
    worker.spawn(async move {
        if let Ok(listener) = UnixListener::from_std(listener) {
            serve(&server, &listener).await;
        }
    });
    Ok(monitor)
}

async fn serve(server: &Server, listener: &UnixListener) {
    loop {
        let accepted = listener.accept().await;
        let client = accepted.and_then(|(client, _)| client.into_std());
        let Ok(client) = client else {
            // Out of descriptors; the client stays in the kernel's queue.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if let Err(error) = server.serve_fd(client.into()) {
            messages::say(Level::WARN, &format!("default monitor: {error}"));
        }
    }
}
