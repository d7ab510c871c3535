//! Where a server is reached: sockets, chardevs, descriptors.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev::text::from_os;
use chardev::{AddError, AttachError, OpenError};
use chardev_qapi::QmpError;

use crate::access::{Identity, Role};
use crate::client::Client;
use crate::monitor::{Answering, Mode, Monitor};
use crate::monitors::Terms;
use crate::server::Server;

/// How many clients a socket has at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clients {
    /// One, as in QEMU; the next one is greeted when that has left.
    One,
    /// So many.
    AtMost(u16),
    /// Any number, as far as half of the descriptors that the process may have go.
    #[default]
    Any,
}

/// Why a server does not serve.
#[derive(Debug)]
pub enum ServeError {
    /// The process is out of threads or descriptors.
    Start(io::Error),
    /// There are two commands of this name.
    Duplicate(&'static str),
    /// The socket cannot be made.
    Socket(AddError),
    /// The chardev is not there, or has a front end already.
    Chardev(AttachError),
    /// The descriptor is no connected stream socket.
    Descriptor(OpenError),
    /// There are too many clients.
    TooMany,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Start(error) => write!(f, "cannot start: {error}"),
            ServeError::Duplicate(name) => write!(f, "command '{name}' already exists"),
            ServeError::Socket(error) => error.fmt(f),
            ServeError::Chardev(error) => error.fmt(f),
            ServeError::Descriptor(error) => error.fmt(f),
            ServeError::TooMany => f.write_str("Too many monitor clients; disconnect some first"),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServeError::Start(error) => Some(error),
            ServeError::Socket(error) => Some(error),
            ServeError::Chardev(error) => Some(error),
            ServeError::Descriptor(error) => Some(error),
            ServeError::Duplicate(_) | ServeError::TooMany => None,
        }
    }
}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        ServeError::Start(error)
    }
}

impl Server {
    /// Listens for QMP clients at `path`. The socket is a chardev called `qmp0`, `qmp1` and so on,
    /// so clients see it in `query-chardev`, and it can be changed like any other.
    ///
    /// Waits for the disk; call it where that is allowed, and not in a task of a tokio runtime. Who
    /// may connect is for the folder of `path` to say, and for the process's umask.
    ///
    /// # Errors
    /// Somebody serves there already, or the socket cannot be made; then nothing has changed.
    pub fn serve_unix(&self, path: impl AsRef<Path>, clients: Clients) -> Result<(), ServeError> {
        let address = SocketAddress::Unix {
            path: from_os(path.as_ref().as_os_str()),
            abstract_name: false,
            tight: true,
        };
        let limit = match clients {
            Clients::One => 1,
            Clients::AtMost(limit) => i64::from(limit.max(1)),
            Clients::Any => 0,
        };
        let options = Options::new("socket")
            .with("addr", OptionValue::Address(address))
            .with("server", OptionValue::Bool(true))
            .with("wait", OptionValue::Bool(false))
            .with("x-clients", OptionValue::Int(limit));
        let chardevs = self.chardevs();
        for number in 0u32.. {
            let id = format!("qmp{number}");
            let _reserved = self.reserve_monitor(&id);
            match chardevs.block_on(chardevs.add(&id, &options)) {
                Ok(_) => return self.serve(&id, Mode::Control { pretty: false }),
                Err(AddError::Exists(_)) => {}
                Err(error) => return Err(ServeError::Socket(error)),
            }
        }
        // There is a free number long before this.
        Ok(())
    }

    /// Puts a monitor on chardev `id`, as QEMU's `-mon` does. One chardev serves as many clients at
    /// a time as its `x-clients` says.
    ///
    /// # Errors
    /// As [`Chardevs::front_end`](chardev::Chardevs::front_end).
    #[doc(alias = "mon")]
    pub fn serve(&self, id: &str, mode: Mode) -> Result<(), ServeError> {
        self.serve_as(id, mode, Role::Admin)
    }

    /// The same on terms: a [`Role`] that clients may do no more than, whatever else they are
    /// [granted](crate::Access), and whether they have to prove who they are.
    ///
    /// # Errors
    /// As [`Server::serve`].
    pub fn serve_as(
        &self,
        id: &str,
        mode: Mode,
        terms: impl Into<Terms>,
    ) -> Result<(), ServeError> {
        let front = self.chardevs().front_end(id, Arc::new(Answering));
        let front = front.map_err(ServeError::Chardev)?;
        // What it says is for one client, and no console's output.
        self.chardevs().drop_default_history(id);
        let monitor = Monitor::new(front, mode, terms.into(), self.service.clone());
        let stay = self.service.monitors.take_in(self.chardevs(), id);
        self.spawn(async move {
            monitor.run().await;
            drop(stay);
        });
        Ok(())
    }

    /// The clients of the monitor on chardev `id`, those who are there among them, are served on
    /// these terms from here on.
    pub fn limit(&self, id: &str, terms: impl Into<Terms>) {
        self.service.monitors.limit(id, terms.into());
    }

    /// Ends the monitors on chardev `id`, which stays, and returns once they have let it go. Who is
    /// at one of them is answered what was asked, but for no longer than a second, and hung up on.
    pub async fn end(&self, id: &str) {
        self.service.monitors.close(id).await;
    }

    /// Serves QMP to whoever has the other end of `fd`, a connected stream socket: a child of this
    /// process, for example.
    ///
    /// # Errors
    /// It is none, or there are too many clients.
    pub fn serve_fd(&self, fd: OwnedFd) -> Result<(), ServeError> {
        Monitor::serve(fd, None, self.service.clone())
    }

    /// What somebody has offered at one of the monitors under `key` (`x-tunnel-offer`), for a
    /// program that carries it on behalf of `identity`: what is written to the socket comes out of
    /// the descriptor that was offered. It counts as a tunnel until what comes with it is dropped.
    ///
    /// # Errors
    /// There is none, or it is not theirs.
    pub fn join_tunnel(
        &self,
        key: &str,
        identity: &Identity,
    ) -> Result<(UnixStream, impl Send + 'static), QmpError> {
        let tunnel = self.service.tunnels.join(key, identity)?;
        let failed = |error: io::Error| format!("cannot join a tunnel: {error}");
        let stream = tunnel.stream.into_std().map_err(failed)?;
        Ok((stream, tunnel.place))
    }

    /// Serves QMP to whoever has the other end of `fd`, a connected stream socket, on behalf of
    /// somebody at `peer` (an address, for people) who may do what `identity` may, and no more than
    /// `role` whatever else they prove: a client of another network that the program carries.
    ///
    /// # Errors
    /// As [`Server::serve_fd`].
    pub fn serve_fd_for(
        &self,
        fd: OwnedFd,
        (identity, peer): (Identity, Option<String>),
        role: Role,
    ) -> Result<(), ServeError> {
        let sponsor = Client::known(identity, peer);
        sponsor.set_terms(role.into());
        Monitor::serve(fd, Some(Arc::new(sponsor)), self.service.clone())
    }
}
