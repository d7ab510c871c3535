//! guest → [front: 16550A over vfio-user] → chardev → back → host: VMMs come and go.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use chardev::front::uart16550::SharedUart;
use chardev::{AttachError, Chardevs};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::card::Card;
use crate::irq::Pin;

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

/// Ends a [`Server`].
#[derive(Clone, Debug)]
pub struct Stopper(Arc<OwnedFd>);

impl Stopper {
    /// Makes [`Server::run`] return. A VMM that is connected is left to itself: the library lends no
    /// handle to its connection, which goes with the process.
    pub fn stop(&self) {
        // A full counter is readable already, so a failed write changes nothing.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl Server {
    /// A card whose port is the device of chardev `id`.
    ///
    /// # Errors
    /// There is no such chardev, or it has a front end.
    pub fn new(chardevs: &Chardevs, id: &str) -> Result<Self, AttachError> {
        let pin = Pin::default();
        let level = pin.clone();
        let uart = SharedUart::start(chardevs, id, move |high| level.set_level(high))?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let stop = stop.expect("a process that could start a chardev has a descriptor left");
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

    /// Serves the VMMs that connect, until stopped; blocks the calling thread, which should be one of
    /// its own.
    ///
    /// # Errors
    /// The process is out of threads or descriptors, or the listener is of no use.
    pub fn run(&self, listener: UnixListener) -> io::Result<()> {
        listener.set_nonblocking(false)?;
        let waiting = listener.try_clone()?;
        let (irqs, regions) = (Card::irqs(), Card::regions());
        let server = vfio_user::Server::from_owned_fd(listener.into(), true, irqs, regions);
        let server = Arc::new(server);
        while self.wait(waiting.as_fd())? {
            let mut card = Card::new(self.uart.clone(), self.pin.clone());
            let server = Arc::clone(&server);
            let done = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
            let ended = Arc::clone(&done);
            // On a thread of its own, because what a broken VMM sends can make the library panic, and
            // because this one must be able to end before the VMM does.
            std::thread::Builder::new()
                .name("vfio-user".to_owned())
                .spawn(move || {
                    let _signal = Signal(ended);
                    tracing::info!("vfio-user: a VMM has connected");
                    let result = server.run(&mut card);
                    card.end();
                    match result {
                        Ok(()) => tracing::info!("vfio-user: the VMM has gone"),
                        Err(error) => tracing::info!("vfio-user: the VMM has gone: {error}"),
                    }
                })?;
            if !self.wait(done.as_fd())? {
                break;
            }
        }
        Ok(())
    }

    /// Waits for the descriptor; `false` to stop.
    fn wait(&self, what: std::os::fd::BorrowedFd<'_>) -> io::Result<bool> {
        loop {
            let fds = [self.stop.as_fd(), what];
            let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if !fds[0].revents().is_empty() {
                return Ok(false);
            }
            if !fds[1].revents().is_empty() {
                return Ok(true);
            }
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
