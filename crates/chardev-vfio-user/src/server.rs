//! guest → [front: 16550A over vfio-user] → chardev → back → host: the server, and the VMMs it
//! serves one after another.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use chardev::front::uart16550::SharedUart;
use chardev::{AttachError, Chardevs};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::card::Card;
use crate::irq::Pin;

/// Before another attempt when descriptors or threads were short.
const RETRY_PAUSE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A serial card for the VMMs that connect to one socket, one after the other.
pub struct Server {
    uart: SharedUart,
    pin: Pin,
    stop: Arc<OwnedFd>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("uart", &self.uart)
            .finish_non_exhaustive()
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The chardev is missing or in use.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The process is out of descriptors.
    #[error("vfio-user: {0}")]
    Descriptors(io::Error),
}

/// Ends a [`Server`].
#[derive(Clone, Debug)]
pub struct Stopper(Arc<OwnedFd>);

impl Stopper {
    /// Makes [`Server::run`] return. A VMM that is connected is left to itself: the library lends
    /// no handle to its connection, which goes with the process.
    pub fn stop(&self) {
        // A full counter is readable already, so a failed write changes nothing.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl Server {
    /// A card whose port is the device of chardev `id`.
    ///
    /// # Errors
    /// As [`Chardevs::front_end`]; or the process is out of descriptors.
    pub fn new(chardevs: &Chardevs, id: &str) -> Result<Self, Error> {
        let pin = Pin::default();
        let level = pin.clone();
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let stop = stop.map_err(|error| Error::Descriptors(error.into()))?;
        let uart = SharedUart::start(chardevs, id, move |high| level.set_level(high))?;
        Ok(Server {
            uart,
            pin,
            stop: Arc::new(stop),
        })
    }

    /// What ends [`Server::run`].
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Serves the VMMs that connect, until stopped; blocks the calling thread, which should be one
    /// of its own.
    ///
    /// # Errors
    /// The listener is of no use. A process that is out of threads or descriptors tries again.
    pub fn run(&self, listener: UnixListener) -> io::Result<()> {
        listener.set_nonblocking(false)?;
        let waiting = listener.try_clone()?;
        let (irqs, regions) = (Card::irqs(), Card::regions());
        let server = vfio_user::Server::from_owned_fd(listener.into(), true, irqs, regions);
        let server = Arc::new(server);
        while self.wait(Some(waiting.as_fd()), None)? {
            let served = self.serve(&server);
            let goes_on = match served {
                Ok(done) => self.wait(Some(done.as_fd()), None)?,
                Err(error) => {
                    tracing::warn!(
                        "vfio-user: cannot serve a VMM: {error}; trying again in a second"
                    );
                    self.wait(None, Some(&RETRY_PAUSE))?
                }
            };
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// Serves the VMM that has come, on a thread of its own, because what a broken VMM sends can
    /// make the library panic, and because this one must be able to end before the VMM does. What
    /// is returned becomes readable at the end.
    fn serve(&self, server: &Arc<vfio_user::Server>) -> io::Result<Arc<OwnedFd>> {
        let mut card = Card::new(self.uart.clone(), self.pin.clone());
        let server = Arc::clone(server);
        let done = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let ended = Arc::clone(&done);
        chardev::new_thread("vfio-user")?.spawn(move || {
            let _signal = Signal(ended);
            tracing::info!("vfio-user: a VMM has connected");
            let result = server.run(&mut card);
            card.end();
            match result {
                Ok(()) => tracing::info!("vfio-user: the VMM has gone"),
                Err(error @ vfio_user::Error::SocketAccept(_)) => {
                    // It stays where it is, and would be found again and again.
                    tracing::warn!("vfio-user: cannot serve a VMM: {error}");
                    std::thread::park_timeout(ACCEPT_PAUSE);
                }
                Err(error) => tracing::info!("vfio-user: the VMM has gone: {error}"),
            }
        })?;
        Ok(done)
    }

    /// Waits for the descriptor or for the pause; `false` to stop.
    fn wait(&self, what: Option<BorrowedFd<'_>>, pause: Option<&Timespec>) -> io::Result<bool> {
        loop {
            let fds = [Some(self.stop.as_fd()), what].into_iter().flatten();
            let mut fds: Vec<_> = fds
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            match poll(&mut fds, pause) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            return Ok(fds[0].revents().is_empty());
        }
    }
}

/// Tells the end of a thread, also of one that panicked.
struct Signal(Arc<OwnedFd>);

impl Drop for Signal {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}
