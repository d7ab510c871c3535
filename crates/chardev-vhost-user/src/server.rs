//! guest → [front: virtio-console over vhost-user] → chardev → back → host: the server, and the
//! VMMs it serves one after another.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chardev::front::virtio_console::VirtioConsole;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{Mode, OFlags, open};
use vhost::vhost_user::Listener;
use vhost_user_backend::{ShutdownHandle, VhostUserDaemon};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

use crate::backend::{Connection, NoRings, lock};

/// How long peers have to take what is in hand when the server stops.
const LAST_OUTPUT_LIMIT: Duration = Duration::from_secs(1);
/// Between two attempts to connect to a VMM.
const CONNECT_PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Before another attempt when descriptors or threads were short.
const RETRY_PAUSE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// Why a server stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process is out of descriptors, or the listener is of no use.
    #[error("vhost-user: cannot wait for a VMM: {0}")]
    Wait(#[from] io::Error),
    /// The process is out of threads or descriptors.
    #[error("vhost-user: cannot serve a VMM: {0}")]
    Serve(String),
}

/// A console for the VMMs that connect to one socket, one after the other.
#[derive(Debug)]
pub struct Server {
    console: Arc<Mutex<VirtioConsole>>,
    stopping: AtomicBool,
    wake: OwnedFd,
    current: Mutex<Option<Current>>,
}

/// The VMM that is connected.
struct Current {
    connection: Arc<Connection>,
    handle: ShutdownHandle,
}

/// What ends the thread that serves the queues of a connection.
struct Exit(OwnedFd);

impl Exit {
    fn register(
        daemon: &VhostUserDaemon<Arc<Connection>>,
        connection: &Connection,
    ) -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        for handler in daemon.get_epoll_handlers() {
            handler.register_listener(event.as_raw_fd(), EventSet::IN, connection.exit())?;
        }
        Ok(Exit(event))
    }
}

/// Ends the thread when it is dropped.
struct Ending<'a>(&'a Exit);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.0.0, &1u64.to_ne_bytes());
    }
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Current")
    }
}

impl Server {
    /// A server of `console`, whose ports may come and go while it runs.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn new(console: Arc<Mutex<VirtioConsole>>) -> io::Result<Self> {
        Ok(Server {
            console,
            stopping: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            current: Mutex::new(None),
        })
    }

    /// Serves the VMMs that connect, until [`Server::stop`]; blocks the calling thread, which
    /// should be one of its own.
    ///
    /// # Errors
    /// See [`Error`]. A VMM that breaks the protocol only ends its own connection.
    pub fn run(&self, listener: UnixListener) -> Result<(), Error> {
        listener.set_nonblocking(false)?;
        // The library's listener lends no descriptor to wait for.
        let waiting = listener.try_clone()?;
        let mut listener = Listener::from(listener);
        while self.wait(Some(waiting.as_fd()), None)? {
            let served = self.serve(|daemon| daemon.start(&mut listener));
            self.rest_after(served)?;
        }
        self.deliver_rest();
        Ok(())
    }

    /// [`Server::run`] for a VMM that listens at `path`, where this process connects and, whenever
    /// the connection ends, connects again.
    ///
    /// # Errors
    /// See [`Error`]. That nobody listens is none.
    pub fn run_client(&self, path: &Path) -> Result<(), Error> {
        while self.wait(None, Some(CONNECT_PAUSE))? {
            // By way of a descriptor, since the path may be no text, or too long for an address.
            let Ok(socket) = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
                continue;
            };
            let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
            // Whatever stood in the way, the next attempt is a pause away.
            if let Err(error) = self.serve(|daemon| daemon.start_client(&path)) {
                tracing::debug!("{error}");
            }
        }
        self.deliver_rest();
        Ok(())
    }

    /// Makes [`Server::run`] finish what was begun and return. The VMM sees its connection end;
    /// with a reconnecting socket it goes on with the next server.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        // A full counter is readable already, so a failed write changes nothing.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        if let Some(current) = &*self.current() {
            current.connection.finish();
            current.handle.shutdown();
        }
    }

    /// A process that is out of descriptors or threads tries again, but not without end.
    fn rest_after(&self, served: Result<(), Error>) -> Result<(), Error> {
        if let Err(error) = served {
            tracing::warn!("{error}; trying again in a second");
            self.wait(None, Some(RETRY_PAUSE))?;
        }
        Ok(())
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a connection or for the pause; `false` to stop. Meanwhile consoles deliver what
    /// they still have.
    fn wait(&self, listener: Option<BorrowedFd<'_>>, pause: Option<Timespec>) -> io::Result<bool> {
        let pending = lock(&self.console).as_fd().try_clone_to_owned()?;
        loop {
            if self.stopping.load(Ordering::SeqCst) {
                return Ok(false);
            }
            let fds = [Some(pending.as_fd()), Some(self.wake.as_fd()), listener];
            let fds = fds.into_iter().flatten();
            let mut fds: Vec<_> = fds
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            let found = match poll(&mut fds, pause.as_ref()) {
                Ok(found) => found,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if !fds[0].revents().is_empty() {
                let mut console = lock(&self.console);
                console.flush();
                console.handle_news(&mut NoRings);
            }
            if found == 0 || fds.get(2).is_some_and(|fd| !fd.revents().is_empty()) {
                return Ok(true);
            }
        }
    }

    fn serve(
        &self,
        start: impl FnOnce(&mut VhostUserDaemon<Arc<Connection>>) -> vhost_user_backend::Result<()>,
    ) -> Result<(), Error> {
        let serve = |error: vhost_user_backend::Error| Error::Serve(error.to_string());
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let connection = Arc::new(Connection::new(Arc::clone(&self.console), memory.clone()));
        let name = "vhost-user".to_owned();
        // The library makes its threads without asking.
        drop(chardev::new_thread(&name)?);
        let mut daemon =
            VhostUserDaemon::new(name, Arc::clone(&connection), memory).map_err(serve)?;
        let exit = Exit::register(&daemon, &connection);
        let Ok(exit) = exit else {
            // Its thread cannot be told to end, so it cannot be waited for either.
            std::mem::forget(daemon);
            return Err(Error::Serve("out of event watches".to_owned()));
        };
        // Dropped before the daemon, which waits for the thread.
        let ending = Ending(&exit);
        let pending = lock(&self.console).as_fd().as_raw_fd();
        for handler in daemon.get_epoll_handlers() {
            handler.register_listener(pending, EventSet::IN, connection.pending())?;
        }
        start(&mut daemon).map_err(serve)?;
        if let Some(handle) = daemon.shutdown_handle() {
            connection.set_shutdown(handle);
        }
        *self.current() = daemon.shutdown_handle().map(|handle| Current {
            connection: Arc::clone(&connection),
            handle,
        });
        if self.stopping.load(Ordering::SeqCst) {
            daemon.request_shutdown();
        }
        tracing::info!("vhost-user: connected to a VMM");
        match daemon.wait() {
            Ok(()) => tracing::info!("vhost-user: the VMM has gone"),
            Err(error) => tracing::info!("vhost-user: the VMM has gone: {error}"),
        }
        *self.current() = None;
        // Ends the worker, so that nobody else touches the rings.
        drop(ending);
        drop(daemon);
        connection.end();
        Ok(())
    }

    fn deliver_rest(&self) {
        let end = Instant::now() + LAST_OUTPUT_LIMIT;
        loop {
            let mut console = lock(&self.console);
            console.flush();
            let left = end.saturating_duration_since(Instant::now());
            if console.backlog() == 0 || left.is_zero() {
                break;
            }
            let Ok(pending) = console.as_fd().try_clone_to_owned() else {
                break;
            };
            console.handle_news(&mut NoRings);
            drop(console);
            let pause = Timespec {
                tv_sec: 0,
                tv_nsec: left.min(Duration::from_millis(20)).subsec_nanos().into(),
            };
            let _ = poll(&mut [PollFd::new(&pending, PollFlags::IN)], Some(&pause));
        }
        let lost = lock(&self.console).backlog();
        if lost > 0 {
            tracing::warn!("vhost-user: {lost} bytes of output went undelivered");
        }
    }
}
