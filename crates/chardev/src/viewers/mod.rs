//! front → [chardev: scrollback] → viewers: read-only peers beside the back end.
//!
//! Viewers are served on a thread of their own with the lowest priority, so they take only what
//! time the consoles leave. They share the chardev's scrollback; each has a cursor in it and, of
//! its own, at most one frame that its socket did not take whole. A viewer that stalls costs
//! nothing until it moves again.

mod entry;
mod handle;
mod pace;
mod thread;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev_core::{ChardevRef, Slow, ViewError, ViewFrom};
use rustix::net::{SocketType, getpeername, sockopt};

use crate::sys::strerror;
use entry::Entry;
pub use handle::Watching;
use thread::Server;

/// The most viewers of all chardevs of a [`Chardevs`](crate::Chardevs) together.
pub const MAX_VIEWERS: usize = 1024;

/// How a viewer wants the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Where it begins.
    pub from: ViewFrom,
    /// What becomes of it when it is too slow.
    pub slow: Slow,
    /// With offsets: each piece of output comes as `data OFFSET COUNT`, a line feed and `COUNT`
    /// bytes; what is missing as the line `gap FROM TO`; and the end as the line `end removed`,
    /// `end too-slow BEHIND` or `end revoked`. Otherwise the output comes as it is, and a gap is
    /// one line of text in it.
    pub framed: bool,
}

/// Why a descriptor did not become a viewer.
#[derive(Debug)]
pub enum WatchError {
    /// There is no such chardev, or no output at that offset.
    View(ViewError),
    /// The descriptor is not what a viewer can be; the text says why.
    Fd(String),
    /// There are [`MAX_VIEWERS`] already.
    TooMany,
    /// The process is out of descriptors or threads.
    Io(io::Error),
}

impl std::fmt::Display for WatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WatchError::View(error) => error.fmt(f),
            WatchError::Fd(text) => f.write_str(text),
            WatchError::TooMany => write!(
                f,
                "There are already {MAX_VIEWERS} viewers; disconnect some first"
            ),
            WatchError::Io(error) => {
                let cause = strerror(io::Error::from(error.kind()));
                write!(f, "Failed to serve viewers: {cause}")
            }
        }
    }
}

impl std::error::Error for WatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WatchError::View(error) => Some(error),
            WatchError::Io(error) => Some(error),
            WatchError::Fd(_) | WatchError::TooMany => None,
        }
    }
}

/// All viewers of a [`Chardevs`](crate::Chardevs). Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Viewers {
    server: Arc<Server>,
}

impl Viewers {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Viewers {
            server: Arc::new(Server::new()?),
        })
    }

    /// Makes the socket `fd` a viewer of `chardev`.
    pub(crate) fn add(
        &self,
        chardev: &ChardevRef,
        fd: OwnedFd,
        watch: &Watch,
    ) -> Result<Watching, WatchError> {
        check_socket(&fd)?;
        let viewer = chardev
            .view(watch.from, watch.slow)
            .map_err(WatchError::View)?;
        let (epoch, offset, label) = (
            viewer.epoch(),
            viewer.offset(),
            chardev.with(|chardev| chardev.label().to_owned()),
        );
        let entry = Entry::new(fd, label, viewer, watch.framed);
        let fate = Arc::clone(entry.fate());
        self.server.add(entry)?;
        Ok(Watching::new(
            epoch,
            offset,
            fate,
            Arc::clone(self.server.signal()),
        ))
    }

    /// Waits until there is none.
    pub(crate) async fn ended(&self) {
        self.server.ended().await;
    }
}

impl Drop for Viewers {
    fn drop(&mut self) {
        self.server.stop();
    }
}

fn check_socket(fd: &OwnedFd) -> Result<(), WatchError> {
    let wrong = match (sockopt::socket_type(fd), getpeername(fd)) {
        (Err(_), _) => "not a socket",
        (Ok(kind), _) if kind != SocketType::STREAM => "not a stream socket",
        (_, Err(_)) => "not connected",
        _ => return Ok(()),
    };
    Err(WatchError::Fd(format!(
        "The viewer's file descriptor is {wrong}; pass one end of a connected stream socket"
    )))
}
