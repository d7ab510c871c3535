//! front → chardev → [back] → host: the socket as the machine sees it, with or without a peer.

mod contract;

use std::any::Any;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chardev_core::spec::SocketAddress;
use chardev_core::{
    Answers, Backend, BackendEvent, BackendId, Drain, Line, NothingToDrain, Presence, Ready, Sent,
    WeakChardev,
};
use rustix::io::Errno;

use super::config::Config;
use super::connect::Target;
use super::connection::Connection;
use super::lent::Lent;
use super::listen::{Listener, WantListener};
use super::unix;
use crate::port::{OwnedTask, Port};
use crate::shortage::{self, Turn, is_shortage};
use crate::sys::strerror;

/// The pause before the next attempt to accept when the host is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The most input of a departed peer that is carried so that the next one may come.
const LEFT_LIMIT: usize = 1 << 20;

/// A socket: where its peers come from, and the one that is there.
pub(super) struct SocketBackend {
    port: Port,
    source: Source,
    nodelay: bool,
    unix: bool,
    connection: Option<Connection>,
    /// The peer takes nothing more, but left too much unread to be carried at once.
    only_reading: bool,
    /// A front end is there.
    attached: bool,
    /// A peer that ends its sending is kept, whatever the front end does.
    keeps: bool,
    /// It is kept, for that reason or because the front end answers it.
    half_close: bool,
    /// Such a peer has ended its sending, and all of it was read.
    input_ended: bool,
    events: VecDeque<BackendEvent>,
    /// Descriptors that came with the last input.
    fds: Vec<OwnedFd>,
    lent: Option<Lent>,
    /// How many clients its front end may take at a time, if it takes them itself.
    clients: Option<usize>,
    /// The front end takes them, and serves this many.
    accepts: bool,
    serving: usize,
    /// A client that did not connect, because it is to take over its predecessor's connection.
    awaits_peer: bool,
}

/// A wish for the connected peer of a back end that gets its peers from the same place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WantPeer {
    place: String,
    server: bool,
}

impl WantPeer {
    /// The peer of a client that connects to `address`.
    pub(super) fn of_client(address: &SocketAddress) -> Self {
        WantPeer {
            place: show(address),
            server: false,
        }
    }
}

/// Why no client is looked for just now.
enum Pause {
    Task(#[allow(dead_code, reason = "ends when it is dropped")] OwnedTask),
    Turn(#[allow(dead_code, reason = "ends when it is dropped")] Turn),
}

/// Where peers come from.
enum Source {
    Server {
        listener: Listener,
        pause: Option<Pause>,
    },
    Client {
        name: String,
        again: Option<Again>,
    },
}

/// How a client connects again.
struct Again {
    target: Target,
    interval: Duration,
    connector: Option<Connector>,
}

/// A connection being made in the background.
struct Connector {
    reached: Arc<Mutex<Option<OwnedFd>>>,
    _task: OwnedTask,
}

impl SocketBackend {
    /// A server; `first` is a client that was waited for.
    pub(super) fn server(
        port: Port,
        config: &Config,
        listener: Listener,
        first: Option<OwnedFd>,
    ) -> Result<Self, String> {
        let unix = listener.is_unix();
        let source = Source::Server {
            listener,
            pause: None,
        };
        let mut backend = SocketBackend::new(port, source, config, unix);
        backend.clients = config.clients;
        match first {
            Some(fd) => backend.establish(Arc::new(fd))?,
            None => backend.watch_listener()?,
        }
        Ok(backend)
    }

    /// A client that is connected over `fd` and ends with its peer.
    pub(super) fn client(
        port: Port,
        config: &Config,
        target: &Target,
        fd: OwnedFd,
    ) -> Result<Self, String> {
        let source = Source::Client {
            name: show(&config.address),
            again: None,
        };
        let mut backend = SocketBackend::new(port, source, config, target.is_unix());
        backend.establish(Arc::new(fd))?;
        Ok(backend)
    }

    /// A client that takes over the connection of the back end it replaces.
    pub(super) fn succeeding(port: Port, config: &Config, target: Target) -> Self {
        let unix = target.is_unix();
        let again = config.reconnect.map(|interval| Again {
            target,
            interval,
            connector: None,
        });
        let source = Source::Client {
            name: show(&config.address),
            again,
        };
        let mut backend = SocketBackend::new(port, source, config, unix);
        backend.awaits_peer = true;
        backend
    }

    /// A client that connects in the background, whenever it has no peer.
    pub(super) fn reconnecting(
        port: Port,
        config: &Config,
        target: Target,
        interval: Duration,
    ) -> Self {
        let unix = target.is_unix();
        let again = Again {
            target,
            interval,
            connector: None,
        };
        let source = Source::Client {
            name: show(&config.address),
            again: Some(again),
        };
        let mut backend = SocketBackend::new(port, source, config, unix);
        backend.connect_after(Duration::ZERO);
        backend
    }

    /// The connected socket that was given as `name`.
    pub(super) fn given(
        port: Port,
        config: &Config,
        name: &str,
        fd: &Arc<OwnedFd>,
    ) -> Result<Self, String> {
        let source = Source::Client {
            name: format!("fd:{name}"),
            again: None,
        };
        let mut backend = SocketBackend::new(port, source, config, false);
        backend.establish(Arc::clone(fd))?;
        backend.unix = backend.connection.as_ref().is_some_and(Connection::is_unix);
        Ok(backend)
    }

    /// Holds on to a descriptor that goes back if this never goes live.
    pub(super) fn keep_lent(&mut self, lent: Lent) {
        self.lent = Some(lent);
    }

    fn new(port: Port, source: Source, config: &Config, unix: bool) -> Self {
        SocketBackend {
            port,
            source,
            nodelay: config.nodelay,
            unix,
            connection: None,
            only_reading: false,
            attached: false,
            keeps: config.half_close,
            half_close: config.half_close,
            input_ended: false,
            events: VecDeque::new(),
            fds: Vec::new(),
            lent: None,
            clients: None,
            accepts: false,
            serving: 0,
            awaits_peer: false,
        }
    }

    /// Whether clients wait to be taken by the front end, rather than becoming the peer. Before
    /// there is a front end nobody knows, so they wait.
    fn hands_out(&self) -> bool {
        self.clients.is_some() && (self.accepts || !self.attached)
    }

    /// Whether a peer that only ended its sending is kept. A front end that is still to come may answer
    /// it; over TCP that peer cannot be told from one that has left, which must not be in the way.
    fn keeps_half_closed(&self) -> bool {
        self.half_close || (!self.attached && self.unix && !self.input_ended)
    }

    /// Where its peers come from.
    fn own_peer(&self) -> WantPeer {
        match &self.source {
            Source::Server { listener, .. } => WantPeer {
                place: listener.filename(),
                server: true,
            },
            Source::Client { name, .. } => WantPeer {
                place: name.clone(),
                server: false,
            },
        }
    }

    fn establish(&mut self, fd: Arc<OwnedFd>) -> Result<(), String> {
        let connection = Connection::new(&self.port, fd, self.nodelay)?;
        if self.half_close {
            connection.keep_alive();
        }
        self.connection = Some(connection);
        self.events.push_back(BackendEvent::Opened);
        Ok(())
    }

    /// The peer is gone: what it had sent is handed over, and the next one may come.
    fn lose_peer(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let unread = connection.take_unread(&mut self.fds);
        drop(connection);
        self.after_peer(unread);
    }

    /// The peer is gone, but a lot of what it had sent is unread: then the connection stays until
    /// the front end has read to its end, rather than all of it in memory.
    fn lose_peer_unless_unread(&mut self) {
        self.only_reading = self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.unread() > LEFT_LIMIT);
        if !self.only_reading {
            self.lose_peer();
        }
    }

    /// Nothing of a next peer is looked at here: the machine has to be told of this one's end
    /// first, so that neither input nor output crosses over.
    fn after_peer(&mut self, unread: Vec<u8>) {
        self.only_reading = false;
        self.input_ended = false;
        self.events.push_back(BackendEvent::Closed { unread });
        let interval = match &self.source {
            Source::Client {
                again: Some(again), ..
            } => again.interval,
            Source::Client { again: None, .. } => return,
            Source::Server { .. } => {
                if let Err(cause) = self.watch_listener() {
                    self.pause_accepting(&cause);
                }
                return;
            }
        };
        self.connect_after(interval);
    }

    /// Takes a peer that has come by now, whether or not anything told of it yet.
    fn find_peer(&mut self) {
        if self.connection.is_some() || self.hands_out() {
            return;
        }
        let found = match &mut self.source {
            Source::Server { listener, pause } => {
                *pause = None;
                match listener.accept() {
                    Err(error) if is_shortage(error) => return self.wait_for_descriptor(error),
                    found => found.map_err(strerror),
                }
            }
            Source::Client { again, .. } => Ok(again.as_mut().and_then(Again::take_reached)),
        };
        let outcome = match found {
            Ok(Some(fd)) => self.establish(Arc::new(fd)),
            Ok(None) => self.watch_listener(),
            Err(cause) => Err(cause),
        };
        if let Err(cause) = outcome {
            self.retry_later(&cause);
        }
    }

    fn watch_listener(&mut self) -> Result<(), String> {
        match &mut self.source {
            Source::Server { listener, .. } => listener.watch(&self.port),
            Source::Client { .. } => Ok(()),
        }
    }

    fn retry_later(&mut self, cause: &str) {
        match &self.source {
            Source::Server { .. } => self.pause_accepting(cause),
            Source::Client {
                again: Some(again), ..
            } => {
                let (label, interval) = (self.port.label(), again.interval);
                tracing::warn!("Unable to connect character device {label}: {cause}");
                self.connect_after(interval);
            }
            Source::Client { again: None, .. } => {}
        }
    }

    /// Out of something: looking for a client at once would keep the I/O thread spinning.
    fn pause_accepting(&mut self, cause: &str) {
        tracing::warn!(
            label = self.port.label(),
            "cannot serve a client for now: {cause}"
        );
        let Source::Server { pause, .. } = &mut self.source else {
            return;
        };
        let port = self.port.clone();
        *pause = Some(Pause::Task(OwnedTask::spawn(&self.port, async move {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            // A front end that takes its clients itself is to try again.
            port.kick(Ready::READ);
        })));
    }

    fn wait_for_descriptor(&mut self, error: Errno) {
        let turn = shortage::wait(&self.port, error);
        if let Source::Server { pause, .. } = &mut self.source {
            *pause = Some(Pause::Turn(turn));
        }
    }

    /// A peer that was kept may not have to be any more; seen to once the present call is over.
    fn look_at_peer(&self) {
        if self.connection.is_some() {
            let port = self.port.clone();
            self.port.spawn(async move { port.kick(Ready::HANGUP) });
        }
    }

    fn connect_after(&mut self, delay: Duration) {
        let Source::Client {
            again: Some(again), ..
        } = &mut self.source
        else {
            return;
        };
        let reached = Arc::new(Mutex::new(None));
        let hand_over = Arc::clone(&reached);
        let (port, target, interval) = (self.port.clone(), again.target.clone(), again.interval);
        let task = OwnedTask::spawn(&self.port, async move {
            tokio::time::sleep(delay).await;
            let fd = reach(port.label(), &target, interval).await;
            *hand_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(fd);
            port.kick(Ready::empty());
        });
        again.connector = Some(Connector {
            reached,
            _task: task,
        });
    }
}

impl Again {
    fn take_reached(&mut self) -> Option<OwnedFd> {
        let connector = self.connector.as_ref()?;
        let fd = connector
            .reached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        self.connector = None;
        Some(fd)
    }
}

/// Connects until it works. The first failure of a row is reported.
async fn reach(label: &str, target: &Target, interval: Duration) -> OwnedFd {
    let mut told = false;
    loop {
        match target.clone().connect().await {
            Ok(fd) => return fd,
            Err(cause) if !told => {
                told = true;
                tracing::warn!("Unable to connect character device {label}: {cause}");
            }
            Err(_) => {}
        }
        tokio::time::sleep(interval).await;
    }
}

/// The address a client was given, as QEMU writes it.
fn show(address: &SocketAddress) -> String {
    match address {
        SocketAddress::Inet(inet) => format!("tcp:{}:{}", inet.host, inet.port),
        SocketAddress::Unix {
            path,
            abstract_name,
            tight,
        } => unix::show(path, *abstract_name, *tight),
        SocketAddress::Vsock { cid, port } => format!("vsock:{cid}:{port}"),
        SocketAddress::Fd(name) => format!("fd:{name}"),
    }
}
