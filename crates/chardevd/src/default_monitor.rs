//! A monitor where `chardevctl` looks for one, whatever the daemon was told to do.
//!
//! It is no chardev, so nothing that a client of another monitor asks is answered otherwise.
#![allow(
    clippy::disallowed_methods,
    reason = "only the start and the end wait for it"
)]

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chardev::back::FdSource;
use chardev::text::shown_path;
use chardev_monitor::Server;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::net::sockopt::socket_acceptconn;
use tokio::io::unix::AsyncFd;
use tracing::Level;

use crate::devices::Worker;
use crate::startup_fds::StartupFds;
use crate::{DaemonError, default, messages, service};

/// How long clients wait while there are no descriptors for them.
const PAUSE: Duration = Duration::from_millis(200);

/// The socket; its name goes with it.
#[derive(Debug)]
pub(crate) struct DefaultMonitor {
    /// None if the socket is systemd's.
    _name: Option<Name>,
}

#[derive(Debug)]
struct Name {
    socket: PathBuf,
    /// The file's number, so that nobody else's is removed.
    number: u64,
}

impl DefaultMonitor {
    /// Serves QMP to this user alone; or on the socket that systemd opened for it, to whom that
    /// lets in.
    ///
    /// # Errors
    /// Another daemon does so already, or the directory is not this user's.
    pub(crate) fn start(
        server: &Server,
        worker: &Worker,
        fds: &StartupFds,
    ) -> Result<Self, DaemonError> {
        if fds.has(service::MONITOR) {
            let served = given(server, worker, fds);
            let what = format_args!("the socket '{}' of systemd", service::MONITOR);
            return served
                .map(|()| DefaultMonitor { _name: None })
                .map_err(|error| error.within(what));
        }
        let name = listen(server, worker, &default::default_socket())?;
        Ok(DefaultMonitor { _name: Some(name) })
    }

    /// The same, but where another daemon has the place that is said, and there is none.
    ///
    /// # Errors
    /// The socket that systemd opened cannot be served.
    pub(crate) fn start_if_free(
        server: &Server,
        worker: &Worker,
        fds: &StartupFds,
    ) -> Result<Option<Self>, DaemonError> {
        match DefaultMonitor::start(server, worker, fds) {
            Err(error) if !fds.has(service::MONITOR) => {
                let words = format!("no default monitor here (--no-default-monitor): {error}");
                messages::say(Level::INFO, &words);
                Ok(None)
            }
            started => started.map(Some),
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.socket).is_ok_and(|found| found.ino() == self.number) {
            // It may be gone by now, which is as well.
            let _ = fs::remove_file(&self.socket);
        }
    }
}

fn listen(server: &Server, worker: &Worker, socket: &Path) -> Result<Name, DaemonError> {
    default::prepare(socket)?;
    let failed = |error: io::Error| {
        DaemonError::of(
            format_args!("cannot listen at {}", shown_path(socket)),
            error,
        )
    };
    let old = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(socket);
    rustix::process::umask(old);
    let listener = bound.map_err(failed)?;
    let found = fs::symlink_metadata(socket).map_err(failed)?;
    let name = Name {
        socket: socket.to_owned(),
        number: found.ino(),
    };
    begin(server, worker, listener.into()).map_err(failed)?;
    Ok(name)
}

/// Serves on the socket that systemd opened.
fn given(server: &Server, worker: &Worker, fds: &StartupFds) -> Result<(), DaemonError> {
    let listener = fds.take(service::MONITOR)?;
    if !socket_acceptconn(&listener).unwrap_or(false) {
        return Err("it is not listening; it needs a ListenStream=, and no Accept=yes".into());
    }
    let begun = begin(server, worker, listener);
    begun.map_err(|error| DaemonError::of("cannot be served", error))
}

fn begin(server: &Server, worker: &Worker, listener: OwnedFd) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&listener, true)?;
    let server = server.clone();
    worker.spawn(async move {
        match chardev::async_fd(listener) {
            Ok(listener) => serve(&server, &listener).await,
            Err(error) => messages::say(Level::WARN, &format!("default monitor: {error}")),
        }
    });
    Ok(())
}

async fn serve(server: &Server, listener: &AsyncFd<OwnedFd>) {
    loop {
        let Ok(mut ready) = listener.readable().await else {
            return;
        };
        let client = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(client) => client,
            Err(Errno::AGAIN) => {
                ready.clear_ready();
                continue;
            }
            Err(_) => {
                // Out of descriptors; the client stays in the kernel's queue.
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if let Err(error) = server.serve_fd(client) {
            // However many come: those are summed up, and they come no faster.
            tracing::warn!("default monitor: {error}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
